"""Transactions that commit in another order than their facts are numbered: no fact is stepped over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from engine import settings as settings_module
from engine.facts.raised import Raised, write_events
from engine.runtime.opening import open_engine
from engine.runtime.passes import Engine, run_pass
from engine.store.database import Database
from engine.store.tables import customers, enrollments, events, fact_inbox
from tests.integration.living_shop import LivingShop, make_project, prepare

pytestmark = pytest.mark.postgresql  # SQLite has one writer: facts are numbered as they commit
WRITERS = 4


@contextmanager
def writing(shop: LivingShop, number: int) -> Iterator[Connection]:
    """Hold a transaction of a program of its own, in which a customer has just signed up; it commits at the end."""
    now = datetime.now(UTC)
    with shop.database() as database, database.write() as connection:
        known = connection.scalar(select(customers.c.id).where(customers.c.external_id == f"c{number}"))
        assert known is not None
        write_events(connection, [Raised(0, f"event:late{number}", known, "signed_up", now, now, {})])
        yield connection


def look(engine: Engine, database: Database) -> list[str | None]:
    """Let the engine take in what is there; return who has entered so far, in the order of their names."""
    run_pass(engine, datetime.now(UTC))
    with database.read() as connection:
        query = select(customers.c.external_id).join(enrollments, enrollments.c.customer_id == customers.c.id)
        return list(connection.scalars(query.order_by(customers.c.external_id)))


def test_a_fact_that_commits_late_is_not_stepped_over(postgres_url: str, tmp_path: Path) -> None:
    """Four writers number their facts one after another and commit in the opposite order: each customer enters, once."""
    make_project(tmp_path)
    shop = prepare(tmp_path, postgres_url)
    with shop.database() as database:
        shop.introduce(0, WRITERS)
        engine = open_engine(settings_module.load(tmp_path), database)
        stacks = []
        for number in range(WRITERS):
            stacks.append(ExitStack())
            stacks[-1].enter_context(writing(shop, number))
        assert look(engine, database) == []
        for left, stack in reversed(list(enumerate(stacks))):
            stack.close()
            assert look(engine, database) == [f"c{number}" for number in range(left, WRITERS)]
        with database.read() as connection:
            late = select(events.c.key).where(events.c.name == "signed_up").order_by(events.c.id)
            assert list(connection.scalars(late)) == [f"event:late{number}" for number in range(WRITERS)]
            assert connection.execute(select(fact_inbox)).all() == []
