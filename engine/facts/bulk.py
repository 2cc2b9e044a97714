"""Many rows into one table by one prepared statement, without SQLAlchemy's work for each row on SQLite.

The same statements as `connection.execute(table.insert(), rows)` and `engine.store.dialect.upsert`, three times as
fast; worth it for the tables that get a row or more with every fact. Names come from our own tables, values are bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table, bindparam, update

from engine.store.dialect import upsert

# Preparing costs more than a few rows gain.
FEWEST = 20


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if not rows:
        return
    if connection.dialect.name != "sqlite" or len(rows) < FEWEST:
        connection.execute(table.insert(), list(rows))
        return
    _execute(connection, table, rows, "")


def upsert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns; where the primary key is there already, take all of the new row."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    update = [name for name in rows[0] if name not in keys]
    if connection.dialect.name != "sqlite" or len(rows) < FEWEST:
        upsert(connection, table, rows, update=update)
        return
    told = ", ".join(f'"{name}" = excluded."{name}"' for name in update)
    _execute(connection, table, rows, f" ON CONFLICT ({_listed(keys)}) DO UPDATE SET {told}")


def update_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of rows by their `id`; all have the same columns, the id last."""
    if not rows:
        return
    names = [name for name in rows[0] if name != "id"]
    if connection.dialect.name != "sqlite" or len(rows) < FEWEST:
        told = (
            update(table)
            .where(table.c.id == bindparam("which"))
            .values({name: bindparam(name) for name in names})
        )
        connection.execute(
            told, [{"which": row["id"], **{name: row[name] for name in names}} for row in rows]
        )
        return
    told_columns = ", ".join(f'"{name}" = ?' for name in names)
    statement = f'UPDATE "{table.name}" SET {told_columns} WHERE "id" = ?'  # noqa: S608 - our own names
    connection.exec_driver_sql(statement, _bound(connection, table, rows))


def _execute(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], ending: str) -> None:
    columns = tuple(rows[0])
    marks = ", ".join("?" * len(columns))
    statement = f'INSERT INTO "{table.name}" ({_listed(columns)}) VALUES ({marks}){ending}'  # noqa: S608 - our own names
    connection.exec_driver_sql(statement, _bound(connection, table, rows))


def _bound(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    processors = _processors(connection.dialect, table, tuple(rows[0]))
    bound = []
    for row in rows:
        values = list(row.values())
        for place, process in processors:
            values[place] = process(values[place])
        bound.append(tuple(values))
    return bound


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


@lru_cache(maxsize=64)
def _processors(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> tuple[tuple[int, Any], ...]:
    """Return the places of the columns whose values change on their way into the database, with what changes them."""
    found = []
    for place, name in enumerate(columns):
        kind = table.c[name].type
        process = kind.dialect_impl(dialect).bind_processor(dialect)
        if process is not None:
            found.append((place, process))
    return tuple(found)
