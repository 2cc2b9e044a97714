"""Timers of anniversaries and dates: a customer's own days, on the customer's own clock.

Comes in: customers whose records may have changed. Goes out: their timers brought in line with the records, those of
dates that are gone removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, null, select

from engine.facts.days import DAY_COLUMNS, column_of
from engine.flows.model import AnniversaryTrigger, DateTrigger
from engine.journeys.moments import Due, date_due, next_anniversary
from engine.journeys.timers import Row, set_timers, timers_of
from engine.journeys.versions import LiveFlow
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import customers, timers

_STANDING = Prepared(
    select(timers.c.customer_id, timers.c.payload).where(
        timers.c.flow == bindparam("of_flow"),
        timers.c.trigger_no == bindparam("number"),
        timers.c.key == bindparam("field"),
        within(timers.c.customer_id, "ids"),
    )
)


def arm_dates(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: AnniversaryTrigger | DateTrigger,
    customer_ids: Sequence[int],
    shop_zone: str,
    now: datetime,
    *,
    known_before: bool,
) -> None:
    """Bring the date timers of these customers in line with their records.

    `known_before` tells that the dates were known before the flow was applied: then only moments after that count.
    A date that became known just now may also be entered late, until the date itself is over.
    """
    found = _STANDING.rows(
        connection, of_flow=live.flow.name, number=number, field=trigger.field, ids=customer_ids
    )
    standing: dict[int, Any] = {customer_id: payload for customer_id, payload in found}
    rows, gone = [], []
    for customer_id, zone, value in _date_values(connection, trigger.field, customer_ids, shop_zone):
        payload = {"value": str(value), "zone": zone}
        known = standing.get(customer_id)
        if known is not None and known.get("value") == payload["value"] and known.get("zone") == zone:
            continue
        same_value = known is not None and known.get("value") == payload["value"]
        due = (
            due_of(trigger, value, zone, now, late=not known_before and not same_value)
            if value is not None
            else None
        )
        if due is not None:
            rows.append(date_row(live, number, trigger, customer_id, due, payload, now))
        elif known is not None:
            gone.append(customer_id)
    set_timers(connection, rows)
    if gone:
        connection.execute(timers_of(delete(timers), live, number, gone))


def due_of(
    trigger: AnniversaryTrigger | DateTrigger, value: Any, zone: str, now: datetime, *, late: bool
) -> Due | None:
    """Return the next moment of a date trigger for a value, or None where there is none to come."""
    if isinstance(trigger, AnniversaryTrigger):
        return next_anniversary(trigger, value, zone, now, late=late)
    due = date_due(trigger, value, zone)
    return due if due is not None and (due.due_at > now or (late and due.until > now)) else None


@lru_cache(maxsize=64)
def _values_of(field: str) -> Prepared:
    """Return the statement for what a date field of customers is read from."""
    column = column_of(field)
    chosen = customers.c.properties if column is None else column
    alone = customers.c[DAY_COLUMNS[field]] if field in DAY_COLUMNS else null()
    told = (customers.c.id, customers.c.zone, chosen, alone, customers.c.erased_at)
    return Prepared(select(*told).where(within(customers.c.id, "ids")))


def _date_values(
    connection: Connection, field: str, customer_ids: Sequence[int], shop_zone: str
) -> Iterator[tuple[int, str, Any]]:
    column = column_of(field)
    path = field.removeprefix("properties.").split(".")
    for customer_id, zone, value, day, erased_at in _values_of(field).rows(connection, ids=customer_ids):
        found = (day or value) if column is not None else dig(value, path)
        yield customer_id, zone or shop_zone, None if erased_at is not None else found


def dig(document: Any, path: Sequence[str]) -> Any:
    """Return the value at a path of keys inside nested mappings, or None."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def date_row(
    live: LiveFlow,
    number: int,
    trigger: AnniversaryTrigger | DateTrigger,
    customer_id: int,
    due: Due,
    payload: Row,
    now: datetime,
) -> Row:
    """Return the timer of a customer's date."""
    return {
        "flow": live.flow.name,
        "trigger_no": number,
        "customer_id": customer_id,
        "key": trigger.field,
        "armed_at": now,
        "due_at": max(due.due_at, now) if due.due_at < now else due.due_at,
        "until": due.until,
        "occurrence": due.occurrence,
        "event_id": None,
        "payload": payload | {"year": due.year, "years": due.years},
    }
