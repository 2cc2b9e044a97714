"""Draws the pictures of the documentation: starter mails on a phone, and the preview's page; needs Chromium.

Comes in: this repository as a project. Goes out: PNG files beside this script. Run it after the templates have changed:

    .venv/bin/python docs/pictures/make.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine import settings  # noqa: E402
from engine.deploy.preview import Studio, open_studio, preview_sample  # noqa: E402
from engine.deploy.preview_page import offline, page  # noqa: E402

MAILS = (
    ("post-purchase-thank-you:thank-you-first", None),
    ("cart-recovery:cart-second-reminder", None),
    ("birthday:birthday", None),
    ("win-back:win-back-offer", "ja"),
)
PHONE = (390, 844)
GAP = 28
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Write every picture."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"needs one of: {', '.join(BROWSERS)}")
    studio = open_studio(settings.load(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        width = len(MAILS) * (PHONE[0] + GAP) + GAP
        shoot(browser, _phones(studio, scratch), "starter-mails.png", (width, PHONE[1] + 2 * GAP))
        shots = preview_sample(studio, "cart-recovery")
        whole = page(shots, title="cart-recovery", shop="Kiyomi Tea", who="a sample customer")
        (scratch / "page.html").write_text(whole, encoding="utf-8")
        shoot(browser, scratch / "page.html", "preview.png", (1280, 1000))


def _phones(studio: Studio, scratch: Path) -> Path:
    frames = []
    for place, (target, locale) in enumerate(MAILS):
        (shot,) = preview_sample(studio, target, locale)
        assert shot.mail is not None, shot.error
        (scratch / f"{place}.html").write_text(offline(shot.mail.html), encoding="utf-8")
        frames.append(f'<iframe src="{place}.html" scrolling="no"></iframe>')
    style = (
        f"body{{margin:{GAP}px;display:flex;gap:{GAP}px;background:#e9e6df}}"
        f"iframe{{width:{PHONE[0]}px;height:{PHONE[1]}px;border:0;border-radius:26px;background:#fff;"
        "box-shadow:0 10px 34px -14px rgb(20 25 30/.35)}"
    )
    document = f'<!doctype html><meta charset="utf-8"><style>{style}</style>{"".join(frames)}'
    (scratch / "phones.html").write_text(document, encoding="utf-8")
    return scratch / "phones.html"


def shoot(browser: str, document: Path, name: str, size: tuple[int, int]) -> None:
    """Take a picture of a page."""
    target = Path(__file__).with_name(name)
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
    ]
    subprocess.run(  # noqa: S603 - the browser of this machine, on a page of our own
        [browser, *options, f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=4000",
         f"--screenshot={target}", document.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip
    sys.stdout.write(f"{target.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
