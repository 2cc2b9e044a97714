"""What poison costs the others: `python -m benchmarks.poison [--customers 2000] [--poison 20] [--rounds 5]`.

Comes in: how many customers take part, and for how many of them a template, a step or a fact fails each time. Goes out: for each
kind how many mails of the others a second of CPU made and sent, with poison and without, in turns on copies of one SQLite
file, until everything poisonous is set aside; beside it the same by counting calls, which no neighbour disturbs. Of facts no more than eight fail: at ten their flow is frozen, as it should.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import pstats
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
from typing import Any

from sqlalchemy import func, select, update

from benchmarks.ticks import Nothing
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.facts.ingest import ingest_rows
from engine.journeys import advance, enter
from engine.runtime.opening import open_engine
from engine.runtime.passes import run_pass
from engine.settings import Settings
from engine.store.database import connect
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
    """One run: how many mails went out, by how much CPU, and how many things were set aside."""

    mails: int
    cpu: float
    aside: int

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
    "facts": partial(_failing, enter, "admit", 2),
}


def run(kept: Path, settings: Settings, kind: str, poison: int) -> Outcome:
    """Take the facts in and send what follows, on a copy, until what is poisonous has been tried three times."""
    path = kept.with_name("run.db")
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    shutil.copyfile(kept, path)
    database = connect(f"sqlite:///{path}")
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
        started = time.process_time()
        for later in PASSES:
            run_pass(engine, NOW + later)
        cpu = time.process_time() - started
    with database.read() as connection:
        mails = connection.scalar(select(func.count()).where(messages.c.state == "accepted")) or 0
        aside = connection.scalar(select(func.count()).select_from(quarantine)) or 0
    database.close()
    assert mails == len(ids) - poison, (kind, mails)
    return Outcome(mails, cpu, aside)


def measure_poison(folder: Path, people: int, poison: int, rounds: int) -> None:
    """Print what each kind of poison costs the others, from runs in turns."""
    settings = prepare(folder, people)
    print(
        f"poison among {people:,} customers, SQLite, the others' mails a second of CPU, the best of {rounds} runs"
    )
    for kind in KINDS:
        some = min(poison, MOST_FACTS) if kind == "facts" else poison
        pairs = [
            (run(folder / "kept.db", settings, kind, 0), run(folder / "kept.db", settings, kind, some))
            for _ in range(rounds + 1)
        ][1:]
        _tell(kind, some, people, pairs, [_calls(folder, settings, kind, count) for count in (0, some)])


def _calls(folder: Path, settings: Settings, kind: str, poison: int) -> float:
    """Return how many functions were called for each mail: what a busy machine does not distort."""
    profile = cProfile.Profile()
    outcome = profile.runcall(run, folder / "kept.db", settings, kind, poison)
    calls: int = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]
    return calls / outcome.mails


def _tell(
    kind: str, some: int, people: int, pairs: Sequence[tuple[Outcome, Outcome]], calls: Sequence[float]
) -> None:
    without, with_it = (max(each.rate for each in runs) for runs in zip(*pairs, strict=True))
    print(
        f"  {kind:<10} {some:>3} of {people:,} ({some / people:.1%}): {without:7,.0f} without, {with_it:7,.0f} with, "
        f"loss {1 - with_it / without:6.1%} "
        f"({1 - calls[0] / calls[1]:.1%} by calls of functions); {pairs[0][1].aside} set aside",
        flush=True,
    )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.poison", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--poison", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    logging.getLogger("homing").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="homing-poison-") as folder:
        measure_poison(Path(folder), given.customers, given.poison, given.rounds)


if __name__ == "__main__":
    main()
