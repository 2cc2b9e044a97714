"""Time triggers as rows: what a timer is made of, and how it is set.

Every time-based trigger of a live flow is one row in `timers` per customer and key, with the moment at which it becomes
true; a newer fact with the same key replaces the moment, an older one (by its own time) never does. A tick at rest is
then one indexed look for each flow, whatever the number of customers. `engine.journeys.arming` sets them for new facts,
`engine.journeys.arming_known` for what is known when a flow is applied, `engine.journeys.firing` takes those that are due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_

from engine.journeys.candidates import ArrivedEvent
from engine.journeys.versions import LiveFlow
from engine.store.bulk import upsert_rows
from engine.store.tables import timers

CHUNK = 5_000
AGAIN = "again:"  # begins the key of a timer by which somebody who was set aside comes to the door again
GATHER = "gather"  # the key under which occurrences are gathered: such a timer is armed by no fact
Row = dict[str, Any]


def row_of(
    live: LiveFlow,
    number: int,
    event: ArrivedEvent,
    key: str,
    due: datetime,
    occurrence: str,
    payload: Row | None = None,
) -> Row:
    """Return the timer that a fact sets for one trigger."""
    return {
        "flow": live.flow.name,
        "trigger_no": number,
        "customer_id": event.customer_id,
        "key": key,
        "armed_at": event.occurred_at,
        "due_at": due,
        "until": None,
        "occurrence": occurrence,
        "event_id": event.id,
        "payload": payload,
    }


def is_whole(key: str) -> bool:
    """Return whether a timer of this key holds a whole candidate, and not just the moment that a fact set."""
    return key == GATHER or key.startswith(AGAIN)


def set_timers(connection: Connection, rows: Sequence[Row]) -> None:
    """Write timers; one that was set by a later fact stays."""
    newest: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["flow"], row["trigger_no"], row["customer_id"], row["key"])
        if key not in newest or row["armed_at"] >= newest[key]["armed_at"]:
            newest[key] = row
    keys = ("flow", "trigger_no", "customer_id", "key")
    upsert_rows(connection, timers, list(newest.values()), keys=keys, newest_by="armed_at")


def timers_of(statement: Any, live: LiveFlow, number: int, customer_ids: Sequence[int]) -> Any:
    """Narrow a statement to these customers' timers of one trigger, without what is gathered."""
    return statement.where(
        and_(
            timers.c.flow == live.flow.name,
            timers.c.trigger_no == number,
            timers.c.key != GATHER,
            timers.c.customer_id.in_(customer_ids),
        )
    )


def chunks(items: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the items in parts of 5,000."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
