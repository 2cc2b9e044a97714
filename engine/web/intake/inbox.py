"""The raw inbox: what came in and could not be understood, whole, with the reason; to be looked at and tried again.

Comes in: a payload and why it could not be used. Promises: the same payload is kept once; at most `MOST` wait, the oldest
give way; nothing in it is shown in a log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select

from engine.store.bulk import insert_new
from engine.store.tables import raw_inbox

MOST = 100_000
LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Unread:
    """One thing that could not be used: from whom, about what, why, and itself as text; `key` tells it from others."""

    source: str
    topic: str
    reason: str
    payload: str
    key: str = ""


def as_text(payload: Any) -> str:
    """Return a payload as the text that is kept."""
    if isinstance(payload, bytes):
        return payload.decode("utf-8", "replace").replace("\x00", "�")
    return json.dumps(payload, ensure_ascii=True)


def keep(connection: Connection, unread: Sequence[Unread], now: datetime) -> None:
    """Keep what could not be used."""
    if not unread:
        return
    rows: dict[bytes, dict[str, Any]] = {}
    for each in unread:
        hashed = hashlib.sha256(
            f"{each.source}\x1f{each.topic}\x1f{each.key or each.payload}".encode("utf-8", "replace")
        ).digest()
        rows[hashed] = {
            "source": each.source, "topic": each.topic, "hash": hashed, "at": now, "reason": each.reason[:LONGEST_REASON],
            "payload": each.payload, "tries": 1,
        }  # fmt: skip
    insert_new(connection, raw_inbox, list(rows.values()))
    newest = connection.scalar(select(func.max(raw_inbox.c.id))) or 0
    connection.execute(delete(raw_inbox).where(raw_inbox.c.id <= newest - MOST))


@dataclass(frozen=True, slots=True)
class Kept:
    """What waits for one reason: from whom, about what, why, how many, when the newest came, and that one's number."""

    source: str
    topic: str
    reason: str
    count: int
    at: datetime
    newest: int


def waiting(connection: Connection, most: int = 20) -> list[Kept]:
    """Return what waits, by reason, the newest first."""
    own = raw_inbox.c
    newest = func.max(own.id)
    query = select(own.source, own.topic, own.reason, func.count(), func.max(own.at), newest)
    query = query.group_by(own.source, own.topic, own.reason).order_by(newest.desc()).limit(most)
    return [Kept(*row) for row in connection.execute(query)]


def alike(connection: Connection, number: int) -> ColumnElement[bool] | None:
    """Return what finds all that waits for the same reason as one of that number; None where it does not wait any more."""
    own = raw_inbox.c
    row = connection.execute(select(own.source, own.topic, own.reason).where(own.id == number)).first()
    if row is None:
        return None
    return and_(own.source == row.source, own.topic == row.topic, own.reason == row.reason)


def let_go(connection: Connection, number: int) -> None:
    """Let go of all that waits for the same reason as one of that number."""
    which = alike(connection, number)
    if which is not None:
        connection.execute(delete(raw_inbox).where(which))
