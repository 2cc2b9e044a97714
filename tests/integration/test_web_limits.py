"""Limits of the login, the sign-up form and one's own data hold for all processes together, and keep nobody's address."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from engine.clock import machine_now
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import askings
from engine.web import limits
from engine.web.house.password import set_password
from engine.web.limits import Limit, Limits, forget_old
from tests.integration.test_house import PASSWORD, log_in
from tests.integration.test_web_segment import basic, track
from tests.integration.web_server import Serving, serving, settings_at


def test_processes_count_together(database: Database) -> None:
    """Of forty askings at once in four processes exactly as many go on as the limit says."""
    with database.write() as connection:
        meta.secret(connection)
    ours = [Limit(database, "login", 5, 300.0) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda number: ours[number % 4].wait("203.0.113.7"), range(40)))
    assert waits.count(0.0) == 5
    assert all(wait > 0 for wait in waits if wait)
    assert ours[0].wait("203.0.113.8") == 0.0


def test_time_makes_room(database: Database) -> None:
    """A minute after the last of five in five minutes one more goes on, whichever process is asked."""
    for _ in range(5):
        Limit(database, "login", 5, 300.0).wait("a")
    assert 0 < Limit(database, "login", 5, 300.0).wait("a") <= 60
    with database.write() as connection:
        connection.execute(update(askings).values(at=machine_now() - timedelta(seconds=61)))
    assert Limit(database, "login", 5, 300.0).wait("a") == 0.0
    assert Limit(database, "login", 5, 300.0).wait("a") > 0


def test_no_address_is_kept(database: Database) -> None:
    """Who asked stands in the database as a keyed hash of sixteen bytes."""
    Limit(database, "form", 5, 300.0).wait("ann@example.test")
    with database.read() as connection:
        (key,) = connection.scalars(select(askings.c.key)).all()
    assert len(bytes(key)) == 16
    assert b"ann" not in bytes(key)


def test_memory_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old askings are forgotten, and of too many the oldest."""
    monkeypatch.setattr(limits, "MOST", 10)
    limit = Limit(database, "login", 5, 300.0)
    for number in range(12):
        limit.wait(f"p{number}")
    with database.write() as connection:
        forget_old(connection, machine_now())
        assert connection.scalar(select(func.count()).select_from(askings)) == 5
        forget_old(connection, machine_now() + timedelta(days=2))
        assert connection.scalar(select(func.count()).select_from(askings)) == 0


def test_a_neighbour_of_the_same_network_counts_too(database: Database) -> None:
    """With IPv6 one guesser has a whole network of addresses: they count as one."""
    own = Limits(database)
    waits = [own.try_password(f"2001:db8:1:2::{number:x}") for number in range(8)]
    assert waits.count(0.0) == 5
    assert own.try_password("2001:db8:1:3::1") == 0.0


def test_the_login_of_a_second_program_knows_of_the_first(database: Database, tmp_path: Path) -> None:
    """Five wrong passwords at one server, and the right one has to wait at another on the same database."""
    settings = settings_at(tmp_path)
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings, database) as first, serving(settings, database) as second:
        assert [log_in(first, "wrong").status_code for _ in range(5)] == [403] * 5
        assert log_in(second).status_code == 429


def test_calls_of_a_key_are_counted_for_all_programs(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one program took of a key counts at another with its next transaction; other keys go on."""
    monkeypatch.setattr(limits, "CALL_SECONDS", 600.0)
    monkeypatch.setattr(limits, "CALLS_A_SECOND", 10 / 600)
    settings = settings_at(tmp_path)
    with serving(settings, database) as first, serving(settings, database) as second:
        key, other = basic(first.write_key("shop")), basic(first.write_key("other"))

        def told(served: Serving, key: dict[str, str], number: int) -> int:
            calls = [track("A", at=place) for place in range(number)]
            return served.client.post("/v1/batch", json={"batch": calls}, headers=key).status_code

        assert told(first, key, 8) == 200
        assert told(second, key, 1) == 200  # with which it hears of the eight
        assert told(second, key, 2) == 429
        assert told(second, other, 2) == 200
        assert told(first, key, 1) == 200
        assert told(first, key, 1) == 429
