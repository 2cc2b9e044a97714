"""Fingerprints: which change is which."""

from __future__ import annotations

import pytest

from engine.flows.fingerprint import Fingerprint, change_between, fingerprint
from tests.unit.flows.conftest import Folder
from tests.unit.flows.everything import FILES, FLOW

TEMPLATES = {"a": "A", "b": "B", "c": "C"}


def of(folder: Folder, text: str = FLOW, templates: dict[str, str] = TEMPLATES) -> Fingerprint:
    """Return the fingerprint of a flow with the usual segments and offers."""
    folder.write({**FILES, "flows/one.yaml": text})
    project = folder.load()
    assert not [finding for finding in project.findings if finding.is_error]
    return fingerprint(project.definitions.flows["one"], templates.get)


UNCHANGED = [
    ("priority: 80\n", "priority: 80   # how early\n\n"),
    ("kind: marketing\n", ""),
    ("flow: one\n", "# a comment\nflow: 'one'\n"),
    ("goal: {did: order_placed, within: 5d}", "goal:\n  within: 5d\n  did: order_placed"),
    ("priority: 80\nsender: ceo\n", "sender: ceo\npriority: 80\n"),
    ("wait: 2w", "wait: 14d"),
    ("orders: 0", "orders: {eq: 0}"),
    ("{value: {gte: 20.5}, cart_id: {exists: true}}", "{cart_id: {exists: true}, value: {gte: 20.50}}"),
    ("nothing: {weight: 50, steps: []}", "nothing: {steps: [], weight: 50}"),
]
BEHAVIOUR = [
    ("priority: 80", "priority: 81"), ("wait: 30min", "wait: 31min"), ("wait: 2w", "wait: 1mo"), ("orders: 0", "orders: 1"),
    ("steps:\n  - send: a", "steps:\n  - {send: a, id: first}"), ("holdout: 12.5%", "holdout: 12%"),
    ("offer: ten, topic", "offer: five, topic"), ("orders: 0", "orders: '0'"), ("weight: 50, steps", "weight: 51, steps"),
    ("{any: {in_stock: true}", "{all: {in_stock: true}"), ("exit_when: [{did: order_placed}", "exit_when: [{did_not: order_placed}"),
    ("vip: true", "vip: false"), ("at: 09:00", "at: 10:00"), ("re_entry: {per: cart", "re_entry: {per: order"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), UNCHANGED)
def test_layout_changes_nothing(folder: Folder, old: str, new: str) -> None:
    """Comments, order of keys, quotes, defaults written out and other words for the same value change no hash."""
    assert old in FLOW
    assert of(folder, FLOW.replace(old, new, 1)) == of(folder)


@pytest.mark.parametrize(("old", "new"), BEHAVIOUR)
def test_what_decides_is_behaviour(folder: Folder, old: str, new: str) -> None:
    """Who gets which mail when is behaviour."""
    assert old in FLOW
    assert change_between(of(folder), of(folder, FLOW.replace(old, new, 1))) == "behaviour"


def test_a_segment_is_behaviour(folder: Folder) -> None:
    """Changing a segment that a flow uses changes the flow; another segment does not."""
    before = of(folder)
    segments = FILES["flows/segments.yaml"]
    folder.write({**FILES, "flows/segments.yaml": segments.replace("gte: 3", "gte: 4")})
    assert fingerprint(folder.load().definitions.flows["one"], TEMPLATES.get).behaviour != before.behaviour
    folder.write({**FILES, "flows/segments.yaml": segments.replace("not_segment: loyal", "segment: loyal")})
    assert fingerprint(folder.load().definitions.flows["one"], TEMPLATES.get) == before


def test_templates_and_subjects_are_content(folder: Folder) -> None:
    """What the mails say is content, not behaviour."""
    before = of(folder)
    assert change_between(before, of(folder, templates={**TEMPLATES, "b": "other"})) == "content"
    assert change_between(before, of(folder, templates={**TEMPLATES, "unused": "x"})) == "unchanged"
    assert change_between(before, of(folder, FLOW.replace("Thank you,", "Thanks,"))) == "content"


def test_the_summary_is_text(folder: Folder) -> None:
    """What only colleagues read is text, and makes another version of the same behaviour."""
    before, after = of(folder), of(folder, FLOW.replace("summary: Everything", "summary: All"))
    assert change_between(before, after) == "text"
    assert before.version != after.version
    assert before.behaviour == after.behaviour


def test_coming_and_going(folder: Folder) -> None:
    """A flow that was not there is new; one that is gone is removed."""
    assert change_between(None, of(folder)) == "new"
    assert change_between(of(folder), None) == "removed"


def test_hashes_stay_as_they_are(folder: Folder) -> None:
    """A version's hash never changes: enrollments are pinned to it."""
    folder.write(
        {"flows/one.yaml": "flow: one\ntopic: offers\ntrigger: {event: order_placed}\nsteps: [send: a]\n"}
    )
    hashes = fingerprint(folder.load().definitions.flows["one"])
    assert (hashes.version, hashes.behaviour) == ("244c063f9c73d5bc", "244c063f9c73d5bc")
