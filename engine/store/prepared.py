"""Statements that a pass asks again and again: built and compiled once, then run with nothing but their values.

Comes in: a SQLAlchemy statement with named parameters, and values for them. Goes out: rows as named tuples in the types of
their columns, or the number of rows changed. Promises: values are bound, never written into the text; who listens to a
connection's statements hears these, too; what the database refuses is SQLAlchemy's DBAPIError as everywhere.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import JSON, BindParameter, Connection, Dialect, bindparam
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import TypeDecorator, TypeEngine

from engine.store.database import from_json, raw
from engine.store.keeping import Unsure, forget_all, kept

Process = Callable[[Any], Any]
Processes = tuple[tuple[int, Process], ...]
T = TypeVar("T")


class Prepared:
    """One statement for any number of runs; it is compiled at its first on each kind of database.

    Lists of values are named by `engine.store.dialect.within`; those of `in_` are written into the text.
    """

    __slots__ = ("_compiled", "_statement")

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **values: Any) -> list[Any]:
        """Return everything that the statement finds, as named tuples."""
        compiled = self._on(connection.dialect)
        found = driven(connection, compiled.text, compiled.bound(values)).fetchall()
        return compiled.typed(found)

    def unread(self, connection: Connection, **values: Any) -> list[Sequence[Any]]:
        """Return everything as the driver gives it, for `read`: many rows of which few are looked at."""
        compiled = self._on(connection.dialect)
        found: list[Sequence[Any]] = driven(connection, compiled.text, compiled.bound(values)).fetchall()
        return found

    def each(self, connection: Connection, **values: Any) -> Iterator[Sequence[Any]]:
        """Yield everything as `unread` gives it, without holding it all where the driver does not."""
        compiled = self._on(connection.dialect)
        yield from driven(connection, compiled.text, compiled.bound(values))

    def read(self, dialect: Dialect, row: Sequence[Any]) -> Any:
        """Return one row of `unread` as `rows` would."""
        return self._on(dialect).typed([row])[0]

    def first(self, connection: Connection, **values: Any) -> Any:
        """Return the first row, or None."""
        found = self.rows(connection, **values)
        return found[0] if found else None

    def column(self, connection: Connection, **values: Any) -> list[Any]:
        """Return the first value of each row."""
        return [row[0] for row in self.rows(connection, **values)]

    def dicts(self, connection: Connection, **values: Any) -> list[dict[str, Any]]:
        """Return each row as a dictionary by column."""
        return [row._asdict() for row in self.rows(connection, **values)]

    def run(self, connection: Connection, **values: Any) -> int:
        """Change what the statement changes; return how many rows that were."""
        compiled = self._on(connection.dialect)
        return int(driven(connection, compiled.text, compiled.bound(values)).rowcount)

    def run_each(self, connection: Connection, each: Sequence[Mapping[str, Any]]) -> None:
        """Change what the statement changes, once with each of these values."""
        compiled = self._on(connection.dialect)
        if each:
            driven(connection, compiled.text, [compiled.bound(values) for values in each])

    def _on(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _compile(self._statement, dialect)
        return found


def driven(connection: Connection, text: str, values: Any) -> Any:
    """Run a statement in the driver's own words inside the connection's transaction; return a cursor of what it found.

    A list of values runs it once with each of them. Where somebody listens it goes through SQLAlchemy.
    """
    if connection.dispatch.before_cursor_execute:
        return connection.exec_driver_sql(text, values)
    if not connection.in_transaction():
        connection.begin()
    return raw(connection, text, values)


def undoing(connection: Connection, step: Callable[[], T]) -> T:
    """Do a step inside the connection's transaction; where it fails, undo the step alone, and raise what it raised.

    What the database itself refuses (a lost connection, a full disk) is left to whoever ends the whole transaction.
    """
    memory = kept(connection)
    if memory is not None and memory.bold:
        return _sure(step)
    driven(connection, "SAVEPOINT step", ())
    try:
        result = step()
    except OperationalError:
        raise
    except Exception:
        driven(connection, "ROLLBACK TO SAVEPOINT step", ())
        driven(connection, "RELEASE SAVEPOINT step", ())
        forget_all(connection)
        raise
    driven(connection, "RELEASE SAVEPOINT step", ())
    return result


def _sure(step: Callable[[], T]) -> T:
    """Do a step that is not expected to fail; one that does ends everything that is undone with it."""
    try:
        return step()
    except OperationalError:
        raise
    except Exception as error:
        raise Unsure from error


# ── what is compiled once ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as the driver takes it, with what becomes of values on their way in and out."""

    text: str
    names: tuple[str, ...]
    fixed: dict[str, Any]
    incoming: Mapping[str, Process]
    outgoing: Processes
    row: Callable[[Any], Any]
    positional: bool

    def bound(self, values: Mapping[str, Any]) -> Any:
        """Return the parameters as the driver takes them; KeyError for one that was not given."""
        told = {**self.fixed, **values}
        for name, process in self.incoming.items():
            told[name] = process(told[name])
        return tuple([told[name] for name in self.names]) if self.positional else told

    def typed(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """Return rows in the types of their columns."""
        if not found:
            return []
        if self.outgoing:
            columns = list(zip(*found, strict=True))
            for place, process in self.outgoing:
                columns[place] = tuple(map(process, columns[place]))
            found = list(zip(*columns, strict=True))
        return list(map(self.row, found))


def _compile(statement: Any, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    given = {name for name, bind in compiled.binds.items() if bind.required}
    if any(bind.expanding for bind in compiled.binds.values()):
        written_out = {"render_postcompile": True}
        compiled = replacement_traverse(statement, {}, _left_open).compile(
            dialect=dialect, compile_kwargs=written_out
        )
    names = tuple(compiled.positiontup or compiled.params)
    fixed, incoming = {}, {}
    for name, value in compiled.params.items():
        # Words and numbers of an `in_` have names of their own now, and need nothing done.
        process = (
            _of(compiled.binds[name].type, dialect).bind_processor(dialect)
            if name in compiled.binds
            else None
        )
        if name not in given:
            fixed[name] = value if process is None else process(value)
        elif process is not None:
            incoming[name] = process
    columns = list(getattr(statement, "exported_columns", ()))
    processes = [_outgoing(column.type, dialect) for column in columns]
    outgoing = tuple((place, process) for place, process in enumerate(processes) if process is not None)
    row: Any = namedtuple("Row", [column.key for column in columns], rename=True)  # type: ignore[misc]
    positional = compiled.positiontup is not None
    made = partial(tuple.__new__, row)  # as its own `_make`, which is a function of Python's
    return _Compiled(str(compiled), names, fixed, incoming, outgoing, made, positional)


def _left_open(element: Any, **_: Any) -> Any:
    """Let SQLAlchemy write the lists of `in_` out though the values that are to be given are not known yet."""
    given = isinstance(element, BindParameter) and element.required
    return bindparam(element.key, None, type_=element.type) if given else None


def _outgoing(kind: TypeEngine[Any], dialect: Dialect) -> Process | None:
    """Return what makes a value of the driver one of ours; psycopg has made all but our own types already."""
    if dialect.name == "sqlite" and isinstance(kind, JSON):
        return _document
    if dialect.name == "sqlite" or isinstance(kind, TypeDecorator):
        found: Process | None = _of(kind, dialect).result_processor(dialect, None)
        return found
    return None


def _document(value: str | bytes | float | None) -> Any:
    """Read a JSON document as its column's own processor does, without two calls around it."""
    return from_json(value) if isinstance(value, str | bytes) else value


def _of(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    return kind.dialect_impl(dialect)
