"""The switch that holds work back: a pause in the database, or the end of this program.

A worker asks before each group of messages. The database is asked at most once a second, so that a pause takes hold
within two; the end of the program is seen at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Event, Lock

from sqlalchemy import select

from engine.clock import machine_seconds
from engine.runtime import rails
from engine.store.database import Database
from engine.store.prepared import Prepared
from engine.store.tables import flows

LOOK_EVERY = 1.0  # seconds

# A flow that was removed is none of the stopped: whoever is inside finishes it.
_ALL = Prepared(select(flows.c.flow))
_STOPPED = Prepared(
    select(flows.c.flow).where(flows.c.paused_at.is_not(None) | flows.c.frozen_at.is_not(None))
)


class Switch:
    """Whether work may go on; threads share one."""

    def __init__(
        self, database: Database, stop: Event | None = None, seconds: Callable[[], float] = machine_seconds
    ) -> None:
        self._database, self._stop, self._seconds = database, stop or Event(), seconds
        self._lock = Lock()
        self._looked_at: float | None = None
        self._closed: frozenset[str] = frozenset()

    def stopping(self) -> bool:
        """Return whether this program is to end."""
        return self._stop.is_set()

    def may_go_on(self, closed: Collection[str]) -> bool:
        """Return False where the program is to end, or a flow was paused or frozen that is not in `closed`."""
        return not self._stop.is_set() and self._closed_now() <= set(closed)

    def _closed_now(self) -> frozenset[str]:
        with self._lock:
            now = self._seconds()
            if self._looked_at is None or now - self._looked_at >= LOOK_EVERY:
                self._closed = self._read()
                self._looked_at = now
            return self._closed

    def _read(self) -> frozenset[str]:
        with self._database.read() as connection:
            stopped = _ALL if rails.paused_all(connection) else _STOPPED
            return frozenset(stopped.column(connection))
