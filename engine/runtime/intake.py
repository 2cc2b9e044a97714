"""Taking in: new facts and due timers let customers leave, wake and enter.

Comes in: what a pass knows, inside its write transaction. Goes out: exits, timers, enrollments with their first steps
taken, and facts kept for flows that cannot take them now. A flow that fails is undone by itself and keeps its facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import OperationalError

from engine.errors import HomingError
from engine.flows.model import EventTrigger, Flow, ProductTrigger, ScheduleTrigger, SegmentTrigger
from engine.journeys.arming import arm, sets_timers
from engine.journeys.candidates import ArrivedEvent, Candidate, candidate_of
from engine.journeys.catalogue import CatalogueChange, product_candidates, read_changes
from engine.journeys.enter import Newcomer, enter, fitting
from engine.journeys.firing import fire
from engine.journeys.gathering import gather
from engine.journeys.happenings import events_of
from engine.journeys.known import Known
from engine.journeys.membership import schedule_candidates, segment_candidates
from engine.journeys.react import react
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow
from engine.runtime import rails
from engine.runtime.guarding import Braked, guarded
from engine.runtime.poison import begin_all
from engine.runtime.setting_aside import set_candidate_aside, set_customer_aside, set_event_aside
from engine.runtime.setting_up import unnoted
from engine.runtime.work import Work
from engine.store.dialect import among, within
from engine.store.prepared import Prepared, undoing
from engine.store.sifting import MOST, sift
from engine.store.tables import arrivals, customers, fact_inbox

INBOX = 1_000  # facts in one transaction: on SQLite nobody else writes meanwhile
_UNREAD = Prepared(select(fact_inbox).order_by(fact_inbox.c.id).limit(INBOX))
_ZONES = Prepared(select(customers.c.id, customers.c.zone).where(within(customers.c.id, "ids")))
_READ = Prepared(delete(fact_inbox).where(within(fact_inbox.c.id, "ids")))


@dataclass(slots=True)
class Intake:
    """What was taken in: facts, timers that fired, customers who entered, enrollments that ended."""

    facts: int = 0
    fired: int = 0
    entered: int = 0
    left: int = 0


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def take_in(connection: Connection, work: Work) -> Intake:
    """Route one batch of the inbox: leave, wake, arm, enter; closed flows keep theirs for later."""
    intake = Intake()
    rows = _UNREAD.rows(connection)
    batch = _events(connection, [row.event_id for row in rows if row.event_id is not None], work.at)
    changes = read_changes(connection, [row.change_id for row in rows if row.change_id is not None])
    if rows:
        intake.facts = len(rows)
        intake.left, batch = _react(connection, work, batch)
        _arm(connection, [live for live in work.live.values() if live.active], batch, work.at)
        _READ.run(connection, ids=[row.id for row in rows])
    intake.entered = _enter_by_facts(connection, work, batch, changes)
    return intake


def _react(connection: Connection, work: Work, batch: list[ArrivedEvent]) -> tuple[int, list[ArrivedEvent]]:
    """Let facts end and wake what they do; return how many left, and the facts without those that fail alone."""
    done, failed = sift(connection, batch, lambda some: react(connection, work.live, some, work.at))
    for event, error in failed:
        heard = [name for name, live in work.live.items() if event.name in live.program.names]
        set_event_aside(connection, heard or sorted(work.live), event, error, work.at.now)
    aside = {event.id for event, _ in failed}
    return sum(done), [event for event in batch if event.id not in aside] if aside else batch


def _arm(connection: Connection, flows: Sequence[LiveFlow], batch: Sequence[ArrivedEvent], at: Round) -> None:
    """Set the timers of flows: of all together, and where that fails, of each by itself."""
    arming = [live for live in flows if sets_timers(live.flow, batch)]
    steps = [partial(arm, connection, live, batch, at.shop_zone, at.now) for live in arming]
    try:
        undoing(connection, lambda: [step() for step in steps])
    except OperationalError:
        raise
    except Exception:  # noqa: BLE001 - it comes again, and is told then
        for live, step in zip(arming, steps, strict=True):
            guarded(connection, live, step, at, partial(_arm_apart, connection, live, batch, at))


def _arm_apart(connection: Connection, live: LiveFlow, batch: Sequence[ArrivedEvent], at: Round) -> None:
    """Set a flow's timers for each fact for which that can be done."""
    _, failed = sift(connection, batch, lambda some: arm(connection, live, some, at.shop_zone, at.now))
    for event, error in failed:
        set_event_aside(connection, [live.flow.name], event, error, at.now)


def _events(connection: Connection, ids: Sequence[int], at: Round) -> list[ArrivedEvent]:
    return events_of(connection, ids, at.shop_zone)


def _enter_by_facts(
    connection: Connection, work: Work, batch: Sequence[ArrivedEvent], changes: Sequence[CatalogueChange]
) -> int:
    newcomers: list[Newcomer] = []
    touched = sorted({event.customer_id for event in batch})
    known = _known(connection, work, batch)
    for name, live in work.live.items():
        if not live.active:
            continue
        own = _relevant(live.flow, batch, changes)
        if not live.open:
            _keep(connection, name, *own)
            continue
        events_now, changes_now = _with_kept(connection, work, name, own) if work.agenda.kept else own

        admitted = _enter_one(connection, work, live, events_now, changes_now, touched, known)
        if admitted is None:
            _keep(connection, name, events_now, changes_now)
        else:
            newcomers += admitted
    return begin_all(connection, newcomers, work.at)


def _known(connection: Connection, work: Work, batch: Sequence[ArrivedEvent] = ()) -> Known:
    """Return what the open flows will ask about these facts' customers, to be read when the first of them asks."""
    flows = [live.flow for live in work.live.values() if live.open]
    names = {
        t.event
        for flow in flows
        for t in flow.triggers
        if isinstance(t, EventTrigger) and t.quiet_for is None
    }
    expected = {event.customer_id for event in batch if event.name in names and not event.backfill}
    return Known(connection, work.at, flows, expected)


def _enter_one(
    connection: Connection,
    work: Work,
    live: LiveFlow,
    batch: Sequence[ArrivedEvent],
    changes: Sequence[CatalogueChange],
    touched: Sequence[int],
    known: Known,
) -> list[Newcomer] | None:
    """Return whom one flow lets in by these facts; None where it failed and must keep them."""
    at = work.at

    def whom(
        some: Sequence[ArrivedEvent], by: Sequence[CatalogueChange], who: Sequence[int]
    ) -> list[Candidate]:
        found = _candidates(connection, live, some, by, at)
        if who and _has_segment(live.flow):
            waiting = unnoted(connection, live.flow.name) if live.flow.name in work.arming else {}
            found += segment_candidates(connection, live, who, at, waiting)
        return found

    def apart() -> list[Newcomer]:
        found, failed = sift(connection, batch, lambda some: whom(some, (), ()))
        for event, error in failed:
            set_event_aside(connection, [live.flow.name], event, error, at.now)
        more, unclear = sift(connection, touched, lambda some: whom((), (), some))
        for customer_id, error in unclear:
            set_customer_aside(connection, live.flow.name, customer_id, error, at.now)
        every = [*found, *more, whom((), changes, ())]
        return enter_apart(connection, live, [each for some in every for each in some], at, known)

    needed = batch or changes or (touched and _has_segment(live.flow))
    if not needed:
        return []
    return guarded(
        connection,
        live,
        lambda: admit_all(connection, live, whom(batch, changes, touched), at, known),
        at,
        apart,
    )


def _has_segment(flow: Flow) -> bool:
    return any(isinstance(trigger, SegmentTrigger) for trigger in flow.triggers)


def _relevant(
    flow: Flow, batch: Sequence[ArrivedEvent], changes: Sequence[CatalogueChange]
) -> tuple[list[ArrivedEvent], list[CatalogueChange]]:
    names = {t.event for t in flow.triggers if isinstance(t, EventTrigger) and t.quiet_for is None}
    kinds = {t.change for t in flow.triggers if isinstance(t, ProductTrigger)}
    own_events = [event for event in batch if event.name in names and not event.backfill]
    return own_events, [change for change in changes if change.change in kinds]


def _keep(
    connection: Connection, flow: str, batch: Sequence[ArrivedEvent], changes: Sequence[CatalogueChange]
) -> None:
    """Keep facts for a flow that cannot take them now; it meets them when it goes on."""
    rows = [{"flow": flow, "event_id": event.id, "change_id": None} for event in batch]
    rows += [{"flow": flow, "event_id": None, "change_id": change.id} for change in changes]
    if rows:
        connection.execute(insert(arrivals), rows)


def _with_kept(
    connection: Connection, work: Work, flow: str, own: tuple[list[ArrivedEvent], list[CatalogueChange]]
) -> tuple[list[ArrivedEvent], list[CatalogueChange]]:
    query = select(arrivals).where(arrivals.c.flow == flow).order_by(arrivals.c.id).limit(INBOX)
    rows = connection.execute(query).all()
    if not rows:
        return own
    connection.execute(delete(arrivals).where(among(connection, arrivals.c.id, [row.id for row in rows])))
    kept_events = _events(connection, [row.event_id for row in rows if row.event_id is not None], work.at)
    kept_changes = read_changes(connection, [row.change_id for row in rows if row.change_id is not None])
    return [*kept_events, *own[0]], [*kept_changes, *own[1]]


def _candidates(
    connection: Connection,
    live: LiveFlow,
    batch: Sequence[ArrivedEvent],
    changes: Sequence[CatalogueChange],
    at: Round,
) -> list[Candidate]:
    found: list[Candidate] = []
    for number, trigger in enumerate(live.flow.triggers):
        if isinstance(trigger, EventTrigger) and trigger.quiet_for is None:
            found += [candidate_of(event, number) for event in batch if event.name == trigger.event]
        elif isinstance(trigger, ProductTrigger):
            found += product_candidates(connection, trigger, number, changes, at.shop_zone)
    return found


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def by_time(connection: Connection, work: Work) -> Intake:
    """Enter by timers and calendars that are due, for every open flow."""
    intake = Intake()
    due = set(work.agenda.due_flows(work.at.now))
    known = _known(connection, work)
    newcomers: list[Newcomer] = []
    for live in work.live.values():
        scheduled = any(isinstance(trigger, ScheduleTrigger) for trigger in live.flow.triggers)
        if not live.open or not (scheduled or live.flow.name in due):
            continue

        def step(live: LiveFlow = live, admit: Admitting = admit_all) -> tuple[int, list[Newcomer]]:
            armed = live.flow.name not in work.arming
            found = fire(connection, live, work.at.shop_zone, work.at.now) if armed else []
            found += list(schedule_candidates(connection, live, work.at))
            return len(found), admit(connection, live, found, work.at, known)

        apart = partial(step, admit=enter_apart)
        fired, admitted = guarded(connection, live, step, work.at, apart) or (0, [])
        intake.fired += fired
        newcomers += admitted
    intake.entered = begin_all(connection, newcomers, work.at)
    return intake


def admit_all(
    connection: Connection, live: LiveFlow, found: Sequence[Candidate], at: Round, known: Known
) -> list[Newcomer]:
    """Let candidates in as `_admit` does, and set the few aside of whom nobody can say whether they may enter."""
    failed: list[tuple[Candidate, Exception]] = []
    admitted = _admit(connection, live, found, at, known, failed)
    beyond = [error for _, error in failed if isinstance(error, HomingError) or len(failed) > MOST]
    if beyond:  # it is not the candidates
        raise beyond[0]
    for candidate, error in failed:
        set_candidate_aside(connection, live.flow.name, candidate, error, at.now)
    return admitted


def _admit(
    connection: Connection,
    live: LiveFlow,
    found: Sequence[Candidate],
    at: Round,
    known: Known,
    failed: list[tuple[Candidate, Exception]] | None = None,
) -> list[Newcomer]:
    """Let candidates in, in order of their moments; those of a gathering trigger join what is gathered first."""
    if not found:
        return []
    joining = [c for c in found if _joins(c, live)]
    if joining:
        zones = _zones(connection, joining, at)
        gather(connection, live, fitting(connection, live.flow, joining, at), zones)
    ready = sorted((c for c in found if not _joins(c, live)), key=lambda c: c.entered_at)
    suspect = rails.brake_on_entries(connection, live, len(ready), at) is not None
    admitted = enter(connection, live, ready, at, known, failed)
    # Judged by who would come in, as a plan counts them; most of those who come to the door may be turned away.
    reason = rails.brake_on_entries(connection, live, len(admitted), at) if suspect else None
    if reason is not None:
        raise Braked(reason)  # which undoes this flow's part of the transaction, refusals included
    return admitted


Admitting = Callable[[Connection, LiveFlow, Sequence[Candidate], Round, Known], list[Newcomer]]


def enter_apart(
    connection: Connection, live: LiveFlow, found: Sequence[Candidate], at: Round, known: Known
) -> list[Newcomer]:
    """Let in whom can be let in, and set those aside whose entry fails; nobody is left to be written."""
    ready = sorted(found, key=lambda candidate: candidate.entered_at)

    def enter_some(some: Sequence[Candidate]) -> int:
        return begin_all(connection, _admit(connection, live, some, at, known), at)

    _, failed = sift(connection, ready, enter_some)
    for candidate, error in failed:
        set_candidate_aside(connection, live.flow.name, candidate, error, at.now)
    return []


def _joins(candidate: Candidate, live: LiveFlow) -> bool:
    return not candidate.gathered and live.flow.triggers[candidate.trigger_no].gather is not None


def _zones(connection: Connection, candidates: Sequence[Candidate], at: Round) -> dict[int, str]:
    ids = sorted({candidate.customer_id for candidate in candidates})
    return {row.id: row.zone or at.shop_zone for row in _ZONES.rows(connection, ids=ids)}
