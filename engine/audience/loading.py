"""What conditions need to know of one customer, read in a few statements.

Comes in: conditions (with the segments they name) and a subject. Goes out: `CustomerFacts`, rows as plain mappings by
column name. Only what the conditions ask for is read, each by an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select
from sqlalchemy import Row as SqlRow

from engine.audience.meaning import ON_THE_WAY, flat_fact, trigger_id
from engine.audience.subjects import Subject
from engine.flows.conditions import Clause, Condition, Did, InSegment, Of, OfferIs, walk
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

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """What is known of one customer and of the cart, order and products in question, as rows by column name.

    `events` are by name; `products` by SKU: the subject's, and those of all lines; `on_the_way` are the messages of codes whose
    mail has not begun to leave. What was not asked for is empty.
    """

    customer: Row | None = None
    scores: Row | None = None
    events: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    cart: Row | None = None
    cart_lines: Sequence[Row] = ()
    order: Row | None = None
    order_lines: Sequence[Row] = ()
    products: Mapping[str, Row] = field(default_factory=dict)
    offers: Sequence[Row] = ()
    on_the_way: frozenset[int] = frozenset()


def load(
    connection: Connection,
    conditions: Iterable[Condition],
    subject: Subject,
    *,
    now: datetime,
    segments: Mapping[str, tuple[Clause, ...]],
) -> CustomerFacts:
    """Read what the conditions ask about the subject."""
    asked = list(_everything(conditions, segments, set()))
    scopes = {item.scope for item in asked if isinstance(item, Of)}
    names = sorted({item.event for item in asked if isinstance(item, Did)})
    customer_id, order_id, cart_id = (
        subject.customer_id,
        trigger_id(subject, "order_id"),
        trigger_id(subject, "cart_id"),
    )
    read = _Reader(connection)
    happened = read.events(customer_id, names, now) if names else {}
    cart = read.one(carts, carts.c.cart_id == cart_id) if cart_id is not None and "cart" in scopes else None
    order = (
        read.one(orders, orders.c.order_id == order_id)
        if order_id is not None and "order" in scopes
        else None
    )
    in_cart = (
        read.all(cart_lines, cart_lines.c.cart_id == cart_id)
        if cart_id is not None and "cart" in scopes
        else ()
    )
    in_order = (
        read.all(order_lines, order_lines.c.order_id == order_id)
        if order_id is not None and "order" in scopes
        else ()
    )
    customer = read.one(customers, customers.c.id == customer_id) if "customer" in scopes else None
    told = [
        subject.trigger,
        *subject.answers.values(),
        *(row["properties"] for rows in happened.values() for row in rows),
    ]
    skus = (
        {line["sku"] for line in (*in_cart, *in_order)} | set(_told_skus(told)) | {trigger_id(subject, "sku")}
    )
    offers = (
        read.all(offer_codes, offer_codes.c.customer_id == customer_id)
        if any(isinstance(item, OfferIs) for item in asked)
        else ()
    )
    return CustomerFacts(
        customer=customer,
        scores=read.one(customer_scores, customer_scores.c.customer_id == customer_id)
        if "customer" in scopes
        else None,
        events=happened,
        cart=cart,
        cart_lines=in_cart,
        order=order,
        order_lines=in_order,
        products=read.products(sku for sku in skus if sku is not None) if _asks_products(asked) else {},
        offers=offers,
        on_the_way=read.on_the_way(code["message_id"] for code in offers),
    )


def _everything(
    conditions: Iterable[Condition], segments: Mapping[str, tuple[Clause, ...]], seen: set[str]
) -> Iterator[Condition]:
    """Yield all conditions, nested ones and those of named segments included."""
    for condition in conditions:
        for item in walk(condition):
            yield item
            if isinstance(item, InSegment) and item.segment not in seen:
                seen.add(item.segment)
                yield from _everything(
                    [clause.condition for clause in segments.get(item.segment, ())], segments, seen
                )


def _asks_products(asked: Iterable[Condition]) -> bool:
    for item in asked:
        if isinstance(item, Of) and (item.scope == "product" or item.lines or _names_lines(item.fields)):
            return True
        if isinstance(item, Did) and _names_lines(item.where):
            return True
    return False


def _names_lines(fields: Iterable[Any]) -> bool:
    return any(tested.path.startswith("lines.") for tested in fields)


def _told_skus(facts: Iterable[Any]) -> Iterator[str]:
    for fact in facts:
        lines = flat_fact(fact).get("lines") if isinstance(fact, Mapping) else None
        for line in lines if isinstance(lines, list | tuple) else ():
            sku = line.get("sku") if isinstance(line, Mapping) else None
            if isinstance(sku, str):
                yield sku


@dataclass(frozen=True, slots=True)
class _Reader:
    connection: Connection

    def one(self, table: Table, where: ColumnElement[bool]) -> Row | None:
        row = self.connection.execute(select(table).where(where)).first()
        return None if row is None else _plain(row)

    def all(self, table: Table, where: ColumnElement[bool]) -> Sequence[Row]:
        return [_plain(row) for row in self.connection.execute(select(table).where(where))]

    def events(self, customer_id: int, names: Sequence[str], now: datetime) -> Mapping[str, Sequence[Row]]:
        query = select(events).where(
            events.c.customer_id == customer_id, events.c.name.in_(names), events.c.occurred_at <= now
        )
        found: dict[str, list[Row]] = {name: [] for name in names}
        for row in self.connection.execute(query.order_by(events.c.occurred_at, events.c.id)):
            found[row.name].append(_plain(row))
        return found

    def products(self, skus: Iterable[str]) -> Mapping[str, Row]:
        rows = self.all(products, products.c.sku.in_(sorted(set(skus))))
        return {row["sku"]: row for row in rows}

    def on_the_way(self, ids: Iterable[int | None]) -> frozenset[int]:
        asked = {each for each in ids if each is not None}
        query = select(messages.c.id).where(
            messages.c.id.in_(sorted(asked)), messages.c.state.in_(ON_THE_WAY)
        )
        return frozenset(self.connection.scalars(query)) if asked else frozenset()


def _plain(row: SqlRow[Any]) -> Row:
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
