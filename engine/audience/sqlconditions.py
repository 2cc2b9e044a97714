"""From a condition to one boolean expression over the tables of facts.

Comes in: a condition and the *ground* it stands on: expressions for the subject's customer, times, ids and documents.
Goes out: an expression that is never NULL, and the joins that it needs. Whatever is looked up goes by an index: events by
customer, name and time, all else by primary keys. The words of `engine.audience.sql` say what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from typing import cast as typing_cast

from sqlalchemy import (
    BigInteger,
    Float,
    Select,
    Text,
    and_,
    case,
    cast,
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
from sqlalchemy.sql.selectable import FromClause, NamedFromClause

from engine.audience.fields import Field, FieldScope, resolve
from engine.audience.meaning import MOST_IN_SUM, MOST_UNITS, ON_THE_WAY, When
from engine.audience.sqlvalues import (
    Either,
    Expression,
    FirstOf,
    Json,
    Missing,
    Moments,
    Stored,
    Truth,
    Value,
    json_at,
    passes,
)
from engine.errors import UsageError
from engine.flows.conditions import (
    All,
    Any_,
    Clause,
    Condition,
    Did,
    FieldTest,
    InSegment,
    Lines,
    Not,
    Of,
    OfferIs,
)
from engine.store.tables import (
    cart_lines,
    carts,
    customer_scores,
    customers,
    events,
    messages,
    offer_codes,
    order_lines,
    orders,
    products,
)
from engine.store.types import MONEY_SCALE

LineTest = Callable[[Callable[[Field], Value]], Truth]
GroundName = Literal["event_id", "entered_at", "since_at", "order_id", "cart_id", "sku", "trigger", "answers"]
_NOW = When()
# What a scope is about: its table, joined by this part of the ground.
_JOINED: Mapping[str, tuple[Any, Any, GroundName | None]] = {
    "customers": (customers, customers.c.id, None),
    "customer_scores": (customer_scores, customer_scores.c.customer_id, None),
    "products": (products, products.c.sku, "sku"),
    "carts": (carts, carts.c.cart_id, "cart_id"),
    "orders": (orders, orders.c.order_id, "order_id"),
}
_LINES: Mapping[str, tuple[Any, str, str]] = {
    "cart": (cart_lines, "cart_id", "carts"),
    "order": (order_lines, "order_id", "orders"),
}


@dataclass(frozen=True, slots=True)
class Ground:
    """What a condition stands on, as expressions; None is missing for every subject."""

    customer_id: Expression
    entered_at: Expression
    since_at: Expression
    event_id: Expression | None = None
    order_id: Expression | None = None
    cart_id: Expression | None = None
    sku: Expression | None = None
    trigger: Expression | None = None
    answers: Expression | None = None


@dataclass(slots=True)
class Compiler:
    """Compiles conditions on one ground; remembers which tables and which parts of the ground they use."""

    ground: Ground
    moments: Moments
    segments: Mapping[str, tuple[Clause, ...]]
    tables: set[str] = field(default_factory=set)
    used: set[GroundName] = field(default_factory=set)
    trigger_keys: set[str] = field(default_factory=set)

    def holds(self, condition: Condition, *, after_entry: bool = False) -> Truth:
        """Return the truth of a condition; `after_entry` bounds every `did` in it that has no bound of its own."""
        if isinstance(condition, All):
            return and_(true(), *(self.holds(item, after_entry=after_entry) for item in condition.items))
        if isinstance(condition, Any_):
            return or_(false(), *(self.holds(item, after_entry=after_entry) for item in condition.items))
        if isinstance(condition, Not):
            return not_(self.holds(condition.item, after_entry=after_entry))
        if isinstance(condition, Did):
            return self._did(condition, after_entry)
        if isinstance(condition, Of):
            return self._of(condition)
        if isinstance(condition, OfferIs):
            return self._offer(condition)
        return self._segment(condition)

    def joined(self, base: FromClause) -> FromClause:
        """Return `base` with the tables that the conditions use, joined by their primary keys."""
        found = base
        for name, (table, key, by) in _JOINED.items():
            if name in self.tables and table is not base:
                found = found.outerjoin(
                    table, key == (getattr(self.ground, by) if by else self.ground.customer_id)
                )
        return found

    # ── parts of the ground ──

    def _ground(self, name: GroundName) -> Expression | None:
        expression: Expression | None = getattr(self.ground, name)
        if expression is not None:
            self.used.add(name)
        return expression

    def _segment(self, condition: InSegment) -> Truth:
        clauses = self.segments.get(condition.segment)
        if clauses is None:
            raise UsageError(f'there is no segment "{condition.segment}"')
        return and_(true(), *(self.holds(clause.condition) for clause in clauses))

    def _offer(self, condition: OfferIs) -> Truth:
        codes = offer_codes.alias()
        now = self.moments.parameter(_NOW)
        own = (
            codes.c.offer == literal(condition.offer, Text()),
            codes.c.customer_id == self.ground.customer_id,
        )
        mail = messages.alias()
        held = _exists(
            codes,
            *own,
            codes.c.issued_at <= now,
            or_(codes.c.expires_at.is_(None), codes.c.expires_at > now),
            not_(_exists(mail, mail.c.id == codes.c.message_id, mail.c.state.in_(ON_THE_WAY))),
        )
        used = _exists(codes, *own, codes.c.used_at <= now)
        asked = ((held, condition.held), (used, condition.used))
        return and_(
            true(), *(found if wanted else not_(found) for found, wanted in asked if wanted is not None)
        )

    # ── did ──

    def _did(self, condition: Did, after_entry: bool) -> Truth:  # noqa: FBT001 - handed down
        fact = events.alias()
        where = self._facts(fact, condition, after_entry)
        if where is None:
            where = [false()]
        count = (
            passes(Stored(_scalar(fact, func.count(), where), "integer"), condition.times, self.moments)
            if condition.times
            else _exists(fact, *where)
        )
        sums = (
            passes(Stored(self._sum(fact, tested.path, where), "money"), tested.tests, self.moments)
            for tested in condition.sums
        )
        return and_(count, *sums)

    def _facts(self, fact: NamedFromClause, condition: Did, after_entry: bool) -> list[Truth] | None:  # noqa: FBT001
        """Return which facts count; None where none can."""
        column = fact.c
        now, told = self.moments.parameter(_NOW), self.moments.told()
        where: list[Truth] = [
            column.customer_id == self.ground.customer_id,
            column.name == literal(condition.event, Text()),
            column.occurred_at <= told,
            column.arrived_at <= told,
            # A clock that is behind the one of who told a fact has no reason to doubt it.
            or_(column.occurred_at <= now, column.occurred_at <= column.arrived_at),
        ]
        event_id = self._ground("event_id")
        if event_id is not None:
            where.append(column.id.is_distinct_from(event_id))
        if condition.within is not None:
            where.append(column.occurred_at >= self.moments.parameter(When(None, condition.within.negative)))
        if condition.since == "entry":
            where.append(column.occurred_at > self._ground("entered_at"))
        elif condition.since is not None:
            where.append(column.occurred_at >= self.moments.parameter(When(condition.since)))
        elif condition.within is None and after_entry:
            where.append(column.occurred_at > self._ground("since_at"))
        if condition.same is not None:
            same = self._same(fact, condition.same)
            if same is None:
                return None
            where.append(same)
        where += [self._field("event", tested, fact) for tested in condition.where]
        return where

    def _same(self, fact: NamedFromClause, name: str) -> Truth | None:
        """Return whether a fact shares that id with the subject; other names compare text or numbers with the trigger's.

        A fact with lines (an order, a cart) shares a product that one of them names.
        """
        if name in ("order_id", "cart_id", "sku"):
            own = self._ground(typing_cast(GroundName, name))
            if own is None:
                return None
            itself = func.coalesce(fact.c[name] == own, false())
            return itself if name != "sku" else or_(itself, self._names_product(fact, own))
        mine, told = self._value("trigger", name, fact), self._value("event", name, fact)
        if isinstance(mine, Missing):
            return None
        return _shared(told, mine)

    def _names_product(self, fact: NamedFromClause, sku: Expression) -> Truth:
        def test(value: Callable[[Field], Value]) -> Truth:
            told = value(resolve("line", "sku"))
            return func.coalesce(told.text == sku, false()) if isinstance(told, Json) else false()

        return self._told_lines_exist("event", test, fact)

    def _sum(self, fact: NamedFromClause, path: str, where: Sequence[Truth]) -> Expression:
        units = _units(self._value("event", path, fact))
        return _scalar(fact, func.coalesce(func.sum(units, type_=BigInteger()), 0, type_=BigInteger()), where)

    # ── fields ──

    def _of(self, condition: Of) -> Truth:
        tested = [self._field(condition.scope, item) for item in condition.fields]
        return and_(true(), *tested, *(self._lines(condition.scope, lines) for lines in condition.lines))

    def _field(self, scope: FieldScope, tested: FieldTest, row: NamedFromClause | None = None) -> Truth:
        head, _, rest = tested.path.partition(".")
        if head == "lines" and rest and scope in ("trigger", "event", "cart", "order"):
            return self._lines(scope, Lines("any", (FieldTest(rest, tested.tests),)), row)
        return passes(self._value(scope, tested.path, row), tested.tests, self.moments)

    def _value(self, scope: FieldScope, path: str, row: NamedFromClause | None = None) -> Value:
        """Return the value of a field; `row` is the fact for the scope `event`."""
        found = resolve(scope, path)
        if found.table in ("trigger", "answer"):
            return self._document_value(found)
        if scope == "event" and row is not None:
            if found.kind != "any":
                return Stored(row.c[found.column], found.kind)
            top = json_at(row.c.properties, found.keys[:1])
            inside = json_at(row.c.properties, ("properties", *found.keys))
            return FirstOf(top.present, json_at(row.c.properties, found.keys), inside)
        owner = found.table or {"product": "products", "cart": "carts", "order": "orders"}[scope]
        if not self._join(owner):
            return Stored(true(), "boolean") if found.column == "in_stock" else Missing()
        table = _JOINED[owner][0]
        if found.column == "in_stock":
            return Stored(_in_stock(table), "boolean")
        return Stored(_items(scope), "integer") if not found.table else _stored(table, found)

    def _document_value(self, found: Field) -> Value:
        document = self._ground("trigger" if found.table == "trigger" else "answers")
        if document is None:
            return Missing()
        if found.table == "trigger":
            self.trigger_keys.add(found.keys[0])
        return json_at(document, found.keys)

    def _join(self, name: str) -> bool:
        """Ask for a table to be joined; return whether the ground has what it is joined by."""
        by = _JOINED[name][2]
        if by is not None and self._ground(by) is None:
            return False
        self.tables.add(name)
        return True

    # ── lines ──

    def _lines(self, scope: FieldScope, lines: Lines, row: NamedFromClause | None = None) -> Truth:
        """Return whether any, all or none of the lines pass; no lines: `any` does not hold, the others do."""
        found = self._line_exists(scope, lines, row)
        return found if lines.quantifier == "any" else not_(found)

    def _line_exists(self, scope: FieldScope, lines: Lines, row: NamedFromClause | None) -> Truth:
        def test(value: Callable[[Field], Value]) -> Truth:
            held = and_(
                true(),
                *(
                    passes(value(resolve("line", item.path)), item.tests, self.moments)
                    for item in lines.tests
                ),
            )
            return not_(held) if lines.quantifier == "all" else held

        if scope in _LINES:
            return self._stored_line_exists(scope, test)
        if scope not in ("trigger", "answer", "event"):
            return false()
        return self._told_lines_exist(scope, test, row)

    def _told_lines_exist(self, scope: FieldScope, test: LineTest, row: NamedFromClause | None) -> Truth:
        place = self._value(scope, "lines", row)
        if isinstance(place, FirstOf):
            first, other = typing_cast(Json, place.first), typing_cast(Json, place.other)
            return case((place.decides, _told_line_exists(first, test)), else_=_told_line_exists(other, test))
        return _told_line_exists(place, test) if isinstance(place, Json) else false()

    def _stored_line_exists(self, scope: FieldScope, test: LineTest) -> Truth:
        table, key, _ = _LINES[scope]
        own = self._ground(typing_cast(GroundName, key))
        if own is None:
            return false()
        line, product = table.alias(), products.alias()

        def value(found: Field) -> Value:
            if found.table != "lines":
                return _product_value(product, found)
            stored = Stored(line.c[found.column], found.kind)
            if found.column != "price":
                return stored
            return FirstOf(line.c.price.is_not(None), stored, Stored(product.c.price, "money"))

        lines = line.outerjoin(product, product.c.sku == line.c.sku)
        return _exists(lines, line.c[key] == own, test(value), own=(line, product))


def _told_line_exists(place: Json, test: Callable[[Callable[[Field], Value]], Truth]) -> Truth:
    """Return EXISTS over the lines that a fact told, with the products they name."""

    def of(item: Json) -> tuple[Callable[[Any], Any], Truth]:
        product = products.alias()

        def value(found: Field) -> Value:
            if found.table != "lines":
                return _product_value(product, found)
            told = item.inside((found.column,))
            return (
                FirstOf(told.present, told, Stored(product.c.price, "money"))
                if found.column == "price"
                else told
            )

        sku = item.inside(("sku",)).text
        return (lambda items: items.outerjoin(product, product.c.sku == sku)), test(value)

    return Either(place.exists_item("sqlite", of), place.exists_item("postgresql", of))


def _product_value(product: NamedFromClause, found: Field) -> Value:
    return Stored(_in_stock(product), "boolean") if found.column == "in_stock" else _stored(product, found)


def _stored(table: Any, found: Field) -> Value:
    return (
        json_at(table.c[found.column], found.keys)
        if found.kind == "any"
        else Stored(table.c[found.column], found.kind)
    )


def _in_stock(product: Any) -> Truth:
    """Return false only for a known product that is not available or has nothing left."""
    gone = or_(product.c.available.is_(False), product.c.stock <= 0)
    return not_(func.coalesce(gone, false()))


def _items(scope: FieldScope) -> Expression:
    """Return how many lines the joined cart or order has, NULL where there is none."""
    table, key, owner = _LINES[scope]
    line, keeper = table.alias(), _JOINED[owner][0]
    count = _scalar(line, func.count(), [line.c[key] == keeper.c[key]])
    return case((keeper.c[key].is_not(None), count))


def _units(value: Value) -> Expression:
    """Return a value in ten-thousandths as sums count it, NULL where it does not count."""
    if isinstance(value, FirstOf):
        return case((value.decides, _units(value.first)), else_=_units(value.other))
    if isinstance(value, Stored) and value.kind == "money":
        return case((func.abs(value.expression) <= literal(MOST_UNITS, BigInteger()), value.expression))
    if not isinstance(value, Json):
        return cast(literal_column("NULL"), BigInteger)
    number = value.number
    half = case((number < 0, literal_column("-0.5", Float)), else_=literal_column("0.5", Float))
    scaled = number * literal(float(MONEY_SCALE), Float(53)) + half
    counts = func.abs(number) <= literal(MOST_IN_SUM, Float(53))
    return Either(
        case((counts, cast(scaled, BigInteger))),
        case((counts, cast(func.trunc(scaled), BigInteger))),
        BigInteger(),
    )


def _shared(told: Value, mine: Value) -> Truth:
    """Return whether two values are the same text or the same number."""
    if isinstance(told, FirstOf):
        return case((told.decides, _shared(told.first, mine)), else_=_shared(told.other, mine))
    if not isinstance(mine, Json):
        return false()
    if isinstance(told, Json):
        return or_(
            func.coalesce(told.text == mine.text, false()), func.coalesce(told.number == mine.number, false())
        )
    if isinstance(told, Stored) and told.kind == "text":
        return func.coalesce(told.expression == mine.text, false())
    return false()


def _exists(rows: FromClause, *where: Truth, own: tuple[FromClause, ...] = ()) -> Truth:
    query: Select[Any] = select(literal_column("1")).select_from(rows).where(*where)
    return exists(query.correlate_except(*(own or (rows,))))


def _scalar(rows: FromClause, value: Expression, where: Sequence[Truth]) -> Expression:
    return select(value).select_from(rows).where(*where).correlate_except(rows).scalar_subquery()
