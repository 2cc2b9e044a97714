"""A flow's steps as a list: what the drawing says, for narrow screens and for those who hear a page.

Comes in: a flow and its counts by step. Goes out: nested lists as markup; every text is escaped and whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from engine.flows.model import Flow, Step
from engine.web.house.step_words import (
    Counts,
    arm_words,
    arms_of,
    step_kind,
    step_note,
    step_words,
    trigger_words,
)


def step_list(flow: Flow, counts: Mapping[str, Counts], entered: int, ended: int) -> Markup:
    """Return the list; `entered` and `ended` stand at its two ends."""
    first = _item("entry", trigger_words(flow), [f"{entered:,} entered"])
    last = _item("quiet", "The end", [f"{ended:,} came so far"])
    return Markup('<ol class="steps">{}{}{}</ol>').format(first, _items(flow.steps, counts), last)


def _items(steps: Sequence[Step], counts: Mapping[str, Counts]) -> Markup:
    found = []
    for step in steps:
        known = counts.get(step.id, Counts())
        head, foot = step_words(step)
        lines = [line for line in (foot, step_note(step, known), *known.why) if line]
        arms = Markup("").join(
            Markup('<li><p class="arm">{}</p><ol class="steps">{}</ol></li>').format(
                arm_words(arm), _items(arm.steps, counts) or Markup('<li class="quiet"><p>goes on</p></li>')
            )
            for arm in arms_of(step)
        )
        found.append(_item(step_kind(step), head, lines, known.here, arms))
    return Markup("").join(found)


def _item(kind: str, head: str, lines: Sequence[str], here: int = 0, arms: Markup | None = None) -> Markup:
    badge = Markup(' <span class="tag calm">{} here</span>').format(f"{here:,}") if here else ""
    told = Markup("").join(Markup("<small>{}</small>").format(line) for line in lines)
    below = Markup('<ul class="arms">{}</ul>').format(arms) if arms else ""
    return Markup('<li class="{}"><p><strong>{}</strong>{}{}</p>{}</li>').format(
        kind, head, badge, told, below
    )
