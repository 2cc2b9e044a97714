"""Sifting: of a batch that fails, those are found that fail alone; they are set aside, and the others go on.

Comes in: items (facts, candidates, newcomers) and what is to be done with them. Goes out: what was done, and the items
that fail alone, each with its error. What the database itself refuses, the brake, and an error with a sentence of its own
concern more than one item and go up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Integer, Text, bindparam, func, select
from sqlalchemy.exc import OperationalError

from engine.errors import HomingError
from engine.journeys import journal
from engine.journeys.candidates import ArrivedEvent, Candidate
from engine.runtime import rails
from engine.runtime.guarding import Braked, sentence_of
from engine.store.bulk import insert_rows
from engine.store.prepared import Prepared, undoing
from engine.store.tables import customers, events, quarantine
from engine.store.types import Key

MOST = 10  # failing alone, in one batch or still set aside; beyond that it is the flow that fails
_NAMED = Prepared(select(customers.c.external_id).where(customers.c.id == bindparam("customer", type_=Key)))
_OPEN = (quarantine.c.kind == "fact", quarantine.c.resolved_at.is_(None))
_STANDING = Prepared(select(quarantine.c.id).where(*_OPEN, quarantine.c.subject == bindparam("subject")))
_BEGINNING = func.substr(quarantine.c.subject, 1, bindparam("length", type_=Integer()))
_OF_FLOW = Prepared(
    select(func.count().label("facts")).where(*_OPEN, bindparam("beginning", type_=Text()) == _BEGINNING)
)
T = TypeVar("T")
R = TypeVar("R")
Failed = tuple[T, Exception]


def sift(
    connection: Connection, items: Sequence[T], attempt: Callable[[Sequence[T]], R]
) -> tuple[list[R], list[Failed[T]]]:
    """Do something for all items; where that fails, halve them until those stand alone that fail.

    Raise the error itself where more than ten items fail alone: then it is not the items.
    """
    done: list[R] = []
    failed: list[Failed[T]] = []
    waiting = [items] if items else []
    while waiting:
        some = waiting.pop()
        try:
            done.append(undoing(connection, partial(attempt, some)))
        except (OperationalError, Braked, HomingError):
            raise
        except Exception as error:
            if len(some) > 1:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]  # the earlier ones are done first
                continue
            failed.append((some[0], error))
            if len(failed) > MOST:
                raise
    return done, failed


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
