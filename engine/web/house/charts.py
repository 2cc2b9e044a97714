"""Charts: SVG made here, with their words for those who do not see them; colours come from the style.

Comes in: counts. Goes out: markup in which every text is escaped. No chart needs a script or a style of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        if (len(days) - 1 - place) % 7 == 0:
            last = place == len(days) - 1
            parts.append(
                _text(
                    _WIDE if last else left + step * 0.35,
                    _HIGH - 6,
                    f"{day:%d %b}",
                    "muted",
                    "end" if last else "middle",
                )
            )
    top = Markup('<line class="rule" x1="0" x2="{}" y1="{}" y2="{}"/>').format(
        _WIDE, _HIGH - _FOOT, _HIGH - _FOOT
    )
    most_words = _text(0, 12, f"most on a day: {most:,}", "muted", anchor="start")
    label = f"{title}: {sum(number for _, number in days):,} in {len(days)} days"
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>').format(
        _WIDE, _HIGH, label, top, most_words, Markup("").join(parts)
    )


def _text(x: float, y: float, words: str, kind: str, anchor: str = "middle") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" font-size="12" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(words)
    )


def compared(rows: Sequence[tuple[str, int, int, float, float]]) -> Markup:
    """Return shares with their intervals side by side: name, part, whole, and the interval's two ends."""
    high, most = 34 * len(rows) + 8, max((upper for *_, upper in rows), default=1.0) or 1.0
    parts = []
    for place, (name, part, whole, lower, upper) in enumerate(rows):
        y, found = place * 34 + 20, part / whole if whole else 0.0
        scale = 380 / most
        parts += [
            _text(0, y + 4, name, "", anchor="start"),
            Markup('<rect class="bar" x="140" y="{}" width="{:.1f}" height="14" rx="2"/>').format(y - 7, max(found * scale, 1)),
            Markup('<path class="whisker" d="M{0:.1f} {2}H{1:.1f}M{0:.1f} {3}V{4}M{1:.1f} {3}V{4}"/>').format(140 + lower * scale, 140 + upper * scale, y, y - 5, y + 5),
            _text(540, y + 4, f"{found:.1%} ({part:,} of {whole:,})".replace("%", " %"), "muted", anchor="start"),
        ]  # fmt: skip
    label = "; ".join(f"{name}: {part:,} of {whole:,}" for name, part, whole, *_ in rows)
    return Markup('<svg class="chart" viewBox="0 0 720 {}" role="img" aria-label="{}">{}</svg>').format(
        high, label, Markup("").join(parts)
    )


def grid_chart(counts: Mapping[tuple[int, int], int]) -> Markup:
    """Return customers by recency (across) and frequency (up), 1 to 5 each; a fuller field is darker."""
    most, parts = max(counts.values(), default=1), []
    for (recency, frequency), number in sorted(counts.items()):
        x, y = 90 + (recency - 1) * 84, (5 - frequency) * 44 + 6
        parts.append(
            Markup(
                '<rect class="bar" x="{}" y="{}" width="80" height="40" rx="4" fill-opacity="{:.2f}"/>'
            ).format(x, y, 0.12 + 0.5 * number / most)
        )
        parts.append(_text(x + 40, y + 25, f"{number:,}", "strong"))
    ends = (
        (0, 32, "often", "start"),
        (0, 208, "seldom", "start"),
        (90, 244, "long ago", "start"),
        (506, 244, "lately", "end"),
    )
    parts += [_text(x, y, words, "muted", anchor) for x, y, words, anchor in ends]
    label = f"{sum(counts.values()):,} customers by when and how often they bought"
    return Markup('<svg class="chart" viewBox="0 0 520 252" role="img" aria-label="{}">{}</svg>').format(
        label, Markup("").join(parts)
    )
