"""One pass: everything that is new or due at one moment, from the inbox to the provider.

Order: facts that arrive now; leaving, waking and timers by new facts; entering; advancing; dispatch. Each part is one
short write transaction on a batch; a flow that fails keeps its arrivals and stops nobody else, and is frozen after the
third time. A pass goes on until nothing is due any more at its moment.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from engine.delivery.dispatch import Exits, Tally, Worker, dispatch
from engine.facts.ingest import CHUNK, arrive
from engine.journeys.advance import BATCH
from engine.runtime.braking import Counts, SendBrake
from engine.runtime.intake import Intake, by_time, take_in
from engine.runtime.poison import advance_all
from engine.runtime.setting_up import set_up_part
from engine.runtime.work import Work, look, one_router
from engine.settings import Settings
from engine.store.database import Database
from engine.store.keys import KeyRange


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

    def take(self, intake: Intake) -> None:
        """Add what was taken in."""
        self.facts += intake.facts
        self.fired += intake.fired
        self.entered += intake.entered
        self.left += intake.left


@dataclass(frozen=True, slots=True)
class Engine:
    """An open project: settings, database, the ways out, and the worker that dispatches."""

    settings: Settings
    database: Database
    exits: Exits
    worker: Worker
    counts: Counts = field(default_factory=Counts)


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
    return work_through(engine, now, sending=sending)[0]


def work_through(
    engine: Engine, now: datetime, *, sending: bool = True, known: Work | None = None
) -> tuple[PassReport, Work]:
    """Do what `run_pass` does; return what was done, and what is known once nothing is left.

    `known` is what is known already, where nobody else writes: it saves the first look.
    """
    total = PassReport()
    work = known.at_moment(now) if known else _look(engine, now)
    while _anything(work, now, sending=sending) or work.slot_due or work.arming:
        report = _once(engine, work, sending=sending)
        total.add(report)
        arming = work.arming
        work = _look(engine, now)
        if (report.idle and not arming) or engine.worker.stopping():
            break
    return total, work


def _look(engine: Engine, now: datetime) -> Work:
    with engine.database.read() as connection:
        return look(connection, engine.settings, now)


def _anything(work: Work, now: datetime, *, sending: bool) -> bool:
    """Return whether anything is due for a pass that sends, or for one that does not."""
    agenda = work.agenda if sending else work.agenda.without_mails
    return not agenda.nothing_by(now) or agenda.leased


def send_due(
    engine: Engine, now: datetime, due_by: datetime, keys: KeyRange | None = None, *, among: int = 1
) -> Tally:
    """Dispatch one claim of what was due at `due_by`, judged at `now`; return what became of it.

    `keys` limits it to a range of customers; `among` so many threads, which do the same beside each other, it is shared.
    """
    work = _look(engine, now)
    if not work.agenda.leased and not _due(work.agenda.messages_at, due_by):
        return Tally()
    return _dispatch(engine, work, work.closed, due_by, keys, among)


def _once(engine: Engine, work: Work, *, sending: bool) -> PassReport:
    report = take_in_once(engine, work)
    now, agenda = work.at.now, work.agenda
    while report.entered or _due(agenda.enrollments_at, now) or report.facts:
        with undisturbed(), engine.database.write() as connection:
            moved = advance_all(connection, work.at, work.closed)
        report.advanced += moved
        if moved < BATCH or engine.worker.stopping():
            break
    if sending and (report.entered or report.advanced or agenda.leased or _due(agenda.messages_at, now)):
        _dispatch_all(engine, work, report)
    return report


def take_in_once(engine: Engine, work: Work) -> PassReport:
    """Take in one batch of what is new, and what timers and calendars bring; return what was done."""
    report = PassReport()
    now, agenda = work.at.now, work.agenda
    if work.arming:  # an apply is at it, or was killed
        with undisturbed(), engine.database.write() as connection:
            set_up_part(connection, work.at.shop_zone)
    _take_facts_in(engine, work, report)
    if work.slot_due or agenda.due_flows(now):
        with undisturbed(), engine.database.write() as connection:
            one_router(connection)
            report.take(by_time(connection, work))
    return report


def _take_facts_in(engine: Engine, work: Work, report: PassReport) -> None:
    """Take in one batch of what is new; a few facts that arrive now and what follows from them are one commit."""
    now, settings = work.at.now, engine.settings
    arriving = _due(work.agenda.staged_at, now)
    if not (arriving or work.agenda.unread or work.agenda.kept):
        return

    def step(connection: Connection, most: int = CHUNK) -> tuple[int, Intake | None]:
        one_router(connection)
        arrived = arrive(connection, until=now, settings=settings, limit=most) if arriving and most else 0
        return arrived, take_in(connection, work) if not most or arrived < most else None

    with undisturbed():
        arrived, intake = engine.database.transact(step)
        report.facts += arrived
        if intake is None:  # there may be more, and all arrive before the first of them is looked at
            report.facts += arrive(engine.database, until=now, settings=settings)
            _, intake = engine.database.transact(partial(step, most=0))
    report.take(intake or Intake())


def advance_once(engine: Engine, work: Work, keys: KeyRange) -> int:
    """Let one batch of the due enrollments of a range of customers take their steps; return how many were due."""
    with undisturbed(), engine.database.write() as connection:
        return advance_all(connection, work.at, work.closed, keys)


def _due(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def settle(engine: Engine, now: datetime) -> None:
    """Let everything arrive and be taken in by the flows that are live now: what comes later is for those applied next."""
    while True:
        work = _look(engine, now)
        if _due(work.agenda.staged_at, now):
            arrive(engine.database, until=now, settings=engine.settings)
        elif not work.agenda.unread:
            return
        else:
            with engine.database.write() as connection:
                one_router(connection)
                take_in(connection, work)


# ── dispatch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _dispatch_all(engine: Engine, work: Work, report: PassReport) -> None:
    """Dispatch until nothing is due, or the work was paused."""
    closed = work.closed
    while True:
        tally = _dispatch(engine, work, closed, work.at.now)
        closed = (*closed, *tally.stopped)
        for what, count in tally.outcomes.items():
            report.outcomes[what] = report.outcomes.get(what, 0) + count
        # Less than a whole claim was all there was; what falls due meanwhile is seen by the next look.
        is_all = tally.claimed < engine.worker.most and not tally.stopped
        if is_all or not engine.worker.may_go_on(closed):
            return


def _dispatch(
    engine: Engine,
    work: Work,
    closed: Sequence[str],
    due_by: datetime,
    keys: KeyRange | None = None,
    among: int = 1,
) -> Tally:
    return dispatch(
        engine.database,
        work.at,
        engine.exits,
        work.library,
        work.secret,
        engine.worker,
        closed,
        None if work.at.sandbox else SendBrake(engine.database, work, engine.counts),
        due_by=due_by,
        keys=keys,
        among=among,
    )
