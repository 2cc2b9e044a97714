"""Ticks: one pass at the present moment, or a virtual clock driven from moment to moment.

`tick` is for cron and the daemon; `drive` moves the virtual clock of a database to every moment at which something
arrives or is due, so that sixty days pass in seconds and each mail carries the moment at which it would have gone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from engine.clock import sleep
from engine.runtime import nightly
from engine.runtime.passes import Engine, PassReport, run_pass, send_due, work_through
from engine.runtime.work import look
from engine.store import meta
from engine.store.database import Database
from engine.store.marks import TICK, mark

Progress = Callable[[datetime, PassReport], None]


def tick(engine: Engine, now: datetime, present: Callable[[], datetime] | None = None) -> PassReport:
    """Do everything that is new or due, the night's work included where its time has come.

    With `present`, the clock of a database on real time, each mail is judged at the moment at which it is handed over:
    at the provider's pace that may be long after `now`.
    """
    report = PassReport()
    if night_is_due(engine, now):
        report.entered += nightly.run_nightly(engine, now)
    if present is None:
        report.add(run_pass(engine, now))
        return report
    while True:
        done = run_pass(engine, now, sending=False)
        note_tick(engine.database, now)
        while (tally := send_due(engine, max(now, present()), now)).claimed:
            done.add(PassReport(outcomes=tally.outcomes))
            if engine.worker.stopping():
                break
        report.add(done)
        if done.idle or engine.worker.stopping():
            return report


def night_is_due(engine: Engine, now: datetime) -> bool:
    """Return whether the night's work waits to be done."""
    return nightly.due_at(engine.database, engine.settings.shop.timezone, now - timedelta(days=1)) <= now


def note_tick(database: Database, now: datetime) -> None:
    """Note that everything due at `now` was taken in: `status` shows it, and dispatch goes no further."""
    with database.write() as connection:
        mark(connection, TICK, now)


def drive(
    engine: Engine,
    start: datetime,
    until: datetime,
    *,
    every: timedelta | None = None,
    beat: timedelta | None = None,
    nights: bool = True,
    progress: Progress | None = None,
) -> PassReport:
    """Move the virtual clock from `start` to `until`, stopping wherever something arrives or is due.

    `every` adds further stops; with `beat` the clock stops at multiples of it only, like a daemon that ticks that often.
    Without `nights` the night's work is left out.
    """
    total = PassReport()
    moment = start
    night = nightly.due_at(engine.database, engine.settings.shop.timezone, start) if nights else None
    while True:
        with engine.database.write() as connection:
            meta.set_virtual_now(connection, moment)
        if night is not None and night <= moment:
            total.entered += nightly.run_nightly(engine, moment)
            night = nightly.due_at(engine.database, engine.settings.shop.timezone, moment)
        report, work = work_through(engine, moment)
        total.add(report)
        # What another worker is about to send must not fall behind the clock; a dead one's comes back in 60 s at most.
        while work.agenda.leased and not engine.worker.stopping():
            sleep(0.2)
            report, work = work_through(engine, moment)
            total.add(report)
        following = work.following
        if progress is not None:
            progress(moment, total)
        if moment >= until:
            return total
        stops = (until, night, following, moment + every if every else None)
        moment = max(min(stop for stop in stops if stop is not None), moment + timedelta(microseconds=1))
        if beat is not None:
            moment = min(until, start + -(-(moment - start) // beat) * beat)


def next_moment(engine: Engine, now: datetime) -> datetime | None:
    """Return the next moment at which a fact arrives or something of an open flow is due."""
    with engine.database.read() as connection:
        return look(connection, engine.settings, now).following
