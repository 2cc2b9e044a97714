"""Facts that came to a flow's door and let nobody in, because the trigger's `where` did not hold.

The journal keeps decisions from the moment on at which the trigger and its `where` held; these are looked up again, as
of when the fact arrived, and labelled so.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from engine.audience.memory import explain
from engine.audience.subjects import Ask, Subject
from engine.audience.wanted import wanted_words
from engine.flows.conditions import Clause, Of
from engine.flows.model import EventTrigger
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow
from engine.store.tables import events

MOST = 20


def turned_away(connection: Connection, customer_id: int, live: LiveFlow, at: Round) -> list[dict[str, Any]]:
    """Return the newest facts of the flow's event triggers whose `where` failed, as decisions that were recomputed."""
    found: list[dict[str, Any]] = []
    for trigger in live.flow.triggers:
        if not isinstance(trigger, EventTrigger) or not trigger.where:
            continue
        table = events.c
        query = (
            select(events)
            .where(
                table.customer_id == customer_id,
                table.name == trigger.event,
                table.arrived_at > live.applied_at,
                table.arrived_at <= at.now,
                table.backfill.is_(False),
            )
            .order_by(table.occurred_at.desc())
            .limit(MOST)
        )
        ask = Ask(Clause(Of("trigger", trigger.where), "where"))
        for row in connection.execute(query).all():
            subject = Subject(
                customer_id, row.occurred_at, row.occurred_at, row.id, trigger=row.properties or {}
            )
            (truth,) = explain(
                connection,
                [ask],
                subject,
                now=row.arrived_at,
                segments=live.flow.segments,
                shop_zone=at.shop_zone,
            )
            if not truth.holds:
                clause = {
                    "clause": "where", "holds": False, "found": truth.found, "wanted": wanted_words(ask.clause.condition),
                    "recomputed": True,
                }  # fmt: skip
                found.append(
                    {
                        "at": row.arrived_at, "step": None, "decision": "turned_away", "reason": "condition_false: where",
                        "clauses": [clause], "message": None, "enrollment": None, "event": row.name, "recomputed": True,
                    }
                )  # fmt: skip
    return found
