"""The engine's own events (`mail_sent`, `flow_entered`, …): facts like any other, so that conditions can ask for them.

They are written in the transaction that made them true. Those that a live flow listens to also go into the inbox, so
that flows can be triggered, left or fulfilled by them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import insert as plain_insert

from engine.store.dialect import insert
from engine.store.tables import events, fact_inbox

NAMES = ("mail_sent", "mail_opened", "mail_clicked", "flow_entered", "flow_left", "offer_issued", "offer_used")


def fact(key: str, customer_id: int, name: str, moment: datetime, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return one event of the engine's own; `key` makes it unique."""
    return {
        "key": key,
        "customer_id": customer_id,
        "name": name,
        "occurred_at": moment,
        "arrived_at": moment,
        "properties": dict(properties),
    }


def record(connection: Connection, facts: Sequence[Mapping[str, Any]], listened: Collection[str]) -> None:
    """Append events; told twice, they are there once. Those in `listened` wait in the inbox for the next pass."""
    if not facts:
        return
    statement = insert(connection, events).on_conflict_do_nothing(index_elements=["key"])
    heard = [each for each in facts if each["name"] in listened]
    unheard = [each for each in facts if each["name"] not in listened]
    if unheard:
        connection.execute(statement, unheard)
    if heard:
        ids = connection.execute(statement.returning(events.c.id), heard).scalars().all()
        if ids:
            connection.execute(plain_insert(fact_inbox), [{"event_id": event_id} for event_id in ids])
