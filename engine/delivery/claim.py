"""Claiming due messages: a lease with a fencing number, so that no two workers ever hold the same one.

A claim takes all due messages of the customers it touches, so that caps meet the whole of what is due together. Leases
are of machine time and last at most 60 s. What a dead worker held comes back: claimed messages to pending; messages in
`handing_over` may have been accepted, so they become `unknown` and are never sent again on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, bindparam, func, select, update

from engine.clock import has_ended
from engine.journeys.post import POSTED, Posted
from engine.outbox.ledger import held, write_held
from engine.store.dialect import among, within
from engine.store.keeping import kept
from engine.store.keys import KeyRange
from engine.store.prepared import Prepared
from engine.store.tables import UNSETTLED, attempts, customers, enrollments, messages

LEASE = timedelta(seconds=60)  # of a hand-over that has begun; providers end within 45
CLAIM_LEASE = timedelta(seconds=30)  # of what waits in a worker's hands
LEAST_SHARE = 50  # messages that one of several threads claims at least: each claim costs a dozen statements

_IN_HANDS = Prepared(
    select(messages.c.id, messages.c.state, messages.c.claimed_by, messages.c.lease_until).where(
        UNSETTLED, messages.c.state != "pending"
    )
)
_TAKE = Prepared(
    update(messages)
    .where(within(messages.c.id, "ids"), messages.c.state == "pending")
    .values(
        state="claimed",
        claimed_by=bindparam("worker"),
        lease_until=bindparam("lease"),
        fence=messages.c.fence + 1,
    )
    .returning(messages.c.id)
)
_READ = (
    "id", "key", "fence", "enrollment_id", "flow", "version", "step", "channel", "template", "customer_id", "kind", "topic",
    "priority", "due_at", "expires_at", "tries", "content",
)  # fmt: skip
_MESSAGES = Prepared(
    select(*(messages.c[name] for name in _READ))
    .where(within(messages.c.id, "ids"))
    .order_by(messages.c.customer_id, messages.c.priority.desc())
)
_KNOWS = (
    "id", "customer_id", "entered_at", "since_at", "event_id", "order_id", "cart_id", "sku", "context",
)  # fmt: skip
_OWNERS = Prepared(select(*(enrollments.c[name] for name in _KNOWS)).where(within(enrollments.c.id, "ids")))


class Claimed(NamedTuple):
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
    asked: bool = False  # whether all that the gate asks of clauses held at this very moment


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
    lost = [
        row
        for row in _IN_HANDS.rows(connection)
        if row.lease_until is None or has_ended(row.lease_until, machine_now) or is_gone(row.claimed_by or "")
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
    among: int = 1,
) -> list[Claimed]:
    """Claim up to about `limit` due messages of flows that are not in `closed`, all of a customer together.

    `keys` limits them to a range of customers. Where `among` so many threads claim beside each other and less is due than
    all of them could take, each takes its part, so that none stands idle.

    They come back in the order in which they are to be handed over: customer by customer, higher priority first.
    """
    most = _share(connection, now, closed, limit, keys, among) if among > 1 else limit
    ids = _waiting(connection, now, closed, most, keys)
    if not ids:
        return []
    lease = machine_now + CLAIM_LEASE
    return read_messages(connection, sorted(_TAKE.column(connection, ids=ids, worker=worker, lease=lease)))


def look_at(connection: Connection, now: datetime, closed: Collection[str], limit: int) -> list[Claimed]:
    """Return what `claim` would take, without taking it: for a store with one program, which nobody can come between."""
    first = _first(tuple(sorted(closed))).column(connection, now=now, limit=limit)
    unwritten = held(connection)
    if unwritten and (closed or len(first) + len(unwritten) >= limit):
        write_held(connection)
        first = _first(tuple(sorted(closed))).column(connection, now=now, limit=limit)
    ids = sorted([*first, *unwritten] if len(first) < limit else _waiting(connection, now, closed, limit))
    memory = kept(connection)
    posted = memory.beside(POSTED) if memory is not None else {}
    found = [_as_posted(which, posted[which]) for which in ids if which in posted and posted[which].at == now]
    fresh = {message.id for message in found}
    posted.clear()
    return sorted(
        [*found, *read_messages(connection, [which for which in ids if which not in fresh])], key=_in_order
    )


def _as_posted(which: int, posted: Posted) -> Claimed:
    """Return a message that was written a moment ago, without reading it."""
    row, walker = posted.row, posted.walker
    return Claimed(
        which, row["key"], 0, row["enrollment_id"], row["flow"], row["version"], row["step"], row["channel"],
        row["template"], row["customer_id"], row["kind"], row["topic"], row["priority"], row["due_at"], row["expires_at"], 0,
        int(row["key"].rsplit(":", 1)[1]), row["content"], walker, posted.asked,
    )  # fmt: skip


def _in_order(message: Claimed) -> tuple[int, int, datetime, int]:
    return message.customer_id, -message.priority, message.due_at, message.id


@lru_cache(maxsize=64)
def _first(closed: tuple[str, ...]) -> Prepared:
    """Return the statement for the first messages that are due: fewer than were asked for are all there are."""
    table = messages.c
    query = select(table.id).where(*_is_due(closed, None)).order_by(table.try_at, table.id)
    return Prepared(query.limit(bindparam("limit", type_=Integer())))


def _is_due(closed: tuple[str, ...], keys: KeyRange | None) -> list[ColumnElement[bool]]:
    table = messages.c
    due = [UNSETTLED, table.state == "pending", table.try_at <= bindparam("now")]
    if closed:
        due.append(table.flow.not_in(closed))
    if keys is not None:
        due.append(keys.holds(table.customer_id))
    return due


def _share(
    connection: Connection,
    now: datetime,
    closed: Collection[str],
    limit: int,
    keys: KeyRange | None,
    among: int,
) -> int:
    """Return how many messages one of so many threads should take now."""
    due: int = _count(tuple(sorted(closed)), keys).column(connection, now=now, limit=limit * among)[0]
    return min(limit, max(LEAST_SHARE, -(-due // among)))


@lru_cache(maxsize=64)
def _count(closed: tuple[str, ...], keys: KeyRange | None) -> Prepared:
    """Return the statement that counts what is due, and stops counting at the limit."""
    some = select(messages.c.id).where(*_is_due(closed, keys)).limit(bindparam("limit", type_=Integer()))
    return Prepared(select(func.count()).select_from(some.subquery()))


def _waiting(
    connection: Connection, now: datetime, closed: Collection[str], limit: int, keys: KeyRange | None = None
) -> list[int]:
    first, whole = _due(tuple(sorted(closed)), keys, connection.dialect.name)
    customer_ids = sorted(set(first.column(connection, now=now, limit=limit)))
    return whole.column(connection, now=now, ids=customer_ids) if customer_ids else []


@lru_cache(maxsize=64)
def _due(closed: tuple[str, ...], keys: KeyRange | None, dialect: str) -> tuple[Prepared, Prepared]:
    """Return the statements for the first customers to whom anything is due, and for all that is due to some."""
    table, due = messages.c, _is_due(closed, keys)
    first = select(table.customer_id).where(*due).order_by(table.try_at, table.id)
    if dialect == "postgresql":
        # Whom another worker claims for or judges at this moment is stepped over, so that workers neither wait for each
        # other nor come back with nothing while more is due; SQLite's writer is alone.
        first = first.join(customers, customers.c.id == table.customer_id)
        first = first.with_for_update(skip_locked=True, of=customers)
    whole = select(table.id).where(*due, within(table.customer_id, "ids"))
    return (
        Prepared(first.limit(bindparam("limit", type_=Integer()))),
        Prepared(whole.with_for_update(skip_locked=True)),
    )


def read_messages(connection: Connection, ids: Sequence[int]) -> list[Claimed]:
    """Return messages with what their enrollments know, whoever holds them; customer by customer, higher priority first."""
    if not ids:
        return []
    found = {row.id: row for row in _MESSAGES.rows(connection, ids=ids)}
    asked = sorted({row.enrollment_id for row in found.values()})
    owners = {row.id: row for row in _OWNERS.rows(connection, ids=asked)}
    claimed = [
        Claimed(
            row.id, row.key, row.fence, row.enrollment_id, row.flow, row.version, row.step, row.channel, row.template,
            row.customer_id, row.kind, row.topic, row.priority, row.due_at, row.expires_at, row.tries,
            int(row.key.rsplit(":", 1)[1]), row.content or {}, owners[row.enrollment_id],
        )
        for row in found.values()
    ]  # fmt: skip
    return sorted(claimed, key=_in_order)


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


def put_back(connection: Connection, claimed: Sequence[tuple[Claimed, datetime]]) -> None:
    """Give messages back that may only be tried from a later moment on."""
    own = (
        messages.c.id == bindparam("which"),
        messages.c.state == "claimed",
        messages.c.fence == bindparam("held"),
    )
    back = update(messages).where(*own)
    back = back.values(state="pending", claimed_by=None, lease_until=None, try_at=bindparam("until"))
    connection.execute(
        back, [{"which": each.id, "held": each.fence, "until": until} for each, until in claimed]
    )
