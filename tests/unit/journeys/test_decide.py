"""The one pure decision: order of judgement, waits, branches, experiments, holdouts; no database in sight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audience.subjects import Ask
from engine.calendar import Duration, QuietHours
from engine.flows.load import flow_from_definition
from engine.flows.model import Experiment, ExperimentArm, Flow
from engine.journeys.decide import (
    Complete,
    Defer,
    Heard,
    Leave,
    Listen,
    Person,
    Post,
    Rules,
    Skip,
    Sleep,
    Standing,
    Take,
    decide,
    experiment_arm,
    held_out,
    share,
)
from engine.journeys.program import Program, compile_program

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANN = Person("Europe/Berlin", "ann", granted=frozenset({"reminders"}))
RULES = Rules(None, Duration(seconds=86_400))


def flow(**keys: Any) -> Flow:
    """Return a flow of one letter, with more keys."""
    made = {"flow": "f", "topic": "reminders", "trigger": {"event": "x"}, "steps": [{"send": "letter"}]}
    return flow_from_definition(made | keys)


def program(**keys: Any) -> Program:
    """Return such a flow, ready to be stepped through."""
    return compile_program(flow(**keys), "v")


def at(position: str | None, anchor: datetime = NOW, **more: Any) -> Standing:
    """Return where an enrollment stands."""
    return Standing(1, 1, position, anchor, **more)


def all_true(made: Program, position: str) -> dict[Ask, bool]:
    """Return every clause of a step as true, and the exits as false."""
    return {ask: not ask.after_entry for ask in made.asks(position)}


def test_a_letter_is_posted() -> None:
    """With consent, in time, in daylight."""
    made = decide(program(), at("letter"), ANN, {}, RULES, NOW)
    assert made == Post("letter", datetime(2026, 3, 3, 10, tzinfo=UTC), None)


def test_the_law_goes_before_everything() -> None:
    """Suppression, then consent, then the flow's own exits, each at once and whatever the step."""
    made = program(exit_when=[{"did": "order_placed"}], only_if=[{"did": "y"}])
    truth = dict.fromkeys(made.asks("letter"), True)
    suppressed = Person("UTC", "ann", frozenset(), frozenset({"marketing"}))
    assert decide(made, at("letter"), suppressed, truth, RULES, NOW) == Leave("suppressed")
    assert decide(made, at("letter"), Person("UTC", "ann"), truth, RULES, NOW) == Leave("no_consent")
    assert decide(made, at("letter"), ANN, truth, RULES, NOW) == Leave("exited: did: order_placed")
    assert decide(made, at(None), Person("UTC", erased=True), truth, RULES, NOW) == Leave("suppressed")


def test_transactional_mail_needs_no_consent_and_no_daylight() -> None:
    """It goes in the night, to somebody who never agreed to anything."""
    definition = {
        "flow": "f",
        "kind": "transactional",
        "trigger": {"event": "x"},
        "steps": [{"send": "letter"}],
    }
    made = compile_program(flow_from_definition(definition), "v")
    rules = Rules(QuietHours.parse("00:00-23:59"), RULES.max_lateness)
    assert isinstance(decide(made, at("letter"), Person("UTC"), {}, rules, NOW), Post)


def test_lateness_is_judged_before_conditions_and_night() -> None:
    """A second after the limit it is too late, at the limit it is not."""
    rules = Rules(QuietHours.parse("00:00-23:59"), Duration(seconds=3600))
    assert decide(program(), at("letter", NOW - HOUR), ANN, {}, RULES, NOW) == Post(
        "letter", NOW + 23 * HOUR, None
    )
    assert decide(program(), at("letter", NOW - HOUR - timedelta(seconds=1)), ANN, {}, rules, NOW) == Skip(
        "too_late", None
    )


def test_the_false_clause_is_named() -> None:
    """The flow's `only_if` first, then the step's."""
    made = program(
        only_if=[{"customer": {"country": "DE"}}], steps=[{"send": "letter", "only_if": [{"did": "y"}]}]
    )
    truth = all_true(made, "letter")
    assert isinstance(decide(made, at("letter"), ANN, truth, RULES, NOW), Post)
    first, second = list(truth)
    assert decide(made, at("letter"), ANN, truth | {second: False}, RULES, NOW) == Skip(
        "condition_false: did: y", None
    )
    both = truth | {first: False, second: False}
    assert decide(made, at("letter"), ANN, both, RULES, NOW) == Skip(
        "condition_false: customer: {country: DE}", None
    )


def test_night_defers() -> None:
    """Until the end of the quiet hours on the customer's own clock."""
    rules = Rules(QuietHours.parse("21:00-12:00"), RULES.max_lateness)
    assert decide(program(), at("letter"), ANN, {}, rules, NOW) == Defer(NOW + HOUR, "quiet_hours")


def test_of_several_templates_the_first_that_was_not_sent() -> None:
    """One alone is sent again; of a list those sent before are passed over; none left is no mail."""
    made = program(steps=[{"send": ["a", "b"], "id": "ab"}])
    for sent, chosen in (((), "a"), (("a",), "b"), (("b",), "a")):
        person = Person("UTC", "ann", ANN.granted, sent_templates=frozenset(sent))
        assert decide(made, at("ab"), person, {}, RULES, NOW) == Post(chosen, NOW + 24 * HOUR, None)
    done = decide(
        made, at("ab"), Person("UTC", "ann", ANN.granted, sent_templates=frozenset("ab")), {}, RULES, NOW
    )
    assert isinstance(done, Skip)
    assert isinstance(
        decide(
            program(),
            at("letter"),
            Person("UTC", "ann", ANN.granted, sent_templates=frozenset({"letter"})),
            {},
            RULES,
            NOW,
        ),
        Post,
    )


@pytest.mark.parametrize(
    ("wait", "until"),
    [
        ("4h", "2026-03-02T14:00"), ("1mo", "2026-04-02T09:00"), ({"until": "10:00"}, "2026-03-03T09:00"),
        ({"until": "12:00", "days": ["thu"]}, "2026-03-05T11:00"), ({"until": "12:00", "at_least": "1d"}, "2026-03-03T11:00"),
    ],
)  # fmt: skip
def test_waits_end_on_the_customers_clock(wait: Any, until: str) -> None:
    """Hours are exact, months are calendar ones, and wall times are those of Berlin."""
    made = program(steps=[{"wait": wait, "id": "w"}, {"send": "letter"}])
    wanted = datetime.fromisoformat(until).replace(tzinfo=UTC)
    assert decide(made, at("w"), ANN, {}, RULES, NOW) == Sleep(wanted, "letter")


def test_a_missing_moment_ends_it_and_a_past_one_passes() -> None:
    """`until: FIELD` leaves without the field, and never goes back in time."""
    made = program(
        steps=[{"wait": {"until": "points_expire_at", "offset": "-7d"}, "id": "w"}, {"send": "letter"}]
    )
    assert decide(made, at("w"), ANN, {}, RULES, NOW) == Leave(
        "exited: points_expire_at is missing", drop_pending=False
    )
    past = Person("UTC", "ann", ANN.granted, moments={"points_expire_at": NOW - HOUR})
    assert decide(made, at("w"), past, {}, RULES, NOW) == Sleep(NOW, "letter")


def test_listening() -> None:
    """Until it holds, from when it held; at the limit at the latest; what came after the limit is not heard."""
    made = program(steps=[{"wait": {"until": {"did": "y"}, "up_to": "1d"}, "id": "w"}, {"send": "letter"}])
    ask = made.asks("w")[0]
    limit = datetime(2026, 3, 3, 10, tzinfo=UTC)
    assert decide(made, at("w"), ANN, {ask: False}, RULES, NOW) == Listen(limit)
    assert decide(made, at("w"), ANN, {ask: True}, RULES, NOW + HOUR) == Heard(True, NOW + HOUR, "letter")
    told_late = at("w", heard_at=NOW + HOUR)
    assert decide(made, told_late, ANN, {ask: True}, RULES, NOW + 9 * HOUR) == Heard(
        True, NOW + HOUR, "letter"
    )
    assert decide(made, at("w", heard_at=NOW - HOUR), ANN, {ask: True}, RULES, NOW) == Heard(
        True, NOW, "letter"
    )
    too_late = at("w", heard_at=limit + HOUR)
    assert decide(made, too_late, ANN, {ask: True}, RULES, limit + 2 * HOUR) == Heard(False, limit, "letter")
    assert decide(made, at("w"), ANN, {ask: False}, RULES, limit) == Heard(False, limit, "letter")


def test_branches_join_again() -> None:
    """The first arm that holds, else otherwise, else on; after an arm's last step comes what follows the branch."""
    arms = [
        {"when": [{"did": "a"}], "steps": [{"send": "a"}]},
        {"when": [{"did": "b"}], "steps": []},
        {"otherwise": [{"send": "c"}]},
    ]
    made = program(steps=[{"branch": arms, "id": "b"}, {"send": "letter"}])
    a, b = made.asks("b")
    assert decide(made, at("b"), ANN, {a: True, b: True}, RULES, NOW) == Take("did: a", "a")
    assert decide(made, at("b"), ANN, {a: False, b: True}, RULES, NOW) == Take("did: b", "letter")
    assert decide(made, at("b"), ANN, {a: False, b: False}, RULES, NOW) == Take("otherwise", "c")
    assert [made.nodes[name].next for name in ("a", "c", "letter")] == ["letter", "letter", None]
    assert decide(made, at(None), ANN, {}, RULES, NOW) == Complete()


@given(st.text(), st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(any))
def test_an_arm_has_weight(identity: str, weights: list[int]) -> None:
    """Nobody goes through an arm of no weight, and the same customer always through the same."""
    step = Experiment(
        "x", tuple(ExperimentArm(str(number), weight, ()) for number, weight in enumerate(weights))
    )
    chosen = experiment_arm("f", step, identity)
    assert weights[chosen] > 0
    assert experiment_arm("f", step, identity) == chosen


@given(st.lists(st.text(), min_size=1))
def test_chance_is_none(parts: list[str]) -> None:
    """A share lies in [0, 1) and depends on its parts alone."""
    assert 0 <= share(*parts) < 1
    assert share(*parts) == share(*parts)


@given(st.text(), st.decimals(0, 1, places=3))
def test_a_holdout_grows_by_adding(identity: str, smaller: Decimal) -> None:
    """Whoever is held out at a share is held out at every larger one: raising it moves nobody back in."""
    few, many = flow(holdout=f"{smaller * 100}%"), flow(holdout="100%")
    assert held_out(many, identity, Decimal(0))
    if held_out(few, identity, Decimal(0)):
        assert held_out(flow(holdout=f"{min(smaller * 100 + 5, Decimal(100))}%"), identity, Decimal(0))
