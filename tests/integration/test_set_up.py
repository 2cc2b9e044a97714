"""Applying to a shop with a history: timers are set part by part, and a kill in the middle loses nothing.

Each test compares what stands in `timers` with what one uninterrupted apply sets.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from benchmarks import shop
from benchmarks.facts import a_day_of_facts
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.project import init_project
from engine.runtime import setting_up
from engine.runtime.opening import open_engine
from engine.runtime.passes import run_pass
from engine.runtime.setting_up import set_up_part
from engine.runtime.work import ARMING
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import timers

CUSTOMERS = 300


class Killed(Exception):
    """Stands for SIGKILL: nothing after it runs."""


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Give the settings of a project whose database holds a shop with a history."""
    init_project(tmp_path / "shop")
    shop.build(database, CUSTOMERS)
    return settings_module.load(tmp_path / "shop")


def standing(database: Database) -> list[Any]:
    """Return every timer but for its id."""
    columns = [column for column in timers.c if column.name not in ("id", "payload")]
    with database.read() as connection:
        return sorted(map(tuple, connection.execute(select(*columns))), key=str)


def left(database: Database) -> list[Any]:
    """Return what is still to be set up."""
    with database.read() as connection:
        found: list[Any] = meta.get(connection, ARMING, [])
        return found


def killed_after(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let apply die after so many parts."""
    done: list[int] = []

    def part(connection: Any, zone: str, most: int = 40) -> bool:
        if len(done) == parts:
            raise Killed
        done.append(1)
        return set_up_part(connection, zone, most)

    monkeypatch.setattr(setting_up, "set_up_part", part)
    monkeypatch.setattr(setting_up, "PAUSE", 0.0)


def whole(database: Database, settings: Settings) -> list[Any]:
    """Return what one apply sets, and take it back."""
    apply(database, settings, now=shop.NOW, who="test")
    expected = standing(database)
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM timers")
        connection.exec_driver_sql("DELETE FROM flows")
    return expected


@pytest.mark.parametrize("parts", [0, 5, 17])
def test_a_killed_apply_is_finished_by_the_next_pass(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """Whatever part apply died at, the next pass sets the timers that one apply would have set."""
    expected = whole(database, settings)
    assert len(expected) > CUSTOMERS
    killed_after(parts, monkeypatch)
    with pytest.raises(Killed):
        apply(database, settings, now=shop.NOW, who="test")
    assert left(database)
    run_pass(open_engine(settings, database), shop.NOW)
    assert left(database) == []
    assert standing(database) == expected


def test_a_killed_apply_is_finished_by_the_next_apply(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applying again, though nothing changed, does what the first was killed before."""
    expected = whole(database, settings)
    killed_after(3, monkeypatch)
    with pytest.raises(Killed):
        apply(database, settings, now=shop.NOW, who="test")
    monkeypatch.undo()
    apply(database, settings, now=shop.NOW + timedelta(minutes=5), who="test")
    assert left(database) == []
    assert standing(database) == expected


def test_facts_that_arrive_meanwhile_keep_the_timers_they_set(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-armed flow takes new facts like any other, and the rest of the arming leaves their timers alone."""
    killed_after(4, monkeypatch)
    with pytest.raises(Killed):
        apply(database, settings, now=shop.NOW, who="test")
    monkeypatch.undo()
    now = shop.NOW + timedelta(minutes=1)
    a_day_of_facts(database, settings, now, 100, CUSTOMERS, name="meanwhile")
    run_pass(open_engine(settings, database), now)
    assert left(database) == []
    quiet = [row for row in standing(database) if "cart-recovery" in row and "cart:meanwhile" in str(row)]
    assert len(quiet) == 40


def test_a_part_is_one_short_transaction(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part sets the timers of no more customers than it was told, and goes on where the last one stopped."""
    killed_after(0, monkeypatch)
    with pytest.raises(Killed):
        apply(database, settings, now=shop.NOW, who="test")
    first = left(database)[0]
    with database.write() as connection:
        assert set_up_part(connection, "UTC", most=50)
    second = left(database)[0]
    assert (first["after"], second["after"]) == (0, 50)
    assert {row[2] for row in standing(database)} <= set(range(1, 51))
