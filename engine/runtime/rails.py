"""Rails: pause, freeze, and the brake that stops a flow which would suddenly mail far more people than usual.

The brake works in live mode only. What is usual: at most max(200, 3 × the 95th percentile of the flow's days) entries
or sends in a rolling 24 hours, or the allowance that `apply --allow-audience` gave.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, func, or_, select, update

from engine.diagnostics import did_you_mean
from engine.errors import UsageError
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow
from engine.outbox.ledger import COUNTED
from engine.store import meta
from engine.store.tables import UNSETTLED, enrollments, flows, messages

PAUSED_ALL = "paused_all"
FLOOR = 200
DAY = timedelta(days=1)
LOOK_BACK = timedelta(days=28)


def pause(connection: Connection, flow: str | None, now: datetime) -> None:
    """Stop entries and sends of one flow, or of all; holds until `resume`, across restarts."""
    if flow is None:
        meta.put(connection, PAUSED_ALL, now.isoformat())
        return
    _known(connection, flow)
    connection.execute(update(flows).where(flows.c.flow == flow).values(paused_at=now))


def resume(connection: Connection, flow: str | None) -> None:
    """Let one flow go on, or all; also thaws a frozen one."""
    statement = update(flows).values(paused_at=None, frozen_at=None, frozen_reason=None)
    if flow is None:
        meta.drop(connection, PAUSED_ALL)
        connection.execute(statement)
        return
    _known(connection, flow)
    connection.execute(statement.where(flows.c.flow == flow))


def _known(connection: Connection, flow: str) -> None:
    names = list(connection.scalars(select(flows.c.flow)))
    if flow not in names:
        raise UsageError(f'no flow "{flow}" is applied; {did_you_mean(flow, names)}'.rstrip("; "))


def paused_all(connection: Connection) -> bool:
    """Return whether everything is paused."""
    return meta.get(connection, PAUSED_ALL) is not None


def paused_all_since(connection: Connection) -> datetime | None:
    """Return when everything was paused, or None."""
    told = meta.get(connection, PAUSED_ALL)
    return datetime.fromisoformat(told) if told is not None else None


def freeze(connection: Connection, flow: str, reason: str, now: datetime) -> None:
    """Stop a flow until somebody has looked; `status` shows the reason."""
    connection.execute(update(flows).where(flows.c.flow == flow).values(frozen_at=now, frozen_reason=reason))


def brake_on_entries(connection: Connection, live: LiveFlow, entering: int, at: Round) -> str | None:
    """Return why these entries would be far beyond what is usual, or None."""
    return _brake(connection, live, entering, at, enrollments, "enter")


def due_to_send(connection: Connection, flows: Mapping[str, LiveFlow], at: Round) -> dict[str, int]:
    """Return how many mails of each of the flows are due or in hands.

    What is in some worker's hands counts as what is due: asked in the transaction of a claim, after it, the answers of
    workers who claim beside each other cannot all leave each other's part out.
    """
    table = messages.c
    due = and_(table.state == "pending", table.try_at <= at.now)
    query = (
        select(table.flow, func.count())
        .where(UNSETTLED, or_(due, table.state == "claimed"), table.flow.in_(flows))
        .group_by(table.flow)
    )
    return {flow: number for flow, number in connection.execute(query)}


def brake_on_sends(
    connection: Connection, flows: Mapping[str, LiveFlow], due: Mapping[str, int], at: Round
) -> dict[str, str]:
    """Return which of the flows would mail far more people than usual with what is due, and why."""
    found = {}
    for flow, more in due.items():
        reason = _brake(connection, flows[flow], more, at, messages, "mail")
        if reason is not None:
            found[flow] = reason
    return found


def _brake(
    connection: Connection, live: LiveFlow, more: int, at: Round, table: Table, verb: str
) -> str | None:
    if at.sandbox or more == 0:
        return None
    flow = live.flow.name
    moment = _moment(table)
    of_a_day = _of_flow(select(func.count()), table, flow).where(moment > at.now - DAY)
    recent = connection.scalar(of_a_day) or 0
    if recent + more <= FLOOR:
        return None
    usual = usual_most(connection, flow, at.now, table)
    if recent + more <= max(usual, live.allowance or 0):
        return None
    meant = f"homing apply --allow-audience {recent + more}, then homing resume {live.flow.name}"
    return f"would {verb} {recent + more:,} customers within 24 hours; {brake_limit(usual, live.allowance)} (if that is meant: {meant})"


def brake_limit(usual: int, allowance: int | None) -> str:
    """Return in words what was usual, and what was allowed where that is more.

    >>> brake_limit(200, None), brake_limit(200, 229)
    ('usual is at most 200', 'usual is at most 200, and 229 are allowed')
    """
    allowed = f", and {allowance:,} are allowed" if allowance is not None and allowance > usual else ""
    return f"usual is at most {usual:,}{allowed}"


def usual_most(connection: Connection, flow: str, now: datetime, table: Table) -> int:
    """Return how many entries (`enrollments`) or mails (`messages`) of a flow are at most usual in 24 hours."""
    moment = _moment(table)
    query = _of_flow(select(moment), table, flow).where(moment > now - LOOK_BACK, moment <= now - DAY)
    return max(FLOOR, 3 * _percentile_95(_daily(connection, query, now)))


def most_in_a_day(
    connection: Connection, flow: str, now: datetime, table: Table, ahead: Mapping[datetime, int]
) -> tuple[int, int]:
    """Return the most entries or mails in any 24 hours that end with one `ahead`, and how many of them were before.

    `ahead` is how many come at which moment. The brake counts so: what the flow did in the day before stands in the same
    24 hours as what it is about to do.
    """
    moment = _moment(table)
    of_a_day = _of_flow(select(moment), table, flow).where(moment > now - DAY)
    behind = list(connection.scalars(of_a_day.order_by(moment)))
    most, coming = (0, 0), 0
    for end in sorted(ahead):
        coming += ahead[end]
        before = len(behind) - bisect_right(behind, end - DAY)
        most = max(most, (coming + before, before))
    return most


def _moment(table: Table) -> Any:
    return table.c.entered_at if table is enrollments else table.c.counted_at


def _of_flow(query: Select[Any], table: Table, flow: str) -> Select[Any]:
    """Narrow a query to what the brake counts of a flow: every entry, and every mail that went to a customer."""
    query = query.select_from(table).where(table.c.flow == flow)
    if table is messages:
        query = query.where(table.c.state.in_(COUNTED), table.c.sandbox.is_(False))
    return query


def _daily(connection: Connection, query: Select[Any], now: datetime) -> list[int]:
    counts: dict[int, int] = {}
    for moment in connection.scalars(query):
        day = (now - moment) // DAY
        counts[day] = counts.get(day, 0) + 1
    return sorted(counts.values())


def _percentile_95(counts: list[int]) -> int:
    return counts[min(len(counts) - 1, int(len(counts) * 0.95))] if counts else 0
