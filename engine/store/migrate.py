"""Brings a database to the schema of this program by the migrations in `alembic/`, and says where it stands.

Comes in: a `Database`. Goes out: a `SchemaStatus`, or an error that says what to do. Promises: any number of programs
may start on a new database at once (one migrates, the others wait and find it done); a migration commits whole or not
at all; on SQLite, where altering means copying, foreign keys are off while it runs and checked before it commits.
Alembic is imported to migrate only: to look where a database stands needs the names of the migrations and one row.
"""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from engine.bundled import bundled
from engine.errors import DatabaseBehind, OutsideError
from engine.store.database import Database, connect, outside
from engine.store.tables import metadata

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic keeps the running migration in module globals, so one process runs one at a time.
_ONE_AT_A_TIME = threading.RLock()
_ADVISORY_LOCK = 0x486F6D696E67  # "Homing"


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Where a database's schema stands; `current` is None for one without any tables of ours.

    `foreign` are tables that are named like ours and were made by something else: nothing may be written there.
    """

    current: str | None
    head: str
    pending: tuple[str, ...]
    known: bool = True
    foreign: tuple[str, ...] = ()

    @property
    def behind(self) -> bool:
        """Whether migrations of this program are missing in the database."""
        return bool(self.pending)

    @property
    def empty(self) -> bool:
        """Whether no migration ever ran here."""
        return self.current is None and not self.foreign

    @property
    def advice(self) -> str:
        """What a person can do about it; empty where there is nothing to do."""
        if self.foreign:
            return "give Homing a database of its own"
        if not self.known:
            return "install that version, or restore the backup made before it"
        if self.empty:
            return "run `homing db upgrade`"
        return "make a backup (`homing db backup`), then run `homing db upgrade`" if self.behind else ""

    def __str__(self) -> str:
        if self.foreign:
            named = ", ".join(self.foreign[:3]) + (", …" if len(self.foreign) > 3 else "")
            return f"the database belongs to another program: its tables {named} are not ours"
        if not self.known:
            return f"the database is at {self.current}, which this version of Homing does not know: it was made by a newer one"
        if self.empty:
            return "the database is empty"
        if self.behind:
            return f"the database is at {self.current} and this version of Homing needs {self.head}"
        return f"the database is at {self.head}, as this version of Homing needs"


def check(database: Database) -> SchemaStatus:
    """Return where the database stands, writing nothing; raise OutsideError where it cannot be asked."""
    with _asking(database) as connection:
        return _status(connection)


def ensure_current(database: Database, *, create: bool = True) -> None:
    """Return if the schema is the one that this program needs; an empty database is migrated first (`create`).

    Raise DatabaseBehind for a database that holds facts and is at another schema: that is for a person to decide.
    """
    status = check(database)
    if status.empty and create:
        status = upgrade(database)
    if status.behind or not status.known:
        raise DatabaseBehind(f"{status}; {status.advice}")


def upgrade(database: Database) -> SchemaStatus:
    """Run every missing migration in one transaction, under the lock; return where the database stands then.

    An empty in-memory SQLite database gets a copy of one that was migrated before (1 ms instead of 100).
    """
    if database.url in ("sqlite://", "sqlite:///:memory:"):
        _copy_migrated(database.engine)
    return move(database, "head")


def move(database: Database, revision: str) -> SchemaStatus:
    """Migrate up or down to a revision (`head`, `base`, `0001`); return where the database stands then."""
    with _ONE_AT_A_TIME, _migrating(database) as connection:
        status = _status(connection)
        if not status.known:
            return status
        target = status.head if revision == "head" else revision
        if target != status.current:
            from alembic import command  # noqa: PLC0415 - a tenth of a second, for migrating only

            config = _config(connection)
            going_up = target == status.head or (target != "base" and target in status.pending)
            (command.upgrade if going_up else command.downgrade)(config, target)
        return _status(connection)


def differences(database: Database) -> None:
    """Compare the database with `engine.store.tables`; raise alembic's AutogenerateDiffsDetected where they differ."""
    from alembic import command  # noqa: PLC0415

    with _ONE_AT_A_TIME, database.read() as connection:
        command.check(_config(connection))


def _config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415

    # Alembic's commands print by themselves otherwise, into the middle of a JSON document.
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(bundled("alembic")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@lru_cache(maxsize=1)
def revisions() -> tuple[str, ...]:
    """Return every revision of this program, oldest first; they form one line, and their files are named by them."""
    files = (bundled("alembic") / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(path.name.partition("_")[0] for path in files))


def _status(connection: Connection) -> SchemaStatus:
    current, known = _stamp(connection), revisions()
    if current is None and (named := _named_like_ours(connection)):
        # Another program may have made them as ours since we looked for its stamp.
        current = _stamp(connection)
        if current is None:
            return SchemaStatus(None, known[-1], known, known=False, foreign=named)
    if current is not None and current not in known:
        return SchemaStatus(current, known[-1], (), known=False)
    done = known.index(current) + 1 if current else 0
    return SchemaStatus(current, known[-1], known[done:])


def _stamp(connection: Connection) -> str | None:
    """Return the revision that alembic wrote into the database, or None where no migration ever ran."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    stamp: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return stamp


def _named_like_ours(connection: Connection) -> tuple[str, ...]:
    return tuple(sorted(set(inspect(connection).get_table_names()) & set(metadata.tables)))


@contextmanager
def _asking(database: Database) -> Iterator[Connection]:
    try:
        with database.read() as connection:
            yield connection
    except DBAPIError as error:
        raise outside(error) from error


@contextmanager
def _migrating(database: Database) -> Iterator[Connection]:
    """Give a connection in a write transaction that no other migration shares."""
    try:
        if database.is_sqlite:
            with _migrating_sqlite(database.engine) as connection:
                yield connection
        else:
            with database.write() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
                yield connection
    except DBAPIError as error:
        raise outside(error) from error


@contextmanager
def _migrating_sqlite(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        # Ignored inside a transaction, so it comes before BEGIN: with it on, copying a table deletes its children.
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            connection.execution_options(homing_write=True)
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    tables = ", ".join(sorted({str(row[0]) for row in broken}))
                    raise OutsideError(
                        f"rows would lose what they refer to ({tables}); the database was left as it was"
                    )
        finally:
            raw.execute("PRAGMA foreign_keys=ON")


@lru_cache(maxsize=1)
def _migrated_image() -> bytes:
    """Return a migrated, empty SQLite database as bytes; made once a process."""
    database = connect("sqlite://")
    try:
        move(database, "head")
        with database.engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            image: bytes = raw.serialize()
            return image
    finally:
        database.close()


def _copy_migrated(engine: Engine) -> None:
    with _ONE_AT_A_TIME:
        image = _migrated_image()
    with engine.connect() as connection:
        if inspect(connection).get_table_names():
            return
        connection.rollback()
        raw: Any = connection.connection.dbapi_connection
        source = sqlite3.connect(":memory:")
        source.deserialize(image)
        source.backup(raw)
        source.close()
