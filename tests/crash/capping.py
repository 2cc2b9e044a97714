"""Several programs send to the same customers at once: a cap of one holds for each of them.

    python -m tests.crash.capping --url URL --folder DIR --customers N [--count-only]

Each program sends the mails of a flow of its own to everybody, as where they come due one after the other, and one mail a
day is allowed: all hold mails to the same customers and hand them over at once.
`--count-only` is the bug that this must find: a SELECT COUNT(*) first, without the customer's lock, and the hand-over in a
transaction of its own after it. That is what goes wrong on SQLite, too, where a count inside the writer's transaction would be
alone. The programs then count the same customers at the same time: nothing is left to luck. Prints one JSON line: how many
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
from engine.delivery import dispatch, gatekeeping
from engine.delivery.claim import Claimed, claim
from engine.delivery.gatekeeping import verdicts
from engine.delivery.made import Made
from engine.delivery.outcome import Accepted, Outcome
from engine.deploy.apply import apply
from engine.facts.ingest import ingest_rows
from engine.journeys.round import Round
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
CLAIMING = 0x434C4149
MOST_SECONDS = 30.0  # that a program waits for the others' count


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
    """Let each program count first and hand over afterwards, when all have counted.

    Claims go one after the other, so that every program has the same customers in the same order: on PostgreSQL one would
    step over those whom another claims for at that moment.
    """
    counted = multiprocessing.get_context("fork").Barrier(len(NAMES))
    hand_over = dispatch._hand_over_group

    def after_counting(database: Database, group: Sequence[Made], at: Round, *rest: Any) -> None:
        with database.read() as connection:
            judged = verdicts(connection, [made.message for made in group], at)
        with suppress(BrokenBarrierError):  # the last of the others is through
            counted.wait(MOST_SECONDS)
        setattr(dispatch, "verdicts", lambda *_: judged)  # noqa: B010 - for this group
        hand_over(database, group, at, *rest)

    def one_by_one(connection: Connection, *given: Any) -> list[Claimed]:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(CLAIMING)))
        return claim(connection, *given)

    setattr(gatekeeping, "_locked", count_only)  # noqa: B010 - for this process and its forks
    setattr(dispatch, "_hand_over_group", after_counting)  # noqa: B010
    setattr(dispatch, "claim", one_by_one)  # noqa: B010


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
