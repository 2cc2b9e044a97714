"""Hints: what is due is hinted at, while nobody has it in hand, and never more than the queue bears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from engine import settings as settings_module
from engine.errors import UsageError
from engine.runtime.distributed import (
    ADVANCE,
    DISPATCH,
    EXPIRES_SECONDS,
    FEWEST_PARTS,
    NIGHT,
    TAKE_IN,
    Beater,
    Hint,
    need_shared_database,
)
from engine.runtime.distributed_work import HintWorker
from engine.runtime.installation import fingerprint
from engine.store.database import Database, connect
from engine.store.dialect import upsert
from engine.store.keys import KeyRange, cut
from engine.store.tables import leases, marks
from tests.integration.living_shop import LivingShop, make_project, prepare

pytestmark = pytest.mark.postgresql


class Queue:
    """A broker that holds hints in memory."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.pretends = 0

    def send(self, hint: Hint, expires: float) -> None:
        """Take a hint."""
        assert expires == EXPIRES_SECONDS
        self.hints.append(hint)

    def waiting(self) -> int:
        """Say how many wait."""
        return self.pretends or len(self.hints)

    def taken(self) -> list[Hint]:
        """Take everything out."""
        taken, self.hints = self.hints, []
        return taken


@pytest.fixture
def shop(postgres_url: str, tmp_path: Path) -> LivingShop:
    """Give a shop in which 30 people have just signed up."""
    make_project(tmp_path)
    return prepare(tmp_path, postgres_url, 30)


@pytest.fixture
def database(shop: LivingShop) -> Iterator[Database]:
    """Give its database."""
    opened = connect(shop.url)
    yield opened
    opened.close()


def leader(shop: LivingShop, database: Database, queue: Queue) -> Beater:
    """Return a daemon that leads."""
    beater = Beater(settings_module.load(shop.root), database, lambda: datetime.now(UTC), queue)
    beater._renew()
    return beater


def beat(beater: Beater) -> None:
    """Let a daemon beat as it would in its seconds: it renews its lease before that can end, however slow the machine."""
    beater._renew()
    beater._tick()


def kinds(hints: list[Hint]) -> set[str]:
    """Return which kinds are among them."""
    return {hint.kind for hint in hints}


def test_from_facts_to_mails_by_hints_alone(shop: LivingShop, database: Database) -> None:
    """Hints in any order, each performed twice, take everybody in and mail everybody once; then nothing is hinted at."""
    queue = Queue()
    beater, worker = leader(shop, database, queue), HintWorker(
        settings_module.load(shop.root), database, lambda: datetime.now(UTC)
    )  # fmt: skip
    seen: list[Hint] = []
    for _ in range(6):
        beat(beater)
        for hint in reversed(hints := queue.taken()):
            worker.perform(hint.written())
            worker.perform(hint.written())
        seen += hints
    assert kinds(seen) >= {TAKE_IN, DISPATCH}
    assert shop.states() == {"accepted": 30}
    assert set(shop.mailbox().values()) == {1}
    beat(beater)
    assert queue.taken() == []
    with database.read() as connection:
        assert connection.scalar(select(marks.c.at).where(marks.c.name == "tick")) is not None


def test_the_nights_work_is_done_once(shop: LivingShop, database: Database) -> None:
    """A night whose work is not done is hinted at, and not any more once a worker has done it."""
    past = datetime.now(UTC) - timedelta(days=3)
    with database.write() as connection:
        upsert(connection, marks, [{"name": "nightly", "at": past}], update=["at"])
    queue = Queue()
    beater = leader(shop, database, queue)
    beat(beater)
    night = next(hint for hint in queue.taken() if hint.kind == NIGHT)
    HintWorker(settings_module.load(shop.root), database, lambda: datetime.now(UTC)).perform(night.written())
    beater._sent.clear()
    beat(beater)
    assert NIGHT not in kinds(queue.taken())
    with database.read() as connection:
        done = connection.scalar(select(marks.c.at).where(marks.c.name == "nightly"))
    assert done is not None
    assert done > past


def test_a_hint_is_not_sent_while_one_waits_or_is_worked_on(shop: LivingShop, database: Database) -> None:
    """One of a kind and slice waits or is worked on: no second. Done, lost or its worker dead: it is sent again."""
    queue = Queue()
    beater = leader(shop, database, queue)
    beat(beater)
    assert TAKE_IN in kinds(queue.taken())
    beat(beater)
    assert TAKE_IN not in kinds(queue.taken())  # it waits

    lane = Hint(TAKE_IN, "sandbox").lane
    row = {"name": lane, "owner": "elsewhere", "until": datetime.now(UTC) + timedelta(minutes=1), "fence": 1}
    with database.write() as connection:
        connection.execute(leases.insert().values(**row))
    beater._sent.clear()
    beat(beater)
    assert TAKE_IN not in kinds(queue.taken())  # somebody is at it

    with database.write() as connection:
        connection.execute(update(leases).where(leases.c.name == lane).values(until=datetime.now(UTC)))
    beat(beater)
    assert TAKE_IN in kinds(queue.taken())  # done, or dead
    fence, at = beater._sent[lane]
    beater._sent[lane] = (fence, at - EXPIRES_SECONDS)
    beat(beater)
    assert TAKE_IN in kinds(queue.taken())  # lost


def test_a_full_queue_takes_no_more(shop: LivingShop, database: Database) -> None:
    """Where nobody takes hints the queue stays short."""
    queue = Queue()
    queue.pretends = 1_000_000
    beat(leader(shop, database, queue))
    assert queue.hints == []


def test_who_does_not_lead_says_nothing(shop: LivingShop, database: Database) -> None:
    """A second `homing run --distributed` waits for the first."""
    queue = Queue()
    leader(shop, database, Queue())
    beat(leader(shop, database, queue))
    assert queue.hints == []


def test_a_worker_of_another_mode_leaves_a_hint_alone(shop: LivingShop, database: Database) -> None:
    """A worker that would mail into its sandbox what the leader means for customers touches nothing."""
    worker = HintWorker(settings_module.load(shop.root), database, lambda: datetime.now(UTC))
    worker.perform(Hint(TAKE_IN, "live").written())
    worker.perform({"kind": "drop tables"})
    assert shop.entered() == 0


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"kind": "other", "mode": "live"},
        {"kind": ADVANCE, "mode": "live", "low": "1; drop"},
        {"kind": ADVANCE, "mode": "live", "more": 1},
    ],
)
def test_what_is_no_hint_is_none(told: Mapping[str, Any]) -> None:
    """Whatever else comes over the broker is refused."""
    with pytest.raises(ValueError, match="not a hint"):
        Hint.read(told)


def test_slices_hold_every_key_once() -> None:
    """However customers are numbered, each lies in exactly one slice, those who come later included."""
    for least, greatest in [(0, 0), (1, 3), (1, 1_000), (500, 100_000_007)]:
        slices = cut(least, greatest, FEWEST_PARTS)
        assert len(slices) == FEWEST_PARTS
        for key in {
            least,
            greatest,
            greatest + 10**9,
            (least + greatest) // 2,
            *(each.low for each in slices),
        }:
            assert sum(key in each for each in slices) == 1
    assert 5 in KeyRange(5, 6)
    assert 6 not in KeyRange(5, 6)


def test_one_name_makes_several_machines_one_place(shop: LivingShop, database: Database) -> None:
    """With HOMING_INSTALLATION the machine's own name does not count; the database's URL still does."""
    settings = settings_module.load(shop.root)
    named = fingerprint(settings, database, {"HOMING_INSTALLATION": "shop"})
    assert named != fingerprint(settings, database, {})
    assert named != fingerprint(settings, database, {"HOMING_INSTALLATION": "staging"})


def test_sqlite_is_no_shared_database(sqlite_url: str, tmp_path: Path) -> None:
    """A file on one machine is refused with what to set."""
    make_project(tmp_path)
    opened = connect(sqlite_url)
    with pytest.raises(UsageError, match="PostgreSQL"):
        need_shared_database(settings_module.load(tmp_path), opened)
    opened.close()
