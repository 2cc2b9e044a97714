"""A flow's steps drawn as SVG: top to bottom, arms side by side, with how many went there and who stands where.

Comes in: a flow and its counts by step. Goes out: markup; every text is escaped, a head stands on two lines where it must,
and what does not fit then is cut to its box and whole in its title. An arm takes as many columns as its own arms need; arms join again below. Nothing overlaps, whatever the flow.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from engine.flows.model import Branch, Exit, Experiment, Flow, Step
from engine.web.house.step_words import (
    Counts,
    arm_words,
    arms_of,
    step_kind,
    step_note,
    step_words,
    trigger_words,
)

WIDE, HIGH, GAP, MARGIN = 232, 58, 30, 12
LINE, SMALL_LINE = 18, 15
COLUMN = WIDE + 28
ARM_ROOM = 26
_LETTERS, _LETTER = 30, 8.3  # the most of a line, and how wide one of a head is
_SMALL, _BESIDE = 33, 20  # letters of small print in a box, and beside the line to an arm


@dataclass(slots=True)
class _Sheet:
    parts: list[Markup] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, arrow: bool = True) -> None:
        """Draw the way from one box to the next: down, across, down."""
        middle = y2 - 14 if y2 > y1 else y1
        path = f"M{x1:.0f} {y1:.0f}V{middle:.0f}H{x2:.0f}V{y2:.0f}"
        self.parts.append(Markup('<path class="edge" d="{}"/>').format(path))
        if arrow:
            self.parts.append(
                Markup('<path class="arrow" d="M{} {}l-4 -7h8z"/>').format(f"{x2:.0f}", f"{y2:.0f}")
            )

    def words(
        self,
        x: float,
        y: float,
        words: str,
        kind: str = "",
        size: int = 13,
        anchor: str = "start",
        most: int = _LETTERS,
        title: str = "",
    ) -> None:
        """Write a line, cut where it has no room; its title is the whole of it, or what else is to be said."""
        shown = words if len(words) <= most else words[: most - 1].rstrip() + "…"
        more = Markup("<title>{}</title>").format(title or words) if title or shown != words else ""
        self.parts.append(
            Markup(
                '<text class="{}" x="{:.0f}" y="{:.0f}" font-size="{}" text-anchor="{}">{}{}</text>'
            ).format(kind, x, y, size, anchor, more, shown)
        )

    def lines(self, x: float, y: float, lines: Sequence[str], whole: str, kind: str, size: int) -> None:
        """Write lines below each other; where they are not the whole of a text, it is their title."""
        title = whole if lines and lines[-1].endswith("…") else ""
        step = LINE if size > 13 else SMALL_LINE
        for number, line in enumerate(lines):
            self.words(x, y + step * number, line, kind, size, most=len(line), title=title)

    def box(self, x: float, y: float, head: str, foot: str, kind: str, here: int = 0) -> float:
        """Draw a step, its middle at x and its top at y; return where it ends."""
        left, on = x - WIDE / 2, " on" if kind == "entry" else ""
        told = f"{here:,}" if here else ""
        wide = 16 + 8 * len(told)
        beside = int((wide + 4) / _LETTER) if here else 0  # letters that the badge takes of the first line
        heads, feet = _lines(head, int((WIDE - 22) / _LETTER), 2, beside), _lines(foot, _SMALL, 2)
        high = HIGH + LINE * (len(heads) - 1) + SMALL_LINE * max(0, len(feet) - 1)
        self.parts.append(
            Markup('<rect class="box {}" x="{:.0f}" y="{:.0f}" width="{}" height="{}" rx="7"/>').format(
                kind, left, y, WIDE, high
            )
        )
        top = y + (24 if foot else 34)
        self.lines(left + 14, top, heads, head, f"strong{on}", 14)
        self.lines(left + 14, top + LINE * len(heads) + 2, feet, foot, on.strip() or "muted", 12)
        if here:
            self._badge(left + WIDE - wide - 8, y + 8, wide, told)
        return y + high

    def _badge(self, x: float, y: float, wide: float, told: str) -> None:
        """Draw how many stand at a step."""
        self.parts.append(
            Markup(
                '<g><title>{} stand here</title><rect class="badge" x="{:.0f}" y="{:.0f}" width="{}" height="20" rx="10"/>'
            ).format(told, x, y, wide)
        )
        self.words(x + wide / 2, y + 14, told, "badge-text", 12, "middle")
        self.parts.append(Markup("</g>"))


def diagram(flow: Flow, counts: Mapping[str, Counts], entered: int, ended: int) -> Markup:
    """Return the drawing; `entered` and `ended` stand at the top and at the bottom."""
    columns = _columns(flow.steps)
    sheet, middle = _Sheet(), columns * COLUMN / 2 + MARGIN
    top = sheet.box(middle, MARGIN, trigger_words(flow), f"{entered:,} entered", "entry")
    bottom, open_ = _draw(sheet, flow.steps, counts, middle, top)
    if open_:
        sheet.line(middle, bottom, middle, bottom + GAP)
        bottom = sheet.box(middle, bottom + GAP, "The end", f"{ended:,} came so far", "quiet")
    wide, high = columns * COLUMN + 2 * MARGIN, bottom + MARGIN
    label = f"The steps of {flow.name}"
    return Markup(
        '<svg width="{0:.0f}" height="{1:.0f}" viewBox="0 0 {0:.0f} {1:.0f}" role="img" aria-label="{2}">{3}</svg>'
    ).format(wide, high, label, Markup("").join(sheet.parts))


def _lines(words: str, wide: int, most: int, less: int = 0) -> list[str]:
    """Return a text as at most so many lines of so many letters, the first shorter by `less`."""
    words = " ".join(words.split())
    first = next(iter(textwrap.wrap(words, wide - less, break_on_hyphens=False, break_long_words=False)), "")
    first = first[: wide - less]
    rest = textwrap.wrap(
        words[len(first) :], wide, max_lines=most - 1, placeholder="…", break_on_hyphens=False
    )
    return [first, *rest] if first else []


def _columns(steps: Sequence[Step]) -> int:
    """Return how many boxes stand side by side at most."""
    return (
        max((sum(_columns(arm.steps) for arm in arms_of(step)) for step in steps if arms_of(step)), default=1)
        or 1
    )


def _draw(
    sheet: _Sheet, steps: Sequence[Step], counts: Mapping[str, Counts], x: float, y: float
) -> tuple[float, bool]:
    """Draw steps below y around x; return where the last ends, and whether the way goes on from there."""
    for step in steps:
        known = counts.get(step.id, Counts())
        sheet.line(x, y, x, y + GAP)
        y = sheet.box(x, y + GAP, *step_words(step), step_kind(step), known.here)
        note = step_note(step, known)
        if note:
            sheet.words(x + 10, y + 18, note, "muted", 12, most=26, title="; ".join(known.why))
        if isinstance(step, Exit):
            return y, False
        if isinstance(step, Branch | Experiment):
            y, goes_on = _draw_arms(sheet, step, counts, x, y)
            if not goes_on:
                return y, False
    return y, True


def _draw_arms(
    sheet: _Sheet, step: Branch | Experiment, counts: Mapping[str, Counts], x: float, y: float
) -> tuple[float, bool]:
    arms = arms_of(step)
    widths = [_columns(arm.steps) * COLUMN for arm in arms]
    left, ends, goes_on = x - sum(widths) / 2, [], False
    told = [_lines(arm_words(arm), _BESIDE * _columns(arm.steps), 4) for arm in arms]
    room = ARM_ROOM - 8 + SMALL_LINE * (max(map(len, told)) - 1)
    for arm, wide, lines in zip(arms, widths, told, strict=True):
        middle = left + wide / 2
        sheet.line(x, y, middle, y + GAP, arrow=False)
        sheet.lines(middle + 8, y + GAP + 14, lines, arm_words(arm), "muted", 12)
        end, open_ = _draw(sheet, arm.steps, counts, middle, y + GAP + room)
        sheet.line(middle, y + GAP, middle, y + GAP + room, arrow=False)
        ends.append((middle, end, open_))
        goes_on = goes_on or open_
        left += wide
    bottom = max(end for _, end, _ in ends) + 32
    for middle, end, open_ in ends:
        if open_:
            path = f"M{middle:.0f} {end:.0f}V{bottom:.0f}H{x:.0f}"
            sheet.parts.append(Markup('<path class="edge" d="{}"/>').format(path))
    return bottom, goes_on
