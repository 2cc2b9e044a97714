"""The engine's own events (`mail_sent`, `flow_entered`, …): facts like any other, so that conditions can ask for them.

They are written in the transaction that made them true. Those that a live flow listens to also go into the inbox, so
that flows can be triggered, left or fulfilled by them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from engine.store.bulk import insert_missing, insert_new, insert_rows
from engine.store.dialect import only_counts
from engine.store.tables import events, fact_inbox

NAMES = (
    "mail_sent",
    "mail_opened",
    "mail_clicked",
    "flow_entered",
    "flow_left",
    "offer_issued",
    "offer_used",
)


def fact(
    key: str, customer_id: int, name: str, moment: datetime, properties: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one event of the engine's own; `key` makes it unique."""
    return {
        "key": key,
        "customer_id": customer_id,
        "name": name,
        "occurred_at": moment,
        "arrived_at": moment,
        "properties": properties,
    }


def unheard(facts: Sequence[Mapping[str, Any]], listened: Collection[str]) -> bool:
    """Return whether no flow listens to any of these, so that they go to no inbox."""
    return not any(each["name"] in listened for each in facts)


def is_told(connection: Connection, name: str, listened: Collection[str]) -> bool:
    """Return whether `record` writes events of this name: where decisions are only counted, those that flows listen to."""
    return name in listened or not only_counts(connection)


def record(connection: Connection, facts: Sequence[Mapping[str, Any]], listened: Collection[str]) -> None:
    """Append events; told twice, they are there once. Those in `listened` wait in the inbox for the next pass."""
    if only_counts(connection):
        facts = [each for each in facts if each["name"] in listened]  # no condition asks for others
    if unheard(facts, listened):
        insert_missing(connection, events, facts)
        return
    ids = insert_new(connection, events, facts)
    heard = [
        {"event_id": event_id}
        for each, event_id in zip(facts, ids, strict=True)
        if event_id is not None and each["name"] in listened
    ]
    insert_rows(connection, fact_inbox, heard)


def forget(connection: Connection, keys: Sequence[str]) -> None:
    """Take back events of this transaction, by their keys: what they told did not happen after all."""
    ids = select(events.c.id).where(events.c.key.in_(keys))
    connection.execute(delete(fact_inbox).where(fact_inbox.c.event_id.in_(ids)))
    connection.execute(delete(events).where(events.c.key.in_(keys)))
