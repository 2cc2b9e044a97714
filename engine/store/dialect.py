"""The few statements that SQLite and PostgreSQL spell differently, spelled once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, any_, bindparam, func, select
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


def among(connection: Connection, column: ColumnElement[Any], values: Iterable[int] | Iterable[str]) -> ColumnElement[bool]:
    """Return the test that `column` is one of many values, with all of them in a single bound parameter.

    Unlike `in_` it has no limit on their number, and the statement's text does not change with it.
    """
    listed = list(values)
    if connection.dialect.name == "postgresql":
        return column == any_(bindparam(None, listed, type_=postgresql.ARRAY(column.type)))
    return column.in_(select(func.json_each(json.dumps(listed)).table_valued("value").c.value))
