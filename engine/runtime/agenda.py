"""The agenda: when the next thing of each kind is due, in one statement of index probes.

A pass looks here before it opens a transaction, a virtual clock to know where to stop. Its cost does not depend on how
many customers there are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, literal, null, select, type_coerce, union_all

from engine.store.prepared import Prepared
from engine.store.tables import (
    INSIDE,
    UNSETTLED,
    arrivals,
    enrollments,
    fact_inbox,
    messages,
    staged_facts,
    timers,
)
from engine.store.types import Instant

ANY = datetime.min  # noqa: DTZ901 - it stands for a bound value, and is no moment


@dataclass(frozen=True, slots=True)
class Agenda:
    """The earliest moment of each kind of work; None: there is none. Unread and kept facts are due at once."""

    unread: bool
    kept: bool
    staged_at: datetime | None
    enrollments_at: datetime | None
    messages_at: datetime | None
    leased: bool
    timers_at: dict[str, datetime]

    def due_flows(self, now: datetime) -> list[str]:
        """Return the flows that have a timer due."""
        return [flow for flow, moment in self.timers_at.items() if moment <= now]

    def nothing_by(self, now: datetime) -> bool:
        """Return whether nothing is due at `now` (what another worker holds does not count)."""
        return not (self.unread or self.kept) and (self.next_at is None or self.next_at > now)

    @property
    def next_at(self) -> datetime | None:
        """The earliest moment at which something is due, apart from unread facts."""
        moments = [self.staged_at, self.enrollments_at, self.messages_at, *self.timers_at.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def without_mails(self) -> Agenda:
        """The same for a pass that sends nothing: what waits in the outbox is nothing to it."""
        return replace(self, messages_at=None, leased=False)


def read_agenda(
    connection: Connection,
    open_flows: Sequence[str],
    closed: Sequence[str],
    arming: Collection[str] = (),
) -> Agenda:
    """Return what is due when.

    Kept facts, timers, enrollments and messages of closed flows are left out, and the timers of flows in `arming`.
    """
    found: dict[str, Any] = {}
    timers_at: dict[str, datetime] = {}
    asked = _statement(tuple(open_flows), tuple(closed), frozenset(arming))
    for kind, flow, moment in asked.rows(connection):
        if kind == "timer":
            timers_at[flow] = moment
        else:
            found[kind] = moment or ANY
    return Agenda(
        "unread" in found, "kept" in found, found.get("staged"), found.get("enrollment"), found.get("message"),
        "leased" in found, timers_at,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _statement(open_flows: tuple[str, ...], closed: tuple[str, ...], arming: frozenset[str]) -> Prepared:
    inside = select(enrollments.c.next_at).where(INSIDE)
    posted = select(messages.c.try_at).where(UNSETTLED, messages.c.state == "pending")
    if closed:
        inside = inside.where(enrollments.c.flow.not_in(closed))
        posted = posted.where(messages.c.flow.not_in(closed))
    held = (
        select(messages.c.id)
        .where(UNSETTLED, messages.c.state != "pending")
        .order_by(messages.c.try_at, messages.c.id)
    )
    parts = [
        _probe("unread", select(fact_inbox.c.id).limit(1)),
        _probe(
            "staged",
            select(staged_facts.c.arrives_at).order_by(staged_facts.c.arrives_at, staged_facts.c.id).limit(1),
        ),
        _probe(
            "enrollment",
            inside.where(enrollments.c.next_at.is_not(None))
            .order_by(enrollments.c.next_at, enrollments.c.id)
            .limit(1),
        ),
        _probe("message", posted.order_by(messages.c.try_at, messages.c.id).limit(1)),
        _probe("leased", held.limit(1)),
    ]
    for flow in open_flows:
        parts.append(_probe("kept", select(arrivals.c.id).where(arrivals.c.flow == flow).limit(1)))
        due = (
            select(timers.c.due_at)
            .where(timers.c.flow == flow)
            .order_by(timers.c.due_at, timers.c.id)
            .limit(1)
        )
        if flow not in arming:
            parts.append(_probe("timer", due, flow))
    return Prepared(union_all(*parts))


def _probe(kind: str, query: Select[Any], flow: str = "") -> Select[Any]:
    """Return one row (kind, flow, moment) where the query finds anything."""
    inner = query.subquery()
    column = next(iter(inner.c))
    moment = column if isinstance(column.type, Instant) else type_coerce(null(), Instant())
    return select(
        literal(kind).label("kind"), literal(flow).label("flow"), moment.label("moment")
    ).select_from(inner)
