"""The daemon behind `homing run`: APScheduler beats time, the database holds everything else.

Comes in: settings, a database on real time, how many threads send. Goes out: ticks by the one daemon that leads, mails by
every daemon's threads, the night's work, and log lines, until it is told to stop; then what is claimed is finished or
released within `STOP_SECONDS`. Promises: a beat that fails is a log line and is tried again at the next one, a database
that goes away included; the mark `tick` in the database tells whether the beats go on.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Thread

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import DBAPIError

from engine.clock import machine_now, machine_seconds
from engine.errors import HomingError, UsageError
from engine.runtime.installation import on_virtual_clock
from engine.runtime.keeping import KeptEngine
from engine.runtime.leader import BEATER, DAEMON, RENEW_SECONDS, Leadership, forget_dead
from engine.runtime.nightly import run_nightly
from engine.runtime.opening import own_name
from engine.runtime.passes import send_due, work_through
from engine.runtime.ticking import night_is_due, note_tick
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, outside
from engine.store.marks import TICK, marked

log = logging.getLogger("homing.daemon")
STOP_SECONDS = 8.0
AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between the beats of each kind."""

    tick: float = 1.0
    dispatch: float = 1.0
    lease: float = RENEW_SECONDS
    nightly: float = 60.0
    maintenance: float = 3600.0
    watch: float = 0.3
    mark: float = 4.0


class Daemon:
    """One running daemon; `run` returns when `wait_for_stop` has."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Callable[[], datetime],
        *,
        workers: int = 1,
        environ: Mapping[str, str] = os.environ,
        watch: Callable[[], None] | None = None,
        rhythm: Rhythm | None = None,
        sends: bool = True,
    ) -> None:
        if on_virtual_clock(database):
            raise UsageError(
                "this database stands on a virtual clock, and the daemon lives on real time: use `homing tick --until`"
            )
        self._database, self._clock = database, clock
        # SQLite has one writer: more threads would only wait for each other.
        self._workers = 1 if database.is_sqlite else workers
        self._watch, self._rhythm = watch, rhythm or Rhythm()
        self._stop = Event()
        self._engine = KeptEngine(settings, database, environ, self._stop)
        self._leadership = Leadership(
            database, f"{own_name()}:{secrets.token_hex(3)}", machine_now, sign=DAEMON if sends else BEATER
        )
        self._noted: datetime | None = None
        self._filled: float | None = None
        self._beats = {
            name: Beat(name, self._stop) for name in ("lease", "tick", "nightly", "maintenance", "watch")
        }

    def run(self, wait_for_stop: Callable[[], object]) -> None:
        """Beat until `wait_for_stop` returns, then finish or release what is claimed, and end."""
        delivery = self._engine.latest.settings.delivery
        log.info(
            "started",
            extra=_told(
                daemon=self._leadership.name,
                mode=delivery.mode,
                provider=delivery.provider,
                workers=self._workers,
            ),
        )
        scheduler = self._scheduler()
        scheduler.start()
        try:
            wait_for_stop()
        finally:
            self._shut_down(scheduler)

    # ── beats ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _scheduler(self) -> BackgroundScheduler:
        rhythm = self._rhythm
        scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(self._workers + len(self._beats))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        plan: list[tuple[str, Callable[[], None], float]] = [
            ("lease", self._renew, rhythm.lease),
            ("tick", self._tick, rhythm.tick),
            ("nightly", self._nightly, rhythm.nightly),
            ("maintenance", self._maintain, rhythm.maintenance),
        ]
        if self._watch is not None:
            plan.append(("watch", self._watch, rhythm.watch))
        for name, work, every in plan:
            self._add(scheduler, self._beats[name], work, every)
        for number in range(1, self._workers + 1):
            self._add(scheduler, Beat(f"dispatch {number}", self._stop), self._send, rhythm.dispatch)
        return scheduler

    def _add(
        self, scheduler: BackgroundScheduler, beat: Beat, work: Callable[[], None], every: float
    ) -> None:
        scheduler.add_job(beat, "interval", (work,), seconds=every, id=beat.name, next_run_time=machine_now())

    def _renew(self) -> None:
        fence = self._leadership.fence
        leads = self._leadership.renew()
        if self._leadership.fence != fence:
            log.info("leads" if leads else "waits for the leader", extra=_told(fence=self._leadership.fence))
        with self._database.read() as connection:
            self._engine.share_pace(connection, machine_now())

    def _tick(self) -> None:
        if not self._leadership.leads():
            return
        engine, now = self._engine.current(), self._clock()
        started = machine_seconds()
        report, work = work_through(engine, now, sending=False)
        if self._stop.is_set():
            return
        # At rest the mark may lag a little: each writing of it is a commit that waits for the disk. Not while a mail is
        # due: dispatch goes no further than the mark, and a mail that waited for its domain's rate would wait again.
        mails_at, noted = work.agenda.messages_at, self._noted
        lags = noted is None or (now - noted).total_seconds() >= self._rhythm.mark
        if lags or not report.idle or (mails_at is not None and mails_at <= now):
            note_tick(self._database, now)
            self._noted = now
        told = _told(
            facts=report.facts, entered=report.entered, advanced=report.advanced, left=report.left,
            ms=int((machine_seconds() - started) * 1000),
        )  # fmt: skip
        log.log(logging.DEBUG if report.idle else logging.INFO, "tick", extra=told)

    def _send(self) -> None:
        """Send what was due when the leader last looked at everything, judging each claim at the present."""
        engine = self._engine.current()
        while not self._stop.is_set():
            with self._database.read() as connection:
                looked = marked(connection, TICK)
            now = self._clock()
            if looked is None:
                return
            tally = send_due(engine, now, min(looked, now), among=self._workers)
            if tally.outcomes:
                self._filled = tally.filled
                told = _told(
                    claimed=tally.claimed, **tally.outcomes, filled_percent=round(tally.filled * 100)
                )
                log.info("dispatch", extra=told)
            if not tally.outcomes:
                return

    def _nightly(self) -> None:
        engine, now = self._engine.current(), self._clock()
        if self._leadership.leads() and night_is_due(engine, now):
            started = machine_seconds()
            entered = run_nightly(engine, now)
            log.info("nightly", extra=_told(entered=entered, ms=int((machine_seconds() - started) * 1000)))

    def _maintain(self) -> None:
        if not self._leadership.leads():
            return
        with self._database.write() as connection:
            forget_dead(connection, machine_now())
            if self._filled is not None:
                meta.put(connection, meta.MAILS_FILLED, round(self._filled, 3))
            if self._database.is_sqlite:
                connection.exec_driver_sql("PRAGMA optimize")

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _shut_down(self, scheduler: BackgroundScheduler) -> None:
        """Finish what is in hand; what a provider holds up longer than STOP_SECONDS is left to its lease."""
        log.info("stopping")
        self._stop.set()
        ending = Thread(target=scheduler.shutdown, kwargs={"wait": True}, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)
        finished = not ending.is_alive()
        with suppress(DBAPIError):
            self._release_claims()
            self._leadership.resign()
        if finished:
            self._engine.close()
        log.log(logging.INFO if finished else logging.WARNING, "stopped", extra=_told(finished=finished))
        if not finished:
            # A thread that waits for a provider cannot be ended; the interpreter would wait for it at its own end.
            logging.shutdown()
            os._exit(0)

    def _release_claims(self) -> None:
        """Give back what this process claimed and did not hand over."""
        with self._database.write() as connection:
            self._engine.give_back(connection)


class Beat:
    """One kind of beat: what fails is told once a minute, and tried again at the next beat."""

    def __init__(self, name: str, stop: Event) -> None:
        self.name = name
        self._stop = stop
        self._failing_since: float | None = None
        self._told_at = 0.0

    def __call__(self, work: Callable[[], None]) -> None:
        """Do the work, unless the program is to end."""
        if self._stop.is_set():
            return
        try:
            work()
        except DBAPIError as error:
            self._failed(str(outside(error)))
        except HomingError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - the next beat goes on; the values of an error may be a customer's
            self._failed(f"a bug of ours: {type(error).__name__} at {_place(error)}")
        else:
            self._recovered()

    def _failed(self, reason: str) -> None:
        now = machine_seconds()
        if self._failing_since is None or now - self._told_at >= AGAIN_SECONDS:
            log.error("failed", extra=_told(beat=self.name, reason=reason))
            self._told_at = now
        self._failing_since = self._failing_since if self._failing_since is not None else now

    def _recovered(self) -> None:
        if self._failing_since is not None:
            seconds = round(machine_seconds() - self._failing_since, 1)
            log.info("goes on", extra=_told(beat=self.name, after_seconds=seconds))
            self._failing_since = None


def _told(**fields: object) -> dict[str, dict[str, object]]:
    return {"told": fields}


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        if trace is not None
        else "?"
    )
