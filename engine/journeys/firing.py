"""Firing: timers that are due become candidates, and those that come round each year are set again.

Comes in: a live flow and the moment. Goes out: candidates in order of their moments; spent timers are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Integer, bindparam, delete, select

from engine.flows.model import AnniversaryTrigger, EventTrigger, LapsedTrigger, Trigger
from engine.journeys.candidates import ArrivedEvent, Candidate
from engine.journeys.dates import date_row
from engine.journeys.gathering import gathered
from engine.journeys.happenings import events_of, events_since
from engine.journeys.moments import next_anniversary
from engine.journeys.timers import CHUNK, Row, is_whole, set_timers
from engine.journeys.versions import LiveFlow
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import timers

_DUE = Prepared(
    select(
        timers.c.id,
        timers.c.trigger_no,
        timers.c.customer_id,
        timers.c.key,
        timers.c.due_at,
        timers.c.occurrence,
        timers.c.event_id,
        timers.c.payload,
    )
    .where(timers.c.flow == bindparam("of_flow"), timers.c.due_at <= bindparam("now"))
    .order_by(timers.c.due_at, timers.c.id)
    .limit(bindparam("limit", type_=Integer()))
)
_SPENT = Prepared(delete(timers).where(within(timers.c.id, "ids")))


def fire(
    connection: Connection, live: LiveFlow, shop_zone: str, now: datetime, limit: int = CHUNK
) -> list[Candidate]:
    """Take the flow's timers that are due, re-arm yearly ones, and return their candidates in order of their moments."""
    due = _DUE.rows(connection, of_flow=live.flow.name, now=now, limit=limit)
    if not due:
        return []
    facts = _events_by_id(connection, [row.event_id for row in due if row.event_id is not None], shop_zone)
    overtaken = _overtaken(connection, live, due, facts)
    candidates: list[Candidate] = []
    spent: list[int] = []
    again: list[Row] = []
    for row in due:
        trigger = live.flow.triggers[row.trigger_no] if row.trigger_no < len(live.flow.triggers) else None
        if is_whole(row.key):
            candidates.append(gathered(row))
        elif trigger is not None and row.id not in overtaken:
            candidates.append(_candidate(row, facts.get(row.event_id), trigger))
        upcoming = (
            _next_year(live, row.trigger_no, trigger, row)
            if isinstance(trigger, AnniversaryTrigger) and not is_whole(row.key)
            else None
        )
        if upcoming is None:
            spent.append(row.id)
        else:
            again.append(upcoming)
    if spent:
        _SPENT.run(connection, ids=spent)
    set_timers(connection, again)
    return candidates


def _next_year(live: LiveFlow, number: int, trigger: AnniversaryTrigger, row: Any) -> Row | None:
    zone = row.payload["zone"]
    moment = row.due_at
    while True:
        due = next_anniversary(trigger, row.payload["value"], zone, moment, late=False)
        if due is None or due.occurrence != row.occurrence:
            break
        moment = due.due_at
    payload = {"value": row.payload["value"], "zone": zone}
    return None if due is None else date_row(live, number, trigger, row.customer_id, due, payload, row.due_at)


def _events_by_id(
    connection: Connection, ids: Iterable[int], shop_zone: str
) -> dict[int | None, ArrivedEvent]:
    found: dict[int | None, ArrivedEvent] = {}
    found.update((event.id, event) for event in events_of(connection, sorted(set(ids)), shop_zone))
    return found


def _overtaken(
    connection: Connection, live: LiveFlow, due: Sequence[Any], facts: Mapping[int | None, ArrivedEvent]
) -> set[int]:
    """Return the timers whose fact is not the newest after all: an older fact that was told late may have set one."""
    asked: dict[int, tuple[Any, ArrivedEvent, set[str]]] = {}
    for row in due:
        trigger = live.flow.triggers[row.trigger_no] if row.trigger_no < len(live.flow.triggers) else None
        event = facts.get(row.event_id)
        if event is None or is_whole(row.key):
            continue
        if isinstance(trigger, LapsedTrigger):
            asked[row.id] = (row, event, {trigger.event})
        elif isinstance(trigger, EventTrigger):
            emptied = {"cart_emptied"} if trigger.event == "cart_updated" else set()
            asked[row.id] = (row, event, {trigger.event} | emptied)
    if not asked:
        return set()
    newest: dict[tuple[int, str], datetime] = {}
    ids = sorted({row.customer_id for row, _, _ in asked.values()})
    told = sorted({name for _, _, names in asked.values() for name in names})
    for other in events_since(
        connection, ids, told, min(event.occurred_at for _, event, _ in asked.values())
    ):
        for key in {other.group_key if not other.backfill else "", ""}:
            known = newest.get((other.customer_id, f"{other.name}/{key}"))
            newest[other.customer_id, f"{other.name}/{key}"] = max(
                other.occurred_at, known or other.occurred_at
            )
    return {
        which
        for which, (row, event, names) in asked.items()
        if any(
            newest.get((row.customer_id, f"{name}/{row.key}"), event.occurred_at) > event.occurred_at
            for name in names
        )
    }


def _candidate(row: Any, event: ArrivedEvent | None, trigger_of: Trigger) -> Candidate:
    payload: Mapping[str, Any] = row.payload or {}
    if event is None:
        return Candidate(row.trigger_no, row.customer_id, row.occurrence, row.due_at, row.due_at, payload)
    trigger = {**event.properties, **payload}
    since = event.occurred_at if isinstance(trigger_of, EventTrigger) else row.due_at
    sku = payload.get("sku") or event.sku
    return Candidate(
        row.trigger_no, row.customer_id, row.occurrence, row.due_at, since, trigger, event.id, event.name,
        event.order_id, event.cart_id, sku,
    )  # fmt: skip
