"""Which daemon beats: a lease in the database, held by one of them and taken over when it dies.

Comes in: the database, a name that no other program has, and the machine's clock. Goes out: whether we lead. A lease is
of machine time; whoever holds it renews it well before it ends. One that nobody renews ends for whoever watches it that
long, whatever it says: its holder's clock may have been ahead when it died. Each taking over raises its fence, so that a leader that
slept past its lease finds out at its next renewal. The lease spares work and log lines; nothing is ever sent twice
because of it: that is held by claims and their own fences.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy import Connection, Update, delete, func, select, update

from engine.clock import FARTHEST, machine_seconds
from engine.store.database import Database
from engine.store.dialect import insert_new, upsert
from engine.store.tables import leases
from engine.store.types import EPOCH

LEADER = "leader"
DAEMON = "daemon:"
BEATER = "beater:"  # a daemon that sends no mail itself, and takes no part of the rate
LEASE = timedelta(seconds=15)
RENEW_SECONDS = 4.0  # a dead leader is followed within LEASE + RENEW_SECONDS


class Leadership:
    """Our part in the election; `renew` is called every few seconds, `leads` may be asked by any thread."""

    def __init__(
        self,
        database: Database,
        name: str,
        machine_now: Callable[[], datetime],
        lease: timedelta = LEASE,
        sign: str = DAEMON,
        seconds: Callable[[], float] = machine_seconds,
    ) -> None:
        self.name = name
        self._seconds = seconds
        self._seen: tuple[int, datetime] | None = None  # another's lease, as we saw it first …
        self._seen_at = 0.0  # … and when
        self._sign = sign + name
        self._database, self._machine_now, self._lease = database, machine_now, lease
        self._lock = Lock()
        self._fence: int | None = None
        self._until = EPOCH

    @property
    def fence(self) -> int | None:
        """The number of our lease, or None where another leads."""
        return self._fence

    def leads(self) -> bool:
        """Return whether we lead at this moment: the lease is ours and has not ended."""
        with self._lock:
            return self._fence is not None and self._machine_now() < self._until

    def renew(self) -> bool:
        """Keep the lease, or take it where it has ended; say that we live; return whether we lead."""
        now = self._machine_now()
        until = now + self._lease
        with self._database.write() as connection:
            upsert(
                connection,
                leases,
                [{"name": self._sign, "owner": self.name, "until": until, "fence": 0}],
                update=["until"],
            )
            fence = self._keep(connection, until) or self._take(connection, now, until)
        with self._lock:
            self._fence, self._until = fence, until
        return fence is not None

    def resign(self) -> None:
        """Give the lease back, so that another daemon leads at its next look."""
        with self._lock:
            fence, self._fence = self._fence, None
        with self._database.write() as connection:
            connection.execute(delete(leases).where(leases.c.name == self._sign))
            if fence is not None:
                connection.execute(_ours(self.name, fence).values(owner="", until=EPOCH))

    def _keep(self, connection: Connection, until: datetime) -> int | None:
        if self._fence is None:
            return None
        kept = connection.execute(_ours(self.name, self._fence).values(until=until)).rowcount == 1
        return self._fence if kept else None

    def _take(self, connection: Connection, now: datetime, until: datetime) -> int | None:
        insert_new(connection, leases, [{"name": LEADER, "owner": "", "until": EPOCH, "fence": 0}])
        free = update(leases).where(leases.c.name == LEADER)
        abandoned = self._abandoned(connection)
        if abandoned is None:
            free = free.where(leases.c.until <= now)
        else:
            free = free.where(leases.c.fence == abandoned[0], leases.c.until == abandoned[1])
        taken = free.values(owner=self.name, until=until, fence=leases.c.fence + 1).returning(leases.c.fence)
        fence: int | None = connection.scalar(taken)
        return fence

    def _abandoned(self, connection: Connection) -> tuple[int, datetime] | None:
        """Return another's lease that stood as it is for the whole of a lease, by seconds that no clock moves, else None."""
        row = connection.execute(select(leases.c.fence, leases.c.until).where(leases.c.name == LEADER)).one()
        seen = (row.fence, row.until)
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._seconds()
            return None
        return seen if self._seconds() - self._seen_at >= self._lease.total_seconds() else None


def living_daemons(connection: Connection, machine_now: datetime) -> int:
    """Return how many daemons renewed their sign of life in time."""
    query = select(func.count()).where(
        leases.c.name.startswith(DAEMON, autoescape=True),
        leases.c.until > machine_now,
        leases.c.until <= machine_now + FARTHEST,
    )
    return connection.scalar(query) or 0


def forget_dead(connection: Connection, machine_now: datetime) -> None:
    """Delete the signs of life of daemons that died without a word a day ago or more."""
    old = leases.c.until < machine_now - timedelta(days=1)
    for sign in (DAEMON, BEATER):
        connection.execute(delete(leases).where(leases.c.name.startswith(sign, autoescape=True), old))


def _ours(name: str, fence: int) -> Update:
    return update(leases).where(leases.c.name == LEADER, leases.c.owner == name, leases.c.fence == fence)
