"""Several workers at once: four passes over the same facts, each with its own connections.

What one of them takes in, advances or sends, the others leave alone; where they meet on a customer, that customer's caps
are counted once. Nothing waits for itself: no deadlock, no error.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks import shop
from benchmarks.facts import a_day_of_facts
from engine import settings as settings_module
from engine.delivery.claim import LEAST_SHARE
from engine.delivery.outcome import Accepted, Outcome
from engine.deploy.apply import apply
from engine.project import init_project
from engine.render.mail import Mail
from engine.runtime.opening import open_engine
from engine.runtime.passes import run_pass, send_due
from engine.settings import Settings
from engine.store.database import Database, connect
from engine.store.tables import attempts, enrollments, messages

WORKERS = 4
CUSTOMERS = 120


class Counting:
    """A provider that accepts everything and remembers each key."""

    name = "mailbox"

    def __init__(self) -> None:
        self.keys: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Accept everything."""
        with self._lock:
            self.keys.update(mail.key for mail in mails)
        return [Accepted(mail.key) for mail in mails]

    def check(self) -> list[str]:
        """Find nothing wrong."""
        return []

    def close(self) -> None:
        """Have nothing to close."""


def work(
    settings: Settings, url: str, provider: Counting, ready: threading.Barrier, errors: list[BaseException]
) -> None:
    """Run passes as one worker would, through an hour."""
    database = connect(url)
    try:
        engine = open_engine(settings, database)
        engine = replace(engine, exits=replace(engine.exits, mailbox=provider))
        ready.wait()
        for minutes in (0, 1, 30, 300):
            run_pass(engine, shop.NOW + timedelta(minutes=minutes))
    except BaseException as error:  # noqa: BLE001 - the test tells it
        errors.append(error)
    finally:
        database.close()


def test_four_passes_at_once_do_everything_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Four passes at once enter nobody twice, send nothing twice, keep every cap, and never block each other for good."""
    init_project(tmp_path / "shop")
    settings = settings_module.load(tmp_path / "shop")
    shop.build(database, CUSTOMERS)
    apply(database, settings, now=shop.NOW - timedelta(days=1), who="test")
    for number in range(3):  # several orders each, so that caps are met
        a_day_of_facts(database, settings, shop.NOW, CUSTOMERS * 2, CUSTOMERS, name=f"part{number}")

    provider = Counting()
    errors: list[BaseException] = []
    ready = threading.Barrier(WORKERS)
    threads = [
        threading.Thread(target=work, args=(settings, database_url, provider, ready, errors))
        for _ in range(WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []

    assert len(provider.keys) > CUSTOMERS / 4
    assert max(provider.keys.values()) == 1
    with database.read() as connection:
        assert _most(connection, enrollments.c.flow, enrollments.c.customer_id, enrollments.c.occurrence) == 1
        assert _most(connection, attempts.c.message_id) == 1
        accepted = select(messages.c.customer_id, func.count()).where(
            messages.c.state == "accepted", messages.c.kind == "marketing"
        )
        counts = [count for _, count in connection.execute(accepted.group_by(messages.c.customer_id))]
        left = connection.scalar(
            select(func.count())
            .select_from(messages)
            .where(messages.c.state.in_(("claimed", "handing_over")))
        )
    assert left == 0
    assert max(counts) <= min(cap.count for cap in settings.policy.caps)


def _most(connection: Any, *columns: Any) -> int:
    """Return how often the most frequent combination of these columns is there."""
    found: int = connection.scalar(
        select(func.count())
        .select_from(columns[0].table)
        .group_by(*columns)
        .order_by(func.count().desc())
        .limit(1)
    )
    return found


def test_threads_that_send_beside_each_other_share_what_is_due(database: Database, tmp_path: Path) -> None:
    """Of two senders each claims half of what is due, though a claim could hold all of it; a small rest is taken whole."""
    init_project(tmp_path / "shop")
    settings = settings_module.load(tmp_path / "shop")
    shop.build(database, 2 * CUSTOMERS)
    apply(database, settings, now=shop.NOW - timedelta(days=1), who="test")
    for number in range(3):
        a_day_of_facts(database, settings, shop.NOW, CUSTOMERS * 4, CUSTOMERS * 2, name=f"part{number}")
    engine = open_engine(settings, database)
    engine = replace(engine, exits=replace(engine.exits, mailbox=Counting()))
    run_pass(engine, shop.NOW, sending=False)
    with database.read() as connection:
        due = connection.scalar(
            select(func.count()).select_from(messages).where(messages.c.state == "pending")
        )
    assert due is not None
    assert 2 * LEAST_SHARE < due < 2 * engine.worker.most

    first = send_due(engine, shop.NOW, shop.NOW, among=2).claimed
    assert due / 2 <= first < min(due, engine.worker.most)  # a customer's messages stay together
    second = send_due(engine, shop.NOW, shop.NOW, among=2).claimed
    assert second >= min(LEAST_SHARE, due - first)
    while send_due(engine, shop.NOW, shop.NOW, among=2).claimed:
        pass
    with database.read() as connection:
        assert not connection.scalar(
            select(func.count()).select_from(messages).where(messages.c.state == "claimed")
        )
