"""The few statements that SQLite and PostgreSQL spell differently, spelled once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Boolean, ColumnElement, Connection, Dialect, Table, Text, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator, TypeEngine

from engine.store.database import to_json

ONLY_COUNTS = "homing_only_counts"


def insert(connection: Connection, table: Table) -> Any:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def only_counts(connection: Connection) -> bool:
    """Return whether what happens here is only counted: no record is kept that nothing decides or counts by."""
    found: bool = connection.get_execution_options().get(ONLY_COUNTS, False)
    return found


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    update: Sequence[str],
    keys: Sequence[str] = (),
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


def among(
    _connection: Connection, column: ColumnElement[Any], values: Iterable[int] | Iterable[str]
) -> ColumnElement[bool]:
    """Return the test that `column` is one of many values, with all of them in a single bound parameter.

    Unlike `in_` it has no limit on their number, and the statement's text does not change with it.
    """
    return Among(column, bindparam(None, list(values), type_=Listed(column.type)))


def within(column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
    """Return the same test with the values in a named parameter, for statements that are built once."""
    return Among(column, bindparam(parameter, type_=Listed(column.type), required=True))


class Listed(TypeDecorator[Any]):
    """Many values of one type as one parameter: an array on PostgreSQL, a JSON document on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that the parameter travels in."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else postgresql.ARRAY(self.item))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Write the list down for SQLite at once: a pass binds a list for nearly every statement."""
        return _written if dialect.name == "sqlite" else super().bind_processor(dialect) or list

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Give PostgreSQL's driver a list."""
        return list(value)


def _written(values: Iterable[Any]) -> str:
    return to_json(list(values))


class Among(ColumnElement[bool]):
    """`column` is one of the values in a parameter of type `Listed`."""

    __visit_name__ = "among"
    inherit_cache = True
    type = Boolean()
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's protocol
        ("column", InternalTraversal.dp_clauseelement),
        ("values", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[Any], values: BindParameter[Any]) -> None:
        self.column = column
        self.values = values

    def self_group(self, against: Any = None) -> Among:
        """Stand as it is: SQLAlchemy would write `= 1` behind it for SQLite, which then looks up no index."""
        return self

    @property
    def _from_objects(self) -> Any:
        return self.column._from_objects  # noqa: SLF001 - SQLAlchemy's protocol


@compiles(Among)
def _compile_among(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = compiler.process(element.column, **options), compiler.process(element.values, **options)
    if compiler.dialect.name == "sqlite":
        return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - compiled parts
    return f"{column} = ANY ({values})"
