"""Gathering: further occurrences of a trigger join the first, and its customer enters once with all of them.

Comes in: candidates of a trigger with `gather`. Goes out: one timer for each customer, which holds the facts until the
first one's time is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from engine.calendar import add
from engine.journeys.candidates import Candidate
from engine.journeys.timers import AGAIN, GATHER, Row, set_timers
from engine.journeys.versions import LiveFlow
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import timers

_STANDING = Prepared(
    select(timers).where(
        timers.c.flow == bindparam("flow"),
        timers.c.trigger_no == bindparam("number"),
        timers.c.key == GATHER,
        within(timers.c.customer_id, "customers"),
    )
)


def gather(
    connection: Connection, live: LiveFlow, candidates: Sequence[Candidate], zones: Mapping[int, str]
) -> None:
    """Let further occurrences of a customer join the first: entry comes when the first one's time is over."""
    for number in sorted({candidate.trigger_no for candidate in candidates}):
        own = [candidate for candidate in candidates if candidate.trigger_no == number]
        length = live.flow.triggers[number].gather
        assert length is not None
        standing = _gathering(connection, live, number, [candidate.customer_id for candidate in own])
        rows: dict[int, Row] = {}
        for candidate in own:
            row = rows.get(candidate.customer_id) or standing.get(candidate.customer_id)
            if row is None:
                due = add(candidate.entered_at, length, zones[candidate.customer_id])
                row = whole_row(live.flow.name, candidate, due)
            row["payload"]["facts"].append(dict(candidate.trigger) | {"sku": candidate.sku})
            rows[candidate.customer_id] = row
        set_timers(connection, list(rows.values()))


def _gathering(
    connection: Connection, live: LiveFlow, number: int, customer_ids: Sequence[int]
) -> dict[int, Row]:
    rows = _STANDING.dicts(
        connection, flow=live.flow.name, number=number, customers=sorted(set(customer_ids))
    )
    return {row["customer_id"]: {key: value for key, value in row.items() if key != "id"} for row in rows}


def again(connection: Connection, flow: str, candidates: Sequence[Candidate]) -> None:
    """Let candidates come to the door of a flow again, as they stood there before."""
    rows = []
    for candidate in candidates:
        row = whole_row(flow, candidate, candidate.entered_at)
        row["payload"]["facts"] = [dict(fact) for fact in candidate.gathered]
        rows.append(row | {"key": f"{AGAIN}{candidate.occurrence}"})
    set_timers(connection, rows)


def whole_row(flow: str, candidate: Candidate, due: datetime) -> Row:
    """Return the timer from which `gathered` makes the whole candidate again."""
    payload: Row = {
        "trigger": dict(candidate.trigger),
        "facts": [],
        "since": candidate.since_at.isoformat(),
        "event_name": candidate.event_name,
        "order_id": candidate.order_id,
        "cart_id": candidate.cart_id,
        "sku": candidate.sku,
    }
    return {
        "flow": flow,
        "trigger_no": candidate.trigger_no,
        "customer_id": candidate.customer_id,
        "key": GATHER,
        "armed_at": candidate.entered_at,
        "due_at": due,
        "until": None,
        "occurrence": candidate.occurrence,
        "event_id": candidate.event_id,
        "payload": payload,
    }


def gathered(row: Any) -> Candidate:
    """Return the candidate that a gathering timer has become: the first occurrence, with the facts of all."""
    payload = row.payload
    return Candidate(
        row.trigger_no, row.customer_id, row.occurrence, row.due_at, datetime.fromisoformat(payload["since"]),
        payload["trigger"], row.event_id, payload["event_name"], payload["order_id"], payload["cart_id"], payload["sku"],
        tuple(payload["facts"]),
    )  # fmt: skip
