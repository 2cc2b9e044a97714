"""Reading what the gate judges by, for a group of messages, inside the transaction that commits the hand-over.

The customers are locked first (a row lock on PostgreSQL; on SQLite the writer's lock is held already), so that neither
an opt-out nor another worker's mail can slip between the reading and the commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Connection, bindparam, select

from engine.audience.sql import truths
from engine.audience.subjects import Ask
from engine.delivery.claim import Claimed
from engine.flows.model import Send, Webhook
from engine.journeys.decide import first_false
from engine.journeys.program import Program
from engine.journeys.react import subject_of
from engine.journeys.round import Round
from engine.journeys.versions import programs
from engine.outbox.ledger import COUNTED
from engine.policy.consent import granted_topics, suppressed_kinds
from engine.policy.gate import Allow, Handed, Question, Verdict, judge
from engine.policy.wishes import FREQUENCY, NO_WISH, PAUSED_UNTIL, Wish, wish_of
from engine.settings import Cap
from engine.store.dialect import within
from engine.store.tables import customers, messages
from engine.store.types import Instant

# Always in this order, so that two workers never wait for each other.
_LOCK = (
    select(
        customers.c.id,
        customers.c.zone,
        customers.c.erased_at,
        customers.c.properties[FREQUENCY].as_string(),
        customers.c.properties[PAUSED_UNTIL].as_string(),
    )
    .where(within(customers.c.id, "ids"))
    .order_by(customers.c.id)
    .with_for_update()
)
_HANDED = (
    select(messages.c.customer_id, messages.c.counted_at)
    .where(
        within(messages.c.customer_id, "ids"),
        messages.c.counted_at > bindparam("longest", type_=Instant()),
        messages.c.state.in_(COUNTED),
        messages.c.kind == "marketing",
        messages.c.channel == "email",
        messages.c.sandbox == bindparam("in_sandbox", type_=Boolean()),
    )
    .order_by(messages.c.counted_at)
)


def verdicts(connection: Connection, group: Sequence[Claimed], at: Round) -> list[Verdict]:
    """Lock the customers of a group and judge its messages in order; each allowed one counts for the next."""
    ids = sorted({message.customer_id for message in group})
    people = _locked(connection, ids)
    granted = granted_topics(connection, ids, {m.topic for m in group if m.topic}, at.settings.soft_opt_in)
    suppressed = suppressed_kinds(connection, ids)
    handed = _handed(connection, ids, group, at, {cap for *_, wish in people.values() for cap in wish.caps})
    found = programs(connection, [message.version for message in group])
    clauses = _clauses(connection, group, found, at)
    result: list[Verdict] = []
    for message, (exit_clause, false_clause) in zip(group, clauses, strict=True):
        zone, erased, wish = people.get(message.customer_id, (None, True, NO_WISH))
        flow = found[message.version].flow
        question = Question(
            kind=flow.kind,
            zone=zone or at.shop_zone,
            due_at=message.due_at,
            expires_at=message.expires_at,
            consented=message.topic in granted.get(message.customer_id, frozenset()),
            suppressed=erased or flow.kind in suppressed.get(message.customer_id, frozenset()),
            exit_clause=exit_clause,
            false_clause=false_clause,
            quiet_hours=at.rules(flow).quiet_hours,
            caps=(*at.caps(flow), *wish.caps) if message.channel == "email" else (),
            paused_until=wish.paused_until,
            when_capped=flow.policy.when_capped,
            handed=handed[message.customer_id],
        )
        verdict = judge(question, at.now)
        if isinstance(verdict, Allow) and flow.kind == "marketing" and message.channel == "email":
            handed[message.customer_id].append(Handed(at.now))
        result.append(verdict)
    return result


def _locked(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str | None, bool, Wish]]:
    rows = connection.execute(_LOCK, {"ids": ids})
    return {
        customer_id: (zone, erased_at is not None, wish_of(frequency, paused_until))
        for customer_id, zone, erased_at, frequency, paused_until in rows
    }


def _handed(
    connection: Connection, ids: Sequence[int], group: Sequence[Claimed], at: Round, wished: set[Cap]
) -> dict[int, list[Handed]]:
    """Return the marketing mails that caps count, oldest first, as far back as the longest cap looks."""
    found: dict[int, list[Handed]] = defaultdict(list)
    caps = {
        cap
        for program in programs(connection, [m.version for m in group]).values()
        for cap in at.caps(program.flow)
    } | wished
    if not caps:
        return found
    longest: datetime = min(at.now - cap.per.approximate - cap.per.approximate / 10 for cap in caps)
    rows = connection.execute(_HANDED, {"ids": ids, "longest": longest, "in_sandbox": at.sandbox})
    for customer_id, counted_at in rows:
        found[customer_id].append(Handed(counted_at))
    return found


def _clauses(
    connection: Connection, group: Sequence[Claimed], found: Mapping[str, Program], at: Round
) -> list[tuple[str | None, str | None]]:
    """Return for each message the words of the clause that ends its enrollment and of the one that forbids it."""
    result: list[tuple[str | None, str | None]] = [(None, None)] * len(group)
    same: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, message in enumerate(group):
        same[message.version, message.step].append(index)
    for (version, step_id), indexes in same.items():
        program = found[version]
        asks = (*program.asks(step_id), *at.exclusions(program.flow))
        if not asks:
            continue
        subjects = [subject_of(group[index].enrollment) for index in indexes]
        rows = truths(
            connection, asks, subjects, now=at.now, segments=program.flow.segments, shop_zone=at.shop_zone
        )
        for index, row in zip(indexes, rows, strict=True):
            truth = dict(zip(asks, row, strict=True))
            result[index] = _words(program, step_id, group[index].enrollment, truth, at)
    return result


def _words(
    program: Program, step_id: str, enrollment: Any, truth: Mapping[Ask, bool], at: Round
) -> tuple[str | None, str | None]:
    flow = program.flow
    left = next((clause.text for clause in flow.exit_when if truth[Ask(clause, after_entry=True)]), None)
    step = program.nodes[step_id].step
    assert isinstance(step, Send | Webhook)
    false = first_false(flow, step, enrollment.context.get("trigger_no", 0), at.rules(flow), truth)
    return left, false
