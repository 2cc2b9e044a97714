"""One daemon leads: the lease is taken, kept, lost and given back on a machine time that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from engine.runtime.leader import LEASE, RENEW_SECONDS, Leadership, forget_dead, living_daemons
from engine.store.database import Database

START = datetime(2026, 3, 1, tzinfo=UTC)


class Time:
    """The machine's clock in the test's hands."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Return the moment."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += timedelta(seconds=seconds)


def pair(database: Database) -> tuple[Time, Leadership, Leadership]:
    """Return a clock and two daemons' parts in one election."""
    time = Time()
    return time, Leadership(database, "one", time), Leadership(database, "two", time)


def test_one_leads_and_keeps_leading(sqlite_database: Database) -> None:
    """The first takes the lease and keeps it as long as it renews; its fence stays the same."""
    time, one, two = pair(sqlite_database)
    assert (one.renew(), two.renew()) == (True, False)
    for _ in range(20):
        time.pass_by(RENEW_SECONDS)
        assert (two.renew(), one.renew()) == (False, True)
    assert (one.fence, two.fence) == (1, None)
    with sqlite_database.read() as connection:
        assert living_daemons(connection, time()) == 2


def test_a_dead_leader_is_followed_within_half_a_minute(sqlite_database: Database) -> None:
    """Another leads after the lease has ended, with a higher fence; the promise of 30 s holds by the constants."""
    time, one, two = pair(sqlite_database)
    one.renew()
    assert LEASE.total_seconds() + RENEW_SECONDS < 30
    time.pass_by(LEASE.total_seconds() - 1)
    assert not two.renew()
    time.pass_by(1)
    assert two.renew()
    assert two.fence == 2


def test_a_lease_from_a_clock_that_was_ahead_is_not_waited_for(sqlite_database: Database) -> None:
    """Where the leader died and its clock was a day ahead, another leads within half a minute; a living one is left alone."""
    time, passed = Time(), Time()
    ahead = Leadership(sqlite_database, "one", lambda: time() + timedelta(days=1))
    two = Leadership(sqlite_database, "two", time, seconds=lambda: passed().timestamp())
    for _ in range(10):
        assert ahead.renew()
        assert not two.renew()
        time.pass_by(RENEW_SECONDS)
        passed.pass_by(RENEW_SECONDS)
    waited = 0.0
    while not two.renew() and waited < 60:
        waited += RENEW_SECONDS
        passed.pass_by(RENEW_SECONDS)  # and the clock may stand still, or go back
        time.pass_by(-RENEW_SECONDS)
    assert waited <= LEASE.total_seconds() + 2 * RENEW_SECONDS < 30
    assert two.fence == 2


def test_a_leader_that_slept_knows(sqlite_database: Database) -> None:
    """Past its lease a daemon leads no more, even before it asks; when it asks, it learns that another does."""
    time, one, two = pair(sqlite_database)
    one.renew()
    assert one.leads()
    time.pass_by(LEASE.total_seconds())
    assert not one.leads()
    two.renew()
    assert not one.renew()
    assert two.leads()


def test_a_late_renewal_that_nobody_forestalled_holds(sqlite_database: Database) -> None:
    """A daemon that slept while it was alone goes on with the same fence."""
    time, one, _ = pair(sqlite_database)
    one.renew()
    time.pass_by(3600)
    assert one.renew()
    assert one.fence == 1


def test_resigning_lets_the_next_one_lead_at_once(sqlite_database: Database) -> None:
    """A daemon that ends gives its lease back; one that never led gives back nothing of another's."""
    _, one, two = pair(sqlite_database)
    one.renew()
    two.renew()
    two.resign()
    assert one.leads()
    assert not two.renew()
    one.resign()
    assert not one.leads()
    assert two.renew()


def test_the_dead_are_forgotten_after_a_day(sqlite_database: Database) -> None:
    """Signs of life of daemons that were killed do not pile up."""
    time, one, two = pair(sqlite_database)
    one.renew()
    two.renew()
    time.pass_by(60)
    two.renew()
    with sqlite_database.read() as connection:
        assert living_daemons(connection, time()) == 1
    time.pass_by(86_400 + 60)
    with sqlite_database.write() as connection:
        forget_dead(connection, time())
        assert connection.exec_driver_sql("SELECT name FROM leases").all() == [("leader",)]
