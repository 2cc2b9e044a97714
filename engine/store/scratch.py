"""A database for a moment: migrated, in a file that nobody else opens, as fast as SQLite goes.

Comes in: a folder. Goes out: an open `Database` with an empty, current schema, or a `Lone` one, whose single connection does
everything in one transaction until `settle`. Promises nothing about crashes: what is in it can always be made again, so
nothing is ever synced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, StaticPool, create_engine, event

from engine.store.database import Database, connect, from_json, to_json
from engine.store.dialect import ONLY_COUNTS
from engine.store.keeping import KEPT, Kept, Unsure
from engine.store.migrate import upgrade
from engine.store.prepared import driven

T = TypeVar("T")
PRAGMAS = (
    "journal_mode=MEMORY",
    "synchronous=OFF",
    "foreign_keys=OFF",  # what is copied in comes table by table
    "cache_size=-131072",
    "temp_store=MEMORY",
    "mmap_size=0",
    "secure_delete=OFF",
)
# What only people and pages ask by, and every row pays for.
UNASKED = (
    "ix_journal_customer_id_flow_id", "ix_journal_at", "ix_journal_flow_decision_step_reason",
    "ix_messages_flow_counted_at", "ix_enrollments_flow_entered_at", "ix_enrollments_flow_version_state_position",
    "ix_orders_placed_at", "ix_order_lines_sku",
)  # fmt: skip


class Lone(Database):
    """A database with one connection, whose reads and writes share one transaction until it is settled.

    What happens in it is only counted (`engine.store.dialect.only_counts`), and what was read about customers is kept
    (`engine.store.keeping`).

    A block of `write` that fails is undone by itself, but for one of a step that is done `boldly`. Only for a program that drives it alone, in one thread.
    """

    def __init__(self, path: Path) -> None:
        url = f"sqlite:///{path}"
        self._kept = Kept()
        # The driver begins no transaction by itself: SQLAlchemy's word for it is ours alone.
        engine = create_engine(
            url, json_serializer=to_json, json_deserializer=from_json, hide_parameters=True, poolclass=StaticPool,
            connect_args={"isolation_level": None, "cached_statements": 1_000},
            execution_options={ONLY_COUNTS: True, KEPT: self._kept},
        )  # fmt: skip
        event.listen(engine, "connect", _hurry)
        event.listen(engine, "connect", lambda connection, _record: self._kept.watch(connection))
        event.listen(engine, "begin", _begin)
        super().__init__(engine, url)
        self._standing: Connection | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give the one connection."""
        yield self._held()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give the one connection; what the block wrote is undone where it fails."""
        connection = self._held()
        if self._kept.bold:
            try:
                yield connection
            except Exception as error:
                raise Unsure from error
            return
        driven(connection, "SAVEPOINT block", ())
        try:
            yield connection
        except BaseException:
            driven(connection, "ROLLBACK TO SAVEPOINT block", ())
            driven(connection, "RELEASE SAVEPOINT block", ())
            self._kept.clear()
            raise
        driven(connection, "RELEASE SAVEPOINT block", ())

    def boldly(self, step: Callable[[], T]) -> T:
        """Do a step with nothing in it that is undone by itself; where that is needed, undo the whole and do it with care.

        Of what the step does outside of the database only the last time may count.
        """
        connection = self._held()
        driven(connection, "SAVEPOINT bold", ())
        self._kept.bold = True
        try:
            result = step()
        except Unsure:
            self._kept.bold = False
            driven(connection, "ROLLBACK TO SAVEPOINT bold", ())
            self._kept.clear()
            result = step()
        finally:
            self._kept.bold = False
            driven(connection, "RELEASE SAVEPOINT bold", ())
        return result

    def settle(self) -> None:
        """End the transaction: memory for undoing is given back."""
        if self._standing is not None:
            self._standing.commit()

    def close(self) -> None:
        """Close the connection; what was not settled is gone."""
        if self._standing is not None:
            self._standing.close()
            self._standing = None
        super().close()

    def _held(self) -> Connection:
        if self._standing is None:
            self._standing = self.engine.connect()
        if not self._standing.in_transaction():
            self._standing.begin()
        return self._standing


def scratch(folder: Path | None = None, name: str = "scratch.db") -> Database:
    """Return a new, empty, migrated database in a file of this folder; without a folder in memory."""
    database = connect("sqlite://" if folder is None else f"sqlite:///{(folder / name).resolve()}")
    event.listen(database.engine, "connect", _hurry)
    upgrade(database)  # which leaves its connection as strict as any other
    with database.engine.connect() as connection:
        _hurry(connection.connection.dbapi_connection, None)
    return database


def lone(folder: Path, name: str = "scratch.db") -> Lone:
    """Return a new, empty, migrated database in a file of this folder, with one connection."""
    scratch(folder, name).close()
    database = Lone((folder / name).resolve())
    with database.write() as connection:
        for index in UNASKED:
            driven(connection, f"DROP INDEX {index}", ())
    database.settle()
    return database


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _hurry(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
