"""Claiming due messages: a lease with a fencing number, so that no two workers ever hold the same one.

A claim takes all due messages of the customers it touches, so that caps meet the whole of what is due together. Leases
are of machine time and last at most 60 s. What a dead worker held comes back: claimed messages to pending; messages in
`handing_over` may have been accepted, so they become `unknown` and are never sent again on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from engine.store.dialect import among
from engine.store.keys import KeyRange
from engine.store.tables import UNSETTLED, attempts, customers, enrollments, messages

LEASE = timedelta(seconds=60)  # of a hand-over that has begun; providers end within 45
CLAIM_LEASE = timedelta(seconds=30)  # of what waits in a worker's hands


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message in this worker's hands, with what its enrollment knows."""

    id: int
    key: str
    fence: int
    enrollment_id: int
    flow: str
    version: str
    step: str
    channel: str
    template: str | None
    customer_id: int
    kind: str
    topic: str | None
    priority: int
    due_at: datetime
    expires_at: datetime
    tries: int
    visit: int
    content: Mapping[str, Any]
    enrollment: Any


def recover(
    connection: Connection,
    now: datetime,
    machine_now: datetime,
    is_gone: Callable[[str], bool] = lambda _: False,
) -> int:
    """Take back what workers held whose lease has run out, or who are known to be gone (`is_gone` of their name).

    Return how many messages became `unknown`.
    """
    table = messages.c
    held = select(table.id, table.state, table.claimed_by, table.lease_until).where(
        UNSETTLED, table.state != "pending"
    )
    lost = [
        row
        for row in connection.execute(held)
        if row.lease_until is None or row.lease_until < machine_now or is_gone(row.claimed_by or "")
    ]
    if not lost:
        return 0
    back = [row.id for row in lost if row.state == "claimed"]
    unknown = [row.id for row in lost if row.state == "handing_over"]
    if back:
        connection.execute(
            update(messages)
            .where(among(connection, table.id, back), table.state == "claimed")
            .values(state="pending", claimed_by=None, lease_until=None, fence=table.fence + 1)
        )
    if unknown:
        connection.execute(
            update(messages)
            .where(among(connection, table.id, unknown), table.state == "handing_over")
            .values(
                state="unknown", reason="the worker died during the hand-over", settled_at=now, lease_until=None,
                fence=table.fence + 1,
            )
        )  # fmt: skip
        connection.execute(
            update(attempts)
            .where(among(connection, attempts.c.message_id, unknown), attempts.c.outcome.is_(None))
            .values(outcome="unknown", detail="the worker died during the hand-over", finished_at=now)
        )
    return len(unknown)


def claim(
    connection: Connection,
    worker: str,
    now: datetime,
    machine_now: datetime,
    closed: Collection[str],
    limit: int,
    keys: KeyRange | None = None,
) -> list[Claimed]:
    """Claim up to about `limit` due messages of flows that are not in `closed`, all of a customer together.

    `keys` limits them to a range of customers.

    They come back in the order in which they are to be handed over: customer by customer, higher priority first.
    """
    table = messages.c
    due = [UNSETTLED, table.state == "pending", table.try_at <= now]
    if closed:
        due.append(table.flow.not_in(sorted(closed)))
    if keys is not None:
        due.append(keys.holds(table.customer_id))
    first = select(table.customer_id).where(*due).order_by(table.try_at, table.id).limit(limit)
    if connection.dialect.name == "postgresql":
        # Whom another worker claims for or judges at this moment is stepped over, so that workers neither wait for each
        # other nor come back with nothing while more is due; SQLite's writer is alone.
        first = first.join(customers, customers.c.id == table.customer_id)
        first = first.with_for_update(skip_locked=True, of=customers)
    customer_ids = sorted(set(connection.scalars(first)))
    if not customer_ids:
        return []
    query = select(table.id).where(*due, among(connection, table.customer_id, customer_ids))
    ids = list(connection.scalars(query.with_for_update(skip_locked=True)))
    statement = (
        update(messages)
        .where(among(connection, table.id, ids), table.state == "pending")
        .values(
            state="claimed", claimed_by=worker, lease_until=machine_now + CLAIM_LEASE, fence=table.fence + 1
        )
        .returning(table.id)
    )
    return read_messages(connection, sorted(connection.scalars(statement)))


def read_messages(connection: Connection, ids: Sequence[int]) -> list[Claimed]:
    """Return messages with what their enrollments know, whoever holds them; customer by customer, higher priority first."""
    if not ids:
        return []
    table = messages.c
    found = {
        row.id: row
        for row in connection.execute(
            select(messages)
            .where(among(connection, table.id, ids))
            .order_by(table.customer_id, table.priority.desc())
        )
    }
    owners = {
        row.id: row
        for row in connection.execute(
            select(enrollments).where(
                among(connection, enrollments.c.id, sorted({row.enrollment_id for row in found.values()}))
            )
        )
    }
    claimed = [
        Claimed(
            row.id, row.key, row.fence, row.enrollment_id, row.flow, row.version, row.step, row.channel, row.template,
            row.customer_id, row.kind, row.topic, row.priority, row.due_at, row.expires_at, row.tries,
            int(row.key.rsplit(":", 1)[1]), row.content or {}, owners[row.enrollment_id],
        )
        for row in found.values()
    ]  # fmt: skip
    return sorted(claimed, key=lambda each: (each.customer_id, -each.priority, each.due_at, each.id))


def release_all(connection: Connection, worker: str) -> None:
    """Give back everything that this worker claimed and did not begin to hand over."""
    own = (messages.c.state == "claimed", messages.c.claimed_by == worker)
    connection.execute(
        update(messages)
        .where(*own)
        .values(state="pending", claimed_by=None, lease_until=None, fence=messages.c.fence + 1)
    )


def release(connection: Connection, claimed: Sequence[Claimed]) -> None:
    """Give messages back that were claimed but not handed over, for another pass."""
    if claimed:
        statement = (
            update(messages)
            .where(
                messages.c.id == bindparam("which"),
                messages.c.state == "claimed",
                messages.c.fence == bindparam("held"),
            )
            .values(state="pending", claimed_by=None, lease_until=None)
        )
        connection.execute(statement, [{"which": each.id, "held": each.fence} for each in claimed])
