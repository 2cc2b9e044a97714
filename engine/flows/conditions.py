"""Conditions as frozen values: what a flow asks about a customer.

The parser (`engine.flows.parse`) makes them; `engine.audience` gives them their one meaning in two executions, SQL and
in memory. `clause_text` is the name of a clause in reasons, as in `exited: did: order_placed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from engine.calendar import Duration
from engine.diagnostics import Span

Operator = Literal[
    "eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "contains", "starts_with", "exists",
    "before", "after", "within", "older_than", "in_next",
]  # fmt: skip
OPERATORS: tuple[Operator, ...] = (
    "eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "contains", "starts_with", "exists",
    "before", "after", "within", "older_than", "in_next",
)  # fmt: skip

Scalar = str | int | Decimal | bool | datetime | Duration


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison of one field: `operand` is a tuple for `in`/`not_in`, a Duration for relative times.

    Numbers are int or Decimal (never float), `exists` has a bool, `before`/`after` an aware datetime.
    """

    __test__ = False  # not a test class for pytest

    op: Operator
    operand: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class FieldTest:
    """Tests on one field, all of which must hold; `path` is dotted, from a closed grammar (`properties.shoe_size`)."""

    path: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class All:
    """Every item holds (an empty list holds)."""

    items: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 - `Any` is taken by typing, and the language says `any`
    """At least one item holds (an empty list does not)."""

    items: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The item does not hold."""

    item: Condition


@dataclass(frozen=True, slots=True)
class Did:
    """The customer did EVENT; `did_not` is Not(Did).

    `times` tests the count (default: at least 1), `sums` test the sum of a field of the matching facts, `where` filters
    them, `within` looks back from now, `since` is `entry` or a moment, `same` names an id that must equal the trigger's.
    """

    event: str
    times: tuple[Test, ...] = ()
    within: Duration | None = None
    since: Literal["entry"] | datetime | None = None
    where: tuple[FieldTest, ...] = ()
    sums: tuple[FieldTest, ...] = ()
    same: str | None = None


Scope = Literal["customer", "trigger", "product", "cart", "order", "answer"]
SCOPES: tuple[Scope, ...] = ("customer", "trigger", "product", "cart", "order", "answer")
Quantifier = Literal["any", "all", "none"]


@dataclass(frozen=True, slots=True)
class Lines:
    """How many of the lines pass all the tests: any, all or none of them (`all` of no lines holds)."""

    quantifier: Quantifier
    tests: tuple[FieldTest, ...]


@dataclass(frozen=True, slots=True)
class Of:
    """Tests on the fields of the customer, the trigger (as it was), or its product, cart, order as they are now."""

    scope: Scope
    fields: tuple[FieldTest, ...]
    lines: tuple[Lines, ...] = ()


@dataclass(frozen=True, slots=True)
class OfferIs:
    """Whether the customer holds the offer (issued, not expired) and has used it; None is not asked."""

    offer: str
    held: bool | None = None
    used: bool | None = None


@dataclass(frozen=True, slots=True)
class InSegment:
    """The customer matches the segment; `not_segment` is Not(InSegment). Segments resolve from the flow's definition."""

    segment: str


Condition = All | Any_ | Not | Did | Of | OfferIs | InSegment


@dataclass(frozen=True, slots=True)
class Clause:
    """A top-level condition of a list, with the words in which it is reported and the place where it is written."""

    condition: Condition
    text: str
    span: Span = field(default=Span(), compare=False)


def walk(condition: Condition) -> Iterator[Condition]:
    """Yield the condition and everything nested in it, outermost first."""
    yield condition
    if isinstance(condition, All | Any_):
        for item in condition.items:
            yield from walk(item)
    elif isinstance(condition, Not):
        yield from walk(condition.item)


_TRIGGERS_OWN = ("trigger", "product", "cart", "order", "answer")


def needs_trigger(clause: Clause, segments: Mapping[str, tuple[Clause, ...]]) -> bool:
    """Return whether a clause can be answered only once something let the customer in: its fact, cart, order or product."""
    return any(
        (isinstance(part, Of) and part.scope in _TRIGGERS_OWN)
        or (isinstance(part, Did) and (part.same is not None or part.since == "entry"))
        for part in through_segments(clause, segments)
    )


def through_segments(clause: Clause, segments: Mapping[str, tuple[Clause, ...]]) -> Iterator[Condition]:
    """Yield all that a clause is made of, what the segments that it names are made of included."""
    for part in walk(clause.condition):
        yield part
        if isinstance(part, InSegment):
            for inner in segments.get(part.segment, ()):
                yield from through_segments(inner, segments)


def clause_text(raw: Any) -> str:
    """Return the words of a clause on one line: as its author wrote it, but for the order of keys.

    The parser hands keys over in one order, so that moving them about changes no reason.

    >>> clause_text({"did": "order_placed"})
    'did: order_placed'
    >>> clause_text({"customer": {"country": ["JP", "TW"]}})
    'customer: {country: [JP, TW]}'
    """
    if isinstance(raw, dict):
        return ", ".join(f"{key}: {_inline(value)}" for key, value in raw.items())
    return _inline(raw)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + clause_text(value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
