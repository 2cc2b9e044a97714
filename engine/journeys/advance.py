"""Advancing: due enrollments take their steps until each of them waits or ends.

Comes in: the moment, and the enrollments whose time has come, or those who were let in just now. Goes out: their new
states, messages in the outbox, and a journal row for each decision, all in the caller's transaction. Enrollments at the
same step of the same version are asked about together, in one statement, and what was asked at this moment is not asked
again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Integer, Row, Text, bindparam, select, type_coerce

from engine.audience.sql import EVERYTHING, truths
from engine.audience.subjects import Ask, Told, told
from engine.calendar import add
from engine.flows.model import Set, Step, WaitClock, WaitField, WaitFor, WaitUntil
from engine.journeys import journal
from engine.journeys.answers import heard_facts, held_since, note_answer
from engine.journeys.awaiting import Asking, asking_of, mails_may_wait, still_awaited
from engine.journeys.candidates import candidate_of_row
from engine.journeys.decide import Await, Decision, Heard, Person, Post, Rules, Sleep, decide
from engine.journeys.effects import Effects, take
from engine.journeys.enter import Newcomer, look_again
from engine.journeys.people import asks_particulars, plain_people, topics_of, with_particulars
from engine.journeys.post import Posting, ask_again
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
PLAIN_WAITS = (WaitFor, WaitClock)  # over at a moment that follows from when they begin
NOTHING = Told((), ())  # the truth where nothing is asked
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
    _tell_entries(connection, walkers, at)
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


def _tell_entries(connection: Connection, walkers: Sequence[Walker], at: Round) -> None:
    if not own_facts.is_told(connection, "flow_entered", at.listened):
        return
    about = {name: {"flow": name} for name in {walker.flow for walker in walkers}}
    facts = [
        own_facts.fact(f"flow_entered:{w.id}", w.customer_id, "flow_entered", at.now, about[w.flow])
        for w in walkers
    ]
    own_facts.record(connection, facts, at.listened)


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
    walker.known_person = newcomer.person
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
    # What an enrollment remembers is most of its row, and most steps never look at it: SQLite's text of it is left unread.
    told = [type_coerce(table[name], Text()) if name == "context" else table[name] for name in COLUMNS]
    query = (
        select(*told)
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
    people = plain_people(connection, [walker.customer_id for walker in walkers], topics_of(flows), at)
    for walker in walkers:
        walker.known_person = people[walker.customer_id]
    asking = {version: each.flow for version, each in found.items() if asks_particulars(each.flow)}
    curious = [walker for walker in walkers if walker.version in asking]
    if not curious:
        return
    own = {walker.customer_id: walker.person for walker in curious}
    known = with_particulars(connection, own, list(asking.values()), at)
    for walker in curious:
        walker.known_person = known[walker.customer_id]


# ── rounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Place:
    """A step of a version (None: behind the last), with what is the same for all who stand there."""

    program: Program
    step: Step | None
    asks: tuple[Ask, ...]  # each of them once, those of `exit_when` first
    exits: int  # how many those are
    asking: Asking | None  # what it has to know of mails that wait for a code


class _Places:
    """The places of one walk, each laid out when somebody comes to it."""

    def __init__(self, found: Programs, at: Round) -> None:
        self._found = found
        self._at = at
        self._known: dict[tuple[str, str | None], _Place] = {}
        self.rules = {version: at.rules(program.flow) for version, program in found.items()}
        self._waiting = {version for version, each in found.items() if mails_may_wait(each.flow, at.offers)}

    def of(self, walker: Walker) -> _Place:
        """Return where a walker stands."""
        place = self._known.get((walker.version, walker.position))
        if place is None:
            place = self._laid(self._found[walker.version], walker.position)
            self._known[walker.version, walker.position] = place
        return place

    def may_supersede(self, posts: Sequence[Posting]) -> bool:
        """Return whether any of these may supersede a mail that waits for a code, which the next step may ask about."""
        return bool(self._waiting) and any(post.visit and post.version in self._waiting for post in posts)

    def _laid(self, program: Program, position: str | None) -> _Place:
        node = program.nodes.get(position) if position is not None else None
        asks = tuple(dict.fromkeys((*program.asks(position), *self._at.exclusions(program.flow))))
        exits = len(set(program.asks(None)))
        step = None if node is None else node.step
        asking = asking_of(step, program.flow) if program.version in self._waiting else None
        return _Place(program, step, asks, exits, asking)


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
    places = _Places(found, at)
    chosen: Chosen = defaultdict(set)
    counted = only_counts(connection)
    moving = list(walkers)
    while True:
        effects = Effects(only_counted=counted)
        if not setting:
            moving = [walker for walker in moving if not isinstance(places.of(walker).step, Set)]
        moving = [walker for walker in moving if not _falls_asleep(walker, places, at, effects)]
        if not moving:
            return
        standing = [places.of(walker) for walker in moving]
        look_up(connection, list(_waiting_for_fields(moving, standing)))
        awaits = _awaits(connection, moving, standing, at)
        truth = _truths(connection, moving, standing, at)
        heard = _heard(connection, moving, standing, truth, at)
        for walker, place, own in zip(moving, standing, truth, strict=True):
            kept, length = walker.kept(), effects.length()
            try:
                rules = places.rules[walker.version]
                decided = _decide(walker, place, own, heard, awaits.get(walker.id), rules, at, chosen)
                _carry_out(walker, place.program, *decided, own, heard, at, effects, chosen)
            except Exception as error:
                if failed is None:
                    raise
                failed[walker.id] = error
                walker.put_back(kept)
                effects.cut(length)
        changed = unwritten.hold(effects, at_once=places.may_supersede(effects.posts))
        if changed:
            ask_again(connection, changed)
            again = [walker for walker in walkers if walker.customer_id in changed]
            for walker in again:
                walker.stays = False
            _meet(connection, found, again, at)
        stuck = unwritten.overtaken.union(failed or ())
        moving = [walker for walker in moving if walker.goes_on_by(at.now) and walker.id not in stuck]


def _falls_asleep(walker: Walker, places: _Places, at: Round, effects: Effects) -> bool:
    """Let one that comes to a plain wait, with nothing left to ask, begin it at once; return whether it did.

    Only where the wait stands in the row of what led to it. One that fails does so in its own round.
    """
    if not walker.stays or walker.unwritten is None:
        return False
    place = places.of(walker)
    if not isinstance(place.step, PLAIN_WAITS):
        return False
    rules = places.rules[walker.version]
    try:
        decision = decide(place.program, walker.standing(), walker.person, NOTHING, rules, at.now)
    except Exception:  # noqa: BLE001 - whatever it is, it comes again where it is noted
        return False
    if not isinstance(decision, Sleep) or decision.until <= at.now:
        return False
    take(walker, place.program, decision, NOTHING, at, effects)
    return True


def _decide(
    walker: Walker,
    place: _Place,
    truth: Mapping[Ask, bool],
    heard: Facts,
    awaits: Await | None,
    rules: Rules,
    at: Round,
    chosen: Chosen,
) -> tuple[Decision, WaitUntil | None]:
    """Return what it does next, and what it waited for; nothing is changed."""
    program, since, step = place.program, None, None
    if walker.id in heard and isinstance(place.step, WaitUntil):
        step = place.step
        since = held_since(step, heard[walker.id])
    person = _with_chosen(walker, chosen) if program.chooses else walker.person
    standing = walker.standing(since, awaits, segmented=program.segmented)
    return decide(program, standing, person, truth, rules, at.now), step


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


def _waiting_for_fields(moving: Sequence[Walker], standing: Sequence[_Place]) -> Iterator[tuple[Walker, str]]:
    """Yield those who stand at a wait until a date in what they are about, with its field."""
    for walker, place in zip(moving, standing, strict=True):
        if isinstance(place.step, WaitField) and is_about(place.step.field_path):
            yield walker, place.step.field_path


def _awaits(
    connection: Connection, moving: Sequence[Walker], standing: Sequence[_Place], at: Round
) -> Mapping[int, Await]:
    """Return what walkers stand still for, by enrollment; what follows counts for the others from when they went on."""
    asking = [
        (walker, place.asking)
        for walker, place in zip(moving, standing, strict=True)
        if place.asking is not None
    ]
    found = still_awaited(connection, asking, at)
    for walker, _ in asking:
        if walker.id not in found:
            walker.counts_on()
    return found


def _truths(
    connection: Connection, moving: Sequence[Walker], standing: Sequence[_Place], at: Round
) -> list[Mapping[Ask, bool]]:
    result: list[Mapping[Ask, bool]] = [NOTHING] * len(moving)
    groups: dict[tuple[int, bool], tuple[_Place, list[int]]] = {}
    for index, (walker, place) in enumerate(zip(moving, standing, strict=True)):
        key = id(place), walker.stays
        if key not in groups:
            groups[key] = place, []
        groups[key][1].append(index)
    # Steps of a flow mostly ask the same: those that do are asked together.
    alike: dict[tuple[str, tuple[Ask, ...]], list[tuple[_Place, list[int]]]] = defaultdict(list)
    for (_, stays), (place, indexes) in groups.items():
        asked = place.asks[place.exits :] if stays else place.asks
        alike[place.program.version, asked].append((place, indexes))
    for (_, asked), same in alike.items():
        flow = same[0][0].program.flow
        rows = truths(
            connection,
            asked,
            [moving[index] for _, indexes in same for index in indexes],
            now=at.now,
            told=EVERYTHING,
            segments=flow.segments,
            shop_zone=at.shop_zone,
        )
        coming = iter(rows)
        for place, indexes in same:
            known_ones = (False,) * (len(place.asks) - len(asked))
            own_rows = (known_ones + row for row in islice(coming, len(indexes)))
            for index, own in zip(indexes, told(place.asks, own_rows), strict=True):
                result[index] = own
    return result


def _heard(
    connection: Connection,
    moving: Sequence[Walker],
    standing: Sequence[_Place],
    truth: Sequence[Mapping[Ask, bool]],
    at: Round,
) -> Facts:
    """Return the facts that ended the waits which end now, by enrollment."""
    ending: dict[int, tuple[WaitUntil, Ask, list[Walker]]] = {}
    for walker, place, own in zip(moving, standing, truth, strict=True):
        if isinstance(place.step, WaitUntil):
            if id(place) not in ending:
                ending[id(place)] = place.step, Ask(place.step.until, after_entry=True), []
            _, ask, walkers = ending[id(place)]
            if own.get(ask):
                walkers.append(walker)
    waiting = [(step, walkers) for step, _, walkers in ending.values() if walkers]
    return heard_facts(connection, waiting, at.now, at.shop_zone) if waiting else {}
