"""`make mail-check`: every starter mail as it would leave, held against SpamAssassin, axe, caniemail and small screens.

Goes out: a summary, or every problem in a sentence and exit code 1. Takes minutes and needs Chromium, Node, npm,
Debian's spamassassin and fonts (which it installs where it may); what can be held without them is in the ordinary tests beside
this file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.delivery.mime import to_bytes
from engine.deploy.preview_page import offline
from tests.mails.debian import need_fonts, need_program
from tests.mails.node import MODULES, ROOT, install
from tests.mails.starter import StarterMail, open_shop, starter_mails

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "mail-check"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MAX_SCORE = 0.5

KNOWN = {
    "<body> element": "the element inside it has the same ground and language",
    "aria-hidden attribute": "an empty bar is read as nothing anyway",
    "aria-label attribute": "a link's own words are read",
    "border-radius": "square corners",
    "border-spacing": "the cells have no space between them anyway",
    "color-scheme meta tag": "the mail by day, or the client's own darkening",
    "display:none": "the preheader has no height either, and what overflows is hidden",
    "height property": "the attributes say the same",
    "max-height property": "the preheader is not displayed either, and hidden from Outlook",
    "min-width property": "Outlook draws a shape of its own; elsewhere a button is as wide as its words",
    "opacity": "the preheader is not displayed either",
    "outline": "pictures have no border anyway",
    "overflow": "square corners",
    "role attribute": "tables are read as tables",
    "table-layout": "it says what holds anyway",
    "target attribute": "links open where the client opens links",
    "white-space": "a price may break",
    "word-break": "long words reach into the margin",
    "word-spacing": "it says what holds anyway",
}
"""What some client lacks, and what its readers see instead."""


def main() -> int:
    """Run every check; return the exit code."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"needs one of: {', '.join(BROWSERS)}")
    install()
    need_program("spamassassin", "spamassassin")
    need_fonts()
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    mails = list(starter_mails(open_shop()))
    problems, summary = _scores(mails)
    told = _pages(browser, mails)
    problems += told["problems"]
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"{summary}\nused with a fallback: {', '.join(sorted(told['features'])) or 'nothing'}\n")
    sys.stdout.write(f"{len(mails)} mails, {len(problems)} problems\n")
    return 1 if problems else 0


def _scores(mails: list[StarterMail]) -> tuple[list[str], str]:
    """Return the mails that look like spam, and a line about all."""
    now = datetime.now(UTC)
    files = []
    for mail in mails:
        path = BUILD / f"{mail.name}.eml"
        path.write_bytes(to_bytes(replace(mail.mail, date=now), metadata_headers=True))
        files.append(path)
    command = ["perl", str(HERE / "score.pl"), *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len(mails), done.stderr
    hits = Counter(rule for row in rows for rule in row[2].split(",") if rule)
    worst = max(float(row[1]) for row in rows)
    problems = [
        f"{Path(file).stem}: SpamAssassin gives {score} ({rules})"
        for file, score, rules in rows
        if float(score) > MAX_SCORE
    ]
    return problems, f"SpamAssassin: {worst} at most ({', '.join(sorted(hits)) or 'no rule hits'})"


def _pages(browser: str, mails: list[StarterMail]) -> dict[str, Any]:
    jobs = []
    for mail in mails:
        path = BUILD / f"{mail.name}.html"
        path.write_text(offline(mail.mail.html), encoding="utf-8")
        jobs.append({"name": mail.name, "file": str(path)})
    told = {"browser": browser, "modules": str(MODULES), "mails": jobs, "known": KNOWN}
    (BUILD / "jobs.json").write_text(json.dumps(told), encoding="utf-8")
    command = ["node", str(HERE / "check.mjs"), str(BUILD / "jobs.json")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
