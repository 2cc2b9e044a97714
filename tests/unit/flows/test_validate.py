"""Validating a project, errors planted at random, and mending."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.diagnostics import Finding, Span
from engine.errors import UsageError
from engine.flows.fixing import fix_text
from engine.flows.load import load_project
from engine.flows.nodes import Items, Node, Scalar, Table
from engine.flows.parse import parse_flow
from engine.flows.rules.registry import tables_of
from engine.flows.validate import fixes, validate
from engine.flows.yaml_source import read_yaml
from engine.settings import Settings
from engine.settings import load as load_settings
from tests.machine import usual_seconds
from tests.unit.flows.conftest import MINIMAL, Folder
from tests.unit.flows.everything import FILES, FLOW

STARTER = Path(__file__).resolve().parents[3]
GOOD = MINIMAL.replace("topic", "summary: x\ntopic") + "exit_when: [{did: order_placed}]\n"


def test_the_starter_project_has_no_errors() -> None:
    """The flows, segments, offers, scenarios and settings that a new project gets hold no error."""
    findings = validate(STARTER, load_settings(STARTER, {}))
    assert [str(finding.span) + finding.message for finding in findings if finding.is_error] == []


def test_a_good_project_has_no_findings(folder: Folder) -> None:
    """Nothing is told where nothing is wrong."""
    folder.write({"flows/one.yaml": GOOD})
    assert validate(folder.root, folder.settings) == []


def test_templates_are_checked_by_who_knows_them(folder: Folder) -> None:
    """The check of templates that is handed over is asked, and its findings stand among the others."""
    folder.write({"flows/one.yaml": GOOD})

    def lint(root: Path, settings: Settings) -> list[Finding]:
        assert (root, settings) == (folder.root, folder.settings)
        return [Finding("T999", "error", "x", Span("templates/a.mjml", 1, 1))]

    assert [finding.code for finding in validate(folder.root, folder.settings, lint=lint)] == ["T999"]
    assert validate(folder.root, folder.settings, [Path("flows")], lint=lint) == []
    assert len(validate(folder.root, folder.settings, [folder.root / "templates/a.mjml"], lint=lint)) == 1


def test_only_some_files_can_be_asked_for(folder: Folder) -> None:
    """Findings of other files are left out; a path that is not there is wrong usage."""
    folder.write({"flows/one.yaml": GOOD + "x: 1\n", "flows/two.yaml": "flow: two\n"})
    codes = [
        finding.span.file for finding in validate(folder.root, folder.settings, [Path("flows/one.yaml")])
    ]
    assert codes == ["flows/one.yaml"]
    for path in ("flows/three.yaml", "/etc"):
        with pytest.raises(UsageError):
            validate(folder.root, folder.settings, [Path(path)])


def test_two_hundred_flows_are_validated_in_seconds(folder: Folder) -> None:
    """Reading and checking 200 large flows takes less than five seconds."""
    folder.write({name: FILES[name] for name in ("flows/segments.yaml", "flows/offers.yaml")})
    folder.write(
        {f"flows/flow-{n}.yaml": FLOW.replace("flow: one\n", f"flow: flow-{n}\n", 1) for n in range(200)}
    )
    assert usual_seconds(lambda: validate(folder.root, folder.settings), 5) < 5


# ── planted errors ───────────────────────────────────────────────────────────────────────────────────────────────────


def entries(node: Node, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Span]]:
    """Return the path and place of every key whose table has a closed set of keys."""
    found: list[tuple[tuple[str, ...], Span]] = []
    if isinstance(node, Table):
        for entry in node:
            found.append(((*path, entry.key), entry.key_span))
            found += entries(entry.value, (*path, entry.key))
    elif isinstance(node, Items):
        for item in node:
            found += entries(item, (*path, "*"))
    return found


# Keys under these are names of the author's own.
OPEN = {
    "where",
    "trigger",
    "with",
    "answer",
    "sum",
    "set",
    "arms",
    "offer",
    "customer",
    "lines",
    "any",
    "none",
    "product",
    "order",
    "cart",
}


@given(st.integers(0, 2**32), st.booleans())
@hypothesis_settings(max_examples=150, deadline=None)
def test_a_planted_key_is_found_where_it_is(seed: int, pushed: bool) -> None:
    """A misspelt key anywhere in a valid flow, with lines and letters before it, is told at its line and column."""
    chance = random.Random(seed)
    node = read_yaml(FLOW, "one.yaml", [])
    assert node is not None
    places = [place for path, place in entries(node) if not OPEN & set(path[:-1])]
    span = chance.choice(places)
    lines = FLOW.split("\n")
    line = lines[span.line - 1]
    lines[span.line - 1] = line[: span.column - 1] + "qqqqqq" + line[span.column - 1 :]
    lines[:0] = ["# 緑茶 🍵"] * chance.randint(0, 3) if pushed else []
    moved = len(lines) - FLOW.count("\n") - 1
    findings: list[Finding] = []
    planted = read_yaml("\n".join(lines), "one.yaml", findings)
    assert planted is not None
    assert parse_flow(planted, findings) is None
    expected = Span("one.yaml", span.line + moved, span.column, span.length + 6)
    assert any(finding.span == expected and finding.is_error for finding in findings), (
        lines[span.line - 1],
        findings,
    )


@given(st.integers(0, 2**32))
@hypothesis_settings(max_examples=150, deadline=None)
def test_a_planted_value_is_found_where_it_is(seed: int) -> None:
    """A table in the place of any single value is told at its line and column, or within it."""
    chance = random.Random(seed)
    node = read_yaml(FLOW, "one.yaml", [])
    assert node is not None
    values = [entry.value for table in tables_of(node) for entry in table if isinstance(entry.value, Scalar)]
    free = {
        item.span
        for table in tables_of(node)
        for entry in table
        if entry.key == "with"
        for item in _scalars(entry.value)
    }
    span = chance.choice([value.span for value in values if value.span not in free])
    lines = FLOW.split("\n")
    line = lines[span.line - 1]
    lines[span.line - 1] = line[: span.column - 1] + "{qqqqqq: 1}" + line[span.column - 1 + span.length :]
    findings: list[Finding] = []
    planted = read_yaml("\n".join(lines), "one.yaml", findings)
    assert planted is not None
    assert parse_flow(planted, findings) is None
    places = [(finding.span.line, finding.span.column) for finding in findings if finding.is_error]
    assert {(span.line, span.column), (span.line, span.column + 1)} & set(places), (
        lines[span.line - 1],
        findings,
    )


def _scalars(node: Node) -> list[Scalar]:
    if isinstance(node, Scalar):
        return [node]
    inside = [entry.value for entry in node] if isinstance(node, Table) else list(node)
    return [scalar for item in inside for scalar in _scalars(item)]


@given(st.integers(0, 2**32))
@hypothesis_settings(max_examples=200, deadline=None)
def test_any_damage_gives_findings(seed: int) -> None:
    """Characters removed, doubled or exchanged anywhere give a flow or findings within the file, never a traceback."""
    chance = random.Random(seed)
    text = list(FLOW)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(text))
        text[at : at + chance.randint(0, 4)] = chance.choice(
            ["", ":", "- ", "{", "]", "\n", "  ", '"', "x", "&a ", "*a", "1", "#", "!"]
        )
    damaged = "".join(text)
    findings: list[Finding] = []
    node = read_yaml(damaged, "one.yaml", findings)
    flow = parse_flow(node, findings) if node is not None else None
    assert flow is not None or any(finding.is_error for finding in findings)
    for finding in findings:
        assert 1 <= finding.span.line <= damaged.count("\n") + 1
        assert finding.message
        assert finding.help


# ── mending ──────────────────────────────────────────────────────────────────────────────────────────────────────────

START = "flow: one   # a flow\nsummary: x\ntopic: offers\ntrigger: {event: cart_updated, quiet_for: 4h}\n"
EXIT = "exit_when: [{did: order_placed}]\n"
# before → after, both as what follows START
MENDED = [
    (EXIT + "stps:  # the steps\n  - send: a\n", EXIT + "steps:  # the steps\n  - send: a\n"),
    (EXIT + "steps: [{snd: a}]\n", EXIT + "steps: [{send: a}]\n"),
    ("# what follows\nsteps:\n  - send: a\n", EXIT + "# what follows\nsteps:\n  - send: a\n"),
    ("exit_when:\n  # others\n  - did: other\nsteps: [send: a]\n", "exit_when:\n  # others\n  - did: order_placed\n  - did: other\nsteps: [send: a]\n"),
    ("exit_when: [{did: other}]\nsteps: [send: a]\n", "exit_when: [{did: order_placed}, {did: other}]\nsteps: [send: a]\n"),
    ("exit_when: []\nsteps: [send: a]\n", EXIT + "steps: [send: a]\n"),
    (EXIT + "steps:\n  - send: a\n  - wait: 3 days  # some\n  - send: b\n", EXIT + "steps:\n  - send: a\n  - wait: 3d  # some\n  - send: b\n"),
    (EXIT + "steps:\n  - wait: {until: '10:00', at_least: 2 hours}\n  - send: a\n", EXIT + "steps:\n  - wait: {until: '10:00', at_least: 2h}\n  - send: a\n"),
    (EXIT + "steps:\n  - send: a   # first\n  - wait: 2d\n  - send: a   # again\n", EXIT + "steps:\n  - send: a   # first\n  - wait: 2d\n  - send: a   # again\n    id: a-2\n"),
    (EXIT + "steps: [{send: a}, {wait: 2d}, {send: a}]\n", EXIT + "steps: [{send: a}, {wait: 2d}, {send: a, id: a-2}]\n"),
    (EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - {send: b, id: a}\n", EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - {send: b, id: a-2}\n"),
    (EXIT + "enter_if: [{customer: {contry: DE}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {country: DE}}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{customer: {shoes: 42}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {properties.shoes: 42}}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{customer: {orders: {'>=': 3}}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {orders: {'gte': 3}}}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{custmer: {orders: 3}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {orders: 3}}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{customer: {country: 'uk'}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {country: 'GB'}}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{customer: {email: {exists: yes}}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {email: {exists: true}}}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{did: order_place}]\nsteps: [send: a]\n", EXIT + "enter_if: [{did: order_placed}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{customer: {orders: {gte: '3'}}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {orders: {gte: 3}}}]\nsteps: [send: a]\n"),
    (EXIT + "enter_if: [{customer: {tier: 3}}]\nsteps: [send: a]\n", EXIT + "enter_if: [{customer: {tier: \"3\"}}]\nsteps: [send: a]\n"),
    (EXIT + "priority: '80'  # high\nsteps: [send: a]\n", EXIT + "priority: 80  # high\nsteps: [send: a]\n"),
    (EXIT + "max_lateness: “6h”\nsteps: [send: a]\n", EXIT + "max_lateness: 6h\nsteps: [send: a]\n"),
    (EXIT + "kind: Marketing\nsteps: [send: a]\n", EXIT + "kind: marketing\nsteps: [send: a]\n"),
    (EXIT + "holdout: 10\ngoal: {did: x}\nsteps: [send: a]\n", EXIT + "holdout: 10%\ngoal: {did: x}\nsteps: [send: a]\n"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), MENDED)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_what_can_be_mended_is(folder: Folder, before: str, after: str, ending: str) -> None:
    """Mending changes the place alone, keeps comments and line ends, is found no more, and can be done again."""
    path = folder.root / "flows/one.yaml"
    folder.write({"flows/one.yaml": ""})
    path.write_bytes((START + before).replace("\n", ending).encode())
    findings = validate(folder.root, folder.settings)
    assert any(finding.fixable for finding in findings)
    mended = fixes(folder.root, findings)
    assert mended == {path: (START + after).replace("\n", ending)}
    path.write_bytes(mended[path].encode())
    again = validate(folder.root, folder.settings)
    assert not any(finding.fixable for finding in again)
    assert fixes(folder.root, again) == {}


def test_names_of_the_project_are_not_guessed(folder: Folder) -> None:
    """A template, topic, offer or segment that does not exist is suggested, never written."""
    folder.write(
        {
            "flows/one.yaml": START + EXIT.replace("]", ", {segment: loyl}]") + "steps: [{send: aa}]\n",
            "flows/segments.yaml": "loyal: [{did: x}]",
        }
    )
    findings = validate(folder.root, folder.settings)
    assert {finding.code for finding in findings if finding.is_error} == {"F125", "C106"}
    assert fixes(folder.root, findings) == {}


@given(st.integers(0, 2**32))
@hypothesis_settings(max_examples=60, deadline=None)
def test_mending_anything_comes_to_an_end(seed: int) -> None:
    """However a flow is misspelt, mending it a few times changes nothing more."""
    chance = random.Random(seed)
    words = list(re.finditer(r"[a-z_]{4,}", FLOW))
    text = FLOW
    for match in sorted(chance.sample(words, 4), key=lambda match: -match.start()):
        at = chance.randrange(match.start(), match.end())
        text = text[:at] + text[at + 1 :]
    for _ in range(6):
        findings: list[Finding] = []
        node = read_yaml(text, "one.yaml", findings)
        if node is not None:
            parse_flow(node, findings)
        new = fix_text(text, [finding for finding in findings if finding.fixable])
        if new == text:
            return
        text = new
    raise AssertionError("mending goes on and on")


def test_loading_twice_is_the_same(folder: Folder) -> None:
    """Nothing is kept between two readings."""
    folder.write(FILES)
    assert load_project(folder.root, folder.settings) == load_project(folder.root, folder.settings)
