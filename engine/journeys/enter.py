"""Entering: candidates are let in, or are refused with a reason.

Comes in: one live flow and a batch of candidates. Goes out: those who are let in, for `engine.journeys.advance.begin` to
write, and the refusals in the journal, in the caller's transaction. Promises: a handful of statements whatever the size of
the batch; the same occurrence never enters twice (a unique key holds it); a candidate whose `where` does not hold leaves
no trace, every other refusal is in the journal with its clauses; a refused entry uses nothing up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select

from engine.audience.sql import EVERYTHING, truths
from engine.audience.subjects import Ask, Subject, told
from engine.flows.conditions import Clause, FieldTest, Of, Scope
from engine.flows.model import EventTrigger, Flow, LapsedTrigger, ProductTrigger, ReplenishTrigger
from engine.journeys import journal
from engine.journeys.candidates import ALREADY, Candidate, PastEntry, refused_by_re_entry
from engine.journeys.decide import Person, held_out, keeps_quiet, leave_reason
from engine.journeys.gathering import again
from engine.journeys.known import Known
from engine.journeys.program import ORDER_NUMBER, Program, segment_clause
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow
from engine.journeys.walker import LIVE
from engine.store.dialect import only_counts, within
from engine.store.prepared import Prepared
from engine.store.tables import arrivals, enrollments


@dataclass(frozen=True, slots=True)
class Admission:
    """What becomes of one candidate: `state` is the enrollment's first state, or None with the reason of the refusal."""

    state: str | None
    reason: str | None = None


_LET_IN, _HELD_OUT = Admission("active"), Admission("held_out", "holdout")


class Newcomer(NamedTuple):
    """Somebody who was let in: the enrollment as it is to be written, and what was looked up on the way."""

    row: Mapping[str, Any]
    subject: Subject
    person: Person
    program: Program


def enter(
    connection: Connection,
    live: LiveFlow,
    candidates: Sequence[Candidate],
    at: Round,
    known: Known,
    failed: list[tuple[Candidate, Exception]] | None = None,
) -> list[Newcomer]:
    """Return those of the candidates who may enter, holdouts included; the refusals of the others are written.

    Those of whom nobody can say it are added to `failed`; without it the first failure goes up.
    """
    if not candidates:
        return []
    counting = only_counts(connection)
    if live.program.counts_orders or not counting:  # mails may tell it, too
        candidates = _with_order_numbers(candidates, known)
    ids = [candidate.customer_id for candidate in candidates]
    people = known.people(ids, live.flow)
    history = _history(connection, live.flow.name, ids)
    doors = _doors(live.flow, candidates, at)
    subjects = [subject_of(candidate) for candidate in candidates]
    truth = _truths(connection, live.flow, subjects, [door.asks for door in doors], at)
    admitted, refusals = [], []
    early: list[Candidate] = []
    rules = at.rules(live.flow)
    passing = live.program.at_once and not rules.exclude
    alone = (
        live.flow.re_entry.per is None and not live.flow.re_entry.never
    )  # one at a time, but more than once
    for candidate, door, subject, own_truth in zip(candidates, doors, subjects, truth, strict=True):
        person = people[candidate.customer_id]
        past = history[candidate.customer_id]
        if past and past[-1].begins and alone and (door.where is None or own_truth[door.where]):
            early.append(candidate)
            continue
        try:
            admission = admit(live.flow, door, candidate, person, past, own_truth, at)
        except Exception as error:
            if failed is None:
                raise
            failed.append((candidate, error))
            continue
        if admission is None:
            continue
        if admission.state is not None:
            scope = candidate.scope_key(live.flow.re_entry.per, person.zone)
            inside = admission.state in LIVE
            quick = inside and passing and not keeps_quiet(live.flow, rules, person, at.now)
            through = candidate.entered_at if quick else None
            stays = inside and through is None
            past.append(
                PastEntry(candidate.occurrence, scope, candidate.entered_at, stays, through, begins=stays)
            )
            row = _enrollment(live, candidate, admission.state, scope)
            admitted.append(Newcomer(row, subject, person, live.program))
        elif admission.reason != ALREADY:
            detail = None if counting else _detail(candidate, door.asks, own_truth)
            refusals.append(
                journal.entry(
                    at.now, live.flow.name, candidate.customer_id, "refused", admission.reason, detail=detail
                )
            )
    journal.write(connection, refusals)
    look_again(connection, live.flow, early)
    return admitted


def look_again(connection: Connection, flow: Flow, candidates: Sequence[Candidate]) -> None:
    """Let candidates come to the door again in the next round of this pass, when those before them have taken their steps.

    Somebody who came in by the same batch may be through at once.
    """
    by_fact = [candidate for candidate in candidates if _is_by_fact(flow, candidate)]
    ids = dict.fromkeys(candidate.event_id for candidate in by_fact)
    if ids:
        connection.execute(insert(arrivals), [{"flow": flow.name, "event_id": each} for each in ids])
    again(connection, flow.name, [each for each in candidates if not _is_by_fact(flow, each)])


def _is_by_fact(flow: Flow, candidate: Candidate) -> bool:
    trigger = flow.triggers[candidate.trigger_no]
    return isinstance(trigger, EventTrigger) and trigger.quiet_for is None and not candidate.gathered


# ── the pure part ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Door:
    """What is asked of everybody who comes by one trigger: its `where`, what would end it at once, what must hold."""

    where: Ask | None
    exits: tuple[Ask, ...]
    entry: tuple[Ask, ...]
    asks: tuple[Ask, ...]


def admit(
    flow: Flow,
    door: Door,
    candidate: Candidate,
    person: Person,
    past: Sequence[PastEntry],
    truth: Mapping[Ask, bool],
    at: Round,
) -> Admission | None:
    """Return what becomes of a candidate; None: the trigger's `where` does not hold, so nothing happened at all."""
    if door.where is not None and not truth[door.where]:
        return None
    refused = refused_by_re_entry(flow.re_entry, candidate, past, person.zone)
    if refused is not None:
        return Admission(None, refused)
    leaving = "quarantined" if person.quarantined else leave_reason(flow, door.exits, person, truth)
    if leaving is not None:
        return Admission(None, leaving)
    for ask in door.entry:
        if not truth[ask]:
            return Admission(None, f"condition_false: {ask.clause.text}")
    if held_out(flow, person.identity, at.settings.policy.global_holdout):
        return _HELD_OUT
    return _LET_IN


def entry_clauses(flow: Flow, trigger_no: int, at: Round) -> tuple[Clause, ...]:
    """Return what must hold on entry: excluded segments, `enter_if`, `only_if`, membership of a segment trigger."""
    return (*at.rules(flow).exclude, *flow.enter_if, *flow.only_if, *segment_clause(flow, trigger_no))


def _doors(flow: Flow, candidates: Sequence[Candidate], at: Round) -> list[Door]:
    """Return each candidate's door; those who come by the same trigger share one."""
    known: dict[tuple[int, bool], Door] = {}
    for candidate in candidates:
        key = (candidate.trigger_no, bool(candidate.gathered))
        if key not in known:
            where = _where_ask(flow, candidate)
            exits = tuple(Ask(clause, after_entry=True) for clause in flow.exit_when)
            entry = tuple(Ask(clause) for clause in entry_clauses(flow, candidate.trigger_no, at))
            known[key] = Door(where, exits, entry, (*((where,) if where else ()), *exits, *entry))
    return [known[candidate.trigger_no, bool(candidate.gathered)] for candidate in candidates]


def _where_ask(flow: Flow, candidate: Candidate) -> Ask | None:
    """Return the trigger's `where` as a clause: on the fact, or for products on the product as it is now."""
    trigger = flow.triggers[candidate.trigger_no]
    tests: tuple[FieldTest, ...] = ()
    if candidate.gathered:
        return None  # each of them was asked before it was gathered
    if isinstance(trigger, EventTrigger | LapsedTrigger | ProductTrigger | ReplenishTrigger):
        tests = trigger.where
    if not tests:
        return None
    scope: Scope = "product" if isinstance(trigger, ProductTrigger | ReplenishTrigger) else "trigger"
    return Ask(_where_clause(scope, tests))


@lru_cache(maxsize=256)
def _where_clause(scope: Scope, tests: tuple[FieldTest, ...]) -> Clause:
    return Clause(Of(scope, tests), "where")


def fitting(
    connection: Connection, flow: Flow, candidates: Sequence[Candidate], at: Round
) -> list[Candidate]:
    """Return the candidates that pass their trigger's `where`, for those that are gathered before they enter."""
    wheres = [door.where for door in _doors(flow, candidates, at)]
    asks = [(where,) if where is not None else () for where in wheres]
    truth = _truths(connection, flow, [subject_of(candidate) for candidate in candidates], asks, at)
    return [c for c, where, own in zip(candidates, wheres, truth, strict=True) if where is None or own[where]]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _truths(
    connection: Connection,
    flow: Flow,
    subjects: Sequence[Subject],
    asks: Sequence[tuple[Ask, ...]],
    at: Round,
) -> list[Mapping[Ask, bool]]:
    """Return the truth of each candidate's clauses: one statement for each trigger of the flow that has candidates."""
    result: list[Mapping[Ask, bool]] = [{} for _ in subjects]
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, own in enumerate(asks):
        groups[tuple(map(id, own))].append(index)
    for indexes in groups.values():
        own = asks[indexes[0]]
        if own:
            asked = [subjects[index] for index in indexes]
            found = truths(
                connection, own, asked, now=at.now, told=EVERYTHING, segments=flow.segments, shop_zone=at.shop_zone
            )  # fmt: skip
            for index, held in zip(indexes, told(own, found), strict=True):
                result[index] = held
    return result


def subject_of(candidate: Candidate) -> Subject:
    """Return whom the conditions of an entry are asked about."""
    return Subject(
        candidate.customer_id, candidate.entered_at, candidate.since_at, candidate.event_id, candidate.order_id,
        candidate.cart_id, candidate.sku, candidate.trigger,
    )  # fmt: skip


_HISTORY = Prepared(
    select(
        enrollments.c.customer_id,
        enrollments.c.occurrence,
        enrollments.c.scope_key,
        enrollments.c.entered_at,
        enrollments.c.state,
        enrollments.c.left_at,
    )
    # In no order: SQLite would read all of the flow's enrollments by their moments for one.
    .where(enrollments.c.flow == bindparam("in_flow"), within(enrollments.c.customer_id, "ids"))
)


def _history(connection: Connection, flow: str, ids: Sequence[int]) -> dict[int, list[PastEntry]]:
    rows = _HISTORY.rows(connection, in_flow=flow, ids=sorted(set(ids)))
    history: dict[int, list[PastEntry]] = defaultdict(list)
    for customer_id, occurrence, scope_key, entered_at, state, left_at in rows:
        through_at = left_at if state == "completed" else None
        history[customer_id].append(PastEntry(occurrence, scope_key, entered_at, state in LIVE, through_at))
    return history


def _with_order_numbers(candidates: Sequence[Candidate], known: Known) -> list[Candidate]:
    """Add `order_number` to triggers that belong to an order: how many of the customer's orders that one was."""
    order_ids = {c.order_id for c in candidates if c.order_id is not None and ORDER_NUMBER not in c.trigger}
    if not order_ids:
        return list(candidates)
    numbers = known.order_numbers(order_ids)
    return [_numbered(candidate, numbers.get(candidate.order_id or "")) for candidate in candidates]


def _numbered(candidate: Candidate, number: int | None) -> Candidate:
    if number is None or ORDER_NUMBER in candidate.trigger:
        return candidate
    return candidate._replace(trigger={**candidate.trigger, ORDER_NUMBER: number})


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _enrollment(live: LiveFlow, candidate: Candidate, state: str, scope: str | None) -> dict[str, Any]:
    active = state == "active"
    context: dict[str, Any] = {
        "trigger": dict(candidate.trigger),
        "trigger_no": candidate.trigger_no,
        "event": candidate.event_name,
    }
    if candidate.gathered:
        context["facts"] = [dict(fact) for fact in candidate.gathered]
    return {
        "flow": live.flow.name,
        "version": live.program.version,
        "customer_id": candidate.customer_id,
        "occurrence": candidate.occurrence,
        "slot": candidate.occurrence if live.flow.re_entry.per else "",
        "scope_key": scope,
        "entered_at": candidate.entered_at,
        "since_at": candidate.since_at,
        "event_id": candidate.event_id,
        "order_id": candidate.order_id,
        "cart_id": candidate.cart_id,
        "sku": candidate.sku,
        "context": context,
        "state": state,
        "position": live.program.start if active else None,
        "anchor_at": candidate.entered_at,
        "next_at": candidate.entered_at if active else None,
    }


def _remembered(candidate: Candidate) -> dict[str, Any]:
    """Return what the conditions of a refused entry were asked about, for `why`."""
    return {
        "since_at": candidate.since_at.isoformat(), "event_id": candidate.event_id, "order_id": candidate.order_id,
        "cart_id": candidate.cart_id, "sku": candidate.sku, "trigger": dict(candidate.trigger),
    }  # fmt: skip


def _detail(candidate: Candidate, asks: Sequence[Ask], truth: Mapping[Ask, bool]) -> dict[str, Any]:
    """Return what a refusal rests on, as the journal keeps it."""
    return {
        "occurrence": candidate.occurrence,
        "entered_at": candidate.entered_at.isoformat(),
        "asked_about": _remembered(candidate),
        "clauses": journal.clauses(asks, truth),
    }
