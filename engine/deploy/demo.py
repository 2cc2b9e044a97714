"""The demo: a project, a shop with a year of history, and sixty virtual days through the daemon's own code.

Comes in: a folder that need not exist. Goes out: a project in it with a virtual database and a mailbox full of mails, and
a summary by flow. The same seed gives the same mails. While the days pass, the disk is not waited for, neither for the
database nor for the mailbox: what a power cut spoils is played again. All else is as in a shop.
"""

from __future__ import annotations

import gc
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, func, select

from engine import settings as settings_module
from engine.delivery.mailbox import MailboxProvider
from engine.deploy.apply import apply
from engine.deploy.demo_shop import demo_facts
from engine.deploy.pictures import PATH
from engine.errors import UsageError
from engine.facts.fact import KINDS, Kind, Row
from engine.facts.ingest import Batch, read_ahead, take_batches
from engine.project import init_project
from engine.recommend.rebuild import rebuild
from engine.runtime.installation import place_clock
from engine.runtime.opening import MAILBOX, open_engine
from engine.runtime.passes import PassReport, settle
from engine.runtime.ticking import drive
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.migrate import ensure_current
from engine.store.tables import customers, enrollments, journal, messages

DAYS = 60
LOG_PAGES = 16_000  # 64 MB of SQLite's log before it is folded into the database: most pages are written again and again
SELDOM = (200_000, 20, 50)  # how often cycles are looked for: a year of facts is nothing but rows
BEAT = timedelta(hours=1)  # the demo's daemon ticks this often; the real one every few seconds
SEED = 7
SERVED_AT = "http://localhost:8000"
"""Where `homing serve` answers unless told otherwise."""

_WEB_URL = re.compile(r"(?<=\[web\]\n)# url = .*")
_KINDS: Mapping[str, Kind] = {kind: kind for kind in KINDS}
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """What one flow did: entries, mails by step, and mails that were not sent by reason."""

    flow: str
    entered: int
    mails: Mapping[str, int]
    not_sent: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What came of the demo; `example` is a customer with a story worth reading."""

    folder: Path
    start: datetime
    end: datetime
    customers: int
    mails: int
    flows: tuple[FlowSummary, ...]
    example: str | None


def run_demo(
    folder: Path,
    start: datetime,
    *,
    days: int = DAYS,
    customers: int = 2_000,
    products: int = 300,
    seed: int = SEED,
    progress: Progress = lambda _what, _share: None,
) -> DemoSummary:
    """Make the project and let its days pass; `start` is where the virtual clock begins (aware).

    Raise UsageError where the folder holds a project with a database already.
    """
    if not (folder / settings_module.FILE).exists():
        init_project(folder)
        _serve_here(folder / settings_module.FILE)
    settings = settings_module.load(folder)
    if (folder / "homing.db").exists():
        raise UsageError(
            f"{folder} has a database already; choose another folder, or start over with --again"
        )
    database = connect(settings.database_url, settings.root)
    if database.is_sqlite:
        event.listen(database.engine, "connect", _hurry)
    told = _begin_to_tell(settings, start, days, customers, products, seed)
    ensure_current(database)
    collected = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        _play(folder, database, settings, start, days, told, seed, progress)
        with database.read() as connection:
            return _summary(connection, folder, start, start + timedelta(days=days), customers)
    finally:
        gc.set_threshold(*collected)
        database.close()


def _serve_here(file: Path) -> None:
    """Let the links and pictures of the demo's mails lead to `homing serve` on this machine."""
    text = file.read_text(encoding="utf-8")
    file.write_text(_WEB_URL.sub(f'url = "{SERVED_AT}"', text, count=1), encoding="utf-8")


def _hurry(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")


def clear(folder: Path) -> None:
    """Remove the database and the mailbox of an earlier demo; raise UsageError where they are not of a virtual shop."""
    if not (folder / "homing.db").exists():
        return
    database = connect(f"sqlite:///{folder / 'homing.db'}", folder)
    try:
        with database.read() as connection:
            virtual = meta.virtual_now(connection)
    finally:
        database.close()
    if virtual is None:
        raise UsageError(
            f"the database in {folder} lives on real time and is no demo's; choose another folder"
        )
    for path in folder.glob("homing.db*"):
        path.unlink()
    shutil.rmtree(folder / MAILBOX, ignore_errors=True)


def _begin_to_tell(
    settings: settings_module.Settings, start: datetime, days: int, customers: int, products: int, seed: int
) -> Iterator[Batch]:
    """Return the shop's facts; they are made up by a process of its own while this one makes the database."""
    facts = demo_facts(seed, start, days, customers, products, pictures=f"{settings.link_base}{PATH}")
    rows = (Row(number, row, kind=_KINDS[kind]) for number, (kind, row) in enumerate(facts, 1))
    return read_ahead(rows, "events", settings=settings, now=start)


def _play(
    folder: Path,
    database: Database,
    settings: settings_module.Settings,
    start: datetime,
    days: int,
    told: Iterator[Batch],
    seed: int,
    progress: Progress,
) -> None:
    place_clock(database, start, start, writing=True)
    take_batches(
        database,
        told,
        settings=settings,
        now=start,
        progress=lambda done, _share: progress(f"{done:,} facts", 0.0),
    )
    rebuild(database, start)
    engine = open_engine(settings, database, chance=random.Random(seed))  # noqa: S311 - a demo is repeatable
    engine = replace(
        engine, exits=replace(engine.exits, mailbox=MailboxProvider(folder / MAILBOX, durable=False))
    )
    settle(engine, start)
    apply(database, settings, now=start, who="demo")
    end = start + timedelta(days=days)

    def tell(moment: datetime, report: PassReport) -> None:
        sent = report.outcomes.get("accepted", 0)
        progress(f"{moment:%d %b %Y}: {sent:,} mails", (moment - start) / (end - start))

    drive(engine, start, end, beat=BEAT, progress=tell)


def _summary(
    connection: Connection, folder: Path, start: datetime, end: datetime, people: int
) -> DemoSummary:
    counted = select(enrollments.c.flow, func.count()).group_by(enrollments.c.flow)
    entered = {row[0]: int(row[1]) for row in connection.execute(counted)}
    mails: dict[str, dict[str, int]] = {}
    query = select(messages.c.flow, messages.c.step, func.count()).where(messages.c.state == "accepted")
    for flow, step, count in connection.execute(query.group_by(messages.c.flow, messages.c.step)):
        mails.setdefault(flow, {})[step] = count
    reasons = not_sent(connection)
    flows = tuple(
        FlowSummary(flow, entered.get(flow, 0), mails.get(flow, {}), reasons.get(flow, {}))
        for flow in sorted(set(entered) | set(mails) | set(reasons))
    )
    total = sum(sum(steps.values()) for steps in mails.values())
    return DemoSummary(folder, start, end, people, total, flows, _example(connection))


def not_sent(connection: Connection) -> dict[str, dict[str, int]]:
    """Return for each flow how many mails were not sent, by reason: skips and drops, not refused entries."""
    found: dict[str, dict[str, int]] = {}
    query = (
        select(journal.c.flow, journal.c.reason, func.count())
        .where(journal.c.decision.in_(("skipped", "dropped")), journal.c.reason.is_not(None))
        .group_by(journal.c.flow, journal.c.reason)
    )
    for flow, reason, count in connection.execute(query):
        found.setdefault(flow, {})[reason] = count
    return found


def _example(connection: Connection) -> str | None:
    """Return the address of a customer who got a cart mail and then bought."""
    query = (
        select(customers.c.email)
        .join(enrollments, enrollments.c.customer_id == customers.c.id)
        .where(
            enrollments.c.flow == "cart-recovery", enrollments.c.left_reason == "exited: did: order_placed"
        )
        .order_by(enrollments.c.id.desc())
        .limit(1)
    )
    found: str | None = connection.scalar(query)
    return found
