"""Play four flows over the year 2011 of UCI "Online Retail", and draw what they would have sent.

    python examples/online-retail/simulate.py facts --project shop --out 2011

Comes in: the files that convert.py made. Goes out: 2011.json and 2011.html (the reports of `homing simulate`) and 2011.svg
(mails a week by flow). The project is made where it is not there; nothing is sent, and its database is only read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from html import escape
from pathlib import Path
from typing import Any

FLOWS = "post-purchase-thank-you,thirty-day-check-in,replenishment,win-back"
ENVIRONMENT = {"HOMING_SHOP_CURRENCY": "GBP", "HOMING_SHOP_TIMEZONE": "Europe/London"}
COLOURS = ("#2563ae", "#d97706", "#0f8a6d", "#b83280", "#7c5cd6")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 330, 46, 44, 30


def main() -> None:
    """Make the project, replay the year, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("facts", type=Path)
    parser.add_argument("--project", type=Path, default=Path("shop"))
    parser.add_argument("--out", type=Path, default=Path("2011"))
    parser.add_argument("--every", default="2h", help="how often the virtual clock stops")
    chosen = parser.parse_args()
    if not (chosen.project / "homing.toml").exists():
        homing("init", str(chosen.project))
        files = [str(chosen.facts / name) for name in ("products.csv", "customers.csv", "orders.jsonl")]
        homing("ingest", *files, "--project", str(chosen.project))
    report = chosen.out.with_suffix(".html")
    told = homing(
        "simulate", "--project", str(chosen.project), "--from", "2011-01-01T00:00+00:00", "--to", "2011-12-10T00:00+00:00",
        "--flows", FLOWS, "--every", chosen.every, "--out", str(report), "--json",
    )  # fmt: skip
    chosen.out.with_suffix(".json").write_text(told, encoding="utf-8")
    chosen.out.with_suffix(".svg").write_text(picture(json.loads(told)), encoding="utf-8")
    sys.stdout.write(f"wrote {report}, {chosen.out.with_suffix('.json')}, {chosen.out.with_suffix('.svg')}\n")


def homing(*arguments: str) -> str:
    """Run `homing` and return what it printed; end with its exit code where that is not 0."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "cli", *arguments], env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)
    return done.stdout


def weeks(found: Mapping[str, Any]) -> list[tuple[date, Counter[str]]]:
    """Return the mails of each week by flow."""
    by_week: dict[date, Counter[str]] = {}
    for each in found["days"]:
        day = date.fromisoformat(each["day"])
        by_week.setdefault(day - timedelta(days=day.weekday()), Counter()).update(each["mails"])
    return sorted(by_week.items())


def picture(found: Mapping[str, Any]) -> str:
    """Return mails a week by flow as an SVG that reads on white and on black."""
    totals = {flow: sum(steps.values()) for flow, steps in found["mails"].items()}
    flows = sorted(totals, key=lambda flow: (-totals[flow], flow))
    bars = weeks(found)
    most = max((sum(mails.values()) for _, mails in bars), default=1)
    step = (WIDTH - LEFT) / max(1, len(bars))
    drawn = [*_grid(most), *_key(flows, totals)]
    for place, (monday, mails) in enumerate(bars):
        top = float(HEIGHT - BOTTOM)
        for number, flow in enumerate(flows):
            size = mails[flow] / most * (HEIGHT - TOP - BOTTOM)
            top -= size
            if size:
                drawn.append(
                    f'<rect x="{LEFT + place * step + 1:.1f}" y="{top:.1f}" width="{step - 2:.1f}" height="{size:.1f}" '
                    f'fill="{COLOURS[number % len(COLOURS)]}"/>'
                )
        if monday.day <= 7 and place < len(bars) - 1:
            drawn.append(f'<text x="{LEFT + place * step:.1f}" y="{HEIGHT - 10}">{monday:%b}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui,sans-serif" '
        f'font-size="13" fill="#77736c" role="img" aria-label="Mails a week by flow, 2011">{"".join(drawn)}</svg>\n'
    )


def _grid(most: int) -> list[str]:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8886" stroke-width="1"/>'
        )
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{round(most * share):,}</text>')
    return lines


def _key(flows: Sequence[str], totals: Mapping[str, int]) -> list[str]:
    drawn, x = [], float(LEFT)
    for number, flow in enumerate(flows):
        words = f"{flow} {totals[flow]:,}"
        drawn.append(
            f'<rect x="{x:.0f}" y="9" width="12" height="12" rx="3" fill="{COLOURS[number % len(COLOURS)]}"/>'
        )
        drawn.append(f'<text x="{x + 17:.0f}" y="20">{escape(words)}</text>')
        x += 17 + 7.1 * len(words) + 16
    return drawn


if __name__ == "__main__":
    main()
