"""Poison: a fact or a moment that cannot be handled is set aside with its reason, and everybody else goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from engine.errors import UsageError
from engine.journeys import advance as advancing
from engine.journeys import enter as entering
from engine.journeys.round import Round
from engine.runtime import intake, poison, waiting
from engine.runtime.story import sentences
from engine.runtime.why import why
from engine.store import sifting
from engine.store.tables import customers, flows, quarantine
from tests.scenarios.world import World

PEOPLE = ("ann", "bob", "cat", "dan", "eve")
BY_FACT = "flow: started\ntopic: reminders\ntrigger: {event: checkout_started}\nre_entry: always\nsteps: [{send: letter}]\n"
BY_TIME = "flow: quiet\ntopic: reminders\ntrigger: {event: cart_updated, quiet_for: 4h}\nre_entry: {per: cart}\nsteps: [{send: other}]\n"
BY_CATALOGUE = "flow: back\ntopic: reminders\ntrigger: {product: back_in_stock}\nre_entry: always\nsteps: [{send: third}]\n"
BY_SEGMENT = "flow: vips\ntopic: reminders\ntrigger: {segment: vip}\nre_entry: always\nsteps: [{send: letter, id: vip}]\n"
Break = Callable[..., Any]


def settled(here: World, text: str) -> int:
    """Let five customers come to a shop with one flow; return the number of bob."""
    here.flow(text)
    here.write("flows/segments.yaml", "vip: [{customer: {tier: vip}}]\n")
    for name in PEOPLE:
        here.customer(name)
    here.tell("products", {"sku": "T1", "title": "Sencha", "stock": 0})
    for name in PEOPLE:
        here.event("product_viewed", name, sku="T1")
    here.apply()
    here.go_on(hours=1)
    return int(here.rows_of(customers.c.id)[1])


def happen(here: World) -> None:
    """Let everybody do what each flow waits for."""
    for name in PEOPLE:
        here.event("checkout_started", name)
        here.tell(
            "carts",
            {"cart_id": f"k-{name}", "customer": name, "updated_at": here.now.isoformat(), "value": 9},
        )
        here.customer(name, tier="vip", updated_at=here.now.isoformat())
    here.tell("products", {"sku": "T1", "title": "Sencha", "stock": 9, "updated_at": here.now.isoformat()})


def failing_for(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, victim: int) -> None:
    """Let a function raise wherever one customer is among what it is given."""
    real = getattr(place, name)

    def holds(value: Any) -> bool:
        if isinstance(value, Sequence) and not isinstance(value, str | tuple):
            return any(holds(each) for each in value)
        return value == victim or getattr(value, "customer_id", None) == victim

    def fails(*arguments: Any, **named: Any) -> Any:
        if any(holds(each) for each in arguments):
            raise ArithmeticError(f"secret of {victim}")
        return real(*arguments, **named)

    monkeypatch.setattr(place, name, fails)


CASES = {
    "entering by a fact": (BY_FACT, entering, "admit"),
    "reading a fact": (BY_FACT, intake, "_candidates"),
    "reacting to a fact": (BY_FACT, intake, "react"),
    "entering by a timer": (BY_TIME, entering, "admit"),
    "setting a timer": (BY_TIME, intake, "arm"),
    "entering by the catalogue": (BY_CATALOGUE, entering, "admit"),
    "entering by a segment": (BY_SEGMENT, entering, "admit"),
    "comparing a segment": (BY_SEGMENT, intake, "segment_candidates"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_one_that_fails_is_set_aside_and_the_others_go_on(
    anywhere: World, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Of five, the one whose handling raises is set aside with a reason, and enters by `quarantine retry` once it is mended."""
    here = anywhere
    text, place, name = CASES[case]
    victim = settled(here, text)
    with monkeypatch.context() as broken:
        failing_for(broken, place, name, victim)
        happen(here)
        here.go_on(hours=5)
    assert sorted(each for _, each, _ in here.sent) == [each for each in PEOPLE if each != "bob"]
    assert here.rows_of(flows.c.frozen_at) == [None]
    aside = here.rows(quarantine)
    assert {row.kind for row in aside} == {"fact"}
    assert all("bob" in row.subject and row.tries <= 3 for row in aside)
    assert "secret" not in json.dumps([row.reason for row in aside])
    assert "Error" not in json.dumps([row.reason for row in aside])
    assert set(here.reasons("refused")) == {"quarantined"}
    with here.database.read() as connection:
        told = why(connection, victim, None, Round(here.now, here.settings))
    assert "it is set aside; see `homing quarantine list`" in "\n".join(sentences(told[0], "UTC"))

    with here.database.write() as connection:
        waiting.retry(connection, [row.id for row in aside], here.now)
    here.go_on(hours=5)
    assert [each for _, each, _ in here.sent].count("bob") == 1
    assert {row.resolved_at is None for row in here.rows(quarantine)} == {False}


def test_one_whose_enrollment_cannot_be_written(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is let in but cannot be written is set aside like the others."""
    victim = settled(here, BY_FACT)
    real = advancing.begin

    def fails(connection: Any, newcomers: Any, *rest: Any, **named: Any) -> int:
        if any(each.row["customer_id"] == victim for each in newcomers):
            raise ArithmeticError
        return real(connection, newcomers, *rest, **named)

    monkeypatch.setattr(poison, "begin", fails)
    happen(here)
    here.go_on(hours=1)
    assert len(here.sent) == len(PEOPLE) - 1
    assert [row.kind for row in here.rows(quarantine)] == ["fact"]


def test_a_flow_that_fails_for_many_is_frozen(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not one fact but the flow that fails, it is frozen with a sentence, and nothing is lost."""
    settled(here, BY_FACT)
    with monkeypatch.context() as broken:
        broken.setattr(entering, "admit", lambda *_: 1 / 0)
        for number in range(sifting.MOST + 2):
            here.event("checkout_started", PEOPLE[number % 5])
            here.go_on(hours=1)
    reason = here.rows_of(flows.c.frozen_reason)[0]
    assert reason.startswith("failed for 10 facts")
    assert "Error" not in reason
    aside = [row.id for row in here.rows(quarantine)]
    with here.database.write() as connection:
        waiting.retry(connection, aside, here.now)
        connection.execute(update(flows).values(frozen_at=None, frozen_reason=None))
    here.go_on(hours=1)
    assert {who for _, who, _ in here.sent} == set(PEOPLE)


def test_an_error_with_a_sentence_is_the_flows(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with a definition is told in its own words, and freezes the flow after the third time."""

    def fails(*_: Any) -> None:
        raise UsageError('there is no segment "staff"')

    settled(here, BY_FACT)
    monkeypatch.setattr(entering, "admit", fails)
    for _ in range(3):
        here.event("checkout_started", "ann")
        here.go_on(hours=1)
    assert here.rows_of(flows.c.frozen_reason) == ['failed 3 times: there is no segment "staff"']
    assert [(row.kind, row.reason) for row in here.rows(quarantine)] == [
        ("flow", 'there is no segment "staff"')
    ]
