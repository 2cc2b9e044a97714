"""Conditions as SQL: the truth of clauses for a batch of subjects, and the whole audience of a list of clauses.

Comes in: asks (clauses in their place) and subjects, or clauses alone. Goes out: rows of booleans in the subjects' order,
or a SELECT of customer ids. Promises: one statement whatever the number of subjects, which travel as one bound parameter
(on PostgreSQL one for each column); every value and name that a user wrote is bound; a missing value makes a test false and `not` is a true
complement (`engine.audience.meaning`). The other execution is `engine.audience.memory`.

What `did` counts: facts of that name with `occurred_at` and `arrived_at` up to now, both included (whoever decides about
a mail counts all that was told, also by a machine whose clock is ahead of its own: `told`); never the triggering
fact (not inside segments either); cancelled orders and backfilled facts too. `within` and `since` a moment include their
first microsecond. `since: entry`, and in `exit_when`, `goal` and waits an unbounded `did`, count only what happened later
than the entry: a fact of the very microsecond of the entry does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql.selectable import CTE
from sqlalchemy.types import TypeEngine

from engine.audience.meaning import When, answer_document, dump_json, flat_fact, trigger_id
from engine.audience.sqlconditions import Compiler, Ground
from engine.audience.sqlvalues import Either, Moments, Truth
from engine.audience.subjects import About, Ask
from engine.flows.conditions import Clause
from engine.store.bulk import array_of
from engine.store.dialect import within
from engine.store.keys import KeyRange
from engine.store.prepared import Prepared
from engine.store.tables import customers
from engine.store.types import Instant, Key, to_micros

Segments = Mapping[str, tuple[Clause, ...]]
EVERYTHING = datetime.max.replace(tzinfo=UTC)  # for `told`: whatever was told counts, by whosever clock
MOST_KEYS = 2**63 - 1  # greater than any key

_COLUMNS: Mapping[str, TypeEngine[Any]] = {
    "n": Integer(),
    "customer_id": Key,
    "event_id": Key,
    "entered_at": Instant(),
    "since_at": Instant(),
    "order_id": Text(),
    "cart_id": Text(),
    "sku": Text(),
    "trigger": JSONB(),
    "answers": JSONB(),
}


def truths(
    connection: Connection,
    asks: Sequence[Ask],
    subjects: Sequence[About],
    *,
    now: datetime,
    segments: Segments,
    shop_zone: str,
    told: datetime | None = None,
) -> list[tuple[bool, ...]]:
    """Return, for each subject in order, whether each ask holds at `now`, by facts told up to then, or up to `told`.

    One statement for the whole batch (meant for up to 5,000 subjects); the compiled statement is kept for the next batch
    with the same asks. Raise UsageError for a field or segment that cannot be.
    """
    if not asks or not subjects:
        return [() for _ in subjects]
    plan = _plan(_SameAsks(tuple(asks), segments), connection.dialect.name)
    values: dict[str, Any] = plan.moments.values(now, shop_zone, told) | _listed(subjects, plan)
    found: list[tuple[bool, ...]] = [()] * len(subjects)
    known: dict[Sequence[Any], tuple[bool, ...]] = {}  # few differ
    for row in plan.statement.unread(connection, **values):
        held = row[1:]
        if held not in known:
            known[held] = tuple(map(bool, held))
        found[row[0]] = known[held]
    return found


def customers_matching(
    clauses: Sequence[Clause],
    *,
    now: datetime,
    segments: Segments,
    shop_zone: str,
    among: Sequence[int] | None = None,
) -> Select[int]:
    """Return a SELECT of the ids of the customers for whom all clauses hold at `now`, for either database.

    The subject is the customer, entering now, with no trigger: `trigger`, `product`, `cart` and `order` are missing.
    `among` limits the answer to some ids, in one bound parameter. An erased customer never matches.
    """
    moments = Moments(now, shop_zone)
    entering = moments.parameter(When())
    compiler = Compiler(Ground(customers.c.id, entering, entering), moments, segments)
    held = [compiler.holds(clause.condition) for clause in clauses]
    query = select(customers.c.id).select_from(compiler.joined(customers))
    query = query.where(customers.c.erased_at.is_(None), *held)
    return query if among is None else query.where(_among(among))


def matching_among(
    connection: Connection,
    clauses: Sequence[Clause],
    who: Sequence[int] | KeyRange,
    *,
    now: datetime,
    segments: Segments,
    shop_zone: str,
) -> set[int]:
    """Return which of some customers `customers_matching` finds; the compiled statement is kept for the same clauses."""
    asks = tuple(map(Ask, clauses))
    statement, moments = _audience(_SameAsks(asks, segments), ranged=isinstance(who, KeyRange))
    values: dict[str, Any] = moments.values(now, shop_zone)
    if isinstance(who, KeyRange):
        values |= {"low": who.low, "high": MOST_KEYS if who.high is None else who.high}
    else:
        values["ids"] = list(who)
    return set(statement.column(connection, **values))


def _among(ids: Sequence[int]) -> Truth:
    listed = literal(dump_json(list(ids)), Text())
    sqlite = select(func.json_each(listed).table_valued("value").c.value)
    elements = (
        func.jsonb_array_elements_text(cast(listed, JSONB))
        .table_valued(column("value", Text()))
        .render_derived()
    )
    postgresql = select(cast(elements.c.value, BigInteger))
    return Either(customers.c.id.in_(sqlite), customers.c.id.in_(postgresql))


# ── plans: what is compiled once ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Plan:
    """A statement for one list of asks, with what its parameters stand for."""

    statement: Prepared
    moments: Moments
    columns: tuple[str, ...]
    trigger_keys: tuple[str, ...]
    dialect: str


class _SameAsks:
    """Asks and segments, compared by the identity of their conditions: quick, and `1` is not `true` as in equality."""

    __slots__ = ("_key", "asks", "segments")

    def __init__(self, asks: tuple[Ask, ...], segments: Segments) -> None:
        self.asks = asks
        self.segments = segments
        named = tuple((name, id(clauses)) for name, clauses in segments.items())
        self._key = (tuple((id(ask.clause.condition), ask.after_entry) for ask in asks), named)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameAsks) and self._key == other._key


@dataclass(frozen=True, slots=True)
class _EqualAsks:
    """Asks and segments, compared by how they are written out, types included."""

    text: str
    asks: tuple[Ask, ...] = field(compare=False)
    segments: Segments = field(compare=False)


@lru_cache(maxsize=512)
def _plan(same: _SameAsks, dialect: str) -> _Plan:
    conditions = [(ask.clause.condition, ask.after_entry) for ask in same.asks]
    text = repr(
        (conditions, [(name, [clause.condition for clause in of]) for name, of in same.segments.items()])
    )
    return _plan_equal(_EqualAsks(text, same.asks, same.segments), dialect)


@lru_cache(maxsize=256)
def _plan_equal(equal: _EqualAsks, dialect: str) -> _Plan:
    """Compile twice: first to learn which columns of the subjects are used, then with no others."""
    _, compiler = _truths_over(_subjects(tuple(_COLUMNS), dialect), equal)
    columns = tuple(name for name in _COLUMNS if name in ("n", "customer_id") or name in compiler.used)
    subjects = _subjects(columns, dialect)
    held, compiler = _truths_over(subjects, equal)
    labelled = [truth.label(f"ask_{number}") for number, truth in enumerate(held)]
    statement = select(subjects.c.n, *labelled).select_from(compiler.joined(subjects))
    return _Plan(
        Prepared(statement), compiler.moments, columns, tuple(sorted(compiler.trigger_keys)), dialect
    )


@lru_cache(maxsize=256)
def _audience(same: _SameAsks, *, ranged: bool) -> tuple[Prepared, Moments]:
    """Return the statement that finds customers in a range of keys or among some ids, and what its moments stand for."""
    moments = Moments()
    entering = moments.parameter(When())
    compiler = Compiler(Ground(customers.c.id, entering, entering), moments, same.segments)
    held = [compiler.holds(ask.clause.condition) for ask in same.asks]
    low, high = (bindparam(name, type_=Key, required=True) for name in ("low", "high"))
    some = (customers.c.id >= low, customers.c.id < high) if ranged else (within(customers.c.id, "ids"),)
    query = select(customers.c.id).select_from(compiler.joined(customers))
    return Prepared(query.where(customers.c.erased_at.is_(None), *some, *held)), moments


def _truths_over(subjects: CTE, equal: _EqualAsks) -> tuple[list[Truth], Compiler]:
    ground = Ground(**{name: subjects.c.get(name) for name in _COLUMNS if name != "n"})  # type: ignore[arg-type]
    compiler = Compiler(ground, Moments(), equal.segments)
    held = [compiler.holds(ask.clause.condition, after_entry=ask.after_entry) for ask in equal.asks]
    return held, compiler


def _subjects(columns: Sequence[str], dialect: str) -> CTE:
    """Return the subjects as rows, unrolled from the parameters that they travel in."""
    if dialect == "sqlite":
        rows = func.json_each(bindparam("subjects", type_=Text(), required=True)).table_valued("value")
        taken = [
            func.json_extract(rows.c.value, literal_column(f"'$[{place}]'"), type_=_COLUMNS[name]).label(name)
            for place, name in enumerate(columns)
        ]
        query = select(*taken)
    else:
        arrays = [
            cast(bindparam(f"every_{name}", type_=Text(), required=True), ARRAY(_COLUMNS[name]))
            for name in columns
        ]
        typed = [column(name, _COLUMNS[name]) for name in columns]
        query = select(func.unnest(*arrays).table_valued(*typed).render_derived())
    # Both databases would otherwise unroll the parameters again for every use.
    return query.cte("subjects").prefix_with("MATERIALIZED")


def _listed(subjects: Sequence[About], plan: _Plan) -> dict[str, str]:
    """Return the subjects as parameters, with only the columns and fields that the plan uses."""
    told = [_told(subjects, name, plan) for name in plan.columns]
    if plan.dialect == "sqlite":
        return {"subjects": dump_json(list(zip(*told, strict=True)))}
    return {
        f"every_{name}": array_of(_COLUMNS[name], values)
        for name, values in zip(plan.columns, told, strict=True)
    }


def _told(subjects: Sequence[About], name: str, plan: _Plan) -> Sequence[Any]:
    """Return one column of the subjects, as the database takes it inside a parameter."""
    if name == "n":
        return range(len(subjects))
    if name in ("order_id", "cart_id", "sku"):
        return [trigger_id(subject, name) for subject in subjects]
    if name in ("trigger", "answers"):
        documents = [
            _trigger(subject.trigger, plan) if name == "trigger" else answer_document(subject.answers)
            for subject in subjects
        ]
        # Inside the one document of SQLite they are written with all the rest.
        return documents if plan.dialect == "sqlite" else list(map(dump_json, documents))
    values = [getattr(subject, name) for subject in subjects]
    if plan.dialect == "sqlite" and isinstance(_COLUMNS[name], Instant):
        return list(map(to_micros, values))
    return values


def _trigger(trigger: Mapping[str, Any], plan: _Plan) -> dict[str, Any]:
    fact = flat_fact(trigger)
    return {key: fact[key] for key in plan.trigger_keys if key in fact}
