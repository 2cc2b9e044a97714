"""The database of a simulation: real SQLite, at every statement, commit and transaction of which another actor may come between.

The driver's own cursors pass through the scheduler, so that the engine takes the same ways as in life: nobody listens to
SQLAlchemy, and statements that are prepared once go straight to the driver.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from engine.store.database import Database, connect
from tests.simulation.scheduler import Lock, Scheduler
from tests.simulation.watch import Watch

STATEMENTS = 1_000  # kept ready by a connection


class WatchedDatabase(Database):
    """A database whose every transaction and statement is a point at which others may come between."""

    scheduler: Scheduler
    lock: Lock
    watch: Watch

    def __init__(self, engine: Engine, url: str) -> None:
        super().__init__(engine, url)
        self._idle: dict[bool, list[Connection]] = {False: [], True: []}  # by whether they write

    @contextmanager
    def _lent(self, *, writing: bool) -> Iterator[Connection]:
        """Give a connection inside a transaction; it stays open for the next one."""
        idle = self._idle[writing]
        connection = idle.pop() if idle else self.engine.connect().execution_options(homing_write=writing)
        try:
            with connection.begin():
                yield connection
        finally:
            idle.append(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading; others may write meanwhile."""
        self.scheduler.point("read")
        with self._lent(writing=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection for writing, one actor at a time; what was committed is looked at before anything else happens."""
        self.scheduler.point("write")
        self.scheduler.acquire(self.lock)
        try:
            with self._lent(writing=True) as connection:
                yield connection
                self.scheduler.point("statement")
            self.watch.committed()
        finally:
            self.scheduler.release(self.lock)
        self.scheduler.point("committed")

    def close(self) -> None:
        """Close every connection."""
        for connection in (*self._idle[False], *self._idle[True]):
            connection.close()
        super().close()


def open_copy(kept: Path, path: Path, scheduler: Scheduler) -> WatchedDatabase:
    """Copy a database to a path, and open the copy under the scheduler."""
    shutil.copyfile(kept, path)
    plain = connect(f"sqlite:///{path}")

    class Cursor(sqlite3.Cursor):
        """A cursor that passes a point before each statement, at which the database may also fail."""

        connection: Driver

        def execute(self, statement: str, values: Any = ()) -> Cursor:
            if self.connection.is_open:
                _point(scheduler)
            super().execute(statement, values)
            return self

        def executemany(self, statement: str, values: Any) -> Cursor:
            if self.connection.is_open:
                _point(scheduler)
            super().executemany(statement, values)
            return self

    class Driver(sqlite3.Connection):
        """A connection of the driver whose cursors are those above; nobody comes between while it is set up."""

        is_open = False

        def cursor(self, _factory: Any = None) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(Cursor)

    def opening(_dialect: Any, _record: Any, _arguments: Any, named: dict[str, Any]) -> None:
        named.update(factory=Driver, cached_statements=STATEMENTS)

    event.listen(plain.engine, "do_connect", opening)
    event.listen(plain.engine, "connect", _hurry)
    database = WatchedDatabase(plain.engine, plain.url)
    database.scheduler, database.lock = scheduler, Lock()
    return database


def _point(scheduler: Scheduler) -> None:
    scheduler.point("statement")
    if scheduler.fails():
        raise sqlite3.OperationalError("disk I/O error")


def _hurry(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")  # nobody kills this process, only what it plays
    connection.is_open = True
