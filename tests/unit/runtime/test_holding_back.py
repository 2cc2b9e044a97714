"""The switch and the pace: what holds mails back that are claimed already."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from sqlalchemy import insert, update

from engine.delivery.rate import parse_rate
from engine.runtime import rails
from engine.runtime.pace import Pace
from engine.runtime.switch import LOOK_EVERY, Switch
from engine.store.database import Database
from engine.store.tables import flow_versions, flows
from engine.store.types import EPOCH


class Seconds(Event):
    """A steady clock that is also the stop event: waiting on it lets its time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.stop_at = float("inf")

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        """Let the time pass at once."""
        self.now += timeout or 0.0
        if self.now >= self.stop_at:
            self.set()
        return self.is_set()


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """Give a database with two applied flows."""
    with sqlite_database.write() as connection:
        for name in ("birthday", "hello"):
            version: dict[str, Any] = {
                "hash": name,
                "flow": name,
                "behaviour_hash": name,
                "definition": {},
                "created_at": EPOCH,
            }
            connection.execute(insert(flow_versions).values(version))
            connection.execute(
                insert(flows).values(flow=name, version=name, applied_at=EPOCH, version_at=EPOCH)
            )
    return sqlite_database


# ── the switch ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pause_is_seen_within_a_second(database: Database) -> None:
    """The database is asked once a second and no more often; a pause of one flow or of all is seen by then."""
    seconds = Seconds()
    switch = Switch(database, seconds, seconds)
    assert switch.may_go_on(())
    with database.write() as connection:
        rails.pause(connection, "hello", EPOCH)
    assert switch.may_go_on(()), "what was read a moment ago still counts"
    seconds.now += LOOK_EVERY
    assert not switch.may_go_on(())


def test_what_was_closed_before_stops_nobody(database: Database) -> None:
    """A flow that was paused when the messages were claimed is none of theirs; everything paused stops all of them."""
    seconds = Seconds()
    switch = Switch(database, seconds, seconds)
    with database.write() as connection:
        rails.pause(connection, "hello", EPOCH)
    assert switch.may_go_on(("hello",))
    assert not switch.may_go_on(("birthday",))
    with database.write() as connection:
        rails.pause(connection, None, EPOCH)
    seconds.now += LOOK_EVERY
    assert not switch.may_go_on(("hello",))


def test_what_was_removed_stops_nobody(database: Database) -> None:
    """A flow that is no longer live is not closed: those inside finish it, and the others' mails go."""
    with database.write() as connection:
        connection.execute(update(flows).where(flows.c.flow == "hello").values(active=False))
    assert Switch(database).may_go_on(())


def test_the_end_of_the_program_is_seen_at_once(database: Database) -> None:
    """The stop event needs no second."""
    seconds = Seconds()
    switch = Switch(database, seconds, seconds)
    assert switch.may_go_on(())
    seconds.set()
    assert not switch.may_go_on(())
    assert switch.stopping()


# ── the pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mails_leave_no_faster_than_the_rate() -> None:
    """A hundred mails in groups of ten at 20 a second take four seconds after the first second's burst."""
    seconds = Seconds()
    pace = Pace(parse_rate("20/s"), seconds, seconds)
    for _ in range(10):
        pace.wait(10)
    assert seconds.now - 100 == pytest.approx(4.0, abs=0.2)


def test_daemons_share_the_rate() -> None:
    """With four daemons each takes a quarter of the pace, and all of it again when the others are gone."""
    seconds = Seconds()
    pace = Pace(parse_rate("20/s"), seconds, seconds)
    pace.share(4)
    pace.wait(5)
    start = seconds.now
    pace.wait(50)
    assert seconds.now - start == pytest.approx(10.0, abs=0.3)
    pace.share(1)
    start = seconds.now
    pace.wait(100)
    assert seconds.now - start == pytest.approx(5.0, abs=0.3)


def test_the_end_of_the_program_ends_the_wait() -> None:
    """At one mail an hour a stop is not waited out."""
    seconds = Seconds()
    pace = Pace(parse_rate("1/h"), seconds, seconds)
    pace.wait(1)
    seconds.stop_at = seconds.now + 3
    pace.wait(10)
    assert seconds.now - 100 < 5


@pytest.mark.parametrize(("rate", "most"), [("20/s", 40), ("1/h", 1), ("100000/s", 200)])
def test_what_is_claimed_leaves_soon(rate: str, most: int) -> None:
    """No more is claimed at once than leaves within two seconds, and at least one."""
    assert Pace(parse_rate(rate)).most_claimed == most


def test_a_domain_gets_no_more_than_its_rate() -> None:
    """At two a second, the third mail of a second waits half a second for each before it; other domains go at once."""
    seconds = Seconds()
    pace = Pace(parse_rate("100/s"), seconds, seconds, {"slow.test": parse_rate("2/s")})
    assert [pace.delay("slow.test", 0) for _ in range(2)] == [0.0, 0.0]
    assert [pace.delay("slow.test", behind) for behind in range(3)] == pytest.approx([0.5, 1.0, 1.5])
    assert pace.delay("other.test", 0) == 0.0
    seconds.now += 0.5
    assert pace.delay("slow.test", 0) == 0.0
    pace.share(4)
    seconds.now += 2.0
    assert pace.delay("slow.test", 0) == 0.0
    assert pace.delay("slow.test", 0) == pytest.approx(2.0)
