"""Advancing: due enrollments take their steps until each of them waits or ends.

Comes in: the moment, and the enrollments whose time has come, or those who were let in just now. Goes out: their new
states, messages in the outbox, and a journal row for each decision, all in the caller's transaction. Enrollments at the
same step of the same version are asked about together, in one statement, and what was asked at this moment is not asked
again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Integer, Row, bindparam, select

from engine.audience.sql import EVERYTHING, truths
from engine.audience.subjects import Ask, told
from engine.calendar import add
from engine.flows.model import Set, WaitField, WaitUntil
from engine.journeys import journal
from engine.journeys.answers import heard_facts, held_since, note_answer
from engine.journeys.candidates import candidate_of_row
from engine.journeys.decide import Decision, Heard, Person, Post, Rules, decide
from engine.journeys.effects import Effects, take
from engine.journeys.enter import Newcomer, look_again
from engine.journeys.people import read_people
from engine.journeys.post import ask_again
from engine.journeys.program import Program
from engine.journeys.react import leave_by_law
from engine.journeys.round import Round
from engine.journeys.unwritten import Unwritten
from engine.journeys.versions import programs
from engine.journeys.wait_fields import is_about, look_up
from engine.journeys.walker import COLUMNS, Walker
from engine.outbox import own_facts
from engine.store.bulk import reserve
from engine.store.dialect import only_counts, within
from engine.store.keys import KeyRange
from engine.store.prepared import Prepared
from engine.store.tables import INSIDE, enrollments

BATCH = 1_000
Facts = Mapping[int, Sequence[Row[Any]]]
Programs = Mapping[str, Program]
Failed = dict[int, Exception]  # by enrollment: why nobody can say what it does next
Chosen = dict[int, set[str]]  # the templates of steps with several that were taken in this pass, by customer


def advance(
    connection: Connection,
    at: Round,
    closed: Sequence[str],
    limit: int = BATCH,
    only: Collection[int] | None = None,
    keys: KeyRange | None = None,
    failed: Failed | None = None,
) -> int:
    """Let due enrollments of flows that are not in `closed` take their steps; return how many were due.

    `only` limits them to some ids, `keys` to a range of customers. Those whose decision fails go no further and stand in
    `failed`; without it the first failure goes up.
    """
    walkers = _due(connection, at.now, closed, limit, only, keys)
    if not walkers:
        return 0
    found = programs(connection, [walker.version for walker in walkers])
    _meet(connection, found, walkers, at)
    unwritten = Unwritten(connection, at, walkers, {})
    _walk(connection, found, walkers, at, unwritten, failed=failed)
    unwritten.finish()
    leave_by_law(connection, unwritten.withdrawn, at)
    return len(walkers)


def begin(
    connection: Connection,
    newcomers: Sequence[Newcomer],
    at: Round,
    *,
    steps: bool = True,
    failed: Failed | None = None,
) -> int:
    """Write the enrollments of those who were let in, with their first steps taken; return how many.

    A `set`, which locks its customer, is left to `advance`, as is everything without `steps`, and who comes after the
    first 1,000. Those whose decision fails stand in `failed`, as in `advance`.
    """
    if not newcomers:
        return 0
    walkers = [
        _begun(identity, newcomer)
        for identity, newcomer in zip(
            reserve(connection, enrollments, len(newcomers)), newcomers, strict=True
        )
    ]
    about = {name: {"flow": name} for name in {walker.flow for walker in walkers}}
    facts = [
        own_facts.fact(f"flow_entered:{w.id}", w.customer_id, "flow_entered", at.now, about[w.flow])
        for w in walkers
    ]
    own_facts.record(connection, facts, at.listened)
    rows = {walker.id: newcomer.row for walker, newcomer in zip(walkers, newcomers, strict=True)}
    unwritten = Unwritten(connection, at, walkers, rows)
    versions = {version: {"version": version} for version in {walker.version for walker in walkers}}
    for walker in walkers:
        walker.unwritten = _entry(walker, at, versions[walker.version])
    unwritten.hold(Effects([walker.unwritten for walker in walkers if walker.unwritten is not None]))
    if steps:
        found = {newcomer.program.version: newcomer.program for newcomer in newcomers}
        moving = [walker for walker in walkers if walker.state == "active"][:BATCH]
        _walk(connection, found, moving, at, unwritten, setting=False, failed=failed)
    unwritten.finish()
    _look_again(connection, newcomers, walkers, unwritten.overtaken)
    return len(walkers) - len(unwritten.overtaken)


def _look_again(
    connection: Connection,
    newcomers: Sequence[Newcomer],
    walkers: Sequence[Walker],
    overtaken: Collection[int],
) -> None:
    """Let those come to the door again whom a unique key kept out: they were let in with somebody who is inside after all."""
    for newcomer, walker in zip(newcomers, walkers, strict=True):
        if walker.id in overtaken:
            look_again(connection, newcomer.program.flow, [candidate_of_row(newcomer.row)])


def _begun(identity: int, newcomer: Newcomer) -> Walker:
    row = newcomer.row
    walker = Walker(
        identity, row["flow"], row["version"], row["customer_id"], row["state"], row["position"], row["anchor_at"],
        row["entered_at"], row["since_at"], row["next_at"], 0, row["context"], row["event_id"], row["order_id"],
        row["cart_id"], row["sku"],
    )  # fmt: skip
    walker.known_subject, walker.known_person = newcomer.subject, newcomer.person
    # Entering asked what would end it at once; only the entry itself has happened since.
    walker.stays = "flow_entered" not in newcomer.program.names
    return walker


def _entry(walker: Walker, at: Round, detail: dict[str, Any]) -> journal.Entry:
    held = walker.state == "held_out"
    return journal.entry(
        at.now, walker.flow, walker.customer_id, "held_out" if held else "entered", "holdout" if held else None,
        enrollment_id=walker.id, detail=detail,
    )  # fmt: skip


def _due(
    connection: Connection,
    now: datetime,
    closed: Sequence[str],
    limit: int,
    only: Collection[int] | None,
    keys: KeyRange | None,
) -> list[Walker]:
    statement = _due_statement(tuple(sorted(closed)), keys, some=only is not None)
    rows = statement.rows(connection, now=now, limit=limit, only=sorted(only or ()))
    return [Walker(*row) for row in rows]


@lru_cache(maxsize=64)
def _due_statement(closed: tuple[str, ...], keys: KeyRange | None, *, some: bool) -> Prepared:
    table = enrollments.c
    query = (
        select(*(table[name] for name in COLUMNS))
        .where(INSIDE, table.next_at <= bindparam("now"))
        .order_by(table.next_at, table.id)
        .limit(bindparam("limit", type_=Integer()))
    )
    if closed:
        query = query.where(table.flow.not_in(closed))
    if some:
        query = query.where(within(table.id, "only"))
    if keys is not None:
        query = query.where(keys.holds(table.customer_id))
    return Prepared(query.with_for_update(skip_locked=True))  # on PostgreSQL another worker takes others


def _meet(connection: Connection, found: Programs, walkers: Sequence[Walker], at: Round) -> None:
    """Read what deciding needs to know of these customers."""
    flows = [program.flow for program in found.values()]
    people = read_people(connection, [walker.customer_id for walker in walkers], flows, at)
    for walker in walkers:
        walker.known_person = people[walker.customer_id]


# ── rounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _walk(
    connection: Connection,
    found: Programs,
    walkers: Sequence[Walker],
    at: Round,
    unwritten: Unwritten,
    *,
    setting: bool = True,
    failed: Failed | None = None,
) -> None:
    """Let them decide, all at once, until nobody's next decision is due; without `setting` a `set` step waits.

    Whose decision fails, or cannot be carried out, has done nothing in this round: with `failed` the others go on.
    """
    rules = {version: at.rules(program.flow) for version, program in found.items()}
    chosen: Chosen = defaultdict(set)
    counted = only_counts(connection)
    moving = [w for w in walkers if setting or not _sets(w, found)]
    while moving:
        effects = Effects(only_counted=counted)
        look_up(connection, list(_waiting_for_fields(moving, found)))
        truth = _truths(connection, found, moving, at)
        heard = _heard(connection, found, moving, truth, at)
        for walker, own in zip(moving, truth, strict=True):
            program, kept, length = found[walker.version], walker.kept(), effects.length()
            try:
                decided = _decide(walker, program, own, heard, rules[walker.version], at, chosen)
                _carry_out(walker, program, *decided, own, heard, at, effects, chosen)
            except Exception as error:
                if failed is None:
                    raise
                failed[walker.id] = error
                walker.put_back(kept)
                effects.cut(length)
        changed = effects.asked_anew
        if unwritten.hold(effects):
            ask_again(connection, changed)
            again = [walker for walker in walkers if walker.customer_id in changed]
            for walker in again:
                walker.stays = False
            _meet(connection, found, again, at)
        moving = [w for w in moving if w.goes_on_by(at.now) and (setting or not _sets(w, found))]
        moving = [w for w in moving if w.id not in unwritten.overtaken and w.id not in (failed or ())]


def _decide(
    walker: Walker,
    program: Program,
    truth: Mapping[Ask, bool],
    heard: Facts,
    rules: Rules,
    at: Round,
    chosen: Chosen,
) -> tuple[Decision, WaitUntil | None]:
    """Return what it does next, and what it waited for; nothing is changed."""
    step = _awaiting(walker, program) if walker.id in heard else None
    since = held_since(step, heard[walker.id]) if step is not None else None
    person = _with_chosen(walker, chosen) if program.chooses else walker.person
    return decide(program, walker.standing(since), person, truth, rules, at.now), step


def _carry_out(
    walker: Walker,
    program: Program,
    decision: Decision,
    step: WaitUntil | None,
    truth: Mapping[Ask, bool],
    heard: Facts,
    at: Round,
    effects: Effects,
    chosen: Chosen,
) -> None:
    before = walker.anchor_at
    take(walker, program, decision, truth, at, effects)
    if step is not None and isinstance(decision, Heard) and decision.held:
        note_answer(walker, step, heard[walker.id], add(before, step.up_to, walker.person.zone))
    if program.chooses and isinstance(decision, Post) and decision.template is not None:
        chosen[walker.customer_id].add(decision.template)


def _with_chosen(walker: Walker, chosen: Chosen) -> Person:
    """Return the walker's person, who also had what other enrollments of the customer have just chosen."""
    had = chosen.get(walker.customer_id)
    return replace(walker.person, sent_templates=walker.person.sent_templates | had) if had else walker.person


def _waiting_for_fields(moving: Sequence[Walker], found: Programs) -> Iterator[tuple[Walker, str]]:
    """Yield those who stand at a wait until a date in what they are about, with its field."""
    for walker in moving:
        node = found[walker.version].nodes.get(walker.position) if walker.position is not None else None
        if node is not None and isinstance(node.step, WaitField) and is_about(node.step.field_path):
            yield walker, node.step.field_path


def _sets(walker: Walker, found: Programs) -> bool:
    node = found[walker.version].nodes.get(walker.position) if walker.position is not None else None
    return node is not None and isinstance(node.step, Set)


def _truths(
    connection: Connection, found: Programs, moving: Sequence[Walker], at: Round
) -> list[Mapping[Ask, bool]]:
    result: list[Mapping[Ask, bool]] = [{} for _ in moving]
    groups: dict[tuple[str, str | None, bool], list[int]] = defaultdict(list)
    for index, walker in enumerate(moving):
        groups[walker.version, walker.position, walker.stays].append(index)
    # Steps of a flow mostly ask the same: those that do are asked together.
    alike: dict[tuple[str, tuple[Ask, ...]], list[tuple[tuple[Ask, ...], list[int]]]] = defaultdict(list)
    for (version, position, stays), indexes in groups.items():
        program = found[version]
        asks = tuple(dict.fromkeys((*program.asks(position), *at.exclusions(program.flow))))
        known = len(set(program.asks(None))) if stays else 0
        alike[version, asks[known:]].append((asks, indexes))
    for (version, asked), same in alike.items():
        rows = truths(
            connection,
            asked,
            [moving[index].subject for _, indexes in same for index in indexes],
            now=at.now,
            told=EVERYTHING,
            segments=found[version].flow.segments,
            shop_zone=at.shop_zone,
        )
        coming = iter(rows)
        for asks, indexes in same:
            known_ones = (False,) * (len(asks) - len(asked))
            own_rows = (known_ones + row for row in islice(coming, len(indexes)))
            for index, own in zip(indexes, told(asks, own_rows), strict=True):
                result[index] = own
    return result


def _heard(
    connection: Connection,
    found: Programs,
    moving: Sequence[Walker],
    truth: Sequence[Mapping[Ask, bool]],
    at: Round,
) -> Facts:
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
