"""Reading what the gate judges by, for a group of messages, inside the transaction that commits the hand-over.

The customers are locked first (a row lock on PostgreSQL; on SQLite the writer's lock is held already), so that neither
an opt-out nor another worker's mail can slip between the reading and the commit. Whatever was told counts, also what a
machine told whose clock is ahead of this one's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Boolean, Connection, bindparam, literal_column, null, select, union_all

from engine.audience.sql import EVERYTHING, truths
from engine.audience.subjects import Ask, told
from engine.delivery.claim import Claimed
from engine.flows.model import Send, Webhook
from engine.journeys.decide import first_false
from engine.journeys.program import Program
from engine.journeys.react import subject_of
from engine.journeys.round import Round
from engine.journeys.versions import programs
from engine.outbox.ledger import COUNTED
from engine.policy.consent import TopicState, kinds_suppressed, topics_granted
from engine.policy.gate import Allow, Handed, Question, Verdict, judge
from engine.policy.wishes import FREQUENCY, NO_WISH, PAUSED_UNTIL, SNOOZED, Wish, wish_of
from engine.settings import Cap
from engine.store.dialect import within
from engine.store.keeping import known
from engine.store.prepared import Prepared
from engine.store.tables import consent_state, customers, messages, suppressions
from engine.store.types import Instant

# Always in this order, so that two workers never wait for each other.
_LOCK = Prepared(
    select(
        customers.c.id,
        customers.c.zone,
        customers.c.erased_at,
        customers.c.properties[FREQUENCY].as_string(),
        customers.c.properties[PAUSED_UNTIL].as_string(),
        customers.c.properties[SNOOZED].as_string(),
    )
    .where(within(customers.c.id, "ids"))
    .order_by(customers.c.id)
    .with_for_update()
)
# Words on topics, suppressions and counted mails: one journey to the database for all three.
_STANDING = Prepared(
    union_all(
        select(
            literal_column("'consent'").label("what"),
            consent_state.c.customer_id,
            consent_state.c.topic.label("word"),
            consent_state.c.granted_at.label("at"),
            consent_state.c.soft_granted_at,
            consent_state.c.withdrawn_at,
        ).where(within(consent_state.c.customer_id, "ids")),
        select(
            literal_column("'suppressed'"),
            suppressions.c.customer_id,
            suppressions.c.scope,
            null(),
            null(),
            null(),
        ).where(within(suppressions.c.customer_id, "ids")),
        select(
            literal_column("'handed'"), messages.c.customer_id, null(), messages.c.counted_at, null(), null()
        ).where(
            within(messages.c.customer_id, "ids"),
            messages.c.counted_at > bindparam("longest", type_=Instant()),
            messages.c.state.in_(COUNTED),
            messages.c.kind == "marketing",
            messages.c.sandbox == bindparam("in_sandbox", type_=Boolean()),
        ),
    )
)


@dataclass(slots=True)
class _Standing:
    """What is known of one customer when the gate is asked: `handed` are the counted mails since `since`."""

    since: datetime
    topics: list[TopicState] = field(default_factory=list)
    suppressed: frozenset[str] = frozenset()
    granted: dict[str, bool] = field(default_factory=dict)
    handed: list[Handed] = field(default_factory=list)


def verdicts(connection: Connection, group: Sequence[Claimed], at: Round) -> list[Verdict]:
    """Lock the customers of a group and judge its messages in order; each allowed one counts for the next."""
    ids = sorted({message.customer_id for message in group})
    people = known(connection, "locked", ids, lambda some: _locked(connection, some))
    found = programs(connection, [message.version for message in group])
    wished = {cap for *_, wish in people.values() for cap in wish.caps}
    standing = _standing(connection, ids, found, at, wished)
    clauses = _clauses(connection, group, found, at)
    rules = {
        version: (program.flow, at.rules(program.flow).quiet_hours, at.caps(program.flow))
        for version, program in found.items()
    }
    result: list[Verdict] = []
    for message, (exit_clause, false_clause) in zip(group, clauses, strict=True):
        zone, erased, wish = people.get(message.customer_id, (None, True, NO_WISH))
        flow, quiet_hours, caps = rules[message.version]
        own = standing[message.customer_id]
        question = Question(
            kind=flow.kind,
            zone=zone or at.shop_zone,
            due_at=message.due_at,
            expires_at=message.expires_at,
            consented=message.topic is not None and _consented(own, message.topic, at),
            suppressed=erased or flow.kind in own.suppressed,
            exit_clause=exit_clause,
            false_clause=false_clause,
            quiet_hours=quiet_hours,
            caps=(*caps, *wish.caps) if wish.caps else caps,
            paused_until=wish.paused_until,
            snoozed_until=wish.snoozed.get(flow.name) if wish.snoozed else None,
            when_capped=flow.policy.when_capped,
            handed=own.handed,
        )
        verdict = judge(question, at.now)
        if isinstance(verdict, Allow) and flow.kind == "marketing":
            own.handed.append(Handed(at.now))
        result.append(verdict)
    return result


def _consented(standing: _Standing, topic: str, at: Round) -> bool:
    found = standing.granted.get(topic)
    if found is None:
        found = bool(topics_granted(standing.topics, (topic,), at.settings.soft_opt_in))
        standing.granted[topic] = found
    return found


def _locked(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str | None, bool, Wish]]:
    rows = _LOCK.rows(connection, ids=ids)
    return {
        customer_id: (zone, erased_at is not None, wish_of(frequency, paused_until, snoozed))
        for customer_id, zone, erased_at, frequency, paused_until, snoozed in rows
    }


def _standing(
    connection: Connection, ids: Sequence[int], found: Mapping[str, Program], at: Round, wished: set[Cap]
) -> Mapping[int, _Standing]:
    """Return what is known of each customer: counted mails, oldest first, as far back as the longest cap looks.

    Where it is kept, the mails that the gate allowed since then are among them.
    """
    caps = {cap for program in found.values() for cap in at.caps(program.flow)} | wished
    longest = min((at.now - cap.per.approximate - cap.per.approximate / 10 for cap in caps), default=at.now)

    def read(some: Sequence[int]) -> dict[int, _Standing]:
        return _read_standing(connection, some, longest, sandbox=at.sandbox)

    standing = known(connection, ("standing", at.sandbox), ids, read)
    for which, each in standing.items():
        if each.since > longest:
            again = read([which])[which]
            each.handed, each.since = again.handed, longest
        elif each.since < longest:
            each.since = longest
            if each.handed and each.handed[0].at <= longest:
                each.handed = [mail for mail in each.handed if mail.at > longest]
    return standing


def _read_standing(
    connection: Connection, ids: Sequence[int], longest: datetime, *, sandbox: bool
) -> dict[int, _Standing]:
    standing = {customer_id: _Standing(longest) for customer_id in ids}
    rows = _STANDING.rows(connection, ids=ids, longest=longest, in_sandbox=sandbox)
    for what, customer_id, word, moment, soft, withdrawn in rows:
        own = standing[customer_id]
        if what == "consent":
            own.topics.append(TopicState(word, moment, soft, withdrawn))
        elif what == "suppressed":
            own.suppressed |= kinds_suppressed(word)
        else:
            own.handed.append(Handed(moment))
    for own in standing.values():
        own.handed.sort(key=lambda mail: mail.at)
    return standing


def _clauses(
    connection: Connection, group: Sequence[Claimed], found: Mapping[str, Program], at: Round
) -> list[tuple[str | None, str | None]]:
    """Return for each message the words of the clause that ends its enrollment and of the one that forbids it.

    Of what was decided at this very moment, with nothing written since, they are known: none did.
    """
    result: list[tuple[str | None, str | None]] = [(None, None)] * len(group)
    asked: dict[tuple[str, str], tuple[Ask, ...]] = {}
    same: dict[tuple[str, tuple[Ask, ...]], list[int]] = defaultdict(list)
    for index, message in enumerate(group):
        if message.asked:
            continue
        asks = asked.get((message.version, message.step))
        if asks is None:
            program = found[message.version]
            asks = (*program.asks(message.step), *at.exclusions(program.flow))
            asked[message.version, message.step] = asks
        if asks:  # steps of a flow mostly ask the same: those that do are asked together
            same[message.version, asks].append(index)
    for (version, asks), indexes in same.items():
        program = found[version]
        subjects = [subject_of(group[index].enrollment) for index in indexes]
        rows = truths(
            connection, asks, subjects, now=at.now, told=EVERYTHING, segments=program.flow.segments, shop_zone=at.shop_zone
        )  # fmt: skip
        for index, truth in zip(indexes, told(asks, rows), strict=True):
            result[index] = _words(program, group[index], truth, at)
    return result


def _words(
    program: Program, message: Claimed, truth: Mapping[Ask, bool], at: Round
) -> tuple[str | None, str | None]:
    flow = program.flow
    left = next((clause.text for clause in flow.exit_when if truth[Ask(clause, after_entry=True)]), None)
    step = program.nodes[message.step].step
    assert isinstance(step, Send | Webhook)
    trigger_no = message.enrollment.context.get("trigger_no", 0)
    false = first_false(flow, step, trigger_no, at.rules(flow), truth)
    return left, false
