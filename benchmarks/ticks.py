"""Measures a pass on a shop of any size: at rest, with 1,000 new facts, and dispatch, the six starter flows together.

Comes in: an empty database and a number of customers. Goes out: seconds and rates. Wall time, the median of several
passes; beside it the CPU time of this process, which a busy machine distorts less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import shop
from benchmarks.facts import a_day_of_facts
from benchmarks.loop import due_in_python
from benchmarks.others import drip_campaigns
from engine import settings as settings_module
from engine.delivery import dispatch
from engine.delivery.made import Made
from engine.delivery.mailroom import make_mails
from engine.delivery.outcome import Accepted
from engine.deploy.apply import apply
from engine.project import init_project
from engine.render.mail import Mail
from engine.runtime.opening import open_engine
from engine.runtime.passes import Engine, run_pass, send_due
from engine.settings import Settings
from engine.store.database import Database
from engine.store.migrate import ensure_current

FACTS = 1_000
ROUNDS = 7
SENDERS = 2  # the threads that `homing run` sends with on PostgreSQL
LOOPED = 20_000  # customers that the loop is measured on; it costs the same for each
T = TypeVar("T")


class Nothing:
    """A provider that accepts at once and does nothing."""

    name = "nothing"

    def hand_over(self, mails: Sequence[Any]) -> list[Any]:
        """Accept everything."""
        return [Accepted(mail.key) for mail in mails]

    def check(self) -> list[str]:
        """Find nothing wrong."""
        return []

    def close(self) -> None:
        """Have nothing to close."""


@dataclass(slots=True)
class Timing:
    """Wall and CPU seconds of something done several times."""

    wall: list[float]
    cpu: list[float]

    @classmethod
    def none(cls) -> Timing:
        """Return a timing of nothing yet."""
        return cls([], [])

    def of(self, call: Callable[[], T]) -> T:
        """Do it once more."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return result

    def told(self) -> str:
        """Return the medians, in milliseconds."""
        wall, cpu = statistics.median(self.wall) * 1000, statistics.median(self.cpu) * 1000
        return f"{wall:10,.1f} ms ({cpu:,.1f} ms of this process's CPU)"


def open_shop(database: Database, folder: Path, customers: int) -> Engine:
    """Build the shop, apply the starter flows, and return an engine whose provider does nothing."""
    init_project(folder)
    settings: Settings = settings_module.load(folder)
    ensure_current(database)
    shop.build(database, customers)
    timing = Timing.none()
    timing.of(lambda: apply(database, settings, now=shop.NOW, who="bench"))
    print(f"  {'apply the six flows':<34}{timing.told()}")
    engine = open_engine(settings, database)
    worker = replace(engine.worker, wait_for_rate=lambda _count: None)
    return replace(engine, exits=replace(engine.exits, mailbox=Nothing()), worker=worker)


def measure(database: Database, folder: Path, customers: int) -> None:
    """Print the figures of one database with so many customers."""
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    print(f"{kind}: {customers:,} customers, {3 * customers:,} orders, {10 * customers:,} events", flush=True)
    engine = open_shop(database, folder, customers)
    first, rest, ticks = Timing.none(), Timing.none(), Timing.none()
    first.of(lambda: run_pass(engine, shop.NOW))
    for _ in range(50):
        rest.of(lambda: run_pass(engine, shop.NOW))
    mails, handed = Timing.none(), 0
    with rendered():
        for number in range(1, ROUNDS + 1):
            now = shop.NOW + timedelta(minutes=number)
            a_day_of_facts(database, engine.settings, now, FACTS, customers, name=f"round{number}")
            ticks.of(partial(run_pass, engine, now, sending=False))
            handed += mails.of(partial(_send_all, engine, now))
    print(f"  {'first tick':<34}{first.told()}")
    print(f"  {'tick at rest':<34}{rest.told()}")
    print(f"  {'tick with 1,000 new facts':<34}{ticks.told()}")
    wall, cpu = handed / sum(mails.wall), handed / sum(mails.cpu)
    print(f"  {'gated dispatch, groups of 10':<34}{wall:10,.0f} mails/s ({cpu:,.0f} a second of CPU)")
    tick, idle = statistics.median(ticks.cpu), statistics.median(rest.cpu)
    _loop(database, customers, tick)
    _drips(customers, idle)


def _send_all(engine: Engine, now: datetime) -> int:
    """Send what is due as the daemon does: by as many threads as `homing run` has; return how many messages were judged."""
    threads = 1 if engine.database.is_sqlite else SENDERS
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _number: _send_until_none(engine, now, threads), range(threads)))


def _send_until_none(engine: Engine, now: datetime, threads: int) -> int:
    judged = 0
    while True:
        tally = send_due(engine, now, now, among=threads)
        judged += sum(tally.outcomes.values())
        if not tally.claimed:
            return judged


def _loop(database: Database, customers: int, tick: float) -> None:
    looped, most = Timing.none(), min(LOOPED, customers)
    looped.of(lambda: due_in_python(database, shop.NOW, shop.NOW - timedelta(minutes=1), most))
    whole = looped.cpu[0] * customers / most
    print(
        f"  {'the loop over everybody, ORM':<34}{whole:10,.1f} s of CPU (from {most:,} customers), {whole / tick:,.0f} ticks with 1,000 facts",
        flush=True,
    )


def _drips(customers: int, idle: float) -> None:
    """Print what a look at rest costs django-drip-campaigns, on SQLite, beside ours."""
    found = drip_campaigns(customers)
    if found is not None:
        print(
            f"  {'django-drip-campaigns, at rest':<34}{found['seconds'] * 1000:10,.1f} ms of CPU "
            f"(version {found['version']}, {customers:,} users, six drips), {found['seconds'] / idle:,.0f} ticks at rest",
            flush=True,
        )


@contextmanager
def rendered() -> Iterator[None]:
    """Hand every message the same finished mail, so that the gate, the hand-over and the records are measured alone."""
    known: list[Mail | None] = []

    def made(connection: Any, claimed: Sequence[Any], *rest: Any) -> list[Made]:
        if not known:
            known.append(make_mails(connection, claimed[:1], *rest)[0].mail)
        return [Made(message, mail=known[0]) for message in claimed]

    setattr(dispatch, "make_mails", made)  # noqa: B010 - for the length of the block
    try:
        yield
    finally:
        setattr(dispatch, "make_mails", make_mails)  # noqa: B010
