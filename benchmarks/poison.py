"""What poison costs the others: `python -m benchmarks.poison [--customers 2000] [--poison 20] [--rounds 15]`.

Comes in: how many customers take part, and for how many of them a template, a step or a fact fails each time. Goes out: for each
kind how many mails of the others a second of CPU made and sent, with poison and without, until everything poisonous is set
aside; the median over all rounds, its quartiles, and the same between two runs without poison: how exact the figure is.
Of facts no more than eight fail: at ten their flow is frozen, as it should.

A round runs three processes at once, one with poison and two without, held to the same processor, so that the scheduler gives
them turns of a few milliseconds. One after the other is not exact enough: where a machine has neighbours, a second of CPU is worth a tenth
more or less than the one before it, and two runs of the very same work differed by more than poison costs.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from sqlalchemy import func, select, update

from benchmarks.ticks import Nothing
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.facts.ingest import ingest_rows
from engine.journeys import advance, enter
from engine.runtime.log_lines import start_logging
from engine.runtime.opening import open_engine
from engine.runtime.passes import run_pass
from engine.settings import Settings
from engine.store.database import Database, connect
from engine.store.migrate import upgrade
from engine.store.tables import customers, messages, quarantine

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MOST_FACTS = 8  # at ten the flow is frozen
PASSES = tuple(
    timedelta(minutes=minutes) for minutes in (0, 11, 22, 33)
)  # three tries, ten minutes apart, and one more
SETTINGS = """
[shop]
name = "Kiyomi Tea"
url = "https://kiyomi.test"
timezone = "UTC"
currency = "EUR"
postal_address = "1 Tea Street, 10115 Berlin"
[sender]
email = "hello@kiyomi.test"
[policy]
quiet_hours = ""
caps = []
"""
FLOW = """flow: hello
topic: offers
trigger: {event: said_hello}
steps: [{send: letter}]
"""
LETTER = """---
subject: "For {{ customer.first_name }}"
---
<mjml><mj-body><mj-section><mj-column>
  <mj-text>Dear {{ customer.first_name }}, one tenth of your share is {{ 10 / customer.properties.share }}.</mj-text>
  <mj-text><a href="{{ links.unsubscribe }}">Unsubscribe</a> {{ shop.postal_address }}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: how many mails went out, by how much CPU."""

    mails: int
    cpu: float

    @property
    def rate(self) -> float:
        """Mails a second of CPU."""
        return self.mails / self.cpu


def prepare(folder: Path, people: int) -> Settings:
    """Write the shop, apply it to a database that is copied for each run, and let everybody say hello."""
    texts = {"homing.toml": SETTINGS, "flows/hello.yaml": FLOW, "templates/letter.mjml": LETTER}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    settings = settings_module.load(folder, {})
    database = connect(f"sqlite:///{folder / 'kept.db'}")
    upgrade(database)
    apply(database, settings, now=NOW - timedelta(days=1), who="bench")
    told = [
        {"external_id": f"c{n}", "email": f"c{n}@example.test", "first_name": f"Ann {n}", "consent": ["offers"], "share": 5}
        for n in range(people)
    ]  # fmt: skip
    ingest_rows(database, "customers", told, settings=settings, now=NOW)
    said = [{"customer": f"c{n}", "event": "said_hello", "id": f"m{n}"} for n in range(people)]
    ingest_rows(database, "events", said, settings=settings, now=NOW)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return settings


# ── three kinds of poison ────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _failing(place: Any, name: str, victim_at: int, victims: frozenset[int]) -> Iterator[None]:
    """Let a function of the engine fail for some customers; its argument number `victim_at` knows whose turn it is."""
    real = getattr(place, name)

    def fails(*arguments: Any) -> Any:
        if arguments[victim_at].customer_id in victims:
            raise ArithmeticError("poison")
        return real(*arguments)

    setattr(place, name, fails)
    try:
        yield
    finally:
        setattr(place, name, real)


@contextmanager
def _nothing(_victims: frozenset[int]) -> Iterator[None]:
    yield


KINDS: dict[str, Callable[[frozenset[int]], Any]] = {
    "templates": _nothing,  # a share of nothing cannot divide
    "customers": partial(_failing, advance, "decide", 1),
    "steps": partial(_failing, advance, "take", 0),  # what was decided cannot be carried out
    "facts": partial(_failing, enter, "admit", 2),
}


def copied(kept: Path, folder: Path) -> Database:
    """Open a copy of the prepared database in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("", "-wal", "-shm"):
        (folder / f"run.db{ending}").unlink(missing_ok=True)
    shutil.copyfile(kept, folder / "run.db")
    return connect(f"sqlite:///{folder / 'run.db'}")


def run(
    database: Database, settings: Settings, kind: str, poison: int, begin: Callable[[], object] = lambda: None
) -> Outcome:
    """Take the facts in and send what follows until what is poisonous has been tried three times.

    `begin` returns when the measured part may begin.
    """
    with database.write() as connection:
        ids = list(connection.scalars(select(customers.c.id)))
        victims = frozenset(random.Random(1).sample(ids, poison))
        if kind == "templates" and victims:
            bad = update(customers).where(customers.c.id.in_(victims))
            connection.execute(bad.values(properties={"share": 0}))
    engine = open_engine(settings, database, environ={}, chance=random.Random(1))
    worker = replace(engine.worker, wait_for_rate=lambda _count: None)
    engine = replace(engine, exits=replace(engine.exits, mailbox=Nothing()), worker=worker)
    with KINDS[kind](victims):
        begin()
        started = time.process_time()
        for later in PASSES:
            run_pass(engine, NOW + later)
        cpu = time.process_time() - started
    with database.read() as connection:
        mails = connection.scalar(select(func.count()).where(messages.c.state == "accepted")) or 0
        aside = connection.scalar(select(func.count()).select_from(quarantine)) or 0
    assert (mails, aside) == (len(ids) - poison, poison), (kind, mails, aside)
    return Outcome(mails, cpu)


# ── at the same time, on the same processor ──────────────────────────────────────────────────────────────────────────


def side_by_side(
    folder: Path, settings: Settings, kind: str, amounts: Sequence[int], turn: int
) -> list[Outcome]:
    """Run the same work with these amounts of poison at once, in processes that share one processor."""
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(len(amounts))
    processors = sorted(os.sched_getaffinity(0))
    processor = processors[turn % len(processors)]
    order = random.Random(turn).sample(range(len(amounts)), len(amounts))
    ends = {place: fork.Pipe(duplex=False) for place in order}

    def one(place: int) -> None:
        os.sched_setaffinity(0, {processor})
        database = copied(folder / "kept.db", folder / str(place))
        ends[place][1].send(run(database, settings, kind, amounts[place], together.wait))
        database.close()

    started = [fork.Process(target=one, args=(place,)) for place in order]
    for each in started:
        each.start()
    for _, sending in ends.values():
        sending.close()  # so that a process that fails ends the reading
    outcomes = [ends[place][0].recv() for place in range(len(amounts))]
    for each in started:
        each.join()
    return outcomes


def measure_poison(folder: Path, people: int, poison: int, rounds: int) -> None:
    """Print what each kind of poison costs the others."""
    settings = prepare(folder, people)
    for kind in KINDS:  # what a process does once is done before it is forked
        database = copied(folder / "kept.db", folder)
        run(database, settings, kind, 2)
        database.close()
    gc.collect()
    gc.freeze()
    print(
        f"poison among {people:,} customers, SQLite, the others' mails a second of CPU, median of {rounds} rounds"
    )
    for kind in KINDS:
        some = min(poison, MOST_FACTS) if kind == "facts" else poison
        turns = [side_by_side(folder, settings, kind, (0, 0, some), turn) for turn in range(rounds)]
        _tell(kind, some, people, turns)


def _tell(kind: str, some: int, people: int, turns: Sequence[Sequence[Outcome]]) -> None:
    losses = [1 - with_it.rate / ((one.rate + other.rate) / 2) for one, other, with_it in turns]
    noise = [1 - one.rate / other.rate for one, other, _ in turns]
    without, with_it = (median(turn[place].rate for turn in turns) for place in (0, 2))
    print(
        f"  {kind:<10} {some:>3} of {people:,} ({some / people:.1%}): {without:7,.0f} without, {with_it:7,.0f} with, "
        f"loss {_spread(losses)}; without poison against without {_spread(noise)}",
        flush=True,
    )


def _spread(shares: Sequence[float]) -> str:
    low, middle, high = quantiles(shares, n=4)
    return f"{middle:.1%} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.poison", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--poison", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="homing-poison-") as folder,
        Path(os.devnull).open("w") as nowhere,
    ):
        start_logging(nowhere, as_json=False, verbosity=0)  # lines are a part of what poison costs
        measure_poison(Path(folder), given.customers, given.poison, given.rounds)


if __name__ == "__main__":
    main()
