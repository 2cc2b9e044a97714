"""The brake at its size: a flow that suddenly targets everybody.

The share in CI is of thousands; `HOMING_TEST_SHARE=full` targets 100,000 customers.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import pytest

from engine.clock import machine_now
from engine.delivery.claim import claim
from engine.deploy.plan import plan
from engine.runtime import rails
from engine.runtime.passes import run_pass
from engine.runtime.status import status
from engine.store.tables import messages
from tests.scenarios.world import World

EVERYBODY = 100_000 if os.environ.get("HOMING_TEST_SHARE") == "full" else 2_000
USUAL = 80  # mails a day
DAYS = 4
HELLO = (
    "flow: hello\ntopic: reminders\ntrigger: {event: said_hello}\nre_entry: always\nsteps: [{send: letter}]\n"
)
TWICE = (
    "flow: twice\ntopic: reminders\ntrigger: {event: said_hello}\nre_entry: always\n"
    "steps: [{send: letter, id: one}, {send: letter, id: two}]\n"
)
LATER = (
    "flow: later\ntopic: reminders\ntrigger: {event: said_hello}\nre_entry: always\n"
    "steps: [{wait: {until: '09:00', days: [sun]}}, {send: letter}]\n"
)


def live(here: World, text: str, count: int) -> None:
    """Let so many customers come to a shop in live mode whose mails are taken by the tray."""
    here.settings = replace(here.settings, delivery=replace(here.settings.delivery, mode="live"))
    here.flow(text)
    rows = [
        {"external_id": f"c{n}", "email": f"c{n}@example.test", "timezone": "UTC", "consent": "all"}
        for n in range(count)
    ]
    here.tell("customers", *rows)
    here.apply()


def say_hello(here: World, numbers: range) -> None:
    """Let these customers say hello now."""
    at = here.now.isoformat()
    here.tell("events", *({"event": "said_hello", "customer": f"c{n}", "at": at} for n in numbers))


def shown(here: World) -> dict[str, Any]:
    """Return what `status` shows of the shop's one flow."""
    with here.database.read() as connection:
        (flow,) = status(connection, here.now, sandbox=False)["flows"]
    return dict(flow)


def test_a_flow_that_suddenly_targets_everybody_is_stopped(here: World) -> None:
    """Of everybody who is targeted by mistake at most max(200, 3 × p95) get a mail; the flow freezes, and `status` says so."""
    live(here, HELLO, EVERYBODY)
    for day in range(DAYS):
        say_hello(here, range(day * USUAL, (day + 1) * USUAL))
        here.go_on(days=1)
    before = len(here.sent)
    assert before == DAYS * USUAL
    say_hello(here, range(EVERYBODY))
    here.go_on(hours=2)
    most = max(rails.FLOOR, 3 * USUAL)
    assert len(here.sent) - before <= most
    assert len(here.inside) - before <= most
    assert "usual is at most" in shown(here)["frozen"]
    here.go_on(days=2)
    assert len(here.sent) - before <= most


@pytest.mark.parametrize("more", [0, 1])
def test_just_the_usual_most_go(here: World, more: int) -> None:
    """Three times the usual day goes, and of one more nobody gets in."""
    most = 3 * USUAL
    live(here, HELLO, most + more)
    for _day in range(DAYS):
        say_hello(here, range(USUAL))
        here.go_on(days=1)
    before = len(here.sent)
    say_hello(here, range(most + more))
    here.go_on(hours=1)
    assert len(here.sent) - before == (0 if more else most)
    assert (shown(here)["frozen"] is None) == (more == 0)


def test_mails_that_fall_due_together_are_stopped(here: World) -> None:
    """Who came in little by little and is due all at once is held back alike, before the first of these mails goes."""
    live(here, LATER, 300)
    for third in range(3):
        here.go_on(days=1)
        say_hello(here, range(third * 100, third * 100 + 100))
    here.go_on(hours=1)
    assert len(here.inside) == 300
    here.go_on(days=7)
    assert not here.sent
    assert "usual is at most" in shown(here)["frozen"]


def test_what_another_worker_holds_is_counted(here: World) -> None:
    """Mails that a worker holds and has not handed over yet count for another one, who stops before it takes more."""
    live(here, TWICE, 150)
    for half in range(2):
        say_hello(here, range(half * 75, half * 75 + 75))
        run_pass(here.engine(), here.now, sending=False)
        if half == 0:
            with here.database.write() as connection:
                held = claim(connection, "another", here.now, machine_now(), (), rails.FLOOR)
        here.now += timedelta(seconds=1)
    assert len(held) == 2 * 75
    here.go_on(seconds=1)
    assert not here.sent
    assert "would mail 300 customers" in shown(here)["frozen"]
    assert {row.state for row in here.rows(messages) if row.id not in {each.id for each in held}} == {
        "pending"
    }


def test_a_flow_that_is_stopped_stops_no_other(here: World) -> None:
    """The mails of other flows leave in the same pass in which the brake stops one."""
    live(here, TWICE, 150)
    here.flow(HELLO.replace("flow: hello", "flow: other").replace("said_hello", "asked"))
    here.apply()
    say_hello(here, range(150))
    here.tell(
        "events", *({"event": "asked", "customer": f"c{n}", "at": here.now.isoformat()} for n in range(5))
    )
    run_pass(here.engine(), here.now)
    gone = [row.flow for row in here.rows(messages) if row.state == "accepted"]
    assert gone == ["other"] * 5


def test_only_who_would_come_in_is_counted(here: World) -> None:
    """However many come to the door and are turned away, the brake judges by those whom the flow would let in, as a plan does."""
    live(here, HELLO, rails.FLOOR)
    here.tell(
        "customers",
        *({"external_id": f"x{n}", "email": f"x{n}@example.test"} for n in range(2 * rails.FLOOR)),
    )
    at = here.now.isoformat()
    strangers = ({"event": "said_hello", "customer": f"x{n}", "at": at} for n in range(2 * rails.FLOOR))
    here.tell("events", *strangers)
    say_hello(here, range(rails.FLOOR))
    here.go_on(hours=1)
    assert shown(here)["frozen"] is None
    assert len(here.sent) == rails.FLOOR


def test_an_allowance_lets_just_so_many_through(here: World) -> None:
    """The number that the brake names lets a frozen flow go on, by an `apply` of what is live already; one less does not."""
    live(here, HELLO, 250)
    say_hello(here, range(250))
    here.go_on(minutes=5)
    told = shown(here)["frozen"]
    assert "would enter 250 customers" in told
    assert "homing apply --allow-audience 250, then homing resume hello" in told
    for allowance, sent in ((249, 0), (250, 250)):
        assert here.apply(allow_audience=allowance).allowed == ("hello",)
        here.resume("hello")
        here.go_on(minutes=5)
        assert len(here.sent) == sent
    assert shown(here)["frozen"] is None
    assert here.apply(allow_audience=9_999).allowed == ()


@pytest.mark.parametrize(
    ("mode", "days", "size", "needed"), [("live", 1, 150, 300), ("sandbox", 3, 250, 250)]
)
def test_a_plan_counts_what_the_brake_counts(
    here: World, mode: Literal["live", "sandbox"], days: int, size: int, needed: int
) -> None:
    """Who came in during the day before counts in a plan as in the brake, and what went into the sandbox in neither."""
    live(here, HELLO, size)
    going = here.settings
    here.settings = replace(going, delivery=replace(going.delivery, mode=mode))
    for _day in range(days):
        here.go_on(hours=23 if days > 1 else 1)
        say_hello(here, range(size))
        here.go_on(hours=1)
    here.settings, before = going, len(here.sent)
    soon = f"{here.now + timedelta(hours=2):%Y-%m-%d %H:%M}"
    here.flow(HELLO.replace("{event: said_hello}", f"{{schedule: '{soon}', clock: shop}}"))
    asked = {
        allowed: plan(here.database, here.settings, now=here.now, sandbox=False, allow_audience=allowed)
        for allowed in (None, needed - 1, needed)
    }
    assert [found.needed for found in asked.values()] == [needed, needed, None]
    for allowed, more in ((needed - 1, 0), (needed, size)):
        here.apply(allow_audience=allowed)
        here.resume("hello")
        here.go_on(hours=4)
        assert len(here.sent) == before + more


def test_what_a_clock_that_was_ahead_left_behind_is_taken_back(here: World) -> None:
    """A claim of a worker that died with its clock a day ahead comes back at once, and is handed over by another one."""
    live(here, HELLO, 3)
    say_hello(here, range(3))
    run_pass(here.engine(), here.now, sending=False)
    ahead = machine_now() + timedelta(days=1)
    with here.database.write() as connection:
        assert len(claim(connection, "gone", here.now, ahead, (), 10)) == 3
    here.go_on(seconds=1)
    assert len(here.sent) == 3
