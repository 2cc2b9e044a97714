"""The journal: each decision with its reason and the truth of the clauses it rested on.

A row for each, but for waits: a wait that begins with another decision of the same enrollment stands in that one's row, under
`then`. Who reads decisions in their order reads them by `decisions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from engine.audience.subjects import Ask
from engine.store.bulk import insert_rows
from engine.store.dialect import only_counts
from engine.store.tables import journal

Entry = dict[str, Any]
THEN = "then"
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


def then_waits(row: Entry, step: str | None, detail: Mapping[str, Any]) -> None:
    """Let a row that is not written yet tell that the enrollment waits next, at this step."""
    row["detail"] = {**(row["detail"] or {}), THEN: {"step": step, **detail}}


class Decided(NamedTuple):
    """One decision as it was taken; the wait that a row holds beside its own decision carries that row's id, too."""

    id: int
    at: datetime
    flow: str
    customer_id: int
    enrollment_id: int | None
    message_id: int | None
    step: str | None
    decision: str
    reason: str | None
    detail: Mapping[str, Any] | None


def decisions(rows: Iterable[Any]) -> Iterator[Decided]:
    """Yield the decisions of rows of the journal, each wait behind what led to it."""
    for row in rows:
        own = Decided(*row)
        following = (own.detail or {}).get(THEN)
        if following is None:
            yield own
            continue
        plain = {name: value for name, value in (own.detail or {}).items() if name != THEN}
        yield own._replace(detail=plain or None)
        wait = {name: value for name, value in following.items() if name != "step"}
        yield own._replace(
            message_id=None, step=following["step"], decision="waiting", reason=None, detail=wait
        )


def clauses(asks: Iterable[Ask], truth: Mapping[Ask, bool]) -> list[Mapping[str, Any]]:
    """Return the clauses of a decision with their truth, as the journal keeps them."""
    return [{"clause": ask.clause.text, "holds": truth[ask]} for ask in asks if ask in truth]


def write(connection: Connection, entries: Sequence[Entry]) -> None:
    """Append rows to the journal; where decisions are only counted, those that are, without what they rested on."""
    if only_counts(connection):
        entries = [{**each, "detail": None} for each in entries if each["decision"] in COUNTED]
    insert_rows(connection, journal, entries)
