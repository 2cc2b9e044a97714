"""Reading events for a pass: each with its customer's zone.

Comes in: which events, as conditions on a query. Goes out: `ArrivedEvent` values.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, select

from engine.journeys.candidates import ArrivedEvent
from engine.store.tables import customers, events


def event_rows() -> Select[Any]:
    """Return the query that `read_events` understands: events with their customer's zone."""
    return select(
        events.c.id,
        events.c.customer_id,
        events.c.name,
        events.c.occurred_at,
        customers.c.zone,
        events.c.properties,
        events.c.order_id,
        events.c.cart_id,
        events.c.sku,
        events.c.backfill,
    ).join(customers, customers.c.id == events.c.customer_id)


def read_events(connection: Connection, query: Select[Any], shop_zone: str) -> list[ArrivedEvent]:
    """Run an `event_rows` query."""
    return [
        ArrivedEvent(which, customer_id, name, at, zone or shop_zone, properties or {}, *rest)
        for which, customer_id, name, at, zone, properties, *rest in connection.execute(query).all()
    ]
