"""Reacting to facts.

The moment a fact is known, enrollments that it ends are ended, waits that it ends are woken, goals that it fulfils noted.

Comes in: the facts of one pass. Goes out: exits with their reasons and everything dropped that waited to be sent.
Exits happen for paused and frozen flows too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.audience.sql import EVERYTHING, truths
from engine.audience.subjects import Ask, Subject, told
from engine.calendar import add
from engine.flows.conditions import Clause, Did, Not, walk
from engine.flows.model import Flow, WaitUntil
from engine.journeys import journal
from engine.journeys.candidates import ArrivedEvent
from engine.journeys.decide import leave_reason
from engine.journeys.people import read_people
from engine.journeys.program import Program
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow, programs
from engine.outbox import own_facts
from engine.outbox.ledger import drop_pending
from engine.store.bulk import update_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import enrollments

LIVE = ("active", "waiting")
SNOOZED, LONGEST_SNOOZE = "reminder_snoozed", 3660  # days
LAWFUL = frozenset({"consent_withdrawn", "customer_suppressed", "customer_erased"})

# Most facts concern nobody's exit or wait: what an enrollment remembers is read for those that they do.
_INSIDE = Prepared(
    select(enrollments.c.id, enrollments.c.version, enrollments.c.customer_id, enrollments.c.position).where(
        within(enrollments.c.customer_id, "ids"), enrollments.c.state.in_(LIVE)
    )
)
_WAITING = Prepared(
    select(
        enrollments.c.id,
        enrollments.c.version,
        enrollments.c.customer_id,
        enrollments.c.flow,
        enrollments.c.position,
        enrollments.c.next_at,
    ).where(within(enrollments.c.customer_id, "ids"), enrollments.c.state.in_(LIVE))
)
_WHOLE = Prepared(select(enrollments).where(within(enrollments.c.id, "ids")))
# With those whose goal may still be reached, who are looked at beside them.
_CONCERNED = Prepared(
    select(
        enrollments.c.id,
        enrollments.c.version,
        enrollments.c.customer_id,
        enrollments.c.position,
        enrollments.c.state,
        enrollments.c.flow,
        enrollments.c.entered_at,
        enrollments.c.since_at,
        enrollments.c.goal_at,
    ).where(
        within(enrollments.c.customer_id, "ids"),
        enrollments.c.state.in_(LIVE)
        | (enrollments.c.goal_at.is_(None) & within(enrollments.c.flow, "flows")),
    )
)


def react(
    connection: Connection, live: Mapping[str, LiveFlow], batch: Sequence[ArrivedEvent], at: Round
) -> int:
    """End, wake and fulfil what these facts end, wake and fulfil; return how many enrollments left."""
    gathered: dict[int, set[str]] = defaultdict(set)
    for event in batch:
        gathered[event.customer_id].add(event.name)
    names = {customer_id: frozenset(own) for customer_id, own in gathered.items()}
    fitting = _fitting(live, {event.name for event in batch})
    flows = sorted(set().union(*fitting.values()))
    rows = _CONCERNED.rows(connection, ids=sorted(names), flows=flows) if names else []
    inside = [row for row in rows if row.state in LIVE]
    left = _leave(connection, inside, names, at)
    hold_back(connection, batch, at)
    _wake(connection, [row for row in inside if row.id not in left], names, at)
    if flows:
        reach_goals(connection, live, batch, fitting, [row for row in rows if row.goal_at is None], at)
    return len(left)


def leave_by_law(connection: Connection, customer_ids: Collection[int], at: Round) -> int:
    """End what these customers may not be in any more, their consent having been withdrawn without a fact."""
    if not customer_ids:
        return 0
    rows = _INSIDE.rows(connection, ids=sorted(customer_ids))
    return len(_leave(connection, rows, dict.fromkeys(customer_ids, frozenset({"consent_withdrawn"})), at))


def subject_of(row: Any) -> Subject:
    """Return whom the conditions of a stored enrollment are asked about."""
    return Subject(
        row.customer_id, row.entered_at, row.since_at, row.event_id, row.order_id, row.cart_id, row.sku,
        row.context.get("trigger", {}), row.context.get("answers", {}),
    )  # fmt: skip


# ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _leave(
    connection: Connection, rows: Sequence[Any], names: Mapping[int, frozenset[str]], at: Round
) -> set[int]:
    """End the enrollments whose customers' facts end them; return their ids."""
    found = programs(connection, [row.version for row in rows])
    known: dict[tuple[str, frozenset[str]], bool] = {}
    concerned: list[int] = []
    for row_id, version, customer_id, *_ in rows:
        own = names[customer_id]
        if (version, own) not in known:
            known[version, own] = bool(own & LAWFUL) or concerns(found[version].flow.exit_when, own)
        if known[version, own]:
            concerned.append(row_id)
    by_version: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in _WHOLE.rows(connection, ids=concerned) if concerned else ():
        by_version[row.version].append(row)
    left: dict[int, tuple[Row[Any], str, list[Mapping[str, Any]]]] = {}
    for version, leaving in by_version.items():
        flow = found[version].flow
        people = read_people(connection, [row.customer_id for row in leaving], [flow], at)
        for row, truth in zip(leaving, _exit_truths(connection, flow, leaving, at), strict=True):
            reason = leave_reason(flow, found[version].asks(None), people[row.customer_id], truth)
            if reason is not None:
                left[row.id] = (row, reason, journal.clauses(truth, truth))
    _write_exits(connection, left, at)
    return set(left)


def _exit_truths(
    connection: Connection, flow: Flow, rows: Sequence[Row[Any]], at: Round
) -> list[Mapping[Ask, bool]]:
    asks = tuple(Ask(clause, after_entry=True) for clause in flow.exit_when)
    if not asks:
        return [{} for _ in rows]
    found = truths(
        connection,
        asks,
        [subject_of(row) for row in rows],
        now=at.now,
        told=EVERYTHING,
        segments=flow.segments,
        shop_zone=at.shop_zone,
    )
    return list(told(asks, found))


def concerns(clauses: Sequence[Clause], names: Collection[str]) -> bool:
    """Return whether facts of these names can change the truth of any of the clauses.

    Only `did` of other names is sure not to change; everything else may depend on any fact.
    """
    for clause in clauses:
        parts = list(walk(clause.condition))
        if any(not isinstance(part, Did | Not) for part in parts):
            return True
        if any(isinstance(part, Did) and part.event in names for part in parts):
            return True
    return False


def _write_exits(
    connection: Connection, left: Mapping[int, tuple[Row[Any], str, list[Mapping[str, Any]]]], at: Round
) -> None:
    if not left:
        return
    exited = {"state": "exited", "position": None, "next_at": None, "left_at": at.now}
    update_rows(
        connection,
        enrollments,
        [{**exited, "left_reason": why, "id": row_id} for row_id, (_, why, _) in left.items()],
    )
    entries = [
        journal.entry(
            at.now, row.flow, row.customer_id, "exited", reason,
            enrollment_id=row.id, step=row.position, detail={"clauses": clauses},
        )
        for row, reason, clauses in left.values()
    ]  # fmt: skip
    journal.write(connection, entries)
    drop_pending(connection, {row_id: reason for row_id, (_, reason, _) in left.items()}, at.now)
    facts = [
        own_facts.fact(
            f"flow_left:{row.id}", row.customer_id, "flow_left", at.now, {"flow": row.flow, "reason": reason}
        )
        for row, reason, _ in left.values()
    ]
    own_facts.record(connection, facts, at.listened)


# ── not yet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def hold_back(connection: Connection, batch: Sequence[ArrivedEvent], at: Round) -> None:
    """Put off what enrollments do next, where their customer said "not yet" to a mail of the flow (`reminder_snoozed`).

    What follows counts from the end of the snooze. Who waits for a fact goes on waiting for it: it may come any time.
    """
    until: dict[tuple[int, str], datetime] = {}
    for event in batch:
        days, flow = event.properties.get("days"), event.properties.get("flow")
        if event.name == SNOOZED and flow and isinstance(days, int | float) and 0 < days <= LONGEST_SNOOZE:
            key = event.customer_id, str(flow)
            until[key] = max(until.get(key, event.occurred_at), event.occurred_at + timedelta(days=days))
    if not until:
        return
    inside = [
        (row, until[row.customer_id, row.flow])
        for row in _WAITING.rows(connection, ids=sorted({customer_id for customer_id, _ in until}))
        if (row.customer_id, row.flow) in until
    ]
    found = programs(connection, [row.version for row, _ in inside])
    later = [
        (row, end)
        for row, end in inside
        if row.next_at is not None
        and row.next_at < end
        and not _awaits_fact(found[row.version], row.position)
    ]
    rows = [{"next_at": end, "anchor_at": end, "id": row.id} for row, end in later]
    update_rows(connection, enrollments, rows)
    entries = [
        journal.entry(
            at.now, row.flow, row.customer_id, "deferred", "snoozed_by_customer",
            enrollment_id=row.id, step=row.position, detail={"until": end.isoformat()},
        )
        for row, end in later
    ]  # fmt: skip
    journal.write(connection, entries)


def _awaits_fact(program: Program, position: str | None) -> bool:
    node = program.nodes.get(position) if position is not None else None
    return node is not None and isinstance(node.step, WaitUntil)


# ── waking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _wake(
    connection: Connection, rows: Sequence[Any], names: Mapping[int, frozenset[str]], at: Round
) -> None:
    """Let enrollments that wait for a fact look again in this pass."""
    found = programs(connection, [row.version for row in rows])
    woken = [row.id for row in rows if _listens(found[row.version], row.position, names[row.customer_id])]
    update_rows(connection, enrollments, [{"next_at": at.now, "id": each} for each in woken])


def _listens(program: Program, position: str | None, names: frozenset[str]) -> bool:
    node = program.nodes.get(position) if position is not None else None
    return node is not None and isinstance(node.step, WaitUntil) and concerns([node.step.until], names)


# ── goals ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _goal_moment(flow: Flow, row: Row[Any], facts: Sequence[ArrivedEvent], shop_zone: str) -> datetime | None:
    """Return when the first of these facts came in time for an enrollment's goal."""
    assert flow.goal is not None
    moments = [event.occurred_at for event in facts if event.occurred_at > row.since_at]
    if not moments or flow.goal.within is None:
        return min(moments, default=None)
    first = min(moments)
    return first if first <= add(row.entered_at, flow.goal.within, shop_zone) else None


def _fitting(live: Mapping[str, LiveFlow], names: Iterable[str]) -> dict[str, set[str]]:
    """Return for each of these names of facts the flows whose goal such a fact may reach."""
    goals = [(each.flow.name, each.flow.goal.clause) for each in live.values() if each.flow.goal is not None]
    return {name: {flow for flow, clause in goals if concerns([clause], {name})} for name in names}


def reach_goals(
    connection: Connection,
    live: Mapping[str, LiveFlow],
    batch: Sequence[ArrivedEvent],
    fitting: Mapping[str, set[str]],
    rows: Iterable[Any],
    at: Round,
) -> None:
    """Note the goals that these facts fulfil, for enrollments in any state, holdouts included.

    `rows` are the enrollments of the facts' customers that have not reached theirs.
    """
    facts: dict[int, list[ArrivedEvent]] = defaultdict(list)
    for event in batch:
        if fitting[event.name]:
            facts[event.customer_id].append(event)
    moments: dict[int, datetime] = {}
    for row in rows:
        own = [event for event in facts.get(row.customer_id, ()) if row.flow in fitting[event.name]]
        moment = _goal_moment(live[row.flow].flow, row, own, at.shop_zone) if own else None
        if moment is not None:
            moments[row.id] = moment
    by_flow: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in _WHOLE.rows(connection, ids=list(moments)) if moments else ():
        by_flow[row.flow].append(row)
    reached: list[dict[str, Any]] = []
    for name, reaching in by_flow.items():
        flow = live[name].flow
        assert flow.goal is not None
        ask = Ask(flow.goal.clause, after_entry=True)
        subjects = [subject_of(row) for row in reaching]
        held = truths(
            connection, [ask], subjects, now=at.now, told=EVERYTHING, segments=flow.segments, shop_zone=at.shop_zone
        )  # fmt: skip
        reached += [
            {"goal_at": moments[r.id], "id": r.id}
            for r, (holds,) in zip(reaching, held, strict=True)
            if holds
        ]
    update_rows(connection, enrollments, reached)
