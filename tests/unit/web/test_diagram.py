"""A drawn flow: every box has its room, and what is said in it can be read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from engine import settings as settings_module
from engine.flows.load import load_project
from engine.flows.model import Branch, Flow, Step
from engine.web.house.diagram import diagram
from engine.web.house.step_words import Counts, arm_words, arms_of, step_words

ROOT = Path(__file__).resolve().parents[3]
PROJECT = load_project(ROOT, settings_module.load(ROOT))
FLOWS = [source.flow for source in PROJECT.sources if source.flow is not None]
SVG = "{http://www.w3.org/2000/svg}"


def every_step(steps: Sequence[Step]) -> Iterator[Step]:
    """Go through steps and those of their arms."""
    for step in steps:
        yield step
        for arm in arms_of(step):
            yield from every_step(arm.steps)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
@pytest.mark.parametrize("here", [0, 1_234_567])
def test_boxes_have_their_room_and_words_are_there(flow: Flow, here: int) -> None:
    """No box lies on another, no line of text ends below its drawing, and each word is shown or in a title."""
    counts = {step.id: Counts(here=here) for step in every_step(flow.steps)}
    svg = ET.fromstring(str(diagram(flow, counts, 1_234, 5)))
    boxes = [
        tuple(float(rect.get(side, "0")) for side in ("x", "y", "width", "height"))
        for rect in svg.iter("rect")
        if "box" in (rect.get("class") or "").split()
    ]
    assert len(boxes) >= len(counts) + 1
    for (left, top, wide, high), (other, above, width, height) in itertools.combinations(boxes, 2):
        apart = left + wide <= other or other + width <= left or top + high <= above or above + height <= top
        assert apart, flow.name
    told = " ".join(" ".join(svg.itertext()).split())
    for step in every_step(flow.steps):
        heads = [*step_words(step), *(arm_words(arm) for arm in arms_of(step) if isinstance(step, Branch))]
        for words in heads:
            assert " ".join(words.split()) in told, words
