"""One pass: everything that is new or due at one moment, from the inbox to the provider.

Order: facts that arrive now; leaving, waking and timers by new facts; entering; advancing; dispatch. Each part is one
short write transaction on a batch; a flow that fails keeps its arrivals and stops nobody else, and is frozen after the
third time. A pass goes on until nothing is due any more at its moment.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import OperationalError

from engine.delivery.dispatch import Exits, Tally, Worker, dispatch
from engine.facts.ingest import arrive
from engine.flows.model import (
    EventTrigger,
    Flow,
    ProductTrigger,
    ScheduleTrigger,
    SegmentTrigger,
)
from engine.journeys.advance import BATCH, advance, begin
from engine.journeys.arming import arm
from engine.journeys.candidates import ArrivedEvent, Candidate, candidate_of
from engine.journeys.catalogue import CatalogueChange, product_candidates, read_changes
from engine.journeys.enter import Newcomer, enter, fitting
from engine.journeys.firing import fire
from engine.journeys.gathering import gather
from engine.journeys.happenings import event_rows, read_events
from engine.journeys.known import Known
from engine.journeys.membership import next_schedule, schedule_candidates, segment_candidates
from engine.journeys.react import react
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow, live_flows
from engine.render.library import TemplateLibrary
from engine.runtime import rails
from engine.runtime.agenda import Agenda, read_agenda
from engine.runtime.applied import STAMP, applied_sources
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.dialect import among
from engine.store.tables import UNSETTLED, arrivals, customers, events, fact_inbox, messages, quarantine

log = logging.getLogger("homing.pass")
INBOX = 1_000  # facts in one transaction: on SQLite nobody else writes meanwhile
FLOW_TRIES = 3


@dataclass(slots=True)
class PassReport:
    """What one pass did."""

    facts: int = 0
    fired: int = 0
    entered: int = 0
    advanced: int = 0
    left: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.facts or self.fired or self.entered or self.advanced or self.left or self.outcomes)

    def add(self, other: PassReport) -> None:
        """Sum up."""
        self.facts += other.facts
        self.fired += other.fired
        self.entered += other.entered
        self.advanced += other.advanced
        self.left += other.left
        for what, count in other.outcomes.items():
            self.outcomes[what] = self.outcomes.get(what, 0) + count


@dataclass(frozen=True, slots=True)
class Engine:
    """An open project: settings, database, the ways out, and the worker that dispatches."""

    settings: Settings
    database: Database
    exits: Exits
    worker: Worker


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector from walking everything that the process holds, for the length of one batch."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def run_pass(engine: Engine, now: datetime, *, sending: bool = True) -> PassReport:
    """Do everything that is new or due at `now`, until nothing is left; return what was done.

    Without `sending`, messages wait in the outbox for `send_due`.
    """
    total = PassReport()
    while True:
        with engine.database.read() as connection:
            work = look(connection, engine.settings, now)
            slots = schedules_due(connection, work)
        if work.agenda.nothing_by(now) and not work.agenda.leased and not slots:
            return total
        report = _once(engine, work, slots=slots, sending=sending)
        total.add(report)
        if report.idle or engine.worker.stopping():
            return total


def send_due(engine: Engine, now: datetime, due_by: datetime) -> Tally:
    """Dispatch one claim of what was due at `due_by`, judged at `now`; return what became of it."""
    with engine.database.read() as connection:
        work = look(connection, engine.settings, now)
    if not work.agenda.leased and not _due(work.agenda.messages_at, due_by):
        return Tally()
    return _dispatch(engine, work, _closed(engine, work), due_by)


def _once(engine: Engine, work: Work, *, slots: bool, sending: bool) -> PassReport:
    report = PassReport()
    now, agenda = work.at.now, work.agenda
    if agenda.staged_at is not None and agenda.staged_at <= now:
        report.facts += arrive(engine.database, until=now, settings=engine.settings)
    if agenda.unread or agenda.kept or report.facts:
        with undisturbed(), engine.database.write() as connection:
            one_router(connection)
            report.add(_take_in(connection, work))
    if slots or agenda.due_flows(now):
        with undisturbed(), engine.database.write() as connection:
            one_router(connection)
            report.add(_by_time(connection, work))
    while report.entered or _due(agenda.enrollments_at, now) or report.facts:
        with undisturbed(), engine.database.write() as connection:
            moved = advance(connection, work.at, work.closed)
        report.advanced += moved
        if moved < BATCH or engine.worker.stopping():
            break
    if sending and (report.advanced or agenda.leased or _due(agenda.messages_at, now)):
        _dispatch_all(engine, work, report)
    return report


def _due(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def settle(engine: Engine, now: datetime) -> None:
    """Let everything arrive and be taken in by the flows that are live now: what comes later is for those applied next."""
    while True:
        with engine.database.read() as connection:
            work = look(connection, engine.settings, now)
        if _due(work.agenda.staged_at, now):
            arrive(engine.database, until=now, settings=engine.settings)
        elif not work.agenda.unread:
            return
        else:
            with engine.database.write() as connection:
                one_router(connection)
                _take_in(connection, work)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Work:
    """What a pass knows when it begins."""

    at: Round
    live: Mapping[str, LiveFlow]
    closed: tuple[str, ...]
    library: TemplateLibrary
    secret: bytes
    agenda: Agenda


def look(connection: Connection, settings: Settings, now: datetime) -> Work:
    """Return what there is to do at `now`, in three statements."""
    known = meta.several(connection, (meta.SECRET, meta.LINK_SECRETS, rails.PAUSED_ALL, STAMP))
    live = live_flows(connection, paused_all=known.get(rails.PAUSED_ALL) is not None)
    applied = applied_sources(connection, known.get(STAMP))
    at = Round(now, settings, listened_names(live.values()), applied.offers)
    closed = tuple(name for name, each in live.items() if each.stopped)
    agenda = read_agenda(connection, [name for name, each in live.items() if each.open], closed)
    return Work(at, live, closed, applied.library, meta.signing_secret(known), agenda)


def schedules_due(connection: Connection, work: Work) -> bool:
    """Return whether a slot of a schedule trigger has come."""
    for live in work.live.values():
        if live.open and any(isinstance(trigger, ScheduleTrigger) for trigger in live.flow.triggers):
            slot = next_schedule(connection, live, work.at)
            if slot is not None and slot <= work.at.now:
                return True
    return False


def listened_names(live: Iterable[LiveFlow]) -> frozenset[str]:
    """Return the names of events that a live flow enters, leaves, waits or succeeds by."""
    return frozenset(name for each in live for name in each.program.names)


def one_router(connection: Connection) -> None:
    """On PostgreSQL only one pass at a time takes facts in; on SQLite the writer's lock does that."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(0x484F4D49)))


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _take_in(connection: Connection, work: Work) -> PassReport:
    """Route one batch of the inbox: leave, wake, arm, enter; closed flows keep theirs for later."""
    report = PassReport()
    rows = connection.execute(select(fact_inbox).order_by(fact_inbox.c.id).limit(INBOX)).all()
    batch = _events(connection, [row.event_id for row in rows if row.event_id is not None], work.at)
    changes = read_changes(connection, [row.change_id for row in rows if row.change_id is not None])
    if rows:
        report.facts = len(rows)
        report.left = react(connection, work.live, batch, work.at)
        for live in work.live.values():
            if live.active:
                _guarded(
                    connection,
                    live,
                    partial(arm, connection, live, batch, work.at.shop_zone, work.at.now),
                    work.at,
                )
        connection.execute(
            delete(fact_inbox).where(among(connection, fact_inbox.c.id, [row.id for row in rows]))
        )
    report.entered = _enter_by_facts(connection, work, batch, changes)
    return report


def _events(connection: Connection, ids: Sequence[int], at: Round) -> list[ArrivedEvent]:
    query = (
        event_rows().where(among(connection, events.c.id, ids)).order_by(events.c.occurred_at, events.c.id)
    )
    return read_events(connection, query, at.shop_zone) if ids else []


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

        admitted = _enter_one(connection, live, events_now, changes_now, touched, work.at, known)
        if admitted is None:
            _keep(connection, name, events_now, changes_now)
        else:
            newcomers += admitted
    return begin(connection, newcomers, work.at)


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
    live: LiveFlow,
    batch: Sequence[ArrivedEvent],
    changes: Sequence[CatalogueChange],
    touched: Sequence[int],
    at: Round,
    known: Known,
) -> list[Newcomer] | None:
    """Return whom one flow lets in by these facts; None where it failed and must keep them."""

    def step() -> list[Newcomer]:
        found = _candidates(connection, live, batch, changes, at)
        if touched:
            found += segment_candidates(connection, live, touched, at)
        return admit_all(connection, live, found, at, known)

    needed = batch or changes or (touched and _has_segment(live.flow))
    return _guarded(connection, live, step, at) if needed else []


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


def _by_time(connection: Connection, work: Work) -> PassReport:
    """Enter by timers and calendars that are due, for every open flow."""
    report = PassReport()
    due = set(work.agenda.due_flows(work.at.now))
    known = _known(connection, work)
    newcomers: list[Newcomer] = []
    for live in work.live.values():
        scheduled = any(isinstance(trigger, ScheduleTrigger) for trigger in live.flow.triggers)
        if not live.open or not (scheduled or live.flow.name in due):
            continue

        def step(live: LiveFlow = live) -> tuple[int, list[Newcomer]]:
            found = fire(connection, live, work.at.shop_zone, work.at.now)
            found += list(schedule_candidates(connection, live, work.at))
            return len(found), admit_all(connection, live, found, work.at, known)

        fired, admitted = _guarded(connection, live, step, work.at) or (0, [])
        report.fired += fired
        newcomers += admitted
    report.entered = begin(connection, newcomers, work.at)
    return report


def admit_all(
    connection: Connection, live: LiveFlow, found: Sequence[Candidate], at: Round, known: Known
) -> list[Newcomer]:
    """Let candidates in, in order of their moments; those of a gathering trigger join what is gathered first."""
    if not found:
        return []
    joining = [c for c in found if _joins(c, live)]
    if joining:
        zones = _zones(connection, joining, at)
        gather(connection, live, fitting(connection, live.flow, joining, at), zones)
    ready = sorted((c for c in found if not _joins(c, live)), key=lambda c: c.entered_at)
    reason = rails.brake_on_entries(connection, live, len(ready), at)
    if reason is not None:
        raise Braked(reason)
    return enter(connection, live, ready, at, known)


def _joins(candidate: Candidate, live: LiveFlow) -> bool:
    return not candidate.gathered and live.flow.triggers[candidate.trigger_no].gather is not None


def _zones(connection: Connection, candidates: Sequence[Candidate], at: Round) -> dict[int, str]:
    ids = sorted({candidate.customer_id for candidate in candidates})
    query = select(customers.c.id, customers.c.zone).where(among(connection, customers.c.id, ids))
    return {row.id: row.zone or at.shop_zone for row in connection.execute(query)}


# ── failing flows ────────────────────────────────────────────────────────────────────────────────────────────────────


class Braked(Exception):
    """A flow would take in far more customers than usual."""


T = TypeVar("T")


def _guarded(connection: Connection, live: LiveFlow, step: Callable[[], T], at: Round) -> T | None:
    """Do one flow's share in a savepoint; where it fails, undo it, and freeze the flow after the third time.

    What the database itself refuses (a lost connection, a full disk) ends the pass: it is nobody's fault in here.
    """
    savepoint = connection.begin_nested()
    try:
        result = step()
    except Braked as braked:
        savepoint.rollback()
        rails.freeze(connection, live.flow.name, str(braked), at.now)
        log.error("flow %s is frozen: it %s", live.flow.name, braked)
        return None
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - one flow's failure must not stop the others
        savepoint.rollback()
        _count_failure(connection, live.flow.name, error, at.now)
        return None
    savepoint.commit()
    return result


def _count_failure(connection: Connection, flow: str, error: Exception, now: datetime) -> None:
    reason = f"{type(error).__name__} at {_place(error)}"
    log.error("flow %s failed: %s", flow, reason)
    table = quarantine.c
    standing = connection.execute(
        select(table.id, table.tries).where(
            table.kind == "flow", table.subject == flow, table.resolved_at.is_(None)
        )
    ).first()
    if standing is None:
        connection.execute(insert(quarantine).values(kind="flow", subject=flow, reason=reason, at=now))
        return
    connection.execute(
        update(quarantine).where(table.id == standing.id).values(tries=standing.tries + 1, reason=reason)
    )
    if standing.tries + 1 >= FLOW_TRIES:
        rails.freeze(connection, flow, f"failed {FLOW_TRIES} times: {reason}", now)


def _place(error: Exception) -> str:
    """Return where an error came from, without the values that may be a customer's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else "?"


# ── dispatch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _dispatch_all(engine: Engine, work: Work, report: PassReport) -> None:
    """Dispatch until nothing is due, or the work was paused."""
    closed = _closed(engine, work)
    while True:
        tally = _dispatch(engine, work, closed, work.at.now)
        for what, count in tally.outcomes.items():
            report.outcomes[what] = report.outcomes.get(what, 0) + count
        if not tally.claimed or not engine.worker.may_go_on(closed):
            return


def _dispatch(engine: Engine, work: Work, closed: Sequence[str], due_by: datetime) -> Tally:
    return dispatch(
        engine.database,
        work.at,
        engine.exits,
        work.library,
        work.secret,
        engine.worker,
        closed,
        due_by=due_by,
    )


def _closed(engine: Engine, work: Work) -> tuple[str, ...]:
    """Return the flows that may not send: paused or frozen, and those that the brake stops now."""
    if work.at.sandbox:
        return work.closed
    with engine.database.write() as connection:
        return (*work.closed, *_braked_sends(connection, work))


def _braked_sends(connection: Connection, work: Work) -> list[str]:
    """Freeze the flows that are about to mail far more than usual; return their names."""
    table = messages.c
    query = (
        select(table.flow, func.count())
        .where(UNSETTLED, table.state == "pending", table.try_at <= work.at.now)
        .group_by(table.flow)
    )
    frozen = []
    for flow, due in connection.execute(query).all():
        live = work.live.get(flow)
        reason = (
            rails.brake_on_sends(connection, live, due, work.at)
            if live is not None and not live.stopped
            else None
        )
        if reason is not None:
            rails.freeze(connection, flow, reason, work.at.now)
            log.error("flow %s is frozen: it %s", flow, reason)
            frozen.append(flow)
    return frozen
