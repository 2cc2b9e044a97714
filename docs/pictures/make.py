"""Draws the pictures of the documentation: every starter mail, in each language, by day and by night.

Comes in: this repository as a project. Goes out: `contact-sheet.png`, `starter-mails.png`, `blocks.png` and
`preview.png` beside this script, and under `build/pictures/` one sheet for each mail and language: three customers ×
phone and desktop × light and dark. Needs Chromium, Node, npm (which brings the
browser's driver under build/) and fonts for every language (Debian's, installed where it may):

    make pictures
    make pictures ARGS=cart          # only the sheets of mails whose name has "cart" in it
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine import settings  # noqa: E402
from engine.deploy.preview import open_studio, preview_sample  # noqa: E402
from engine.deploy.preview_page import offline, page  # noqa: E402
from engine.render.library import TemplateLibrary  # noqa: E402
from engine.render.render import render  # noqa: E402
from engine.render.samples import sample_context  # noqa: E402
from tests.mails.debian import need_fonts  # noqa: E402
from tests.mails.node import MODULES, install  # noqa: E402
from tests.mails.starter import LOCALES, StarterMail, open_shop, persona, starter_mails  # noqa: E402

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "pictures"
PHONE, DESKTOP, GAP = 375, 700, 32
ACROSS = 8  # mails in a row of the contact sheet
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FACES = (
    ("thank-you-first", "en", False), ("cart-reminder", "en", False), ("replenish-soon", "en", False),
    ("birthday", "zh-Hant", False), ("check-in", "en", True), ("win-back-offer", "ja", True),
)  # fmt: skip
"""What the README shows: template, language, by night."""

Job = dict[str, Any]


def main(wanted: Sequence[str]) -> None:
    """Write every picture, or only the sheets of the mails that are wanted."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"needs one of: {', '.join(BROWSERS)}")
    install()
    need_fonts()
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    shop = open_shop()
    mails = [mail for mail in starter_mails(shop) if not wanted or any(word in mail.name for word in wanted)]
    jobs = list(_sheets(mails))
    if not wanted:
        jobs += [_contact(mails), _faces(mails), _blocks(), _preview()]
    (BUILD / "jobs.json").write_text(json.dumps({"browser": browser, "modules": str(MODULES), "jobs": jobs}))
    subprocess.run(["node", str(HERE / "shoot.mjs"), str(BUILD / "jobs.json")], check=True)  # noqa: S603, S607 - ours
    for job in jobs:
        sys.stdout.write(f"{Path(job['out']).relative_to(ROOT)}\n")


def _sheets(mails: Iterable[StarterMail]) -> Iterable[Job]:
    """Yield a sheet for each mail and language: a row for each customer."""
    for (flow, step, locale), group in groupby(mails, lambda mail: (mail.flow, mail.step, mail.locale)):
        rows = [
            _row(
                f"{mail.customer} · {mail.mail.subject} · {mail.mail.preheader} · {mail.rendered.size // 1024} KB",
                [
                    _frame(mail.mail.html, width, dark=dark)
                    for width in (PHONE, DESKTOP)
                    for dark in (False, True)
                ],
            )
            for mail in group
        ]
        width = 2 * (PHONE + DESKTOP) + 5 * GAP
        yield _job(f"{flow}.{step}.{locale}", rows, width, BUILD / f"{flow}.{step}.{locale}.png", scale=0.6)


def _contact(mails: Sequence[StarterMail]) -> Job:
    """Return the contact sheet: every mail to a usual customer on a phone, in each language, and once by night."""
    usual = {(mail.template, mail.locale): mail for mail in mails if mail.customer == "usual"}
    rows = []
    for locale, dark in (*((locale, False) for locale in LOCALES), ("en", True)):
        told = [mail for mail in usual.values() if mail.locale == locale]
        frames = [_frame(mail.mail.html, PHONE, dark=dark, cut=1100) for mail in told]
        rows += [_row("", frames[start : start + ACROSS]) for start in range(0, len(frames), ACROSS)]
    return _job("contact-sheet", rows, ACROSS * (PHONE + GAP) + GAP, HERE / "contact-sheet.png", scale=0.45)


def _faces(mails: Sequence[StarterMail]) -> Job:
    found = {(mail.template, mail.locale): mail for mail in mails if mail.customer == "usual"}
    frames = [
        _frame(found[template, locale].mail.html, PHONE, dark=dark, cut=900)
        for template, locale, dark in FACES
    ]
    return _job(
        "starter-mails",
        [_row("", frames)],
        len(FACES) * (PHONE + GAP) + GAP,
        HERE / "starter-mails.png",
        scale=0.75,
    )


def _blocks() -> Job:
    """Return a picture of every block, from a template that is nothing but blocks."""
    sources = dict(open_shop().library.sources)
    sources["every-block.mjml"] = (HERE / "every-block.mjml").read_text(encoding="utf-8")
    person = persona("en", "usual")
    context = sample_context(person, recommend=["one", "two", "three", "four"])
    picks = {
        name: context.picks[name][: number + 1] for number, name in enumerate(("one", "two", "three", "four"))
    }
    context = type(context)(
        **{**{name: getattr(context, name) for name in context.__slots__}, "picks": picks}
    )
    made = render(TemplateLibrary(sources), "every-block", context)
    frames = [_frame(made.html, width, dark=dark) for dark in (False, True) for width in (PHONE, DESKTOP)]
    return _job("blocks", [_row("", frames)], 2 * (PHONE + DESKTOP) + 5 * GAP, HERE / "blocks.png", scale=0.5)


def _preview() -> Job:
    shots = preview_sample(open_studio(settings.load(ROOT, {})), "cart-recovery")
    whole = page(shots, title="cart-recovery", shop="Kiyomi Tea", who="a sample customer")
    (BUILD / "preview.html").write_text(whole, encoding="utf-8")
    return {
        "page": str(BUILD / "preview.html"),
        "out": str(HERE / "preview.png"),
        "width": 1280,
        "height": 1000,
    }


def _row(words: str, frames: Sequence[str]) -> str:
    label = f"<p>{html.escape(words)}</p>" if words else ""
    return f"{label}<div>{''.join(frames)}</div>"


def _frame(document: str, width: int, *, dark: bool, cut: int = 0) -> str:
    """Return a frame in which it is night or day whatever the browser says."""
    seen = offline(document).replace("(prefers-color-scheme: dark)", "all" if dark else "not all")
    height = f";height:{cut}px" if cut else ""
    kind = (
        f' class="cut" scrolling="no" style="width:{width}px{height}"' if cut else f' style="width:{width}px"'
    )
    return f'<iframe{kind} srcdoc="{html.escape(seen)}"></iframe>'


def _job(name: str, rows: Sequence[str], width: int, out: Path, *, scale: float) -> Job:
    style = (
        f"body{{margin:0;padding:{GAP}px;background:#d9d5cc;font:17px/1.4 sans-serif;color:#333}}"
        f"div{{display:flex;gap:{GAP}px;align-items:flex-start;margin-bottom:{GAP}px}}p{{margin:0 0 12px}}"
        "iframe{border:0;flex:none;border-radius:18px;background:#fff;box-shadow:0 12px 34px -18px rgb(20 25 30/.5)}"
    )
    document = f'<!doctype html><meta charset="utf-8"><style>{style}</style>{"".join(rows)}'
    (BUILD / f"{name}.html").write_text(document, encoding="utf-8")
    return {"page": str(BUILD / f"{name}.html"), "out": str(out), "width": width, "scale": scale}


if __name__ == "__main__":
    main(sys.argv[1:])
