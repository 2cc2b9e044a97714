"""Charts: SVG made here, with their words for those who do not see them; colours come from the style.

Comes in: counts. Goes out: markup in which every text is escaped. No chart needs a script or a style of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup, escape

from engine.web.house.worth import Mean

_WIDE, _HIGH, _TOP, _FOOT = 720, 160, 28, 26


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
    most_words = _text(0, 18, f"most on a day: {most:,}", "muted", anchor="start")
    label = f"{title}: {sum(number for _, number in days):,} in {len(days)} days"
    return Markup(
        '<svg class="chart days" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>'
    ).format(_WIDE, _HIGH, label, top, most_words, Markup("").join(parts))


def _text(x: float, y: float, words: str, kind: str, anchor: str = "middle") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(words)
    )


@dataclass(frozen=True, slots=True)
class Span:
    """One row of a comparison: a value with the two ends of its interval, and the words behind it."""

    name: str
    value: float
    lower: float
    upper: float
    words: str


def compared(rows: Sequence[tuple[str, int, int, float, float]]) -> Markup:
    """Return shares with their intervals side by side: name, part, whole, and the interval's two ends."""
    return spans(
        [
            Span(name, part / whole if whole else 0.0, lower, upper, f"{part / whole if whole else 0:.1%} ({part:,} of {whole:,})".replace("%", " %"))
            for name, part, whole, lower, upper in rows
        ]
    )  # fmt: skip


def amounts(rows: Sequence[tuple[str, Mean]], currency: str) -> Markup:
    """Return amounts for each customer with their intervals side by side."""
    return spans(
        [
            Span(name, each.mean, max(each.lower, 0.0), each.upper, f"{each.mean:,.2f} {currency} ({each.count:,} customer{'s' if each.count != 1 else ''})")
            for name, each in rows
        ]
    )  # fmt: skip


def spans(rows: Sequence[Span]) -> Markup:
    """Return values with their intervals, one below the other, in words that a phone can show."""
    wide, most = 400, max((row.upper for row in rows), default=1.0) or 1.0
    parts = []
    for place, row in enumerate(rows):
        y, scale = place * 54 + 16, wide / most
        left, right = row.lower * scale, row.upper * scale
        parts += [
            _text(0, y, row.name, "strong", anchor="start"),
            _text(wide, y, row.words, "muted", anchor="end"),
            Markup('<rect class="none" x="0" y="{}" width="{}" height="14" rx="2"/>').format(y + 10, wide),
            Markup('<rect class="bar" x="0" y="{}" width="{:.1f}" height="14" rx="2"/>').format(y + 10, max(row.value * scale, 1)),
            Markup('<path class="whisker" d="M{0:.1f} {2}H{1:.1f}M{0:.1f} {3}V{4}M{1:.1f} {3}V{4}"/>').format(left, right, y + 17, y + 12, y + 22),
        ]  # fmt: skip
    label = "; ".join(f"{row.name}: {row.words}, between {row.lower:.4g} and {row.upper:.4g}" for row in rows)
    return Markup(
        '<svg class="chart beside" viewBox="-2 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(wide + 4, 54 * len(rows), label, Markup("").join(parts))


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
    return Markup(
        '<svg class="chart square" viewBox="0 0 520 252" role="img" aria-label="{}">{}</svg>'
    ).format(label, Markup("").join(parts))
