"""Arming: new facts set and move the timers of time triggers.

Comes in: one live flow and a batch of facts, backfilled ones included. Goes out: rows of `timers`. What decides when a
timer is due is here: quiet times, lapses by a customer's own gap, run-out dates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from engine.calendar import Duration, add
from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    EventTrigger,
    Flow,
    LapsedTrigger,
    ReplenishTrigger,
    Trigger,
)
from engine.insights.gaps import shop_median_gap_days, usual_gaps
from engine.journeys.candidates import ArrivedEvent, Told
from engine.journeys.dates import arm_dates
from engine.journeys.happenings import event_rows, read_events
from engine.journeys.timers import Row, chunks, row_of, set_timers
from engine.journeys.versions import LiveFlow
from engine.recommend.supply import Line, run_out_days
from engine.store.dialect import among
from engine.store.prepared import Prepared
from engine.store.tables import events, orders, timers

CUSTOMER_EVENTS = frozenset({"customer_created", "customer_updated"})
SUPPLY_EVENTS = frozenset({"order_placed", "order_cancelled", "refill_answered"})

_DISARM = Prepared(
    delete(timers).where(
        timers.c.flow == bindparam("of_flow"),
        timers.c.trigger_no == bindparam("number"),
        timers.c.customer_id == bindparam("who"),
        timers.c.key == bindparam("by"),
        timers.c.armed_at <= bindparam("at"),
    )
)


def sets_timers(flow: Flow, batch: Sequence[ArrivedEvent]) -> bool:
    """Return whether any of these facts may set or move a timer of the flow."""
    names = {event.name for event in batch}
    return any(not names.isdisjoint(_heard(trigger)) for trigger in flow.triggers)


def _heard(trigger: Trigger) -> Collection[str]:
    """Return the names of the facts by which a trigger's timers are set."""
    if isinstance(trigger, EventTrigger):
        return () if trigger.quiet_for is None else (trigger.event, "cart_emptied")
    if isinstance(trigger, LapsedTrigger):
        return (trigger.event,)
    if isinstance(trigger, ReplenishTrigger):
        return SUPPLY_EVENTS
    return CUSTOMER_EVENTS if isinstance(trigger, AnniversaryTrigger | DateTrigger) else ()


def arm(
    connection: Connection, live: LiveFlow, batch: Sequence[ArrivedEvent], shop_zone: str, now: datetime
) -> None:
    """Set or move the timers of one flow for newly arrived facts, backfilled ones included."""
    for number, trigger in enumerate(live.flow.triggers):
        if isinstance(trigger, EventTrigger) and trigger.quiet_for is not None:
            arm_quiet(connection, live, number, trigger, batch)
        elif isinstance(trigger, LapsedTrigger):
            relevant = [event for event in batch if event.name == trigger.event]
            set_timers(connection, lapsed_rows(connection, live, number, trigger, relevant, now))
        elif isinstance(trigger, ReplenishTrigger):
            arm_replenish(connection, live, number, trigger, batch, now)
        elif isinstance(trigger, AnniversaryTrigger | DateTrigger):
            touched = sorted({event.customer_id for event in batch if event.name in CUSTOMER_EVENTS})
            for part in chunks(touched):
                arm_dates(connection, live, number, trigger, part, shop_zone, now, known_before=False)


def arm_quiet(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: EventTrigger,
    batch: Sequence[ArrivedEvent],
    since: datetime | None = None,
) -> None:
    """Set or move the timers of a quiet trigger; with `since`, for facts that were known before, only later moments."""
    assert trigger.quiet_for is not None
    emptied = [e for e in batch if trigger.event == "cart_updated" and e.name == "cart_emptied"]
    newest: dict[tuple[int, str], ArrivedEvent] = {}
    for event in batch:
        if event.name == trigger.event and not event.backfill:
            standing = newest.get((event.customer_id, event.group_key))
            if standing is None or event.occurred_at >= standing.occurred_at:
                newest[event.customer_id, event.group_key] = event
    rows = [
        row_of(live, number, e, e.group_key, add(e.occurred_at, trigger.quiet_for, e.zone), f"e{e.id}")
        for e in newest.values()
    ]
    set_timers(connection, [row for row in rows if since is None or row["due_at"] > since])
    own = {"of_flow": live.flow.name, "number": number}
    gone = [{**own, "who": e.customer_id, "by": e.group_key, "at": e.occurred_at} for e in emptied]
    _DISARM.run_each(connection, gone)


def lapsed_rows(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: LapsedTrigger,
    batch: Sequence[ArrivedEvent],
    now: datetime,
) -> list[Row]:
    """Return the timers of a lapse for these facts, of which each customer's newest counts."""
    newest: dict[int, ArrivedEvent] = {}
    for event in batch:
        if event.customer_id not in newest or event.occurred_at >= newest[event.customer_id].occurred_at:
            newest[event.customer_id] = event
    delays = _lapse_delays(connection, trigger, list(newest), now)
    rows = []
    for customer_id, event in newest.items():
        delay = delays.get(customer_id)
        if delay is None:
            continue
        due = max(event.occurred_at, add(event.occurred_at, delay, event.zone))
        if due > live.applied_at:
            rows.append(row_of(live, number, event, "", due, f"e{event.id}"))
    return rows


def _lapse_delays(
    connection: Connection, trigger: LapsedTrigger, customer_ids: Sequence[int], now: datetime
) -> dict[int, Duration | None]:
    """Return how long after their last fact these customers count as lapsed; None: never."""
    if trigger.factor is None:
        return dict.fromkeys(customer_ids, trigger.after)
    own: dict[int, float] = {}
    for part in chunks(customer_ids):
        own.update(usual_gaps(connection, trigger.event, part, now))
    fallback = trigger.otherwise
    if fallback is None and len(own) < len(customer_ids):
        median = shop_median_gap_days(connection, trigger.event, now)
        fallback = _bounded(trigger, float(trigger.factor) * median) if median is not None else None
    return {
        customer_id: _bounded(trigger, float(trigger.factor) * own[customer_id])
        if customer_id in own
        else fallback
        for customer_id in customer_ids
    }


def _bounded(trigger: LapsedTrigger, days: float) -> Duration:
    """Return a stretch of days within `at_least` and `at_most`."""
    delay = Duration.of_days(days)
    if trigger.at_least is not None and delay.approximate < trigger.at_least.approximate:
        return trigger.at_least
    if trigger.at_most is not None and delay.approximate > trigger.at_most.approximate:
        return trigger.at_most
    return delay


def arm_replenish(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: ReplenishTrigger,
    batch: Sequence[ArrivedEvent],
    now: datetime,
) -> None:
    """Set the timers of a replenishment for these facts; cancelled orders fall back to the purchase before them."""
    bought = [(event, line) for event in batch if event.name == "order_placed" for line in _lines(event)]
    asked = [
        Line(e.customer_id, str(line["sku"]), float(line.get("quantity") or 1), e.occurred_at)
        for e, line in bought
    ]
    rows = []
    for (event, line), days in zip(bought, run_out_days(connection, asked), strict=True):
        if days is not None:
            rows.append(_replenish_row(live, number, trigger, event, line, days))
    for event in batch:
        if event.name == "refill_answered" and event.sku:
            row = _answered_row(live, number, trigger, event)
            rows += [row] if row is not None else []
    rows = [row for row in rows if row["due_at"] > live.applied_at]
    set_timers(connection, rows)
    cancelled = [event for event in batch if event.name == "order_cancelled" and event.order_id is not None]
    for event in cancelled:
        connection.execute(
            delete(timers).where(
                timers.c.flow == live.flow.name,
                timers.c.trigger_no == number,
                timers.c.customer_id == event.customer_id,
                timers.c.occurrence.startswith(f"{event.order_id}:", autoescape=True),
            )
        )
    if cancelled:
        arm_replenish(connection, live, number, trigger, _bought_before(connection, cancelled), now)


def _bought_before(connection: Connection, cancelled: Sequence[ArrivedEvent]) -> list[ArrivedEvent]:
    """Return the newest purchase that still counts of each product in these cancelled orders, with that line alone."""
    skus = {(event.customer_id, str(line["sku"])) for event in cancelled for line in _lines(event)}
    ids = sorted({event.customer_id for event in cancelled})
    standing = select(orders.c.order_id).where(
        among(connection, orders.c.customer_id, ids), orders.c.cancelled_at.is_(None)
    )
    query = (
        event_rows()
        .where(
            among(connection, events.c.customer_id, ids),
            events.c.name == "order_placed",
            events.c.order_id.in_(standing),
        )
        .order_by(events.c.occurred_at, events.c.id)
    )
    newest: dict[tuple[int, str], tuple[ArrivedEvent, Mapping[str, Any]]] = {}
    for event in read_events(connection, query, "UTC"):
        for line in _lines(event):
            newest[event.customer_id, str(line["sku"])] = (event, line)
    found = [newest[key] for key in sorted(skus) if key in newest]
    return [event._replace(told=Told({**event.properties, "lines": [line]})) for event, line in found]


def _answered_row(live: LiveFlow, number: int, trigger: ReplenishTrigger, event: ArrivedEvent) -> Row | None:
    """Return the timer of an answer: `days` tells how long the product lasts, `remind_in` when to remind, lead or not."""
    line = {"sku": event.sku}
    days, remind_in = (_number(event.properties.get(name)) for name in ("days", "remind_in"))
    if remind_in is None:
        return None if days is None else _replenish_row(live, number, trigger, event, line, days)
    due = max(event.occurred_at, add(event.occurred_at, Duration.of_days(remind_in), event.zone))
    row = _replenish_row(live, number, trigger, event, line, remind_in)
    told = {**row["payload"], "run_out_at": add(due, trigger.lead, event.zone).isoformat()}
    return {**row, "due_at": due, "payload": told}


def _replenish_row(
    live: LiveFlow,
    number: int,
    trigger: ReplenishTrigger,
    event: ArrivedEvent,
    line: Mapping[str, Any],
    days: float,
) -> Row:
    out_at = add(event.occurred_at, Duration.of_days(days), event.zone)
    due = max(event.occurred_at, add(out_at, trigger.lead.negative, event.zone))
    sku = str(line["sku"])
    occurrence = f"{event.order_id}:{sku}" if event.name == "order_placed" else f"e{event.id}"
    payload = {
        "sku": sku,
        "quantity": line.get("quantity"),
        "run_out_at": out_at.isoformat(),
        "order_id": event.order_id,
    }
    return row_of(live, number, event, f"sku:{sku}", due, occurrence, payload)


def _lines(event: ArrivedEvent) -> list[Mapping[str, Any]]:
    lines = event.properties.get("lines") or []
    return [line for line in lines if isinstance(line, dict) and line.get("sku")]


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if isfinite(found) else None
