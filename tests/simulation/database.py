"""The database of a simulation: real SQLite, at every statement, commit and transaction of which another actor may come between.

The driver's own cursors pass through the scheduler, so that the engine takes the same ways as in life: nobody listens to
SQLAlchemy, and statements that are prepared once go straight to the driver.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from engine.store.database import Database, connect, raw
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
        # Whoever reads or writes takes the one that was used last: what it knows of the file is still true.
        self._idle: list[Connection] = []

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading; others may write meanwhile."""
        self.scheduler.point("read")
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection for writing, one actor at a time; what was committed is looked at before anything else happens."""
        scheduler = self.scheduler
        scheduler.point("write")
        scheduler.acquire(self.lock)
        try:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                yield connection
                scheduler.point("statement")
            self.watch.committed()
        finally:
            scheduler.release(self.lock)
        scheduler.point("committed")

    @contextmanager
    def _transaction(self, beginning: str) -> Iterator[Connection]:
        """Give a connection inside a transaction, then put it back to the others.

        SQLAlchemy believes it in one and the same transaction for ever: its own work at each begin and commit was a tenth of
        a run's.
        """
        connection = self._idle.pop() if self._idle else self._opened()
        driver: Any = connection.connection.dbapi_connection
        try:
            raw(connection, beginning, ())
            yield connection
            driver.commit()
        finally:
            if connection.invalidated:  # SQLAlchemy closes what a killed program's statement stood in
                connection.close()
            else:
                driver.rollback()  # which does nothing after a commit
                self._idle.append(connection)

    def _opened(self) -> Connection:
        connection = self.engine.connect()
        connection.begin()
        connection.connection.rollback()
        return connection

    def outside(self) -> sqlite3.Cursor:
        """Return a cursor on what is committed, which passes no point: rows by name."""
        if not self._idle:
            self._idle.append(self._opened())
        driver: Any = self._idle[-1].connection.dbapi_connection
        cursor = sqlite3.Connection.cursor(driver)
        cursor.row_factory = sqlite3.Row
        return cursor


class Cursor(sqlite3.Cursor):
    """A cursor that passes a point before each statement, at which the database may also fail."""

    connection: Driver

    def execute(self, statement: str, values: Any = ()) -> Cursor:
        """Run a statement after whoever comes between."""
        if self.connection.database.scheduler.statement():
            raise sqlite3.OperationalError("disk I/O error")
        super().execute(statement, values)
        return self

    def executemany(self, statement: str, values: Any) -> Cursor:
        """Run a statement with each of these values after whoever comes between."""
        if self.connection.database.scheduler.statement():
            raise sqlite3.OperationalError("disk I/O error")
        super().executemany(statement, values)
        return self


class Driver(sqlite3.Connection):
    """A connection of the driver that knows whose it is."""

    database: WatchedDatabase


_open: dict[
    tuple[int, Path], tuple[WatchedDatabase, sqlite3.Connection]
] = {}  # by process and what is copied


def open_copy(kept: Path, scheduler: Scheduler) -> WatchedDatabase:
    """Return a database that holds what the kept one holds, under the scheduler.

    A process plays all its copies in one file, whose rows are put back: so connections stay open, and what the driver
    and SQLAlchemy have prepared is there for the next. Whoever had the one before must be through with it.
    """
    known = (os.getpid(), kept)
    if known not in _open:
        _open[known] = _first_copy(kept)
    database, restorer = _open[known]
    database.scheduler, database.lock = scheduler, Lock()
    _restore(restorer)
    return database


def _first_copy(kept: Path) -> tuple[WatchedDatabase, sqlite3.Connection]:
    path = kept.with_name(f"copy-{os.getpid()}.db")
    shutil.copyfile(kept, path)
    plain = connect(f"sqlite:///{path}")
    database = WatchedDatabase(plain.engine, plain.url)

    def opening(_dialect: Any, _record: Any, _place: Any, named: dict[str, Any]) -> None:
        named.update(factory=Driver, cached_statements=STATEMENTS)

    def opened(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")  # nobody kills this process, only what it plays
        connection.database = database
        connection.cursor = partial(sqlite3.Connection.cursor, connection, Cursor)

    event.listen(plain.engine, "do_connect", opening)
    event.listen(plain.engine, "connect", opened)
    restorer = sqlite3.connect(path, isolation_level=None)
    restorer.execute("PRAGMA synchronous=OFF")
    restorer.execute("ATTACH ? AS kept", (str(kept),))
    return database, restorer


def _restore(restorer: sqlite3.Connection) -> None:
    """Put every row back to what is kept, numbers that were given away included."""
    tables = restorer.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%'"
    )
    names = [name for (name,) in tables.fetchall()]
    restorer.execute("BEGIN IMMEDIATE")
    for name in names:
        restorer.execute(f'DELETE FROM main."{name}"')
    for name in names:
        restorer.execute(f'INSERT INTO main."{name}" SELECT * FROM kept."{name}"')
    restorer.execute("COMMIT")
