"""Take the pictures of docs/house.md: `python docs/pictures/house.py DEMO [FOLDER]`.

Comes in: a folder that `homing demo` made. Goes out: pictures, here or in FOLDER. A copy of the demo is served on a free port
and looked at with the Chromium of the machine; reports are made and a table is uploaded as people would. `make test-web` takes
them, too, of a small demo.
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
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import func, select

from engine import settings as settings_module
from engine.store.database import Database, connect
from engine.store.tables import messages
from engine.web.house.password import set_password
from engine.web.serving import config
from engine.web.site import open_site

HERE = Path(__file__).parent
TABLE = (
    "Kundennummer,E-Mail,Vorname,Geburtstag,Lieblingstee\n9001,anna@example.test,Anna,1990-03-04,Sencha\n"
    "9002,nothing,Bo,1988-05-13,Hojicha\n9003,chie@example.test,智恵,1971-05-30,Gyokuro\n"
)
PICTURES = (
    ("house-today.png", "/house", 1200, 1000, "light"),
    ("house-flow.png", "/house/flows/post-purchase-thank-you", 1200, 1290, "light"),
    ("house-mails.png", "/house/mails", 1200, 1100, "dark"),
    ("house-customer.png", "/house/customers/{customer}", 375, 900, "light"),
    ("house-why.png", "/house/customers/{customer}/why/replenishment", 375, 900, "dark"),
    ("house-flow-phone.png", "/house/flows/cart-recovery", 375, 1450, "light"),
    ("house-reports.png", "/house/reports", 1200, 1500, "light"),
    ("house-forecast.png", "/house/reports/{forecast}", 1200, 1000, "light"),
    ("house-file.png", "/house/files/{file}", 375, 1450, "light"),
)


@contextmanager
def served(demo: Path, password: str) -> Iterator[tuple[str, Database]]:
    """Serve a copy of a demo until the block ends; give its address and its database."""
    with tempfile.TemporaryDirectory(prefix="homing-house-") as folder:
        shutil.copytree(demo, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mailbox"))
        for made in ("uploads", "reports", "quarantine"):
            shutil.rmtree(Path(folder) / made, ignore_errors=True)
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
            yield f"http://127.0.0.1:{port}", database
        finally:
            server.should_exit = True
            thread.join()
            database.close()


def enter(page: Page, address: str, password: str) -> None:
    """Log in."""
    page.goto(f"{address}/house/login")
    page.fill("#password", password)
    page.click("main button")


def prepare(page: Page, address: str) -> dict[str, str]:
    """Let the house make its reports and look at a table; return what pages of those are called."""
    for button in ("How customers buy", "The next 30 days"):
        page.goto(f"{address}/house/reports")
        page.get_by_role("button", name=button).click()
        while page.get_by_text("A report is being made").count():
            time.sleep(1)
            page.goto(f"{address}/house/reports")
    report = page.get_by_role("link", name="The next 30 days").get_attribute("href") or ""
    page.goto(f"{address}/house/files")
    page.set_input_files(
        "#file", {"name": "stammkunden.csv", "mimeType": "text/csv", "buffer": TABLE.encode()}
    )
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("heading", name="Its columns").wait_for()
    return {"forecast": report.rpartition("/")[2], "file": page.url.rpartition("/")[2]}


def reminded(database: Database) -> str:
    """Return the customer who was reminded most often of something that runs out."""
    own = messages.c
    most = select(own.customer_id).where(own.flow == "replenishment").group_by(own.customer_id)
    with database.read() as connection:
        return str(connection.scalar(most.order_by(func.count().desc(), own.customer_id).limit(1)))


def main(demo: Path, folder: Path = HERE) -> None:
    """Take every picture."""
    password = secrets.token_urlsafe(15)
    with served(demo, password) as (address, database), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context()
        page = context.new_page()
        enter(page, address, password)
        made = {**prepare(page, address), "customer": reminded(database)}
        for name, path, width, height, scheme in PICTURES:
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.goto(address + path.format(**made), wait_until="networkidle")
            page.screenshot(path=folder / name)
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
