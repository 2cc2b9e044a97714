"""Charts: SVG made here, with their words for those who do not see them; colours come from the style.

Comes in: counts. Goes out: markup in which every text is escaped. No chart needs a script or a style of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from markupsafe import Markup, escape

_WIDE, _HIGH, _TOP, _FOOT = 720, 150, 18, 24


def days_chart(days: Sequence[tuple[date, int]], title: str) -> Markup:
    """Return bars by day; the title with the sum is its text."""
    most = max((number for _, number in days), default=0)
    step = _WIDE / max(len(days), 1)
    parts = []
    for place, (day, number) in enumerate(days):
        high = (_HIGH - _TOP - _FOOT) * number / most if most else 0
        left = place * step + step * 0.15
        shown = max(high, 1.0)
        words = Markup("<title>{}: {}</title>").format(f"{day:%a %d %b}", f"{number:,}")
        parts.append(
            Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2">{}</rect>'
            ).format("bar" if number else "none", left, _HIGH - _FOOT - shown, step * 0.7, shown, words)
        )
        if place % 7 == len(days) % 7 - 1 or (len(days) % 7 == 0 and place % 7 == 6):
            parts.append(_text(left + step * 0.35, _HIGH - 6, f"{day:%d %b}", "muted"))
    top = Markup('<line class="rule" x1="0" x2="{}" y1="{}" y2="{}"/>').format(
        _WIDE, _HIGH - _FOOT, _HIGH - _FOOT
    )
    most_words = _text(0, 12, f"most on a day: {most:,}", "muted", anchor="start")
    label = f"{title}: {sum(number for _, number in days):,} in {len(days)} days"
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>').format(
        _WIDE, _HIGH, label, top, most_words, Markup("").join(parts)
    )


def _text(x: float, y: float, words: str, kind: str, anchor: str = "middle") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" font-size="12" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(words)
    )
