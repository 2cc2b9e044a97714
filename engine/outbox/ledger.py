"""The ledger of messages: made once, dropped with a reason, never deleted.

States: pending → claimed → handing_over → accepted | failed | unknown → delivered | bounced; and dropped, from pending
or claimed, with the reason. Dropping takes only messages that no hand-over has begun for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, or_, select, update

from engine.store.bulk import insert_numbered, insert_rows, reserve
from engine.store.dialect import among, within
from engine.store.keeping import kept
from engine.store.prepared import Prepared
from engine.store.tables import journal, messages, offer_codes

OPEN = ("pending", "claimed")
_HELD = "held"  # the kind of what is kept of messages that are not written yet
NO_DETAILS: Mapping[int, Mapping[str, Any]] = {}
LOOK_BACK = timedelta(days=60)
COUNTED = ("handing_over", "accepted", "delivered", "bounced", "unknown")

_WAITING = Prepared(
    select(
        *(messages.c[name] for name in ("id", "enrollment_id", "flow", "customer_id", "step", "due_at"))
    ).where(within(messages.c.enrollment_id, "ids"), messages.c.state.in_(OPEN))
)
_DROP = Prepared(
    update(messages)
    .where(messages.c.id == bindparam("which"), or_(*(messages.c.state == state for state in OPEN)))
    .values(state="dropped", reason=bindparam("why"), settled_at=bindparam("moment"), lease_until=None)
)
_HELD_CODES = Prepared(
    select(
        *(offer_codes.c[name] for name in ("id", "offer", "code", "customer_id", "issued_at", "message_id"))
    ).where(within(offer_codes.c.customer_id, "ids"), offer_codes.c.message_id.is_not(None))
)


def make(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Write messages as pending and return their ids by key."""
    ids = insert_numbered(connection, messages, rows)
    return {row["key"]: identity for row, identity in zip(rows, ids, strict=True)}


def held(connection: Connection) -> dict[int, Mapping[str, Any]]:
    """Return the messages, by id, that a step that is undone as a whole keeps unwritten until it is known what they become."""
    memory = kept(connection)
    return memory.beside(_HELD) if memory is not None and memory.bold else {}


def hold(
    connection: Connection, rows: Sequence[Mapping[str, Any]], holding: Sequence[bool]
) -> dict[str, int]:
    """Do what `make` does, but keep those of `holding` unwritten until `write_held`; return the ids of all by key."""
    waiting = held(connection)
    first = max(reserve(connection, messages, 1)[0], max(waiting, default=0) + 1)
    ids = range(first, first + len(rows))
    told = list(zip(ids, rows, holding, strict=True))
    waiting.update((identity, row) for identity, row, later in told if later)
    insert_rows(connection, messages, [{"id": identity, **row} for identity, row, later in told if not later])
    return {row["key"]: identity for identity, row, _ in told}


def write_held(connection: Connection, ids: Collection[int] | None = None) -> None:
    """Write messages that were kept unwritten (None: all of them) as they were made."""
    waiting = held(connection)
    going = [each for each in (list(waiting) if ids is None else ids) if each in waiting]
    insert_rows(connection, messages, [{"id": each, **waiting.pop(each)} for each in going])


def _write_held_of(connection: Connection, owners: Collection[int]) -> None:
    waiting = held(connection)
    if waiting:
        write_held(connection, [which for which, row in waiting.items() if row["enrollment_id"] in owners])


def drop_pending(connection: Connection, reasons: Mapping[int, str], now: datetime) -> int:
    """Drop what still waits for these enrollments (id → reason); return how many messages that were."""
    _write_held_of(connection, reasons)
    rows = _WAITING.rows(connection, ids=list(reasons))
    return drop(connection, [(row, reasons[row.enrollment_id]) for row in rows], now)


def supersede(connection: Connection, newer: Mapping[int, datetime], now: datetime) -> int:
    """Drop what waits for these enrollments and fell due before their newer message (id → its due time)."""
    if not newer:
        return 0
    _write_held_of(connection, newer)
    rows = _WAITING.rows(connection, ids=list(newer))
    late = [(row, "superseded") for row in rows if row.due_at < newer[row.enrollment_id]]
    return drop(connection, late, now)


def settle_by_hand(connection: Connection, message_id: int, outcome: str, now: datetime) -> bool:
    """Settle an `unknown` message as `accepted`, or put it back (`retry`); return whether there was such a one."""
    table = messages.c
    query = select(table.flow, table.customer_id, table.enrollment_id, table.step)
    row = connection.execute(query.where(table.id == message_id, table.state == "unknown")).mappings().first()
    if row is None:
        return False
    values: dict[str, Any] = {"state": "accepted", "accepted_at": now, "settled_at": now}
    if outcome == "retry":
        values = {
            "state": "pending",
            "try_at": now,
            "counted_at": None,
            "settled_at": None,
            "lease_until": None,
        }
    connection.execute(
        update(messages).where(table.id == message_id).values(reason="settled by hand", **values)
    )
    told = {
        "decision": "sent" if outcome == "accepted" else "retry",
        "reason": "settled by hand",
        "detail": None,
    }
    insert_rows(connection, journal, [{"at": now, "message_id": message_id, **dict(row), **told}])
    return True


def drop(
    connection: Connection,
    dropped: Sequence[tuple[Row[Any] | Any, str]],
    now: datetime,
    details: Mapping[int, Mapping[str, Any]] = NO_DETAILS,
) -> int:
    """Drop these messages with their reasons, and tell the journal, with `details` by message; return how many."""
    if not dropped:
        return 0
    _DROP.run_each(connection, [{"which": row.id, "why": reason, "moment": now} for row, reason in dropped])
    entries = [
        {
            "at": now,
            "flow": row.flow,
            "customer_id": row.customer_id,
            "enrollment_id": row.enrollment_id,
            "message_id": row.id,
            "step": row.step,
            "decision": "dropped",
            "reason": reason,
            "detail": details.get(row.id),
        }
        for row, reason in dropped
    ]
    insert_rows(connection, journal, entries)
    _release_codes(connection, {row.id: row.customer_id for row, _ in dropped})
    return len(dropped)


def _release_codes(connection: Connection, dropped: Mapping[int, int]) -> None:
    """Give back the codes of messages (id → customer) that never went, unless another mail shows the same one."""
    table = offer_codes.c
    held = _HELD_CODES.rows(connection, ids=sorted(set(dropped.values())))
    codes = [code for code in held if code.message_id in dropped]
    if not codes:
        return
    shown = select(messages.c.customer_id, messages.c.content).where(
        among(connection, messages.c.customer_id, sorted({code.customer_id for code in codes})),
        messages.c.state != "dropped",
        messages.c.due_at >= min(code.issued_at for code in codes) - LOOK_BACK,
    )
    kept = {
        (row.customer_id, ((row.content or {}).get("offer") or {}).get("code"))
        for row in connection.execute(shown)
    }
    gone = [code.id for code in codes if (code.customer_id, code.code) not in kept]
    if gone:
        blank = {"customer_id": None, "message_id": None, "issued_at": None, "expires_at": None}
        connection.execute(update(offer_codes).where(among(connection, table.id, gone)).values(**blank))
