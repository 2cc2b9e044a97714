"""Setting aside: what fails alone (`engine.store.sifting`) waits in the quarantine for somebody to look at it.

Comes in: a fact, a candidate or a customer of a flow, and the error. Goes out: an entry that `homing quarantine retry` can bring
to the door again, a row of the journal, and, where too many stand aside, a frozen flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Integer, Text, bindparam, func, select

from engine.errors import sentence_of
from engine.journeys import journal
from engine.journeys.candidates import ArrivedEvent, Candidate
from engine.runtime import rails
from engine.store.bulk import insert_rows
from engine.store.prepared import Prepared
from engine.store.sifting import MOST
from engine.store.tables import customers, events, quarantine
from engine.store.types import Key

_NAMED = Prepared(select(customers.c.external_id).where(customers.c.id == bindparam("customer", type_=Key)))
_OPEN = (quarantine.c.kind == "fact", quarantine.c.resolved_at.is_(None))
_STANDING = Prepared(select(quarantine.c.id).where(*_OPEN, quarantine.c.subject == bindparam("subject")))
_BEGINNING = func.substr(quarantine.c.subject, 1, bindparam("length", type_=Integer()))
_OF_FLOW = Prepared(
    select(func.count().label("facts")).where(*_OPEN, bindparam("beginning", type_=Text()) == _BEGINNING)
)


def set_candidate_aside(
    connection: Connection, flow: str, candidate: Candidate, error: Exception, now: datetime
) -> None:
    """Keep a candidate whose entry fails, so that `homing quarantine retry` can bring it to the door again."""
    told = {
        "flow": flow, "trigger_no": candidate.trigger_no, "customer": candidate.customer_id,
        "occurrence": candidate.occurrence, "entered_at": candidate.entered_at.isoformat(),
        "since": candidate.since_at.isoformat(), "trigger": dict(candidate.trigger), "event": candidate.event_id,
        "event_name": candidate.event_name, "order_id": candidate.order_id, "cart_id": candidate.cart_id,
        "sku": candidate.sku, "facts": [dict(fact) for fact in candidate.gathered],
    }  # fmt: skip
    what = candidate.event_name or "moment"
    _set_aside(
        connection, flow, candidate.customer_id, what, candidate.occurrence, {"candidate": told}, error, now
    )


def set_event_aside(
    connection: Connection, flows: Sequence[str], event: ArrivedEvent, error: Exception, now: datetime
) -> None:
    """Keep a fact that cannot be taken in by these flows; a retry takes it in anew."""
    for flow in flows:
        told = {"flow": flow, "event": event.id}
        _set_aside(connection, flow, event.customer_id, event.name, f"e{event.id}", told, error, now)


def set_customer_aside(
    connection: Connection, flow: str, customer_id: int, error: Exception, now: datetime
) -> None:
    """Keep a customer of whom nobody can say whether they are in a segment; a retry looks at their newest fact anew."""
    newest = connection.scalar(select(func.max(events.c.id)).where(events.c.customer_id == customer_id))
    told = {"flow": flow, "event": newest}
    _set_aside(connection, flow, customer_id, "segment", f"c{customer_id}", told, error, now)


def _set_aside(
    connection: Connection,
    flow: str,
    customer_id: int,
    what: str,
    occurrence: str,
    payload: dict[str, Any],
    error: Exception,
    now: datetime,
) -> None:
    reason = sentence_of(error)
    who = _NAMED.first(connection, customer=customer_id).external_id
    subject = f"{flow}: {what} of {who or customer_id} ({occurrence})"
    if _STANDING.first(connection, subject=subject) is None:
        values = {"kind": "fact", "subject": subject, "reason": reason, "tries": 2, "at": now}
        insert_rows(connection, quarantine, [values | {"payload": payload}])
    told = {"occurrence": occurrence, "error": reason}
    entry = journal.entry(now, flow, customer_id, "refused", "quarantined", detail=told)
    journal.write(connection, [entry])
    _freeze_where_many(connection, flow, reason, now)


def _freeze_where_many(connection: Connection, flow: str, reason: str, now: datetime) -> None:
    beginning = f"{flow}: "
    found = _OF_FLOW.first(connection, length=len(beginning), beginning=beginning)
    if found.facts >= MOST:
        rails.freeze(connection, flow, f"failed for {MOST} facts, the last time: {reason}", now)
