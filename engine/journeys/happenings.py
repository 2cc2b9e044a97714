"""Reading events for a pass: each with its customer's zone.

Comes in: which events, as conditions on a query. Goes out: `ArrivedEvent` values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, Text, bindparam, cast, select, type_coerce

from engine.journeys.candidates import ArrivedEvent, Told
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import customers, events

# As a text, which is read when somebody asks: PostgreSQL's driver would read each document at once.
UNREAD = cast(events.c.properties, Text())


def event_rows() -> Select[Any]:
    """Return the query that `read_events` understands: events with their customer's zone."""
    return select(
        events.c.id,
        events.c.customer_id,
        events.c.name,
        events.c.occurred_at,
        customers.c.zone,
        UNREAD,
        type_coerce(events.c.value, BigInteger()),
        events.c.order_id,
        events.c.cart_id,
        events.c.sku,
        events.c.backfill,
    ).join(customers, customers.c.id == events.c.customer_id)


def read_events(connection: Connection, query: Select[Any], shop_zone: str) -> list[ArrivedEvent]:
    """Run an `event_rows` query."""
    return [_event(row, shop_zone) for row in connection.execute(query)]


def events_of(connection: Connection, ids: Sequence[int], shop_zone: str) -> list[ArrivedEvent]:
    """Return the events of these ids, in order of their moments."""
    return [_event(row, shop_zone) for row in _BY_ID.rows(connection, ids=ids)] if ids else []


def events_since(
    connection: Connection, customer_ids: Sequence[int], names: Sequence[str], moment: datetime
) -> list[ArrivedEvent]:
    """Return what these customers did by these names later than a moment, without what those facts told."""
    found = _SINCE.rows(connection, customers=customer_ids, names=names, moment=moment)
    return [
        ArrivedEvent(which, customer_id, name, at, "UTC", _UNTOLD, order_id, cart_id, sku, backfill)
        for which, customer_id, name, at, order_id, cart_id, sku, backfill in found
    ]


def _event(row: Any, shop_zone: str) -> ArrivedEvent:
    which, customer_id, name, at, zone, document, units, order_id, cart_id, sku, backfill = row
    told = Told(document, units)
    return ArrivedEvent(
        which, customer_id, name, at, zone or shop_zone, told, order_id, cart_id, sku, backfill
    )


_UNTOLD = Told(None)
_BY_ID = Prepared(event_rows().where(within(events.c.id, "ids")).order_by(events.c.occurred_at, events.c.id))
_SINCE = Prepared(
    select(
        events.c.id,
        events.c.customer_id,
        events.c.name,
        events.c.occurred_at,
        events.c.order_id,
        events.c.cart_id,
        events.c.sku,
        events.c.backfill,
    ).where(
        within(events.c.customer_id, "customers"),
        within(events.c.name, "names"),
        events.c.occurred_at > bindparam("moment"),
    )
)
