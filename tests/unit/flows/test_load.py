"""Loading a folder: names that must exist, segments that travel, definitions that read back."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.diagnostics import Finding
from engine.errors import HomingError
from engine.flows.fingerprint import behaviour_hash, version_hash
from engine.flows.load import flow_from_definition, load_definitions, normalise
from engine.flows.nodes import from_plain
from engine.flows.parse import parse_flow
from engine.flows.yaml_source import read_yaml
from tests.machine import usual_seconds
from tests.unit.flows.conftest import MINIMAL, Folder
from tests.unit.flows.everything import FILES, FLOW
from tests.unit.flows.making import FLOWS


def stored(definition: dict[str, Any]) -> Any:
    """Return a definition as a store gives it back that sorts keys."""
    return json.loads(json.dumps(definition, sort_keys=True))


def test_a_stored_definition_reads_back_equal(folder: Folder) -> None:
    """What is stored makes an equal flow, whatever order of keys the store keeps, with its segments inside."""
    folder.write(FILES)
    definitions, findings = load_definitions(folder.root, folder.settings)
    assert findings == []
    flow = definitions.flows["one"]
    assert flow_from_definition(stored(dict(definitions.raw["one"]))) == flow
    assert set(flow.segments) == {"loyal", "loyal-in-asia"}


@given(FLOWS)
@hypothesis_settings(max_examples=150, deadline=None)
def test_any_flow_reads_back_equal(data: dict[str, Any]) -> None:
    """Any flow, written as YAML, stored and read again, is equal."""
    findings: list[Finding] = []
    node = read_yaml(json.dumps(data, ensure_ascii=False), "one.yaml", findings)
    assert node is not None
    flow = parse_flow(node, findings)
    assert flow is not None, findings
    again = flow_from_definition(stored(normalise(node, flow)))
    assert again == flow
    assert version_hash(again) == version_hash(flow)


@given(FLOWS, st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=100, deadline=None)
def test_the_order_of_keys_means_nothing(data: dict[str, Any], chance: random.Random) -> None:
    """Moving keys about, in any table, gives an equal flow."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            chance.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    one, other = parse_flow(from_plain(data), []), parse_flow(from_plain(shuffled(data)), [])
    assert one is not None
    assert one == other
    assert behaviour_hash(one) == behaviour_hash(other)


def test_a_definition_that_is_none_says_so() -> None:
    """A stored definition that this program cannot read raises with a plain sentence."""
    with pytest.raises(HomingError, match="cannot be read any more"):
        flow_from_definition({"flow": "one"})


def test_files_are_named_as_their_flows(folder: Folder) -> None:
    """Another name is an error at the flow's name, and the flow is left out."""
    folder.write({"flows/other.yaml": MINIMAL})
    project = folder.load()
    assert [(f.code, f.span.file, f.span.column) for f in project.findings] == [
        ("F006", "flows/other.yaml", 7)
    ]
    assert project.definitions.flows == {}


def test_circles_of_segments_are_told(folder: Folder) -> None:
    """Segments defined by each other are an error that shows the circle."""
    folder.write(
        {
            "flows/segments.yaml": "a: [{segment: b}]\nb: [{any: [{not_segment: c}]}]\nc: [{segment: a}]\nd: [{segment: a}]\n"
        }
    )
    (finding,) = folder.load().findings
    assert finding.code == "C107"
    assert finding.message.count("→") == 3


def test_unknown_segments_within_segments_are_told(folder: Folder) -> None:
    """A segment that does not exist is told where it is named."""
    folder.write({"flows/segments.yaml": "loyal: [{customer: {orders: 3}}]\nb: [{not: {segment: loyl}}]\n"})
    (finding,) = folder.load().findings
    assert (finding.code, finding.span.line, finding.span.column, finding.help) == (
        "C106",
        2,
        21,
        'did you mean "loyal"?',
    )


# each: offers.yaml, then code and column
WRONG_OFFERS = [
    ("a: {percent: 110, code: X}", "F105", 14),
    ("a: {percent: 10, amount: 5 EUR}", "F108", 4),
    ("a: {code: X}", "F108", 4),
    ("a: {amount: 5}", "F105", 13),
    ("a: {free_shipping: yes}", "F103", 20),
    ("a: {percent: 5, code: X, pool: y}", "F107", 26),
    ("a: {percent: 5, pattern: TEA}", "F105", 26),
    ("a: {percent: 5, pool: codes.txt}", "F126", 23),
    ("a: {percent: 5, code: X, once_per: year}", "F104", 36),
    ("a: {percent: 5, code: X, when_empty: other}", "F123", 38),
    ("a: {percent: 5, when_empty: b}\nb: {percent: 5, when_empty: a}", "F127", 1),
    ("a: {early_access: nobody}", "C106", 19),
    ("a: {percent: 5, cod: X}", "F101", 17),
    ("a b: {percent: 5}", "F106", 1),
    ("- a", "F103", 1),
]


@pytest.mark.parametrize(("text", "code", "column"), WRONG_OFFERS)
def test_wrong_offers_are_told_in_their_place(folder: Folder, text: str, code: str, column: int) -> None:
    """Each mistake in offers gives its finding with line and column."""
    folder.write({"flows/offers.yaml": text})
    finding = folder.load().findings[0]
    assert (finding.code, finding.span.column) == (code, column)


def test_a_pool_lies_within_the_project(folder: Folder) -> None:
    """A file with codes is found in the project, and nowhere else."""
    folder.write(
        {
            "codes.txt": "A\nB\n",
            "flows/offers.yaml": "a: {percent: 5, pool: codes.txt}\nb: {percent: 5, pool: /etc/passwd}\n",
        }
    )
    assert [(f.code, f.span.line) for f in folder.load().findings] == [("F126", 2)]


def test_files_without_anything_are_no_segments(folder: Folder) -> None:
    """Empty files of segments and offers declare nothing and are no findings."""
    folder.write({"flows/segments.yaml": "# none yet\n", "flows/offers.yaml": "", "flows/one.yaml": MINIMAL})
    assert folder.load().findings == ()


def test_a_folder_without_flows_holds_nothing(folder: Folder) -> None:
    """No `flows/` is no error here: there is just nothing."""
    assert folder.load().definitions.flows == {}


def test_two_hundred_flows_load_in_seconds(folder: Folder) -> None:
    """Loading 200 large flows takes far less than five seconds."""
    folder.write({name: FILES[name] for name in ("flows/segments.yaml", "flows/offers.yaml")})
    folder.write(
        {f"flows/flow-{n}.yaml": FLOW.replace("flow: one\n", f"flow: flow-{n}\n", 1) for n in range(200)}
    )
    assert usual_seconds(folder.load, 5) < 5
    project = folder.load()
    assert project.findings == ()
    assert len(project.definitions.flows) == 200
