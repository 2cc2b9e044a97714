"""Take the pictures of docs/house.md: `python docs/pictures/house.py DEMO`, where DEMO is a folder that `homing demo` made.

A copy of the demo's database is served on a free port and looked at with the Chromium of the machine.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

from engine import settings as settings_module
from engine.store.database import connect
from engine.web.house.password import set_password
from engine.web.serving import config
from engine.web.site import open_site

HERE = Path(__file__).parent
PICTURES = (
    ("house-today.png", "/house", 1200, 1000, "light"),
    ("house-flow.png", "/house/flows/post-purchase-thank-you", 1200, 1290, "light"),
    ("house-mails.png", "/house/mails", 1200, 1100, "dark"),
    ("house-customer.png", "/house/customers/22", 375, 900, "light"),
    ("house-why.png", "/house/customers/22/why/replenishment", 375, 900, "dark"),
)


@contextmanager
def served(demo: Path, password: str) -> Iterator[str]:
    """Serve a copy of a demo until the block ends; give its address."""
    with tempfile.TemporaryDirectory(prefix="homing-house-") as folder:
        shutil.copytree(demo, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mailbox"))
        settings = settings_module.load(Path(folder))
        database = connect(settings.database_url, Path(folder))
        with database.write() as connection:
            set_password(connection, password)
        server = uvicorn.Server(config(open_site(settings, database), "127.0.0.1", 0))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()
            database.close()


def main(demo: Path) -> None:
    """Take every picture."""
    password = secrets.token_urlsafe(15)
    with served(demo, password) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, path, width, height, scheme in PICTURES:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page.goto(f"{address}/house/login")
            page.fill("#password", password)
            page.click("main button")
            page.goto(address + path, wait_until="networkidle")
            page.screenshot(path=HERE / name)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
