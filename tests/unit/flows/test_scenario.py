"""Reading scenario files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from engine.calendar import Duration
from engine.diagnostics import Finding
from engine.flows.scenario import (
    Exits,
    Happening,
    NothingMore,
    Scenario,
    Sends,
    SendsNot,
    Takes,
    WaitsUntil,
    When,
    check_folder,
    load_scenarios,
    parse_scenario,
)  # fmt: skip
from engine.flows.yaml_source import read_yaml
from tests.unit.flows.conftest import MINIMAL, Folder

TEXT = """\
scenario: someone who buys after the first reminder hears no more about the cart
flow: one
customer: {timezone: Asia/Tokyo, country: JP, consent: [reminders]}
products: [{sku: T1, price: 14.50}]
policy: {caps: [1 per 16h], quiet_hours: ""}
arms: {last-nudge: nothing}
holdout: false
timeline:
  - {at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, value: 60.5, lines: [{sku: T1, quantity: 1}]}
  - {after: 5h, event: order_placed}
  - {at: 2026-03-03T10:00:00+09:00, event: order_cancelled}
expect:
  - {after: 4h, sends: a, subject: "Your cart", offer: ten}
  - {at: 2026-03-02 14:00, sends: a}
  - {does_not_send: a, because: capped}
  - {exits: "did: order_placed"}
  - {exits: {did: order_placed, within: 3d}, after: 5h}
  - {waits_until: 2026-03-05 09:00}
  - {takes: {last-nudge: nothing}}
  - nothing_more
"""


def at(text: str) -> datetime:
    """Return a moment, naive where it has no offset."""
    return datetime.fromisoformat(text)


def test_a_scenario_is_read_whole() -> None:
    """Every key of a scenario becomes its value; local times stay naive."""
    findings: list[Finding] = []
    node = read_yaml(TEXT, "x.yaml", findings)
    assert node is not None
    assert parse_scenario(node, findings) == Scenario(
        name="someone who buys after the first reminder hears no more about the cart",
        flow="one",
        timeline=(
            Happening(
                When(at("2026-03-02 10:00")),
                "cart_updated",
                {"cart_id": "c1", "value": Decimal("60.5"), "lines": [{"sku": "T1", "quantity": 1}]},
            ),
            Happening(When(after=Duration(seconds=5 * 3600)), "order_placed"),
            Happening(When(datetime(2026, 3, 3, 10, tzinfo=timezone(timedelta(hours=9)))), "order_cancelled"),
        ),
        expect=(
            Sends("a", When(after=Duration(seconds=4 * 3600)), "Your cart", "ten"),
            Sends("a", When(at("2026-03-02 14:00"))),
            SendsNot("a", "capped"),
            Exits("did: order_placed"),
            Exits("did: order_placed, within: 3d", When(after=Duration(seconds=5 * 3600))),
            WaitsUntil(at("2026-03-05 09:00")),
            Takes("last-nudge", "nothing"),
            NothingMore(),
        ),
        customer={"timezone": "Asia/Tokyo", "country": "JP", "consent": ["reminders"]},
        products=({"sku": "T1", "price": Decimal("14.5")},),
        policy={"caps": ["1 per 16h"], "quiet_hours": ""},
        arms={"last-nudge": "nothing"},
    )
    assert findings == []


# each: what is exchanged for what, then code and line
WRONG = [
    ("scenario: ", "scenaro: ", "F101", 1),
    ("Asia/Tokyo", "Asia/Tokio", "F105", 3),
    ("at: 2026-03-02 10:00, event", "after: 1h, event", "F102", 9),
    ("after: 5h, event", "event", "F102", 10),
    ("after: 5h, event: order_placed", "after: 5h", "F102", 10),
    ("{after: 5h, event", "{after: 5h, at: 2026-03-02 10:00, event", "F107", 10),
    ("  - nothing_more", "  - nothing_else", "F104", 20),
    ("{after: 4h, sends: a", "{after: 4h, send: a", "F101", 13),
    ("because: capped", "reason: capped", "F101", 15),
    ("2026-03-05 09:00", "tomorrow", "F105", 18),
    ("caps: [1 per 16h]", "caps: [often]", "F105", 5),
    ("holdout: false", "holdout: maybe", "F103", 7),
]


@pytest.mark.parametrize(("old", "new", "code", "line"), WRONG)
def test_what_is_wrong_is_told_in_its_place(old: str, new: str, code: str, line: int) -> None:
    """A mistake in a scenario gives its finding with the line."""
    findings: list[Finding] = []
    node = read_yaml(TEXT.replace(old, new, 1), "x.yaml", findings)
    assert node is not None
    assert parse_scenario(node, findings) is None
    assert (code, line) in [(finding.code, finding.span.line) for finding in findings]


def test_scenarios_are_held_against_flows(folder: Folder) -> None:
    """A flow, template or arm that does not exist is told with the likely one; files of other kinds are left alone."""
    folder.write(
        {
            "flows/one.yaml": MINIMAL,
            "tests/flows/good.yaml": "scenario: x\nflow: one\ntimeline: [{at: 2026-01-01, event: x}]\nexpect: [{sends: a}]\n",
            "tests/flows/wrong.yaml": "scenario: x\nflow: one\ntimeline: [{at: 2026-01-01, event: x}]\nexpect: [{sends: b}]\narms: {x: y}\n",
            "tests/lost.yaml": "scenario: x\nflow: on\ntimeline: [{at: 2026-01-01, event: x}]\nexpect: [nothing_more]\n",
            "tests/other.yaml": "services: {}\n",
            "tests/several.yaml": "- {scenario: y, flow: one, timeline: [{at: 2026-01-01, event: x}], expect: [nothing_more]}\n",
        }
    )
    findings = check_folder(folder.root, folder.load().definitions, folder.settings.topics)
    assert [(finding.span.file, finding.code) for finding in findings] == [
        ("tests/flows/wrong.yaml", "F502"), ("tests/flows/wrong.yaml", "F503"), ("tests/lost.yaml", "F501"),
    ]  # fmt: skip
    assert [scenario.name for scenario in load_scenarios(folder.root, [])] == ["x", "x", "x", "y"]
