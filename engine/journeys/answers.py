"""The facts that end a wait.

The first says when it ended, the newest is named by `as`, for later conditions, `set`, webhooks and templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from engine.audience.meaning import trigger_id
from engine.audience.sql import truths
from engine.audience.subjects import Ask, Subject
from engine.flows.conditions import All, Any_, Clause, Condition, Did, Of
from engine.flows.model import WaitUntil
from engine.journeys.candidates import with_value
from engine.journeys.walker import Walker
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import events

Heard = Mapping[int, Sequence[Row[Any]]]


def heard_facts(
    connection: Connection,
    waiting: Sequence[tuple[WaitUntil, Sequence[Walker]]],
    now: datetime,
    shop_zone: str,
) -> dict[int, Sequence[Row[Any]]]:
    """Return for each walker (by id) the facts that its wait's condition names, oldest first."""
    found: dict[int, Sequence[Row[Any]]] = {}
    for step, walkers in waiting:
        did = next(dids_in(step.until.condition), None)
        if did is not None:
            found |= _matching(connection, walkers, did, now, shop_zone)
    return found


def dids_in(condition: Condition) -> Iterator[Did]:
    """Yield what a condition asks to have happened; what must not have happened is no answer."""
    if isinstance(condition, Did):
        yield condition
    elif isinstance(condition, All | Any_):
        for item in condition.items:
            yield from dids_in(item)


def held_since(step: WaitUntil, facts: Sequence[Row[Any]]) -> datetime | None:
    """Return since when the condition of a wait holds, where a single fact decides it; else None."""
    condition = step.until.condition
    if not isinstance(condition, Did) or condition.times or condition.sums or not facts:
        return None
    moment: datetime = facts[0].occurred_at
    return moment


def note_answer(walker: Walker, step: WaitUntil, facts: Sequence[Row[Any]], limit: datetime) -> None:
    """Put the newest of the facts into the enrollment's context, under the wait's `as`."""
    in_time = [fact for fact in facts if fact.occurred_at <= limit]
    if step.answer is None or not in_time:
        return
    walker.answer(step.answer, _told(in_time[-1]))


_DONE = Prepared(
    select(events)
    .where(
        within(events.c.customer_id, "ids"),
        events.c.name == bindparam("name"),
        events.c.occurred_at > bindparam("since"),
    )
    .order_by(events.c.occurred_at, events.c.id)
)


def _matching(
    connection: Connection, walkers: Sequence[Walker], did: Did, now: datetime, shop_zone: str
) -> dict[int, Sequence[Row[Any]]]:
    rows = _DONE.rows(
        connection,
        ids=sorted({walker.customer_id for walker in walkers}),
        name=did.event,
        since=min(walker.since_at for walker in walkers),
    )
    if did.where and rows:
        ask = Ask(Clause(Of("trigger", did.where), "where"))
        subjects = [
            Subject(
                r.customer_id, r.occurred_at, r.occurred_at, trigger=with_value(r.properties or {}, r.value)
            )
            for r in rows
        ]
        holds = truths(connection, [ask], subjects, now=now, segments={}, shop_zone=shop_zone)
        rows = [row for row, (held,) in zip(rows, holds, strict=True) if held]
    return {walker.id: [row for row in rows if _is_for(row, walker, did)] for walker in walkers}


def _is_for(row: Row[Any], walker: Walker, did: Did) -> bool:
    if (
        row.customer_id != walker.customer_id
        or row.occurred_at <= walker.since_at
        or row.id == walker.event_id
    ):
        return False
    if did.same is None:
        return True
    told = getattr(row, did.same, None) or (row.properties or {}).get(did.same)
    return told is not None and str(told) == trigger_id(walker, did.same)


def _told(row: Row[Any]) -> dict[str, Any]:
    return {
        **with_value(row.properties or {}, row.value),
        "event": row.name,
        "at": row.occurred_at.isoformat(),
    }
