"""What customers wish about how often they are written to, on the page of their preferences: asked at the gate, for every mail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.scenarios.world import START, World

DAILY = """
flow: daily
topic: reminders
kind: {kind}
trigger: {{event: said_hello}}
re_entry: always
steps: [{{send: letter}}]
"""


def hello_each_day(here: World, days: int, kind: str = "marketing") -> list[int]:
    """Let ann say hello at the same time each day; return on which days a mail answered her, from 0."""
    here.flow(DAILY.format(kind=kind))
    here.apply()
    for _ in range(days):
        here.event("said_hello")
        here.go_on(days=1)
    return [(mail.date - START).days for mail in here.tray.mails]


@pytest.mark.parametrize(("kind", "answered"), [("marketing", [4, 5]), ("transactional", [0, 1, 2, 3, 4, 5])])
def test_a_pause_lasts_until_its_end(anywhere: World, kind: str, answered: list[int]) -> None:
    """Until the end of a customer's pause nothing but what a purchase brings goes to them; from that moment on all does."""
    anywhere.customer(properties={"mail_paused_until": (START + timedelta(days=4)).isoformat()})
    assert hello_each_day(anywhere, 6, kind) == answered
    assert set(anywhere.reasons("dropped")) == ({"paused_by_customer"} if kind == "marketing" else set())


def test_a_pause_that_begins_meanwhile_holds_what_waits(anywhere: World) -> None:
    """A mail that waits for the morning is dropped by a pause that its customer began in the night."""
    anywhere.policy(quiet_hours="21:00-08:00")
    anywhere.flow(DAILY.format(kind="marketing"))
    anywhere.customer()
    anywhere.apply()
    anywhere.go_on(hours=14)
    anywhere.event("said_hello")
    anywhere.go_on(hours=1)
    anywhere.customer(properties={"mail_paused_until": (anywhere.now + timedelta(days=30)).isoformat()})
    anywhere.go_on(days=1)
    assert anywhere.sent == []


@pytest.mark.parametrize(
    ("wish", "answered"),
    [("weekly", [0, 7, 14, 21, 28]), ("monthly", [0, 30]), ("whenever", list(range(32)))],
)
def test_so_often_at_most(anywhere: World, wish: str, answered: list[int]) -> None:
    """A week is seven days from the last mail, a month thirty; a word that nobody knows is no wish."""
    anywhere.policy(caps=[])
    anywhere.customer(properties={"mail_frequency": wish})
    assert hello_each_day(anywhere, 32) == answered


@pytest.mark.parametrize("wish", ["soon", "2026-13-45", "2099-01-01T00:00:00", ""])
def test_what_is_no_moment_is_no_pause(anywhere: World, wish: str) -> None:
    """Words that are no moment with an offset hold nothing back."""
    anywhere.customer(properties={"mail_paused_until": wish})
    assert hello_each_day(anywhere, 1) == [0]
