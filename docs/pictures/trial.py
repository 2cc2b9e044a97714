"""Take the picture of docs/trial.md: `python docs/pictures/trial.py`, in a minute.

The page's own commands make the shop; then all of its flows are simulated and the report is looked at with the Chromium of
the machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.docs.console import Command, Reader, commands  # noqa: E402 - the repository is no package

REPORT = "homing simulate --from 2026-01-01 --out ../all.html"


def main() -> None:
    """Run the page up to its plan, simulate, and take the picture."""
    with tempfile.TemporaryDirectory(prefix="homing-trial-") as folder:
        reader = Reader(Path(folder))
        for command in commands((HERE.parent / "trial.md").read_text(encoding="utf-8")):
            if command.text.startswith("homing plan"):
                break
            reader.run(command)
        reader.run(Command(0, REPORT, (), 0))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1000, "height": 1240}, color_scheme="light")
            page.goto((Path(folder) / "all.html").as_uri())
            page.screenshot(path=HERE / "trial-report.png", full_page=True)
            browser.close()


if __name__ == "__main__":
    main()
