"""What happens to one customer at one moment: entries follow one another, and cost does not grow with their square."""

from __future__ import annotations

from datetime import timedelta

import pytest

from engine.runtime import passes
from tests.scenarios.world import World

FLOW = "flow: f\ntopic: reminders\nre_entry: always\ntrigger: {}\nsteps: [{{send: letter}}]\n"


def test_two_changes_of_the_catalogue(here: World) -> None:
    """Two products that get cheaper in one file are two entries of whoever looked at both."""
    here.flow(FLOW.format("{product: price_drop, interest: [viewed]}"))
    here.apply()
    here.customer()
    here.tell("products", *({"sku": sku, "title": sku, "price": 10, "currency": "EUR"} for sku in "AB"))
    for sku in "AB":
        here.event("product_viewed", sku=sku)
    here.go_on(days=1)
    here.tell("products", *({"sku": sku, "title": sku, "price": 5, "currency": "EUR"} for sku in "AB"))
    here.go_on(hours=1)
    assert here.steps() == ["letter", "letter"]


def test_two_timers(here: World) -> None:
    """Two products that run out at one moment are two entries; where the first goes on, the second stays out."""
    here.flow(FLOW.format("{replenish: {lead: 3d}}"))
    here.flow(
        "flow: g\ntopic: reminders\nre_entry: always\ntrigger: {replenish: {lead: 3d}}\nsteps: [{wait: 1d}, {send: other}]\n"
    )
    here.apply()
    here.customer()
    here.tell("products", *({"sku": sku, "title": sku, "days_of_supply": 30} for sku in "AB"))
    lines = [{"sku": sku, "quantity": 1, "price": 5} for sku in "AB"]
    here.tell(
        "orders", {"order_id": "o1", "customer": "ann", "placed_at": here.now.isoformat(), "lines": lines}
    )
    here.go_on(days=40)
    assert here.steps() == ["letter", "letter", "other"]
    assert here.reasons("refused") == ["re_entry: still inside"]


@pytest.mark.parametrize(
    ("steps", "entries"), [("[{send: letter}]", 300), ("[{wait: 1d}, {send: letter}]", 1)]
)
def test_many_facts_of_one_customer(
    here: World, monkeypatch: pytest.MonkeyPatch, steps: str, entries: int
) -> None:
    """Hundreds of facts of one customer in one file take a few rounds, not one each."""
    here.flow(f"flow: f\ntopic: reminders\nre_entry: always\ntrigger: {{event: ping}}\nsteps: {steps}\n")
    here.apply()
    here.customer()
    told = [
        {"event": "ping", "customer": "ann", "at": (here.now - timedelta(seconds=n)).isoformat()}
        for n in range(300)
    ]
    here.tell("events", *told)
    rounds = 0
    once = passes._once

    def counted(*given: object, **named: object) -> object:
        nonlocal rounds
        rounds += 1
        return once(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(passes, "_once", counted)
    here.go_on(minutes=1)
    assert len(here.inside) == entries
    assert rounds <= 6


def test_the_second_sees_what_the_first_did(here: World) -> None:
    """Where a flow asks what it did itself, facts of one file are judged one after another."""
    here.flow(
        "flow: f\ntopic: reminders\nre_entry: always\ntrigger: {event: ping}\n"
        "enter_if: [{did_not: mail_sent, where: {flow: f}}]\nsteps: [{send: letter}]\n"
    )
    here.flow(
        "flow: g\ntopic: reminders\nre_entry: always\ntrigger: {event: ping}\nsteps: [{send: [other, third]}]\n"
    )
    here.apply()
    here.customer()
    for minutes in (3, 2, 1):
        here.event("ping", at=here.now - timedelta(minutes=minutes))
    here.go_on(minutes=1)
    assert sorted(here.steps()) == ["letter", "steps.1.send", "steps.1.send"]
