"""Advancing: due enrollments take their steps until each of them waits or ends.

Comes in: the moment, and the enrollments whose time has come. Goes out: their new states, messages in the outbox, and
a journal row for each decision, all in the caller's transaction. Enrollments at the same step of the same version are
asked about together, in one statement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.audience.sql import truths
from engine.audience.subjects import Ask, Subject, told
from engine.calendar import add
from engine.flows.model import Send, WaitUntil, Webhook
from engine.journeys import journal
from engine.journeys.answers import heard_facts, held_since, note_answer
from engine.journeys.changes import apply_changes
from engine.journeys.decide import (
    Change,
    Complete,
    Decision,
    Defer,
    Heard,
    Leave,
    Listen,
    Person,
    Post,
    Skip,
    Sleep,
    Standing,
    Take,
    decide,
)
from engine.journeys.people import read_people
from engine.journeys.post import Posting, post_messages
from engine.journeys.program import Program
from engine.journeys.react import leave_by_law
from engine.journeys.references import names_of, resolved
from engine.journeys.round import Round
from engine.journeys.versions import programs
from engine.outbox import own_facts
from engine.outbox.ledger import drop_pending
from engine.store.bulk import update_rows
from engine.store.tables import INSIDE, enrollments

BATCH = 2_000


@dataclass(slots=True)
class Walker:
    """One enrollment on its way through the steps of this pass; the only mutable value in here."""

    id: int
    flow: str
    version: str
    customer_id: int
    state: str
    position: str | None
    anchor_at: datetime
    entered_at: datetime
    since_at: datetime
    next_at: datetime | None
    visit: int
    context: dict[str, Any]
    event_id: int | None
    order_id: str | None
    cart_id: str | None
    sku: str | None
    left_at: datetime | None = None
    left_reason: str | None = None
    answered: bool = False  # whether a fact was added to the context in this pass

    @property
    def subject(self) -> Subject:
        """Whom the conditions of this enrollment are asked about."""
        return Subject(
            self.customer_id, self.entered_at, self.since_at, self.event_id, self.order_id, self.cart_id, self.sku,
            self.context.get("trigger", {}), self.context.get("answers", {}),
        )  # fmt: skip

    @property
    def standing(self) -> Standing:
        """Where it stands, for deciding."""
        return Standing(
            self.id, self.customer_id, self.position, self.anchor_at, self.context.get("trigger_no", 0)
        )


@dataclass(slots=True)
class Effects:
    """What a round of decisions asks to be written."""

    entries: list[journal.Entry] = field(default_factory=list)
    posts: list[Posting] = field(default_factory=list)
    changes: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    left: list[Walker] = field(default_factory=list)
    withdrawn: set[int] = field(default_factory=set)


def advance(connection: Connection, at: Round, closed: Sequence[str], limit: int = BATCH) -> int:
    """Let due enrollments of flows that are not in `closed` take their steps; return how many were due."""
    walkers = _due(connection, at.now, closed, limit)
    if not walkers:
        return 0
    found = programs(connection, [walker.version for walker in walkers])
    flows = [program.flow for program in found.values()]
    people = read_people(connection, [walker.customer_id for walker in walkers], flows, at)
    moving = walkers
    withdrawn: set[int] = set()
    while moving:
        effects = Effects()
        truth = _truths(connection, found, moving, at)
        heard = _heard(connection, found, moving, truth, at)
        for walker, own in zip(moving, truth, strict=True):
            program = found[walker.version]
            decision = decide(
                program,
                _standing(walker, program, heard),
                people[walker.customer_id],
                own,
                at.rules(program.flow),
                at.now,
            )
            if isinstance(decision, Heard) and decision.held:
                _note_answer(walker, program, heard, people[walker.customer_id].zone)
            _take(walker, program, decision, people[walker.customer_id], own, at, effects)
        changed = _write(connection, effects, at)
        withdrawn |= effects.withdrawn
        if changed:
            people = read_people(connection, [walker.customer_id for walker in walkers], flows, at)
        moving = [
            w
            for w in moving
            if w.state in ("active", "waiting") and w.next_at is not None and w.next_at <= at.now
        ]
    _save(connection, walkers, at)
    leave_by_law(connection, withdrawn, at)
    return len(walkers)


def _due(connection: Connection, now: datetime, closed: Sequence[str], limit: int) -> list[Walker]:
    table = enrollments.c
    columns = [table[name] for name in Walker.__dataclass_fields__ if name != "answered"]
    query = (
        select(*columns).where(INSIDE, table.next_at <= now).order_by(table.next_at, table.id).limit(limit)
    )
    if closed:
        query = query.where(table.flow.not_in(sorted(closed)))
    query = query.with_for_update(skip_locked=True)  # on PostgreSQL another worker takes others
    return [Walker(*row) for row in connection.execute(query)]


def _truths(
    connection: Connection, found: Mapping[str, Program], moving: Sequence[Walker], at: Round
) -> list[Mapping[Ask, bool]]:
    result: list[Mapping[Ask, bool]] = [{} for _ in moving]
    groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for index, walker in enumerate(moving):
        groups[walker.version, walker.position].append(index)
    for (version, position), indexes in groups.items():
        program = found[version]
        asks = tuple(dict.fromkeys((*program.asks(position), *at.exclusions(program.flow))))
        if asks:
            subjects = [moving[index].subject for index in indexes]
            rows = truths(
                connection, asks, subjects, now=at.now, segments=program.flow.segments, shop_zone=at.shop_zone
            )
            for index, own in zip(indexes, told(asks, rows), strict=True):
                result[index] = own
    return result


def _heard(
    connection: Connection,
    found: Mapping[str, Program],
    moving: Sequence[Walker],
    truth: Sequence[Mapping[Ask, bool]],
    at: Round,
) -> Mapping[int, Sequence[Row[Any]]]:
    """Return the facts that ended the waits which end now, by enrollment."""
    ending = [
        (walker, step)
        for walker, own in zip(moving, truth, strict=True)
        if (step := _awaiting(walker, found[walker.version])) is not None
        and own.get(Ask(step.until, after_entry=True))
    ]
    return heard_facts(connection, ending, at.now, at.shop_zone) if ending else {}


def _awaiting(walker: Walker, program: Program) -> WaitUntil | None:
    node = program.nodes.get(walker.position) if walker.position is not None else None
    return node.step if node is not None and isinstance(node.step, WaitUntil) else None


def _standing(walker: Walker, program: Program, heard: Mapping[int, Sequence[Row[Any]]]) -> Standing:
    step = _awaiting(walker, program) if walker.id in heard else None
    return (
        walker.standing
        if step is None
        else replace(walker.standing, heard_at=held_since(step, heard[walker.id]))
    )


def _note_answer(
    walker: Walker, program: Program, heard: Mapping[int, Sequence[Row[Any]]], zone: str
) -> None:
    step = _awaiting(walker, program)
    if step is not None:
        note_answer(walker, step, heard.get(walker.id, ()), add(walker.anchor_at, step.up_to, zone))


# ── carrying a decision out on the walker ────────────────────────────────────────────────────────────────────────────


def _take(
    walker: Walker,
    program: Program,
    decision: Decision,
    person: Person,
    truth: Mapping[Ask, bool],
    at: Round,
    effects: Effects,
) -> None:
    step = walker.position
    what, reason, detail = _describe(decision)
    detail = dict(detail) | (
        {"clauses": journal.clauses(truth, truth)} if truth and what not in ("waiting",) else {}
    )
    effects.entries.append(
        journal.entry(
            at.now,
            walker.flow,
            walker.customer_id,
            what,
            reason,
            enrollment_id=walker.id,
            step=step,
            detail=detail,
        )
    )
    if isinstance(decision, Leave):
        _leave(walker, decision, at, effects)
    elif isinstance(decision, Complete):
        walker.state, walker.position, walker.next_at, walker.left_at = (
            "completed",
            None,
            None,
            walker.anchor_at,
        )
    elif isinstance(decision, Defer):
        walker.state, walker.anchor_at, walker.next_at = "waiting", decision.until, decision.until
    elif isinstance(decision, Listen):
        walker.state, walker.next_at = "waiting", decision.limit
    elif isinstance(decision, Sleep):
        walker.anchor_at = walker.next_at = decision.until
        _go(walker, decision.go_to, "waiting" if decision.until > at.now else "active")
    else:
        _go_on(walker, program, decision, person, effects)


def _go_on(walker: Walker, program: Program, decision: Decision, person: Person, effects: Effects) -> None:
    """Carry out a decision after which the next step is due at once."""
    assert isinstance(decision, Post | Skip | Heard | Take | Change)
    step = program.nodes[walker.position or ""].step
    if isinstance(decision, Post):
        assert isinstance(step, Send | Webhook)
        effects.posts.append(
            Posting(
                walker.id, walker.flow, walker.version, walker.customer_id, step, decision.template, program.flow,
                walker.anchor_at, decision.expires_at, walker.visit, person.zone, walker.context, effects.entries[-1],
            )
        )  # fmt: skip
        walker.visit += 1
    elif isinstance(decision, Heard):
        assert isinstance(step, WaitUntil)
        walker.anchor_at = decision.at
    elif isinstance(decision, Change):
        values = resolved(decision.values, names_of(walker.context))
        effects.changes.append((walker.customer_id, values))
    walker.next_at = walker.anchor_at
    _go(walker, decision.go_to, "active")


def _go(walker: Walker, position: str | None, state: str) -> None:
    walker.position, walker.state = position, state


def _leave(walker: Walker, decision: Leave, at: Round, effects: Effects) -> None:
    walker.state, walker.position, walker.next_at = "exited", None, None
    walker.left_at, walker.left_reason = at.now, decision.reason
    if decision.drop_pending:
        effects.left.append(walker)


def _describe(decision: Decision) -> tuple[str, str | None, Mapping[str, Any]]:
    """Return a decision as the journal's word, reason and detail."""
    match decision:
        case Leave(reason=reason):
            return "exited", reason, {}
        case Post(template=template, expires_at=expires_at):
            return "due", None, {"template": template, "expires_at": expires_at.isoformat()}
        case Skip(reason=reason):
            return "skipped", reason, {}
        case Defer(until=until, reason=reason):
            return "deferred", reason, {"until": until.isoformat()}
        case Sleep(until=until, go_to=go_to):
            return "waiting", None, {"until": until.isoformat(), "next": go_to}
        case Listen(limit=limit):
            return "waiting", None, {"until": limit.isoformat()}
        case Heard(held=held):
            return "heard" if held else "not_heard", None, {}
        case Take(arm=arm, go_to=go_to):
            return "took", None, {"arm": arm, "next": go_to}
        case Change(values=values):
            return "set", None, {"fields": sorted(values)}
        case Complete():
            return "completed", None, {}


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write(connection: Connection, effects: Effects, at: Round) -> bool:
    """Write messages, changes and the journal; return whether customers were changed."""
    if effects.left:
        reasons = {walker.id: walker.left_reason or "exited" for walker in effects.left}
        drop_pending(connection, reasons, at.now)
    post_messages(connection, effects.posts, at)
    effects.withdrawn |= apply_changes(connection, effects.changes, at)
    journal.write(connection, effects.entries)
    offered = any(isinstance(post.step, Send) and post.step.offer for post in effects.posts)
    return bool(effects.changes) or offered  # a wait may ask for the end of an offer


_SAVED = ("state", "position", "anchor_at", "next_at", "visit", "left_at", "left_reason", "id")


def _save(connection: Connection, walkers: Sequence[Walker], at: Round) -> None:
    update_rows(connection, enrollments, [{name: getattr(w, name) for name in _SAVED} for w in walkers])
    update_rows(connection, enrollments, [{"context": w.context, "id": w.id} for w in walkers if w.answered])
    ended = [w for w in walkers if w.state not in ("active", "waiting")]
    own_facts.record(
        connection,
        [
            own_facts.fact(
                f"flow_left:{w.id}", w.customer_id, "flow_left", w.left_at or w.anchor_at,
                {"flow": w.flow, "reason": w.left_reason or w.state},
            )
            for w in ended
        ],
        at.listened,
    )  # fmt: skip
