"""Many rows into one table by one statement, without SQLAlchemy's work for each row.

Comes in: rows that all have the same columns, in the same order. Goes out: one prepared statement for all of them on
SQLite, one statement over an array for each column on PostgreSQL. Names come from our own tables, values are bound, and
the columns' own types bring them into the database. For the caller's write transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, Connection, Dialect, LargeBinary, Table

from engine.store.database import to_json
from engine.store.prepared import driven
from engine.store.types import Instant, Money, aware, money_units

Row = Mapping[str, Any]
NOTHING: Mapping[str, str | None] = {}


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; a row that a unique key forbids is an error."""
    if rows:
        _insert(connection, table, rows, "")


def insert_numbered(connection: Connection, table: Table, rows: Sequence[Row]) -> Sequence[int]:
    """Insert rows and return their new ids in order; a row that a unique key forbids is an error."""
    ids = reserve(connection, table, len(rows)) if rows else ()
    insert_rows(connection, table, [{"id": identity, **row} for identity, row in zip(ids, rows, strict=True)])
    return ids


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> list[int | None]:
    """Insert the rows that no unique key has already; return each row's new id, None where it was left out."""
    if not rows:
        return []
    ids = reserve(connection, table, len(rows))
    numbered = [{"id": identity, **row} for identity, row in zip(ids, rows, strict=True)]
    left_out = insert_reserved(connection, table, numbered)
    return [None if identity in left_out else identity for identity in ids]


def insert_missing(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows, without ids of their own, that no unique key has already."""
    if rows:
        _insert(connection, table, rows, " ON CONFLICT DO NOTHING")


def insert_reserved(connection: Connection, table: Table, rows: Sequence[Row]) -> set[int]:
    """Insert the rows, with ids of `reserve`, that no unique key has already; return the ids of those left out."""
    if not rows or _insert(connection, table, rows, " ON CONFLICT DO NOTHING") == len(rows):
        return set()
    ids = [row["id"] for row in rows]
    told = f'SELECT "id" FROM "{table.name}" WHERE "id" BETWEEN {min(ids)} AND {max(ids)}'  # noqa: S608 - our own numbers
    return set(ids) - {row[0] for row in driven(connection, told, ()).fetchall()}


def reserve(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Return ids that no row has and no other writer gets, for rows that this transaction inserts next."""
    if connection.dialect.name == "sqlite":  # whose writer is alone
        ((last,),) = driven(connection, f'SELECT max("id") FROM "{table.name}"', ()).fetchall()  # noqa: S608 - our own name
        return range((last or 0) + 1, (last or 0) + 1 + count)
    told = f"SELECT nextval(pg_get_serial_sequence('{table.name}', 'id')) FROM generate_series(1, {count})"  # noqa: S608
    return [row[0] for row in driven(connection, told, ()).fetchall()]


def upsert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    keys: Sequence[str] = (),
    newest_by: str | None = None,
) -> None:
    """Insert rows; where the key (default: the primary key) is there already, take all of the new row.

    With `newest_by` a row stays where its value of that column is greater than the new row's.
    """
    if not rows:
        return
    known = list(keys) or [column.name for column in table.primary_key]
    told = ", ".join(f'"{name}" = excluded."{name}"' for name in rows[0] if name not in known)
    if newest_by is not None:
        told += f' WHERE excluded."{newest_by}" >= "{table.name}"."{newest_by}"'
    _insert(connection, table, rows, f" ON CONFLICT ({_listed(known)}) DO UPDATE SET {told}")


def update_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    keys: Sequence[str] = ("id",),
    only: Mapping[str, str | None] = NOTHING,
) -> int:
    """Set columns of the rows that have the same `keys`, which stand last in each; return how many rows were changed.

    `only` leaves out what does not hold these values now, whatever they are set to.
    """
    if not rows:
        return 0
    columns = tuple(rows[0])
    statement = _update(connection.dialect.name, table, columns, tuple(keys), tuple(only.items()))
    return _send(connection, statement, table, columns, rows)


@dataclass(frozen=True, slots=True)
class Change:
    """Rows for one table: to insert, or, with `keys`, to update as `update_rows` does.

    With `skip_known`, rows to insert that a unique key has already are left out.
    """

    table: Table
    rows: Sequence[Row]
    keys: tuple[str, ...] = ()
    only: tuple[tuple[str, str | None], ...] = ()
    skip_known: bool = False

    def statement(self, dialect: str) -> str:
        """Return how the database spells it."""
        columns = tuple(self.rows[0])
        if self.keys:
            return _update(dialect, self.table, columns, self.keys, self.only)
        return _insertion(dialect, self.table, columns) + (
            " ON CONFLICT DO NOTHING" if self.skip_known else ""
        )


def together(connection: Connection, *changes: Change) -> list[int]:
    """Make changes of which none looks at what another one does; return how many rows each of them changed.

    PostgreSQL gets them as one statement: each journey to a server costs more than a change of ten rows.
    """
    told = [change for change in changes if change.rows]
    if connection.dialect.name == "sqlite" or len(told) < 2:
        counts = [_made(connection, change) for change in told]
    else:
        statement = _joined(tuple(change.statement("postgresql") for change in told))
        arrays = [_arrays(change.table, tuple(change.rows[0]), change.rows) for change in told]
        counts = list(driven(connection, statement, tuple(chain.from_iterable(arrays))).fetchone())
    of = dict(zip(map(id, told), counts, strict=True))
    return [of.get(id(change), 0) for change in changes]


def _made(connection: Connection, change: Change) -> int:
    statement = change.statement(connection.dialect.name)
    return _send(connection, statement, change.table, tuple(change.rows[0]), change.rows)


@lru_cache(maxsize=64)
def _joined(statements: tuple[str, ...]) -> str:
    parts = ", ".join(f"c{number} AS ({each} RETURNING 1)" for number, each in enumerate(statements))
    counts = ", ".join(f"(SELECT count(*) FROM c{number})" for number in range(len(statements)))  # noqa: S608 - numbers
    return f"WITH {parts} SELECT {counts}"


# ── spelling ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _insert(connection: Connection, table: Table, rows: Sequence[Row], ending: str) -> int:
    columns = tuple(rows[0])
    statement = _insertion(connection.dialect.name, table, columns) + ending
    return _send(connection, statement, table, columns, rows)


@lru_cache(maxsize=256)
def _insertion(dialect: str, table: Table, columns: tuple[str, ...]) -> str:
    into = f'INSERT INTO "{table.name}" ({_listed(columns)})'
    if dialect == "sqlite":
        return f"{into} VALUES ({', '.join('?' * len(columns))})"
    # "WHERE true" ends the query before ON CONFLICT.
    return f"{into} SELECT {_listed(columns)} {_given(table, columns)} WHERE true"


@lru_cache(maxsize=256)
def _update(
    dialect: str,
    table: Table,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    only: tuple[tuple[str, str | None], ...],
) -> str:
    new = "?" if dialect == "sqlite" else 'new."{}"'
    told = ", ".join(f'"{name}" = {new.format(name)}' for name in columns if name not in keys)
    same = [f'"{table.name}"."{name}" = {new.format(name)}' for name in columns if name in keys]
    same += [f'"{table.name}"."{name}" {_is(value)}' for name, value in only]
    source = "" if dialect == "sqlite" else f" {_given(table, columns)}"
    return f'UPDATE "{table.name}" SET {told}{source} WHERE {" AND ".join(same)}'  # noqa: S608 - our own names


def _is(value: str | None) -> str:
    """Return the test for one of our own words."""
    return "IS NULL" if value is None else f"= '{value}'"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _given(table: Table, columns: Sequence[str]) -> str:
    """Return PostgreSQL's words for rows of which each column comes as an array."""
    arrays = ", ".join(f"%s::{_postgres_type(table.c[name].type)}[]" for name in columns)
    return f"FROM unnest({arrays}) AS new({_listed(columns)})"


def _postgres_type(kind: Any) -> str:
    if isinstance(kind, Instant):
        return "timestamptz"
    if isinstance(kind, JSON):
        return "jsonb"
    if isinstance(kind, Money):
        return "bigint"
    return {
        "INTEGER": "integer",
        "BIGINT": "bigint",
        "BOOLEAN": "boolean",
        "FLOAT": "float8",
        "BLOB": "bytea",
    }.get(str(kind), "text")


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _send(
    connection: Connection, statement: str, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> int:
    """Run a statement with all the rows; return how many rows it changed."""
    if connection.dialect.name == "sqlite":
        return int(driven(connection, statement, _bound(connection.dialect, table, columns, rows)).rowcount)
    return int(driven(connection, statement, _arrays(table, columns, rows)).rowcount)


def _arrays(table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the columns of the rows as PostgreSQL reads arrays: it takes them up twice as fast as JSON."""
    return tuple(
        [
            write([row[name] for row in rows])
            for name, write in zip(columns, _writers(table, columns), strict=True)
        ]
    )


def _bound(
    dialect: Dialect, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> list[tuple[Any, ...]]:
    """Return the rows' values as SQLite takes them, column by column: most columns need nothing done."""
    told = list(map(_taker(columns), rows))
    processors = _processors(dialect, table, columns)
    if not processors:
        return told
    places: list[Sequence[Any]] = list(zip(*told, strict=True))
    for place, process in processors:
        if process is to_json:
            places[place] = _documents(places[place])
        else:
            places[place] = _processed(places[place], process)
    return list(zip(*places, strict=True))


@lru_cache(maxsize=256)
def _taker(columns: tuple[str, ...]) -> Callable[[Row], tuple[Any, ...]]:
    """Return what takes these columns out of a row, in their order."""
    only = columns[0]
    return itemgetter(*columns) if len(columns) > 1 else lambda row: (row[only],)


def _processed(values: Sequence[Any], process: Callable[[Any], Any]) -> list[Any]:
    """Return values as they are stored; neighbours that are one and the same, such as a pass's moment, are made once."""
    told: list[Any] = []
    last = made = None
    for value in values:
        if value is not last:
            last, made = value, None if value is None else process(value)
        told.append(made)
    return told


def _documents(values: Sequence[Any]) -> list[str | None]:
    """Return documents as they are stored; one that several rows share is written down once."""
    known: dict[int, str] = {}
    told: list[str | None] = []
    for value in values:
        if value is None:
            told.append(None)
            continue
        text = known.get(id(value))
        if text is None:
            text = known[id(value)] = to_json(value)
        told.append(text)
    return told


@lru_cache(maxsize=256)
def _processors(
    dialect: Dialect, table: Table, columns: tuple[str, ...]
) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    """Return the places of the columns whose values change on their way into SQLite, with what changes them."""
    found = []
    for place, column in enumerate(columns):
        kind = table.c[column].type
        # For documents not their own processor, which looks at each value for what ours never hold.
        document = isinstance(kind, JSON)
        process = to_json if document else kind.dialect_impl(dialect).bind_processor(dialect)
        if process is not None:
            found.append((place, process))
    return tuple(found)


# ── arrays for PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────


def array_of(kind: Any, values: Sequence[Any]) -> str:
    """Return values of a column type as PostgreSQL reads an array of them; documents come written down already."""
    return _texts(values) if isinstance(kind, JSON) else _writer(kind)(values)


@lru_cache(maxsize=256)
def _writers(table: Table, columns: tuple[str, ...]) -> tuple[Callable[[Sequence[Any]], str], ...]:
    """Return what writes the values of each column down as an array."""
    return tuple(_writer(table.c[name].type) for name in columns)


def _writer(kind: Any) -> Callable[[Sequence[Any]], str]:
    if isinstance(kind, Instant):
        return lambda values: _texts(_processed(values, _stated))
    if isinstance(kind, JSON):
        return lambda values: _texts(_documents(values))
    if isinstance(kind, Money):
        return lambda values: _plain(_processed(values, money_units))
    if isinstance(kind, LargeBinary):
        return lambda values: _texts(_processed(values, _hexadecimal))
    return _texts if _postgres_type(kind) == "text" else _plain


def _plain(values: Sequence[Any]) -> str:
    """Return numbers and truths as an array."""
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def _texts(values: Sequence[Any]) -> str:
    """Return texts as an array, in which a quotation mark or a backslash has a backslash before it."""
    try:
        told = '","'.join(values)
    except TypeError:  # there are some that are missing, or no texts
        parts = ["NULL" if value is None else _quoted(str(value)) for value in values]
        return f"{{{','.join(parts)}}}"
    if "\\" in told or told.count('"') > 2 * (len(values) - 1):
        return f"{{{','.join(map(_quoted, values))}}}"
    return f'{{"{told}"}}'


def _quoted(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def _stated(moment: datetime) -> str:
    return aware(moment).isoformat()


def _hexadecimal(value: bytes) -> str:
    return f"\\x{value.hex()}"
