"""Values inside a statement, and tests on them: the SQL execution's alphabet.

Comes in: columns and paths inside JSON documents. Goes out: boolean expressions that are never NULL, the same on SQLite
and PostgreSQL. Text that a user wrote, names of JSON fields too, is a bound parameter; `engine.audience.meaning` says
what the tests mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from operator import eq, ge, gt, le, lt
from typing import Any, Literal
from typing import cast as typing_cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    Join,
    Numeric,
    Text,
    and_,
    bindparam,
    case,
    cast,
    collate,
    column,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine

from engine.audience.fields import FieldKind
from engine.audience.meaning import (
    Comparison,
    OperandKind,
    When,
    as_when,
    operand_double,
    operand_kind,
    span_of,
    whole_bound,
)
from engine.calendar import Duration
from engine.flows.conditions import Scalar, Test
from engine.store.types import MONEY_SCALE, Instant

Expression = ColumnElement[Any]
Truth = ColumnElement[bool]

_COMPARE: dict[Comparison, Callable[[Any, Any], Any]] = {"eq": eq, "gt": gt, "gte": ge, "lt": lt, "lte": le}
_MOST_DOUBLE = 1.7976931348623157e308


class Either(ColumnElement[Any]):
    """One expression on SQLite, another on PostgreSQL."""

    __visit_name__ = "either"
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's protocol
        ("sqlite", InternalTraversal.dp_clauseelement),
        ("postgresql", InternalTraversal.dp_clauseelement),
        ("type", InternalTraversal.dp_type),
    ]

    def __init__(
        self, sqlite: Expression, postgresql: Expression, kind: TypeEngine[Any] | None = None
    ) -> None:
        self.sqlite = sqlite
        self.postgresql = postgresql
        self.type = sqlite.type if kind is None else kind


@compiles(Either)
def _compile_either(element: Either, compiler: SQLCompiler, **options: Any) -> str:
    chosen = element.sqlite if compiler.dialect.name == "sqlite" else element.postgresql
    return f"({compiler.process(chosen, **options)})"


class MomentOf(ColumnElement[Any]):
    """The moment that a text states, or NULL (`zoned` False: whether it states one with an offset)."""

    __visit_name__ = "moment_of"
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's protocol
        ("source", InternalTraversal.dp_clauseelement),
        ("part", InternalTraversal.dp_string),
    ]

    def __init__(self, source: Expression, part: Literal["moment", "zoned"]) -> None:
        self.source = source
        self.part = part
        self.type = Instant() if part == "moment" else Boolean()


# The closed set of forms is `engine.audience.meaning`'s; SQLite has no regular expressions, so it takes the text apart.
_SQLITE_MOMENT = """(SELECT CASE
WHEN date(julianday(substr(local, 1, 10))) = substr(local, 1, 10) AND substr(local, 12, 2) < '24'
  AND (local GLOB '[1-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]' AND zone = ''
   OR local GLOB '[1-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]'
   OR local GLOB '[1-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9]'
   OR local GLOB '[1-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9]*'
    AND length(local) <= 26 AND substr(local, 21) NOT GLOB '*[^0-9]*')
 THEN CAST(strftime('%s', substr(local, 1, 19)) AS INTEGER) * 1000000
  + CAST(substr(substr(local, 21) || '000000', 1, 6) AS INTEGER)
  - CASE length(zone) WHEN 6 THEN CAST(substr(zone, 1, 1) || '1' AS INTEGER) * 60000000
   * (CAST(substr(zone, 2, 2) AS INTEGER) * 60 + CAST(substr(zone, 5, 2) AS INTEGER)) ELSE 0 END END
 FROM (SELECT substr(t, 1, length(t) - z) AS local, substr(t, length(t) - z + 1) AS zone
  FROM (SELECT t, CASE WHEN substr(t, -1) = 'Z' THEN 1 WHEN substr(t, -6) GLOB '[+-]0[0-9]:[0-5][0-9]' THEN 6
   WHEN substr(t, -6) GLOB '[+-]1[0-4]:[0-5][0-9]' THEN 6 ELSE 0 END AS z FROM (SELECT {source} AS t))))"""
_SQLITE_ZONED = "(SELECT substr(t, -1) = 'Z' OR substr(t, -6) GLOB '[+-][01][0-9]:[0-5][0-9]' FROM (SELECT {source} AS t))"

_LEAP = "(([0-9][0-9](0[48]|[2468][048]|[13579][26]))|(([02468][048]|[13579][26])00))-02-29"
_DAY = (
    "(?!0)([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|[0-9]{4}-(0[13-9]|1[0-2])-(29|30)"
    f"|[0-9]{{4}}-(0[13578]|1[02])-31|{_LEAP})"
)
_CLOCK = "[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
_OFFSET = "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
_POSTGRES_MOMENT = (
    "(SELECT CASE"  # noqa: S608 - constants of this module
    f" WHEN t ~ '^{_DAY}{_CLOCK}{_OFFSET}$' THEN t::timestamptz"
    f" WHEN t ~ '^{_DAY}({_CLOCK})?$' THEN t::timestamp AT TIME ZONE 'UTC'"
    " END FROM (SELECT {source} AS t) AS read)"
)
_POSTGRES_ZONED = "({source} ~ '(Z|[+-][0-9][0-9]:[0-9][0-9])$')"


@compiles(MomentOf)
def _compile_moment(element: MomentOf, compiler: SQLCompiler, **options: Any) -> str:
    source = compiler.process(element.source, **options)
    if compiler.dialect.name == "sqlite":
        return (_SQLITE_MOMENT if element.part == "moment" else _SQLITE_ZONED).replace("{source}", source)
    return (_POSTGRES_MOMENT if element.part == "moment" else _POSTGRES_ZONED).replace("{source}", source)


TOLD = "told"


@dataclass(slots=True)
class Moments:
    """Makes the parameters for moments: bound by name when the statement runs, or at once where `now` is given.

    `named` collects what each parameter stands for: the moment, or what the shop's clock shows then.
    """

    now: datetime | None = None
    shop_zone: str = "UTC"
    named: dict[tuple[When, bool], str] = field(default_factory=dict)

    def parameter(self, when: When, *, wall: bool = False) -> Expression:
        """Return the parameter for a moment."""
        if self.now is not None:
            return literal(self._value(when, wall, self.now, self.shop_zone), Instant())
        name = self.named.setdefault((when, wall), f"moment_{len(self.named)}")
        return bindparam(name, type_=Instant(), required=True)

    def told(self) -> Expression:
        """Return the parameter for the moment up to which facts were told."""
        return (
            literal(self.now, Instant())
            if self.now is not None
            else bindparam(TOLD, type_=Instant(), required=True)
        )

    def values(self, now: datetime, shop_zone: str, told: datetime | None = None) -> dict[str, datetime]:
        """Return the values of the parameters at this moment, with facts told up to then or up to another moment."""
        moments = {name: self._value(when, wall, now, shop_zone) for (when, wall), name in self.named.items()}
        return {**moments, TOLD: told or now}

    @staticmethod
    def _value(when: When, wall: bool, now: datetime, shop_zone: str) -> datetime:  # noqa: FBT001 - a key's part
        return when.wall(now, shop_zone) if wall else when.at(now, shop_zone)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Stored:
    """A column or expression of one kind."""

    expression: Expression
    kind: FieldKind


@dataclass(frozen=True, slots=True)
class Json:
    """A place in a JSON document: for each dialect the names of types there, and how to take the value out.

    SQLite knows the type and the value apart, PostgreSQL has one `node`. `nested` is the same place as a document.
    """

    sqlite_type: Expression
    sqlite_value: Expression
    node: Expression

    def is_type(self, *names: str) -> Truth:
        """Return whether the value there has one of these types, named as PostgreSQL names them."""
        sqlite = [_SQLITE_TYPES[name] for name in names]
        return _sure(
            Either(
                self.sqlite_type.in_([literal_column(f"'{word}'") for words in sqlite for word in words]),
                func.jsonb_typeof(self.node).in_([literal_column(f"'{name}'") for name in names]),
                Boolean(),
            )
        )

    @property
    def present(self) -> Truth:
        """Whether a value other than null is there."""
        null: Expression = literal_column("'null'")
        return _sure(Either(self.sqlite_type != null, func.jsonb_typeof(self.node) != null, Boolean()))

    @property
    def text(self) -> Expression:
        """The text there, else NULL."""
        return Either(
            case((self.sqlite_type == literal_column("'text'"), self.sqlite_value)),
            case((self._typed("string"), self._postgres_text)),
            Text(),
        )

    @property
    def number(self) -> Expression:
        """The number there in double precision, else NULL."""
        sqlite = cast(
            case(
                (
                    self.sqlite_type.in_([literal_column("'integer'"), literal_column("'real'")]),
                    self.sqlite_value,
                )
            ),
            Float,
        )
        fits = func.abs(cast(self.node, Numeric)) <= literal_column(str(_MOST_DOUBLE), Float)
        return Either(
            case((func.abs(sqlite) <= literal_column(repr(_MOST_DOUBLE), Float), sqlite)),
            case((self._typed("number"), case((fits, cast(self.node, Float(53)))))),
            Float(53),
        )

    @property
    def boolean(self) -> Expression:
        """The boolean there, else NULL."""
        sqlite = case(
            (self.sqlite_type == literal_column("'true'"), literal_column("1")),
            (self.sqlite_type == literal_column("'false'"), literal_column("0")),
        )
        return Either(sqlite, case((self._typed("boolean"), cast(self.node, Boolean))), Boolean())

    def any_item(self, test: Callable[[Json], Truth]) -> Truth:
        """Return whether the value is a list with an item that passes."""
        return Either(
            self.exists_item("sqlite", lambda item: (None, test(item))),
            self.exists_item("postgresql", lambda item: (None, test(item))),
            Boolean(),
        )

    def exists_item(
        self, dialect: str, of: Callable[[Json], tuple[Callable[[Any], Any] | None, Truth]]
    ) -> Truth:
        """Return EXISTS over the items of the list there; `of` may join tables to an item, and tests it."""
        if dialect == "sqlite":
            array = case(
                (self.sqlite_type == literal_column("'array'"), self.sqlite_value),
                else_=literal_column("'[]'"),
            )
            items = func.json_each(array).table_valued("value", "type").alias()
            item = Json(items.c.type, items.c.value, items.c.value)
        else:
            array = case((self._typed("array"), self.node), else_=cast(literal_column("'[]'"), JSONB))
            items = func.jsonb_array_elements(array).table_valued(column("value", JSONB())).render_derived()
            item = Json(items.c.value, items.c.value, items.c.value)
        join, passes = of(item)
        rows = join(items) if join else items
        own = (rows.left, rows.right) if isinstance(rows, Join) else (rows,)
        return exists(select(literal_column("1")).select_from(rows).where(passes).correlate_except(*own))

    def inside(self, keys: Sequence[str]) -> Json:
        """Return the place below this one, where this one is an object."""
        is_object = self.sqlite_type == literal_column("'object'")
        return json_at(case((is_object, self.sqlite_value)), keys, self.node)

    def _typed(self, name: str) -> Truth:
        return func.jsonb_typeof(self.node) == literal_column(f"'{name}'")

    @property
    def _postgres_text(self) -> Expression:
        return self.node.op("#>>", return_type=Text())(literal_column("'{}'"))


_SQLITE_TYPES = {
    "string": ("text",),
    "number": ("integer", "real"),
    "boolean": ("true", "false"),
    "array": ("array",),
    "object": ("object",),
}


def json_at(document: Expression, keys: Sequence[str], node: Expression | None = None) -> Json:
    """Return the place below `keys` in a document (a JSON column of either database)."""
    path = literal("$" + "".join(f'."{key}"' for key in keys), Text())
    found = document if node is None else node
    for key in keys:
        found = found.op("->", return_type=JSONB())(literal(key, Text()))
    return Json(func.json_type(document, path), func.json_extract(document, path), found)


@dataclass(frozen=True, slots=True)
class FirstOf:
    """The first value where `decides` holds, else the other."""

    decides: Truth
    first: Value
    other: Value


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that is never there."""


Value = Stored | Json | FirstOf | Missing


# ── tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def passes(value: Value, tests: Iterable[Test], moments: Moments) -> Truth:
    """Return whether the value passes all tests; the expression is never NULL."""
    return and_(true(), *(_pass(value, test, moments) for test in tests))


def _pass(value: Value, test: Test, moments: Moments) -> Truth:
    if isinstance(value, FirstOf):
        first, other = _pass(value.first, test, moments), _pass(value.other, test, moments)
        return case((value.decides, first), else_=other)
    if test.op == "exists":
        return _present(value) if test.operand else not_(_present(value))
    if test.op in ("ne", "not_in"):
        return not_(_equal(value, _several(test.operand), moments))
    if test.op in ("eq", "in"):
        return _equal(value, _several(test.operand), moments)
    if isinstance(test.operand, tuple) or isinstance(value, Missing):
        return false()
    if test.op == "contains":
        return _contains(value, test.operand, moments)
    if test.op == "starts_with":
        return _starts_with(value, test.operand)
    return _ordered(value, test, moments)


def _several(operand: Scalar | tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    return operand if isinstance(operand, tuple) else (operand,)


def _present(value: Value) -> Truth:
    if isinstance(value, Stored):
        return value.expression.is_not(None)
    return value.present if isinstance(value, Json) else false()


def _equal(value: Value, operands: Sequence[Scalar], moments: Moments) -> Truth:
    """Return whether the value, or an item of the list it is, equals one of the operands."""
    if not isinstance(value, Json):
        return _equal_one(value, operands, moments)
    lists = value.any_item(lambda item: _equal_one(item, operands, moments))
    return case((value.is_type("array"), lists), else_=_equal_one(value, operands, moments))


def _equal_one(value: Value, operands: Sequence[Scalar], moments: Moments) -> Truth:
    texts = [operand for operand in operands if operand_kind(operand) == "text"]
    held = [
        _compare(value, "eq", operand, moments) for operand in operands if operand_kind(operand) != "text"
    ]
    expression = _as(value, "text")
    if expression is not None:
        held += [_sure(expression.in_([literal(text, Text()) for text in texts]))] if texts else []
    else:
        held += [_compare(value, "eq", text, moments) for text in texts]
    return or_(false(), *held)


def _contains(value: Value, operand: Scalar, moments: Moments) -> Truth:
    """Return whether a text has the operand as a part, or a list as an item."""
    part: Truth = false()
    expression = _as(value, "text")
    if expression is not None and operand_kind(operand) == "text":
        wanted = literal(operand, Text())
        part = _sure(
            Either(func.instr(expression, wanted) > 0, func.strpos(expression, wanted) > 0, Boolean())
        )
    if not isinstance(value, Json):
        return part
    return or_(part, value.any_item(lambda item: _equal_one(item, (operand,), moments)))


def _starts_with(value: Value, operand: Scalar) -> Truth:
    expression = _as(value, "text")
    if expression is None or not isinstance(operand, str) or operand_kind(operand) != "text":
        return false()
    return _sure(func.substr(expression, 1, literal(len(operand), Integer())) == literal(operand, Text()))


def _ordered(value: Value, test: Test, moments: Moments) -> Truth:
    operand = typing_cast(Scalar, test.operand)
    if test.op in ("within", "older_than", "in_next"):
        if not isinstance(operand, Duration):
            return false()
        return and_(*(_moment(value, op, when, moments) for op, when in span_of(test.op, operand)))
    if test.op in ("before", "after"):
        limit = as_when(operand)
        return _moment(value, "lt" if test.op == "before" else "gt", limit, moments) if limit else false()
    return _compare(value, typing_cast(Comparison, test.op), operand, moments)


def _compare(value: Value, op: Comparison, operand: Scalar, moments: Moments) -> Truth:
    """Return whether a single value compares so with the operand; what does not fit does not."""
    kind = operand_kind(operand)
    if kind == "moment" or (isinstance(value, Stored) and value.kind == "moment"):
        when = as_when(operand)
        return _moment(value, op, when, moments) if when else false()
    expression = _as(value, kind)
    if expression is None:
        return false()
    if kind == "number":
        return _number(value, expression, op, typing_cast("int | Decimal", operand))
    if kind == "boolean":
        return _sure(expression if operand else not_(expression)) if op == "eq" else false()
    ordered = partial(_COMPARE[op], expression)
    text = literal(operand, Text())
    if op == "eq":
        return _sure(ordered(text))
    by_bytes = _COMPARE[op](collate(expression, "C"), text)
    return _sure(Either(ordered(text), by_bytes, Boolean()))


def _number(value: Value, expression: Expression, op: Comparison, operand: int | Decimal) -> Truth:
    if isinstance(value, Stored) and value.kind in ("integer", "money"):
        bound = whole_bound(op, operand, MONEY_SCALE if value.kind == "money" else 1)
        if isinstance(bound, bool):
            return expression.is_not(None) if bound else false()
        return _sure(_COMPARE[bound[0]](expression, literal(bound[1], BigInteger())))
    limit = literal(operand_double(operand), Float(53))
    return _sure(_COMPARE[op](expression, limit))


def _moment(value: Value, op: Comparison, when: When, moments: Moments) -> Truth:
    """Return whether a moment, or the moment that a text states, compares so with `when`."""
    if isinstance(value, Stored) and value.kind == "moment":
        return _sure(_COMPARE[op](value.expression, moments.parameter(when)))
    text = _as(value, "text")
    if text is None:
        return false()
    opaque = Either(text, text, Text())
    limit = case(
        (_sure(MomentOf(opaque, "zoned")), moments.parameter(when)),
        else_=moments.parameter(when, wall=True),
    )
    return _sure(_COMPARE[op](MomentOf(opaque, "moment"), limit))


def _as(value: Value, kind: OperandKind) -> Expression | None:
    """Return the value as an expression of that kind (NULL where it does not fit), or None where it never fits."""
    if isinstance(value, Stored):
        fits = {"integer": "number", "money": "number"}.get(value.kind, value.kind)
        return value.expression if fits == kind else None
    if isinstance(value, Json):
        return {"text": value.text, "number": value.number, "boolean": value.boolean}.get(kind)
    return None


def _sure(expression: Any) -> Truth:
    """Return the truth of a comparison, false where a side is NULL."""
    return func.coalesce(expression, false(), type_=Boolean())
