"""A worker of a distributed installation: it takes hints and works on their slices for a while.

Comes in: settings, the shared database, hints from anywhere. Goes out: facts taken in, steps, mails, the night's work,
all by the functions that the daemon of one machine calls. Promises: a hint that comes twice, or for a slice that somebody
is at, does nothing; a worker may die anywhere: its slices are free again after `LEASE`, what it claimed after its claims';
a worker that hears nothing looks for itself, so that a broker that is away costs speed only.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Event, Lock, Thread

from sqlalchemy import delete, or_, update
from sqlalchemy.exc import DBAPIError

from engine.clock import FARTHEST, machine_now, machine_seconds
from engine.errors import UsageError
from engine.journeys.advance import BATCH
from engine.runtime.daemon import STOP_SECONDS, Beat
from engine.runtime.distributed import (
    ADVANCE,
    DISPATCH,
    NIGHT,
    TAKE_IN,
    Hint,
    due_hints,
    need_shared_database,
)
from engine.runtime.installation import on_virtual_clock
from engine.runtime.keeping import KeptEngine
from engine.runtime.leader import DAEMON, LEASE, RENEW_SECONDS
from engine.runtime.nightly import run_nightly
from engine.runtime.opening import own_name
from engine.runtime.passes import Engine, PassReport, advance_once, send_due, take_in_once
from engine.runtime.ticking import night_is_due
from engine.runtime.work import look
from engine.settings import Settings
from engine.store.database import Database
from engine.store.dialect import insert_new, upsert
from engine.store.marks import TICK, marked
from engine.store.tables import leases
from engine.store.types import EPOCH

log = logging.getLogger("homing.worker")
HINT_SECONDS = (
    20.0  # then it stops, so that other kinds of work get their turn; what is left is hinted at again
)
QUIET_SECONDS = 15.0  # without a hint, after which a worker looks for itself


class HintWorker:
    """One program that works on hints; `perform` may be called by several threads."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Callable[[], datetime],
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if on_virtual_clock(database):
            raise UsageError("this database stands on a virtual clock, and workers live on real time")
        need_shared_database(settings, database)
        self._database, self._clock = database, clock
        self.name = f"{own_name()}:{secrets.token_hex(3)}"
        self._stop = Event()
        self._engine = KeptEngine(settings, database, environ, self._stop)
        self._lock = Lock()
        self._held: dict[str, int] = {}
        self._beats = {kind: Beat(kind, self._stop) for kind in (TAKE_IN, ADVANCE, DISPATCH, NIGHT)}
        self._heard = machine_seconds()

    # ── living ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def living(self) -> Iterator[None]:
        """Say that we live and hold on to our slices, for the length of a block; then give back what is left."""
        self.say_we_live()
        for work in (self._heart, self._look_around):
            Thread(target=work, daemon=True).start()
        told = {"worker": self.name, "mode": self._engine.latest.settings.delivery.mode}
        log.info("started", extra={"told": told})
        try:
            yield
        finally:
            self.stop()
            self._give_back()
            log.info("stopped")

    def stop(self) -> None:
        """Begin nothing more; what is in hand is finished, or released within STOP_SECONDS."""
        self._stop.set()

    def say_we_live(self) -> None:
        """Renew our sign of life and the leases of our slices, and take our share of the rate."""
        now = machine_now()
        with self._lock:
            held = dict(self._held)
        with self._database.write() as connection:
            sign = {"name": DAEMON + self.name, "owner": self.name, "until": now + LEASE, "fence": 0}
            upsert(connection, leases, [sign], update=["until"])
            for lane, fence in sorted(held.items()):
                own = (leases.c.name == lane, leases.c.owner == self.name, leases.c.fence == fence)
                connection.execute(
                    update(leases).where(*own, leases.c.until > EPOCH).values(until=now + LEASE)
                )
            self._engine.share_pace(connection, now)

    def _heart(self) -> None:
        beat = Beat("lease", self._stop)
        while not self._stop.wait(RENEW_SECONDS):
            beat(self.say_we_live)
        end = machine_seconds() + STOP_SECONDS
        while machine_seconds() < end:
            if not self._held:
                return
            threading.Event().wait(0.05)
        # A thread that waits for a provider cannot be ended; what it may have handed over is left to its lease.
        log.warning("stopped", extra={"told": {"finished": False}})
        self._give_back()
        logging.shutdown()
        os._exit(0)

    def _look_around(self) -> None:
        """Look for work where no hint has come for a while: at rest there is none, or the broker is away."""
        beat = Beat("look around", self._stop)
        while not self._stop.wait(1.0):
            if machine_seconds() - self._heard >= QUIET_SECONDS:
                beat(self.work_unasked)
                self._heard = machine_seconds()

    def work_unasked(self) -> None:
        """Work on everything that is due now, as if the leader had hinted at it."""
        engine = self._engine.current()
        with self._database.read() as connection:
            work = look(connection, engine.settings, self._clock())
            looked = marked(connection, TICK)
            hints = list(due_hints(connection, work, looked, engine.settings.delivery.mode))
        for hint in hints:
            self.perform(hint.written())

    def _give_back(self) -> None:
        with suppress(DBAPIError), self._database.write() as connection:
            self._engine.give_back(connection)
            connection.execute(update(leases).where(leases.c.owner == self.name).values(until=EPOCH))
            connection.execute(delete(leases).where(leases.c.name == DAEMON + self.name))

    # ── hints ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def perform(self, told: Mapping[str, object]) -> None:
        """Work on what a hint points at; whatever fails is a log line, and is hinted at again."""
        self._heard = machine_seconds()
        try:
            hint = Hint.read(told)
        except ValueError as error:
            log.warning("left a hint alone", extra={"told": {"reason": str(error)}})
            return
        self._beats[hint.kind](lambda: self._perform(hint))

    def _perform(self, hint: Hint) -> None:
        engine = self._engine.current()
        mode = engine.settings.delivery.mode
        if mode != hint.mode:
            raise UsageError(
                f"the leader is {hint.mode}, and this worker would be {mode}: give both machines the same settings, "
                "database URL and HOMING_INSTALLATION"
            )
        with self._holding(hint.lane) as ours:
            if not ours:
                return
            started = machine_seconds()
            done = self._work(hint, engine, started + HINT_SECONDS)
            if any(done.values()):
                told = {
                    "slice": f"{hint.part}/{hint.parts}",
                    **done,
                    "ms": int((machine_seconds() - started) * 1000),
                }
                log.info(hint.kind, extra={"told": told})

    @contextmanager
    def _holding(self, lane: str) -> Iterator[bool]:
        """Hold a slice's lease; give whether it was free."""
        now = machine_now()
        with self._database.write() as connection:
            insert_new(connection, leases, [{"name": lane, "owner": "", "until": EPOCH, "fence": 0}])
            ended = or_(leases.c.until <= now, leases.c.until > now + FARTHEST)
            free = update(leases).where(leases.c.name == lane, ended)
            taken = free.values(owner=self.name, until=now + LEASE, fence=leases.c.fence + 1)
            fence = connection.scalar(taken.returning(leases.c.fence))
        if fence is None:
            yield False
            return
        with self._lock:
            self._held[lane] = fence
        try:
            yield True
        finally:
            own = (leases.c.name == lane, leases.c.owner == self.name, leases.c.fence == fence)
            with suppress(DBAPIError), self._database.write() as connection:
                connection.execute(update(leases).where(*own).values(until=EPOCH))
            with self._lock:
                self._held.pop(lane, None)

    def _work(self, hint: Hint, engine: Engine, until: float) -> dict[str, int]:
        """Work until nothing is left in the slice, the time is over, or the program is to end; return what was done."""
        total = PassReport()
        step = {TAKE_IN: self._take_in, ADVANCE: self._advance, DISPATCH: self._dispatch, NIGHT: self._night}
        while step[hint.kind](engine, hint, total) and not self._stop.is_set() and machine_seconds() < until:
            pass
        return {
            "facts": total.facts, "entered": total.entered, "left": total.left, "advanced": total.advanced,
            **total.outcomes,
        }  # fmt: skip

    def _take_in(self, engine: Engine, _hint: Hint, total: PassReport) -> bool:
        with self._database.read() as connection:
            work = look(connection, engine.settings, self._clock())
        report = take_in_once(engine, work)
        total.add(report)
        return not report.idle or bool(work.arming)

    def _advance(self, engine: Engine, hint: Hint, total: PassReport) -> bool:
        with self._database.read() as connection:
            work = look(connection, engine.settings, self._clock())
        moved = advance_once(engine, work, hint.keys)
        total.advanced += moved
        return moved >= BATCH

    def _dispatch(self, engine: Engine, hint: Hint, total: PassReport) -> bool:
        with self._database.read() as connection:
            looked = marked(connection, TICK)
        if looked is None:
            return False
        now = self._clock()
        tally = send_due(engine, now, min(looked, now), hint.keys)
        total.add(PassReport(outcomes=tally.outcomes))
        return bool(tally.outcomes)

    def _night(self, engine: Engine, _hint: Hint, total: PassReport) -> bool:
        now = self._clock()
        if night_is_due(engine, now):
            total.entered += run_nightly(engine, now)
        return False
