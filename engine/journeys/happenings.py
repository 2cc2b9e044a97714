"""Reading events for a pass: each with its customer's zone.

Comes in: which events, as conditions on a query. Goes out: `ArrivedEvent` values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from engine.journeys.candidates import ArrivedEvent
from engine.store.dialect import within
from engine.store.prepared import Prepared
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
        events.c.value,
        events.c.order_id,
        events.c.cart_id,
        events.c.sku,
        events.c.backfill,
    ).join(customers, customers.c.id == events.c.customer_id)


def read_events(connection: Connection, query: Select[Any], shop_zone: str) -> list[ArrivedEvent]:
    """Run an `event_rows` query."""
    return [_event(row, shop_zone) for row in connection.execute(query).all()]


def events_of(connection: Connection, ids: Sequence[int], shop_zone: str) -> list[ArrivedEvent]:
    """Return the events of these ids, in order of their moments."""
    return [_event(row, shop_zone) for row in _BY_ID.rows(connection, ids=ids)] if ids else []


def events_since(
    connection: Connection, customer_ids: Sequence[int], names: Sequence[str], moment: datetime
) -> list[ArrivedEvent]:
    """Return what these customers did by these names later than a moment."""
    found = _SINCE.rows(connection, customers=customer_ids, names=names, moment=moment)
    return [_event(row, "UTC") for row in found]


def _event(row: Any, shop_zone: str) -> ArrivedEvent:
    which, customer_id, name, at, zone, properties, value, *rest = row
    told = with_value(properties or {}, value)
    return ArrivedEvent(which, customer_id, name, at, zone or shop_zone, told, *rest)


def with_value(properties: Mapping[str, Any], value: Decimal | None) -> Mapping[str, Any]:
    """Return what a fact told with its value: of an order that is the total, of a cart what its lines are worth."""
    return properties if value is None or "value" in properties else {**properties, "value": value}


_BY_ID = Prepared(event_rows().where(within(events.c.id, "ids")).order_by(events.c.occurred_at, events.c.id))
_SINCE = Prepared(
    event_rows().where(
        within(events.c.customer_id, "customers"),
        within(events.c.name, "names"),
        events.c.occurred_at > bindparam("moment"),
    )
)
