"""The journal: one row for each decision, with its reason and the truth of the clauses it rested on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from engine.audience.subjects import Ask
from engine.store.bulk import insert_rows
from engine.store.dialect import only_counts
from engine.store.tables import journal

Entry = dict[str, Any]
COUNTED = frozenset(
    {"entered", "held_out", "refused", "skipped", "dropped", "deferred"}
)  # in a simulation's report


def entry(
    at: datetime,
    flow: str,
    customer_id: int,
    decision: str,
    reason: str | None = None,
    *,
    enrollment_id: int | None = None,
    message_id: int | None = None,
    step: str | None = None,
    detail: dict[str, Any] | None = None,
) -> Entry:
    """Return one journal row."""
    return {
        "at": at,
        "flow": flow,
        "customer_id": customer_id,
        "enrollment_id": enrollment_id,
        "message_id": message_id,
        "step": step,
        "decision": decision,
        "reason": reason,
        "detail": detail or None,
    }


def clauses(asks: Iterable[Ask], truth: Mapping[Ask, bool]) -> list[Mapping[str, Any]]:
    """Return the clauses of a decision with their truth, as the journal keeps them."""
    return [{"clause": ask.clause.text, "holds": truth[ask]} for ask in asks if ask in truth]


def write(connection: Connection, entries: Sequence[Entry]) -> None:
    """Append rows to the journal; where decisions are only counted, those that are, without what they rested on."""
    if only_counts(connection):
        entries = [{**each, "detail": None} for each in entries if each["decision"] in COUNTED]
    insert_rows(connection, journal, entries)
