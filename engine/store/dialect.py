"""The few statements that SQLite and PostgreSQL spell differently, spelled once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(connection: Connection, table: Table) -> Any:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, update: Sequence[str], keys: Sequence[str] = ()
) -> None:
    """Insert rows; where the key (default: the primary key) is there already, set the columns named in `update`."""
    if not rows:
        return
    statement = insert(connection, table)
    conflict = list(keys) or [column.name for column in table.primary_key]
    if update:
        statement = statement.on_conflict_do_update(
            index_elements=conflict, set_={name: statement.excluded[name] for name in update}
        )
    else:
        statement = statement.on_conflict_do_nothing(index_elements=conflict)
    connection.execute(statement, list(rows))


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, leaving out those that any unique key has already."""
    if rows:
        connection.execute(insert(connection, table).on_conflict_do_nothing(), list(rows))
