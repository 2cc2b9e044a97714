"""Several programs send to the same customers at once: a cap of one holds for each of them.

    python -m tests.crash.capping --url URL --folder DIR --customers N [--count-only]

Each program sends the mails of a flow of its own to everybody, as where they come due one after the other, and one mail a
day is allowed: all hold mails to the same customers and hand them over at once.
`--count-only` is the bug that this must find: caps counted without the customer's lock. Prints one JSON line: how many
customers got one mail, and how many got more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from sqlalchemy import Connection, func, select

from engine import settings as settings_module
from engine.delivery import gatekeeping
from engine.delivery.outcome import Accepted, Outcome
from engine.deploy.apply import apply
from engine.facts.ingest import ingest_rows
from engine.policy.wishes import NO_WISH, Wish
from engine.render.mail import Mail
from engine.runtime import passes
from engine.runtime.opening import open_engine, own_name
from engine.runtime.passes import run_pass
from engine.runtime.work import look
from engine.settings import Settings
from engine.store.database import Database, connect
from engine.store.tables import messages
from tests.crash.fuse import forked
from tests.integration.living_shop import FLOW, SENDER, SETTINGS, TEMPLATE

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
NAMES = tuple(f"hello-{number}" for number in range(4))


@dataclass(slots=True)
class Accepting:
    """A provider that takes everything."""

    name: str = "mailbox"

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Take the mails."""
        return [Accepted(mail.key) for mail in mails]

    def check(self) -> list[str]:
        """Find nothing wrong."""
        return []

    def close(self) -> None:
        """Have nothing to close."""


def count_only(_connection: Connection, ids: Sequence[int]) -> dict[int, tuple[None, bool, Wish]]:
    """Lock nobody."""
    return dict.fromkeys(ids, (None, False, NO_WISH))


def plant() -> None:
    """Count without the lock; after counting, a program waits a moment for another that counts, too."""
    counted, both = gatekeeping._standing, multiprocessing.get_context("fork").Barrier(2)

    def together(*given: Any) -> Any:
        found = counted(*given)
        with suppress(BrokenBarrierError):
            both.wait(0.5)
        return found

    setattr(gatekeeping, "_locked", count_only)  # noqa: B010 - for this process and its forks
    setattr(gatekeeping, "_standing", together)  # noqa: B010


def prepare(folder: Path, url: str, people: int) -> Settings:
    """Write the project, apply it, and let everybody sign up; return its settings."""
    text = SETTINGS.format(sender=SENDER, provider="mailbox", rate="1000000/s", options="").replace(
        "caps = []", 'caps = ["1 per 24h"]'
    )
    files = {"homing.toml": text, "templates/hello.mjml": TEMPLATE}
    files |= {f"flows/{name}.yaml": FLOW.replace("flow: hello", f"flow: {name}") for name in NAMES}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    settings = settings_module.load(folder, {})
    database = connect(url)
    apply(database, settings, now=NOW - timedelta(hours=1), who="test")
    told = [
        {"external_id": f"c{n}", "email": f"c{n}@example.test", "consent": ["offers"]} for n in range(people)
    ]
    ingest_rows(database, "customers", told, settings=settings, now=NOW)
    signed = [{"customer": f"c{n}", "event": "signed_up", "message_id": f"m{n}"} for n in range(people)]
    ingest_rows(database, "events", signed, settings=settings, now=NOW)
    engine = open_engine(settings, database, environ={}, chance=random.Random(1))
    run_pass(engine, NOW, sending=False)
    database.close()
    return settings


def send(settings: Settings, url: str, name: str, begin: float) -> None:
    """Be one of the programs: wait for the moment at which all begin, then send until nothing is due."""
    database = connect(url)
    engine = open_engine(settings, database, environ={}, chance=random.Random(os.getpid()))
    engine = replace(
        engine,
        worker=replace(engine.worker, name=own_name()),
        exits=replace(engine.exits, mailbox=Accepting()),
    )
    time.sleep(max(0.0, begin - time.monotonic()))
    with database.read() as connection:
        work = look(connection, settings, NOW)
    others = [other for other in NAMES if other != name]
    while is_waiting(database, name):  # a claim steps over whom another program is working on
        passes._dispatch(engine, work, others, NOW)
    database.close()


def is_waiting(database: Database, flow: str) -> bool:
    """Whether mails of a flow wait for a program to take them."""
    waiting = select(messages.c.id).where(messages.c.flow == flow, messages.c.state == "pending")
    with database.read() as connection:
        return connection.execute(waiting.limit(1)).first() is not None


def told(database: Database) -> dict[str, int]:
    """Return how many customers got one mail, and how many got more."""
    each = (
        select(messages.c.customer_id, func.count().label("mails"))
        .where(messages.c.state == "accepted")
        .group_by(messages.c.customer_id)
        .subquery()
    )
    with database.read() as connection:
        one = connection.scalar(select(func.count()).where(each.c.mails == 1)) or 0
        more = connection.scalar(select(func.count()).where(each.c.mails > 1)) or 0
    return {"one": one, "more": more}


def main() -> None:
    """Run as a program of its own, so that what is forked is small."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--count-only", action="store_true")
    given = parser.parse_args()
    settings = prepare(given.folder, given.url, given.customers)
    if given.count_only:
        plant()
    begin = time.monotonic() + 1.0
    started = [forked(partial(send, settings, given.url, name, begin)) for name in NAMES]
    codes = [os.waitpid(child, 0)[1] for child in started]
    database = connect(given.url)
    sys.stdout.write(json.dumps(told(database) | {"failed": sum(code != 0 for code in codes)}) + "\n")
    database.close()


if __name__ == "__main__":
    main()
