"""Two customers turn out to be one while a mail to the one that goes is on its way, at each step of that way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine import settings as settings_module
from engine.clock import SystemClock
from engine.delivery.outcome import Accepted, Failed, Outcome
from engine.facts.ingest import arrive, ingest_rows
from engine.render.mail import Mail
from engine.runtime.opening import open_engine
from engine.runtime.ticking import tick
from engine.store.database import Database
from engine.store.tables import customers, enrollments, events, journal, messages, suppressions
from tests.integration.living_shop import LivingShop, make_project, prepare

PEOPLE = 6
GOES, STAYS = "c4", "c1"


@dataclass
class Taking:
    """A provider that takes every mail, after `first` was called once."""

    first: Callable[[], None]
    outcome: Callable[[Mail], Outcome]
    taken: list[str]
    name: str = "taking"

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Take the mails."""
        self.first()
        self.taken += [mail.to.email for mail in mails]
        return [self.outcome(mail) for mail in mails]

    def check(self) -> list[str]:
        """Return what keeps mails from leaving: nothing."""
        return []

    def close(self) -> None:
        """Nothing is open."""


def merging(database: Database, root: Path) -> Callable[[], None]:
    """Return what tells, once, that one customer has another one's address, which makes the two of them one."""
    done: list[bool] = []
    settings = settings_module.load(root)

    def tell() -> None:
        if done:
            return
        done.append(True)
        now = datetime.now(UTC)
        row = {"external_id": GOES, "email": f"{STAYS}@example.test", "updated_at": now.isoformat()}
        ingest_rows(database, "customers", [row], settings=settings, now=now)
        arrive(database, until=now, settings=settings)
        with database.read() as connection:
            assert len(connection.execute(select(customers.c.id)).all()) == PEOPLE - 1

    return tell


def rows(database: Database, *columns: Any) -> list[Any]:
    """Return columns of a table, by the first of them."""
    with database.read() as connection:
        return list(connection.execute(select(*columns).order_by(columns[0])).all())


def send(
    shop: LivingShop, database: Database, provider: Taking, wait: Callable[[], None] | None = None
) -> None:
    """Do all that is due."""
    engine = open_engine(settings_module.load(shop.root), database, environ={})
    engine = replace(engine, exits=replace(engine.exits, real=provider))
    if wait is not None:
        engine = replace(engine, worker=replace(engine.worker, wait_for_rate=lambda _count: wait()))
    tick(engine, datetime.now(UTC), SystemClock().now)


def whole(database: Database) -> None:
    """Hold that nothing speaks of somebody who is not there."""
    people = {row.id for row in rows(database, customers.c.id)}
    for table in (messages, enrollments, events, journal, suppressions):
        told = {row.customer_id for row in rows(database, table.c.customer_id)} - {None}
        assert told <= people, table.name


@pytest.mark.parametrize("refused", [False, True])
def test_a_merge_during_the_hand_over_loses_no_word(database_url: str, tmp_path: Path, refused: bool) -> None:
    """What became of each mail is recorded, for who stays, where its customer was merged while the provider was called."""
    make_project(tmp_path)
    shop = prepare(tmp_path, database_url, PEOPLE)
    with shop.database() as database:
        said: Callable[[Mail], Outcome] = (
            (lambda _: Failed("no such address", suppress=True))
            if refused
            else (lambda mail: Accepted(mail.key))
        )
        provider = Taking(merging(database, tmp_path), said, [])
        send(shop, database, provider)
        assert len(provider.taken) == len(set(provider.taken)) == PEOPLE
        assert {row.state for row in rows(database, messages.c.state)} == {
            "failed" if refused else "accepted"
        }
        decisions = [row.decision for row in rows(database, journal.c.decision)]
        assert decisions.count("failed" if refused else "sent") == PEOPLE
        whole(database)


def test_a_merge_before_the_gate_is_no_word_against_the_mail(database_url: str, tmp_path: Path) -> None:
    """A mail in a worker's hands whose customer was merged is judged anew, as one of who stays: nobody was suppressed."""
    make_project(tmp_path)
    shop = prepare(tmp_path, database_url, PEOPLE)
    with shop.database() as database:
        provider = Taking(lambda: None, lambda mail: Accepted(mail.key), [])
        send(shop, database, provider, merging(database, tmp_path))
        send(shop, database, provider)
        assert not [row for row in rows(database, messages.c.reason) if row.reason == "suppressed"]
        assert {row.state for row in rows(database, messages.c.state)} == {"accepted"}
        assert f"{GOES}@example.test" not in provider.taken
        whole(database)
