"""A house to simulate: one database, daemons that tick and send in turns, people who tell facts, and who watches them.

Each run begins with a copy of one prepared SQLite file in which the flows are applied. The database passes through the
scheduler at every statement, commit and lock, so that another worker, a fault or the end of a process can come anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import cast
from unittest import mock

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from engine import settings as settings_module
from engine.delivery.dispatch import Exits, Worker
from engine.deploy.apply import apply
from engine.errors import HomingError
from engine.facts import rights
from engine.facts.fact import Kind, Row
from engine.facts.ingest import ingest_rows
from engine.render.context import RenderContext
from engine.render.library import TemplateLibrary
from engine.render.render import Rendered, render
from engine.runtime import rails
from engine.runtime.nightly import run_nightly
from engine.runtime.passes import Engine, send_due, work_through
from engine.runtime.switch import Switch
from engine.runtime.ticking import night_is_due, note_tick
from engine.runtime.work import look
from engine.settings import Settings
from engine.store.bulk import insert_rows
from engine.store.database import connect
from engine.store.migrate import upgrade
from engine.store.tables import customers, offer_codes
from tests.simulation.database import open_copy
from tests.simulation.outside import Provider
from tests.simulation.scheduler import KINDS, Faults, Scheduler
from tests.simulation.shop import START, Telling, customers_of, month, pauses, restocks, write_project
from tests.simulation.watch import Watch

DAYS = 30
DEEDS = ("erase", "pause", "resume", "restock")  # what is told that is no fact
EVERYONE = tuple(customers_of(20))
HOUR = timedelta(hours=1)
BEATS = (0.5 * HOUR, 4 * HOUR, *(9 * HOUR,) * 2, *(14 * HOUR,) * 4, *(20 * HOUR,) * 6)  # between two ticks
ROUNDS = (timedelta(0), 6 * HOUR, 12 * HOUR, 24 * HOUR)  # at which a shop tells what it gathered


LAGS = (
    timedelta(0),
    3 * HOUR,
    8 * HOUR,
)  # between a tick and the sending, where a provider takes few mails an hour


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run is made of: all of it can be said on a command line."""

    seed: int
    days: int = DAYS
    customers: tuple[str, ...] = EVERYONE
    without: frozenset[str] = frozenset()  # kill, delay, fail, switch, pause, skew

    def faults(self) -> Faults:
        """Return how often what goes wrong; what is left out is 0."""
        return Faults(**{f"{name}_every": 0.0 for name in KINDS if name in self.without})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A project with its flows applied in a database that is only ever copied."""

    root: Path
    database: Path
    settings: Settings


def prepare(root: Path) -> Prepared:
    """Write the project and apply its flows to a fresh database."""
    write_project(root)
    settings = settings_module.load(root, {})
    path = root / "prepared.db"
    database = connect(f"sqlite:///{path}")
    upgrade(database)
    apply(database, settings, now=START - timedelta(days=1), who="test")
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.read() as connection:
        look(connection, settings, START)  # what a process reads once must not make its first seed another
    database.close()
    return Prepared(root, path, settings)


class House:
    """One run of a plan."""

    def __init__(self, plan: Plan, prepared: Prepared) -> None:
        self.plan, self.settings = plan, prepared.settings
        self.chance = random.Random(f"house:{plan.seed}")
        self.scheduler = Scheduler(self.chance, START, plan.faults())
        self.database = open_copy(prepared.database, self.scheduler)
        self.watch = Watch(self.database.outside, self.scheduler)
        self.database.watch = self.watch
        self.provider = Provider(self.scheduler, self.watch.handed_over)
        self.watch.provider = self.provider
        self.beat = self.chance.choice(BEATS)
        self.round = self.chance.choice(ROUNDS)
        self.lag = self.chance.choice(LAGS)
        self.leased_only = (
            self.chance.random() < 0.5
        )  # nobody can tell whether a worker has died before its lease ends
        self.two_leaders = self.chance.random() < 0.1  # as while a lease passes from one to the other
        self.dead: set[str] = set()
        self.skew = {name: timedelta(0) for name in "ab"}
        self._tellers: list[Telling] = []

    @property
    def end(self) -> datetime:
        """The end of the month."""
        return START + timedelta(days=self.plan.days)

    def run(self) -> None:
        """Play the month, then let the dust settle without further faults, and look at everything once more."""
        plan, scheduler = self.plan, self.scheduler
        told = month(plan.seed, list(plan.customers), plan.days) + restocks(plan.seed, plan.days)
        told += [] if "pause" in plan.without else pauses(plan.seed, plan.days)
        self._tellers = sorted(told)
        scheduler.spawn("people", self._people, mortal=False)
        for name in "ab" if self.two_leaders else "a":
            scheduler.spawn(f"tick {name}", partial(self._tick, name))
        for name in "ab":
            scheduler.spawn(f"send {name}", partial(self._send, name))
        if "skew" not in plan.without:
            scheduler.spawn("clocks", self._clocks, mortal=False)
        for actor in scheduler.actors:
            actor.wakes_at = START
        # The engine's own patience is on the machine's clock; here it is on ours.
        with (
            mock.patch("engine.delivery.recording.sleep", lambda s: scheduler.sleep(timedelta(seconds=s))),
            mock.patch("engine.delivery.recording.machine_seconds", self._seconds),
            mock.patch("engine.delivery.mailroom.render", _rendered_once),
            mock.patch(
                "engine.facts.ingest.sleep", lambda s: scheduler.sleep(timedelta(seconds=s)), create=True
            ),
        ):
            scheduler.run(self.end)
            self._settle()
        self.watch.at_the_end()

    def close(self) -> None:
        """End everybody where they stand; the database is the next one's."""
        self.scheduler.stop()

    def _settle(self) -> None:
        self.scheduler.calm()
        self.skew = {name: timedelta(0) for name in "ab"}
        self.beat, self.lag = HOUR, timedelta(0)  # short of what counts as waiting for nothing
        for actor in self.scheduler.actors:
            actor.wakes_at = actor.wakes_at and min(actor.wakes_at, self.end)
        self.scheduler.run(self.end + timedelta(hours=6))
        self.scheduler.run(self.end + timedelta(hours=12))

    # ── actors ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _seconds(self) -> float:
        return self.scheduler.now.timestamp()

    def _engine(self, name: str) -> Engine:
        life = next(actor.lives for actor in self.scheduler.actors if actor.name == name)
        own = f"{name} {life}"
        self.dead |= {f"{name} {earlier}" for earlier in range(1, life)}
        switch = Switch(self.database, seconds=self._seconds)
        worker = Worker(
            own, lambda: self.scheduler.now, random.Random(self.chance.random()), switch.may_go_on,
            is_gone=lambda other: not self.leased_only and other in self.dead,
        )  # fmt: skip
        return Engine(self.settings, self.database, Exits(self.provider), worker)

    def _present(self, name: str) -> datetime:
        return self.scheduler.now + self.skew[name[-1]]

    def _tick(self, letter: str) -> None:
        """Tick at each beat at which something is due, like the daemon that leads; at times there are two of them."""
        name, scheduler = f"tick {letter}", self.scheduler
        engine = self._engine(name)
        while True:
            following = None
            with _forgiving(scheduler):
                now = self._present(name)
                if night_is_due(engine, now):
                    run_nightly(engine, now, tables=False)
                _, known = work_through(engine, now, sending=False)
                note_tick(self.database, now)
                scheduler.signal()
                following = known.following
            scheduler.wait(self._beat_after(following), or_signal=False)

    def _beat_after(self, moment: datetime | None) -> datetime:
        """Return when to look again: once something is told or due, but no sooner than a beat after now."""
        now = self.scheduler.now
        # At the end people tell at once what is left for its very moment, also to those who have just looked.
        told = next((each.at for each in self._tellers if now < each.at <= self.end), self.end)
        return max(min(moment or told, told), now + self.beat * self.chance.uniform(0.2, 1.8))

    def _send(self, letter: str) -> None:
        """Send what a tick has looked at, each claim judged at the present."""
        name, scheduler = f"send {letter}", self.scheduler
        engine = self._engine(name)
        while True:
            with _forgiving(scheduler):
                while True:
                    now, looked = self._present(name), self.watch.looked_at()
                    # A daemon that finds nothing changes nothing, so that it need not be played.
                    if looked is None or not self.watch.has_mail_by(min(looked, now)):
                        break
                    self.watch.begins_sending(name)
                    if not send_due(engine, now, min(looked, now)).outcomes:
                        break
            scheduler.wait(scheduler.now + timedelta(hours=8), or_signal=True)
            if self.lag:
                scheduler.sleep(self.lag * self.chance.random())

    def _people(self) -> None:
        """Tell each fact when its time comes; what was answered is what the watch believes."""
        for tellings in _together(self._tellers, self.round):
            self.scheduler.wait(max(tellings[-1].at, self.scheduler.now))
            # A stop holds from its answer on; what may go on again may do so before the answer is heard.
            heard_first = tellings[0].kind == "resume"
            if not heard_first:
                self._until_done(partial(self._do, tellings))
            for telling in tellings:
                self.watch.acknowledged(telling)
            if heard_first:
                self._until_done(partial(self._do, tellings))

    def _until_done(self, act: Callable[[], None]) -> None:
        while True:
            try:
                act()
            except DBAPIError:
                self.scheduler.sleep(timedelta(seconds=30))
            else:
                return

    def _do(self, tellings: Sequence[Telling]) -> None:
        now, telling = self.scheduler.now, tellings[0]
        if telling.kind == "erase":
            with self.database.write() as connection:
                customer = connection.scalar(
                    select(customers.c.id).where(customers.c.external_id == telling.customer)
                )
                if customer is not None:
                    rights.erase(connection, customer, now=now)
        elif telling.kind == "pause":
            with self.database.write() as connection:
                rails.pause(connection, telling.row["flow"], now)
        elif telling.kind == "resume":
            with self.database.write() as connection:
                rails.resume(connection, telling.row["flow"])
        elif telling.kind == "restock":
            with self.database.write() as connection:
                insert_rows(
                    connection,
                    offer_codes,
                    [{"offer": "scarce", "code": code} for code in telling.row["codes"]],
                )
        else:
            rows = [Row(each.number, each.row, cast(Kind, each.kind)) for each in tellings]
            report = ingest_rows(self.database, "events", rows, settings=self.settings, now=now)
            assert not report.bad_rows, report.bad_rows

    def _clocks(self) -> None:
        """Let the machines' clocks jump at times, forward and back."""
        while True:
            self.scheduler.sleep(timedelta(days=self.chance.uniform(2, 12)))
            for name in self.skew:
                self.skew[name] = timedelta(minutes=self.chance.choice((0, -7, 3, -55, -55)))


def _together(tellings: Sequence[Telling], most: timedelta) -> list[list[Telling]]:
    """Return tellings in the order of their times, with facts in groups that lie no further apart than `most`."""
    groups: list[list[Telling]] = []
    for telling in tellings:
        last = groups[-1] if groups else []
        is_fact = telling.kind not in DEEDS and not (last and last[0].kind in DEEDS)
        if last and is_fact and telling.at - last[0].at <= most:
            last.append(telling)
        else:
            groups.append([telling])
    return groups


_rendered: dict[tuple[str, str | None, str | None], Rendered] = {}


def _rendered_once(
    library: TemplateLibrary,
    name: str,
    context: RenderContext,
    *,
    locale: str | None = None,
    subject: str | None = None,
) -> Rendered:
    """Render each template for the first customer only: nobody watches here what a mail says, but whether it goes."""
    asked = (name, locale, subject)
    if asked not in _rendered:
        _rendered[asked] = render(library, name, context, locale=locale, subject=subject)
    return _rendered[asked]


@contextmanager
def _forgiving(
    scheduler: Scheduler, errors: Collection[type[Exception]] = (DBAPIError, HomingError)
) -> Iterator[None]:
    """Go on after an error of the database, as a daemon's beat does: it is tried again."""
    try:
        yield
    except tuple(errors):
        scheduler.sleep(timedelta(seconds=1))
