"""The fact that ended a wait: named by `as`, for later conditions, `set`, webhooks and templates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from engine.audience.sql import truths
from engine.audience.subjects import Ask, Subject
from engine.flows.conditions import Clause, Did, Of, walk
from engine.flows.model import WaitUntil
from engine.store.dialect import among
from engine.store.tables import events

if TYPE_CHECKING:
    from engine.journeys.advance import Walker


def find_answers(
    connection: Connection, answered: Sequence[tuple[Walker, WaitUntil]], now: datetime, shop_zone: str
) -> None:
    """Put the newest matching fact of each ended wait into its enrollment's context, under the wait's `as`."""
    for step in dict.fromkeys(step for _, step in answered):
        walkers = [walker for walker, own in answered if own == step]
        did = next((part for part in walk(step.until.condition) if isinstance(part, Did)), None)
        if did is None or step.answer is None:
            continue
        newest = _newest(connection, walkers, did, now, shop_zone)
        for walker in walkers:
            fact = newest.get(walker.id)
            if fact is not None:
                answers = {**walker.context.get("answers", {}), step.answer: _told(fact)}
                walker.context, walker.answered = {**walker.context, "answers": answers}, True


def _newest(
    connection: Connection, walkers: Sequence[Walker], did: Did, now: datetime, shop_zone: str
) -> dict[int, Row[Any]]:
    since = min(walker.since_at for walker in walkers)
    query = (
        select(events)
        .where(
            among(connection, events.c.customer_id, sorted({walker.customer_id for walker in walkers})),
            events.c.name == did.event,
            events.c.occurred_at > since,
            events.c.arrived_at <= now,
        )
        .order_by(events.c.occurred_at, events.c.id)
    )
    rows = connection.execute(query).all()
    if did.where and rows:
        ask = Ask(Clause(Of("trigger", did.where), "where"))
        subjects = [Subject(r.customer_id, r.occurred_at, r.occurred_at, trigger=r.properties or {}) for r in rows]
        holds = truths(connection, [ask], subjects, now=now, segments={}, shop_zone=shop_zone)
        rows = [row for row, (held,) in zip(rows, holds, strict=True) if held]
    found: dict[int, Row[Any]] = {}
    for walker in walkers:
        for row in rows:
            if row.customer_id == walker.customer_id and row.occurred_at > walker.since_at:
                found[walker.id] = row
    return found


def _told(row: Row[Any]) -> dict[str, Any]:
    return {**(row.properties or {}), "event": row.name, "at": row.occurred_at.isoformat()}
