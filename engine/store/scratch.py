"""A database for a moment: migrated, in a file that nobody else opens, as fast as SQLite goes.

Comes in: a folder. Goes out: an open `Database` with an empty, current schema. Promises nothing about crashes: what is in
it can always be made again, so nothing is ever synced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event

from engine.store.database import Database, connect
from engine.store.migrate import upgrade

PRAGMAS = (
    "journal_mode=MEMORY",
    "synchronous=OFF",
    "foreign_keys=OFF",  # what is copied in comes table by table
    "cache_size=-131072",
    "mmap_size=0",
)


def scratch(folder: Path | None = None, name: str = "scratch.db") -> Database:
    """Return a new, empty, migrated database in a file of this folder; without a folder in memory."""
    database = connect("sqlite://" if folder is None else f"sqlite:///{(folder / name).resolve()}")
    event.listen(database.engine, "connect", _hurry)
    upgrade(database)  # which leaves its connection as strict as any other
    with database.engine.connect() as connection:
        _hurry(connection.connection.dbapi_connection, None)
    return database


def _hurry(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
