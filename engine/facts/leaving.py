"""Enrollments that end with a fact: their customer was erased, suppressed or merged away.

Comes in: enrollment ids inside the caller's write transaction. Goes out: the live ones are exited, their messages that
no hand-over has begun for are dropped, and both stand in the journal with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from engine.store.dialect import among
from engine.store.tables import enrollments, journal, messages

LIVE = ("active", "waiting")
OPEN = ("pending", "claimed")


def live_enrollments(connection: Connection, customer_id: int) -> list[tuple[int, str]]:
    """Return the live enrollments of a customer: their ids and flow versions."""
    table = enrollments
    wanted = select(table.c.id, table.c.version).where(
        table.c.customer_id == customer_id, table.c.state.in_(LIVE)
    )
    return [(row.id, row.version) for row in connection.execute(wanted)]


def end_enrollments(
    connection: Connection, ids: Sequence[int], at: datetime, reason: str, *, dropped: str
) -> None:
    """Exit live enrollments for `reason`, and drop their open messages for the reason `dropped`."""
    table = enrollments
    which = (among(connection, table.c.id, ids), table.c.state.in_(LIVE))
    rows = connection.execute(
        select(table.c.id, table.c.flow, table.c.customer_id, table.c.position).where(*which)
    ).all()
    connection.execute(
        update(table).where(*which).values(state="exited", left_at=at, left_reason=reason, next_at=None)
    )
    entries = [_entry(at, row, row.id, None, row.position, "exited", reason) for row in rows]
    entries += _drop_messages(connection, messages.c.enrollment_id, ids, at, dropped)
    if entries:
        connection.execute(journal.insert(), entries)


def drop_messages(
    connection: Connection, customer_id: int, at: datetime, reason: str, kinds: Sequence[str]
) -> None:
    """Drop a customer's open messages of these kinds, whatever the state of their enrollments."""
    entries = _drop_messages(
        connection, messages.c.customer_id, [customer_id], at, reason, messages.c.kind.in_(kinds)
    )
    if entries:
        connection.execute(journal.insert(), entries)


def _drop_messages(
    connection: Connection, column: Any, values: Sequence[int], at: datetime, reason: str, *also: Any
) -> list[dict[str, Any]]:
    table = messages
    which = (among(connection, column, values), table.c.state.in_(OPEN), *also)
    wanted = select(table.c.id, table.c.flow, table.c.customer_id, table.c.enrollment_id, table.c.step).where(
        *which
    )
    rows = connection.execute(wanted).all()
    if rows:
        gone = (
            update(table)
            .where(*which)
            .values(state="dropped", reason=reason, settled_at=at, lease_until=None)
        )
        connection.execute(gone)
    return [_entry(at, row, row.enrollment_id, row.id, row.step, "dropped", reason) for row in rows]


def _entry(
    at: datetime,
    row: Any,
    enrollment_id: int,
    message_id: int | None,
    step: str | None,
    decision: str,
    reason: str,
) -> dict[str, Any]:
    return {
        "at": at,
        "flow": row.flow,
        "customer_id": row.customer_id,
        "enrollment_id": enrollment_id,
        "message_id": message_id,
        "step": step,
        "decision": decision,
        "reason": reason,
        "detail": None,
    }
