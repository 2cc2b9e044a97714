"""Whose clock it is: customers in zones whose clocks change, zones that nobody knows, and a machine whose clock jumps."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from engine.runtime.passes import run_pass, send_due
from engine.store.tables import customers
from tests.scenarios.world import START, World

MONDAYS = """
flow: mondays
topic: offers
trigger: {event: checkout_started}
steps:
  - wait: {until: "08:00", days: [mon], at_least: 1h}
  - send: letter
    id: monday
"""
MORNINGS = """
flow: mornings
topic: offers
trigger: {event: checkout_started}
steps:
  - wait: {until: "09:00", at_least: 1h}
  - send: letter
    id: first
  - wait: {until: "09:00", at_least: 1h}
  - send: letter
    id: second
  - wait: {until: "09:00", at_least: 1h}
  - send: letter
    id: third
"""
LATENESS = """
flow: {name}
topic: offers
max_lateness: {lateness}
trigger: {{event: {name}_begun}}
steps:
  - wait: 1h
  - send: letter
    id: {name}
"""


def test_monday_eight_in_tokyo(here: World) -> None:
    """A mail for Monday 08:00 in Tokyo leaves on Sunday at 23:00 UTC, whatever Europe's clocks do that night."""
    here.flow(MONDAYS)
    here.customer("kei", timezone="Asia/Tokyo")
    here.customer("ann", timezone="Europe/Berlin")
    here.apply()
    here.go_to(datetime(2026, 3, 27, 12, tzinfo=UTC))  # the Friday before clocks are put forward in Berlin
    here.event("checkout_started", "kei")
    here.event("checkout_started", "ann")
    here.go_on(days=4)
    assert here.sent == [("03-29 23:00", "kei", "monday"), ("03-30 06:00", "ann", "monday")]


@pytest.mark.parametrize(
    ("friday", "moments"),
    [
        (datetime(2026, 3, 6, 18, tzinfo=UTC), ["03-07 14:00", "03-08 13:00", "03-09 13:00"]),
        (datetime(2026, 10, 30, 18, tzinfo=UTC), ["10-31 13:00", "11-01 14:00", "11-02 14:00"]),
    ],
)
def test_nine_in_new_york_across_both_changes(here: World, friday: datetime, moments: list[str]) -> None:
    """Three mornings at 09:00 in New York stay at 09:00 there when the clocks are put forward and back."""
    here.flow(MORNINGS)
    here.customer("eve", timezone="America/New_York")
    here.apply()
    here.go_to(friday)
    here.event("checkout_started", "eve")
    here.go_on(days=4)
    assert [moment for moment, _, _ in here.sent] == moments


def test_a_wrong_zone_falls_back_and_is_reported(here: World) -> None:
    """A zone that does not exist is warned of; the country's clock holds, else the shop's, and nobody is left out."""
    here.flow(MONDAYS)
    rows = [
        {
            "external_id": name,
            "email": f"{name}@example.test",
            "consent": "all",
            "timezone": zone,
            "country": country,
        }
        for name, zone, country in [("ann", "Mars/Olympus", "JP"), ("ben", "CET+1!", None), ("cat", "", None)]
    ]
    report = here.tell("customers", *rows)
    assert any("2" in warning and "time zone" in warning for warning in report.warnings), report.warnings
    here.apply()
    for name in ("ann", "ben", "cat"):
        here.event("checkout_started", name)
    here.go_on(days=8)
    assert [(when, who) for when, who, _ in here.sent] == [
        ("03-01 23:00", "ann"),  # Tokyo
        ("03-02 07:00", "ben"),  # the shop's Berlin
        ("03-02 07:00", "cat"),
    ]


def test_a_zone_that_this_machine_does_not_know_stops_no_batch(
    anywhere: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A stored zone that another machine's list had counts as UTC here, with a log line; everybody gets their mail."""
    anywhere.flow(MONDAYS)
    for name in ("ann", "ben", "cat"):
        anywhere.customer(name)
    anywhere.apply()
    with anywhere.database.write() as connection:
        connection.execute(
            update(customers).where(customers.c.external_id == "ben").values(zone="Europe/New_City")
        )
    for name in ("ann", "ben", "cat"):
        anywhere.event("checkout_started", name)
    with caplog.at_level(logging.WARNING, "homing.calendar"):
        anywhere.go_on(days=2)
    assert sorted(who for _, who, _ in anywhere.sent) == ["ann", "ben", "cat"]
    assert {when for when, _, _ in anywhere.sent} == {"03-02 08:00"}
    assert anywhere.reasons("failed") == []


def test_three_days_down(anywhere: World) -> None:
    """Down for three days: what its flow lets be that late goes, what is too late does not, each with its reason."""
    for name, lateness in [("patient", "4d"), ("usual", "24h"), ("brief", "30min")]:
        anywhere.flow(LATENESS.format(name=name, lateness=lateness))
        anywhere.customer(name)
    anywhere.customer("late")
    anywhere.apply()
    for name in ("patient", "usual", "brief"):
        anywhere.event(f"{name}_begun", name)
    anywhere.go_on(minutes=5)
    anywhere.sleep_to(START + timedelta(days=3))
    anywhere.event("brief_begun", "late")  # what begins after the outage is in time
    anywhere.go_on(hours=2)
    assert anywhere.sent == [("03-04 09:00", "patient", "patient"), ("03-04 10:00", "late", "brief")]
    assert sorted(anywhere.reasons("skipped")) == ["too_late", "too_late"]


def test_a_clock_that_jumps(anywhere: World) -> None:
    """A clock put back repeats nothing and loses nothing; one put forward by a year sends nothing that is too late."""
    anywhere.flow(LATENESS.format(name="usual", lateness="24h"))
    for name in ("ann", "ben"):
        anywhere.customer(name)
    anywhere.apply()
    anywhere.event("usual_begun", "ann")
    anywhere.go_on(hours=2)
    assert [who for _, who, _ in anywhere.sent] == ["ann"]
    anywhere.event("usual_begun", "ben")
    for jump in (timedelta(), timedelta(hours=-5), timedelta(minutes=-30), timedelta(hours=-1)):
        run_pass(anywhere.engine(), anywhere.now + jump)
    assert [who for _, who, _ in anywhere.sent] == ["ann"]
    run_pass(anywhere.engine(), anywhere.now + timedelta(hours=2))
    run_pass(anywhere.engine(), anywhere.now - timedelta(hours=2))
    assert [who for _, who, _ in anywhere.sent] == ["ann", "ben"]
    anywhere.customer("cat")
    anywhere.event("usual_begun", "cat")
    run_pass(anywhere.engine(), anywhere.now)
    run_pass(anywhere.engine(), anywhere.now + timedelta(days=366))
    run_pass(anywhere.engine(), anywhere.now)  # and back again
    assert [who for _, who, _ in anywhere.sent] == ["ann", "ben"]
    assert anywhere.reasons("skipped") == ["too_late"]


SLOW = """
flow: cart
topic: reminders
trigger: {event: cart_left}
exit_when: [{did: order_placed}]
steps:
  - send: letter
  - wait: 20h
  - send: other
"""


def test_what_was_told_counts_whatever_the_clock_says(anywhere: World) -> None:
    """A machine whose clock is an hour behind holds a mail back for a purchase that another one has taken in."""
    anywhere.flow(SLOW)
    for name in ("ann", "ben"):
        anywhere.customer(name)
    anywhere.apply()
    for name in ("ann", "ben"):
        anywhere.event("cart_left", name)
    anywhere.go_on(hours=19, minutes=30)
    anywhere.sleep_to(anywhere.now + timedelta(hours=1, minutes=30))
    slow = anywhere.now - timedelta(minutes=55)
    run_pass(anywhere.engine(), slow, sending=False)  # both are posted; ann buys before anything is sent
    assert [step for step, state, _ in anywhere.ledger if state == "pending"] == ["other", "other"]
    anywhere.event("order_placed", "ann", order_id="o1")
    send_due(anywhere.engine(), slow, slow)
    assert anywhere.steps("ann") == ["letter"]
    assert anywhere.steps("ben") == ["letter", "other"]
    assert anywhere.reasons("dropped") == ["exited: did: order_placed"]
    anywhere.customer("cat")
    anywhere.event("cart_left", "cat")
    run_pass(anywhere.engine(), anywhere.now)
    anywhere.sleep_to(anywhere.now + timedelta(minutes=5))
    anywhere.event("order_placed", "cat", order_id="o2")
    run_pass(anywhere.engine(), slow)  # what ends who waits is not missed either
    assert anywhere.inside[2][1:] == ("exited", "exited: did: order_placed")
