"""A customer for whom a step fails every time is set aside after three tries; everybody else goes on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from benchmarks import shop
from benchmarks.facts import a_day_of_facts
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.journeys import advance as advancing
from engine.journeys.decide import decide
from engine.project import init_project
from engine.runtime import waiting
from engine.runtime.opening import open_engine
from engine.runtime.passes import run_pass
from engine.store.database import Database
from engine.store.tables import customers, enrollments, quarantine


def test_a_customer_whose_steps_fail_is_set_aside_and_the_others_go_on(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One enrollment fails at its step three times and ends as failed; nobody else's step waits for it."""
    init_project(tmp_path / "shop")
    settings = settings_module.load(tmp_path / "shop")
    shop.build(database, 60)
    apply(database, settings, now=shop.NOW, who="test")
    engine = open_engine(settings, database)
    a_day_of_facts(database, settings, shop.NOW, 30, 60, name="day")
    with database.read() as connection:
        # Every tenth has no consent.
        bought = "SELECT min(customer_id) FROM orders WHERE order_id LIKE 'day-%' AND customer_id % 10 <> 1"
        victim = connection.scalar(text(bought))

    def failing(program: Any, standing: Any, *rest: Any) -> Any:
        if standing.customer_id == victim:
            raise ValueError("poison")
        return decide(program, standing, *rest)

    monkeypatch.setattr(advancing, "decide", failing)
    run_pass(engine, shop.NOW, sending=False)
    of_victim = enrollments.c.customer_id == victim
    with database.read() as connection:
        due = select(func.count()).where(~of_victim, enrollments.c.next_at <= shop.NOW)
        assert connection.scalar(due) == 0
        assert (connection.scalar(select(func.count()).select_from(enrollments)) or 0) > 10
    for tries in range(1, 8):
        run_pass(engine, shop.NOW + tries * timedelta(minutes=11), sending=False)
    with database.read() as connection:
        states = set(connection.scalars(select(enrollments.c.state).where(of_victim)))
        entry = connection.execute(select(quarantine)).all()
        aside = connection.scalars(
            select(customers.c.id).where(customers.c.quarantined_at.is_not(None))
        ).all()
    assert states == {"failed"}
    assert {row.kind for row in entry} == {"customer"}
    assert "poison" not in str(entry)
    assert aside == [victim]

    monkeypatch.setattr(advancing, "decide", decide)
    later = shop.NOW + timedelta(hours=2)
    with database.write() as connection:
        done = waiting.retry(connection, [row.id for row in entry], later)
    assert [each["outcome"] for each in done] == ["goes on"]
    run_pass(engine, later, sending=False)
    with database.read() as connection:
        known = connection.scalars(
            select(customers.c.id).where(customers.c.quarantined_at.is_not(None))
        ).all()
        states = set(connection.scalars(select(enrollments.c.state).where(of_victim)))
    assert known == []
    assert "waiting" in states
