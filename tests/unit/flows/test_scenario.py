"""Reading scenario files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from engine.calendar import Duration
from engine.diagnostics import Finding, Span
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
    load_scenarios,
    parse_scenario,
)  # fmt: skip
from engine.flows.scenario_check import check_folder, no_such_arm
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
    ("2026-03-05 09:00", "9999-12-31 23:59", "F105", 18),
    ("at: 2026-03-02 10:00, event", "at: 0001-01-01 00:00, event", "F105", 9),
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
            "tests/flows/wrong.yaml": "scenario: w\nflow: one\ntimeline: [{at: 2026-01-01, event: x}]\nexpect: [{sends: b}]\narms: {x: y}\n",
            "tests/lost.yaml": "scenario: x\nflow: on\ntimeline: [{at: 2026-01-01, event: x}]\nexpect: [nothing_more]\n",
            "tests/other.yaml": "services: {}\n",
            "tests/several.yaml": "- {scenario: y, flow: one, timeline: [{at: 2026-01-01, event: x}], expect: [nothing_more]}\n",
        }
    )
    findings = check_folder(folder.root, folder.load().definitions, folder.settings)
    assert [(finding.span.file, finding.code) for finding in findings] == [
        ("tests/flows/wrong.yaml", "F502"), ("tests/flows/wrong.yaml", "F503"), ("tests/lost.yaml", "F501"),
    ]  # fmt: skip
    assert [scenario.name for scenario in load_scenarios(folder.root, [])] == ["x", "w", "x", "y"]


REASONS = """\
flow: one
summary: x
topic: reminders
trigger: {segment: regulars}
only_if: [{customer: {country: JP}}]
exit_when: [{did: order_placed, same: cart_id}]
steps:
  - {send: a, only_if: [{customer: {tier: gold}}]}
  - wait: {until: points_expire_at}
  - exit: bored
"""
GIVEN = [
    "capped", "cap", "no_consent", "condition_false", "'condition_false: customer: {tier: gold}'", "bored",
    "'condition_false: customer: {country: JP}'", "'condition_false: segment: regulars'", "'condition_false: not_segment: resting'",
    "'re_entry: once per cart'", "'exited: did: order_placed, same: cart_id'", "'exited: points_expire_at is missing'",
]  # fmt: skip
NEVER_GIVEN = [
    "consent", "caps", "'condition_false: customer: {tier: silver}'", "'exited: did: order_cancelled'", "boring",
    "{did: order_placed}", "'exited: bored'",
]  # fmt: skip


def told_of(folder: Folder, expected: str) -> list[str]:
    """Return the codes of what is wrong with a scenario that expects this."""
    scenario = f"scenario: x\nflow: one\ntimeline: [{{at: 2026-01-01, event: x}}]\nexpect: [{expected}]\n"
    segments = "regulars: [{customer: {orders: {gte: 3}}}]\n"
    folder.write({"flows/one.yaml": REASONS, "flows/segments.yaml": segments, "tests/one.yaml": scenario})
    return [each.code for each in check_folder(folder.root, folder.load().definitions, folder.settings)]


@pytest.mark.parametrize("reason", GIVEN)
def test_every_reason_that_a_flow_gives_may_be_expected(folder: Folder, reason: str) -> None:
    """Words of the engine, clauses of the flow, and the beginning of any of them are no findings."""
    assert told_of(folder, f"{{does_not_send: a, because: {reason}}}") == []


@pytest.mark.parametrize("reason", NEVER_GIVEN)
def test_a_reason_that_a_flow_never_gives_is_told(folder: Folder, reason: str) -> None:
    """It is an error before anything is played: the scenario could never pass."""
    assert told_of(folder, f"{{does_not_send: a, because: {reason}}}") == ["F507"]


def test_leaving_for_a_reason_that_a_flow_does_not_have_is_told(folder: Folder) -> None:
    """`exits` takes clauses of `exit_when` with or without what is behind them, own words and the law's; nothing else."""
    for reason in ("{did: order_placed, same: cart_id}", '"did: order_placed"', "bored", "no_consent"):
        assert told_of(folder, f"{{exits: {reason}}}") == []
    for reason in ("{did: order_cancelled}", "bore", "capped"):
        assert told_of(folder, f"{{exits: {reason}}}") == ["F507"]


def test_arms_of_branches_may_be_expected_as_a_timeline_tells_them(folder: Folder) -> None:
    """An arm is its clauses, in words or as they stand; `otherwise` where there is one, else `none`; no other word."""
    branch = "  - branch:\n    - {when: [{customer: {country: JP}}], steps: [{send: b}]}\n"
    told = "scenario: x\nflow: one\ntimeline: [{at: 2026-01-01, event: x}]\nexpect: [{takes: {steps.2.branch: ARM}}]\n"
    with_otherwise = branch + "    - otherwise: [{send: c}]\n"
    for steps, arm, codes in (
        (branch, "{customer: {country: JP}}", []), (branch, "'customer: {country: JP}'", []), (branch, "none", []),
        (branch, "otherwise", ["F503"]), (branch, "{customer: {country: DE}}", ["F503"]),
        (with_otherwise, "otherwise", []), (with_otherwise, "none", ["F503"]), (with_otherwise, "otherwis", ["F503"]),
    ):  # fmt: skip
        folder.write({"flows/one.yaml": MINIMAL + steps, "tests/one.yaml": told.replace("ARM", arm)})
        found = check_folder(folder.root, folder.load().definitions, folder.settings)
        assert [each.code for each in found] == codes, (steps, arm)
    assert found[0].help == 'did you mean "otherwise"?'


def test_a_timeline_counts_on_the_customers_clock(folder: Folder) -> None:
    """A line with an offset is held against one without by the customer's own zone, as it is when it is played."""
    text = (
        "scenario: x\nflow: one\ncustomer: {timezone: Asia/Tokyo}\nexpect: [nothing_more]\n"
        "timeline: [{at: 2026-01-01 10:00, event: x}, {at: 2026-01-01T01:30+00:00, event: x}, {at: LAST, event: x}]\n"
    )
    for last, codes in (("2026-01-01 10:31", []), ("2026-01-01 10:29", ["F506"])):
        folder.write({"flows/one.yaml": MINIMAL, "tests/one.yaml": text.replace("LAST", last)})
        told = check_folder(folder.root, folder.load().definitions, folder.settings)
        assert [each.code for each in told] == codes


def test_a_file_without_a_scenario_is_told(folder: Folder) -> None:
    """What looks like scenarios and is none is told with its place; other YAML beside the tests is let be."""
    scenario = "- {scenario: x, flow: one, timeline: [{at: 2026-01-01, event: x}], expect: [nothing_more]}\n"
    folder.write(
        {
            "flows/one.yaml": REASONS,
            "flows/segments.yaml": "regulars: [{customer: {orders: {gte: 3}}}]\n",
            "tests/one.yaml": scenario + "- {scenarioo: y, flow: one}\n",
            "tests/all.yaml": "flow: one\nscenarios: []\n",
            "tests/prices.yaml": "tea: 14\n",
        }
    )
    told = check_folder(folder.root, folder.load().definitions, folder.settings)
    assert [(each.code, each.span.file, each.span.line) for each in told] == [
        ("F508", "tests/all.yaml", 1),
        ("F508", "tests/one.yaml", 2),
    ]


def test_an_arm_is_named_whole() -> None:
    """A clause that is cut off could not be written into `takes`."""
    clause = (
        "cart: {value: {gte: 80}} and offer: {cart-ten: {held: false, used: false}} and segment: regulars"
    )
    assert f'"{clause}"' in no_such_arm(Span(), "vips", [clause, "none"]).help
