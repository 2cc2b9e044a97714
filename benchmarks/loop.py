"""The loop that others run: load each customer through an ORM, evaluate the flows in Python. At its best.

Customers come in chunks, their orders, lines, events and consents with one statement for each relationship and chunk
(`selectinload`), and the conditions are plain Python on what was loaded. It decides who might be due in the six starter
flows, and writes nothing: a lower bound for what such a tick costs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, registry, relationship, selectinload

from engine.store import tables
from engine.store.database import Database

CHUNK = 1_000
DAY = timedelta(days=1)


class Customer:
    """A customer with everything that the six flows ask for."""

    id: int
    birthday: str | None
    usual_gap_days: float | None
    bought: list[Any]
    happened: list[Any]
    words: list[Any]


class Order:
    """An order with its lines."""

    placed_at: datetime
    lines: list[Any]


class Line:
    """A line of an order."""

    sku: str


class Event:
    """Something that happened."""

    name: str
    occurred_at: datetime


class Consent:
    """The word on a topic."""

    granted_at: datetime | None
    withdrawn_at: datetime | None


def _map() -> None:
    mapped = registry(metadata=tables.metadata)
    mapped.map_imperatively(Line, tables.order_lines)
    mapped.map_imperatively(Event, tables.events)
    mapped.map_imperatively(Consent, tables.consent_state)
    mapped.map_imperatively(Order, tables.orders, properties={"lines": relationship(Line)})
    relations = {
        "bought": relationship(Order),
        "happened": relationship(Event),
        "words": relationship(Consent),
    }
    mapped.map_imperatively(Customer, tables.customers, properties=relations)


_map()


def due_in_python(database: Database, now: datetime, since: datetime, most: int) -> int:
    """Look at the first `most` customers one by one; return how many are due in one of the flows."""
    due, last = 0, 0
    loads = (
        selectinload(Customer.bought).selectinload(Order.lines),  # type: ignore[arg-type]
        selectinload(Customer.happened),  # type: ignore[arg-type]
        selectinload(Customer.words),  # type: ignore[arg-type]
    )
    while last < most:
        with Session(database.engine) as session:
            identity = tables.customers.c.id
            query = select(Customer).where(identity > last, identity <= most).order_by(identity).limit(CHUNK)
            chunk = session.scalars(query.options(*loads)).all()
            if not chunk:
                break
            due += sum(_is_due(customer, now, since) for customer in chunk)
            last = chunk[-1].id
    return due


def _is_due(customer: Customer, now: datetime, since: datetime) -> bool:
    if not any(word.granted_at is not None and word.withdrawn_at is None for word in customer.words):
        return False
    placed = sorted(order.placed_at for order in customer.bought)
    thanked = any(since < moment <= now for moment in placed)
    checked_in = any(since < moment + 30 * DAY <= now for moment in placed)
    replenished = any(
        since < order.placed_at + 30 * DAY <= now for order in customer.bought for _ in order.lines
    )
    birthday = (customer.birthday or "")[5:] in (f"{now:%m-%d}", f"{now + 7 * DAY:%m-%d}")
    carts = [event for event in customer.happened if event.name == "cart_updated"]
    abandoned = any(since < event.occurred_at + timedelta(hours=4) <= now for event in carts)
    gap = customer.usual_gap_days
    lapsed = bool(placed) and gap is not None and since < placed[-1] + 1.5 * gap * DAY <= now
    return thanked or checked_in or replenished or birthday or abandoned or lapsed
