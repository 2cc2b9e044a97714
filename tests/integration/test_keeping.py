"""What a lone store keeps of customers: never what is no longer so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from engine.facts import people
from engine.facts.fields import Reading
from engine.facts.normalise import normalise
from engine.store import keeping
from engine.store.keeping import ABOUT, CUSTOMER, Kept, kept, known
from engine.store.prepared import undoing
from engine.store.scratch import Lone, lone, scratch
from engine.store.tables import consent_state, customer_ids, customers, metadata, suppressions

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Lone:
    """Return a lone store with two customers."""
    database = lone(tmp_path)
    with database.write() as connection:
        for number in (1, 2):
            told = {"id": number, "external_id": f"c{number}", "email": f"c{number}@example.test"}
            connection.execute(insert(customers).values(**told, zone="UTC", first_seen_at=NOW))
    return database


def reads(connection: Connection) -> list[int]:
    """Ask about both customers and return about whom the database had to be asked."""
    asked: list[int] = []

    def read(ids: object) -> dict[int, str]:
        asked.extend(ids)  # type: ignore[arg-type]
        return dict.fromkeys(asked, "known")

    assert known(connection, "test", [1, 2], read) == {1: "known", 2: "known"}
    return asked


def test_what_was_read_is_kept_until_that_customer_is_written(store: Lone) -> None:
    """A customer is read once, and again after each write of what is kept of them; the other one is not."""
    with store.write() as connection:
        assert reads(connection) == [1, 2]
        assert reads(connection) == []
        connection.execute(update(customers).where(customers.c.id == 2).values(zone="Europe/Berlin"))
        assert reads(connection) == [2]
        connection.execute(update(customers).where(customers.c.id == 2).values(orders=3))
        assert reads(connection) == []
        connection.execute(insert(consent_state).values(customer_id=1, topic="news", granted_at=NOW))
        assert reads(connection) == [1]
        connection.execute(update(consent_state).values(withdrawn_at=NOW))
        assert reads(connection) == [1]
        connection.execute(
            insert(suppressions).values(
                customer_id=2, address_hash=b"x", scope="all", reason="bounce", at=NOW
            )
        )
        assert reads(connection) == [2]
        connection.execute(delete(suppressions))
        assert reads(connection) == [2]
    store.close()


def test_what_was_undone_is_not_kept(store: Lone) -> None:
    """What was read inside a step or block that is undone is read again."""

    def fails(connection: Connection) -> None:
        reads(connection)
        raise ZeroDivisionError

    with store.write() as connection:
        with pytest.raises(ZeroDivisionError):
            undoing(connection, lambda: fails(connection))
        assert reads(connection) == [1, 2]
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        fails(connection)
    with store.read() as connection:
        assert reads(connection) == [1, 2]
    store.close()


def test_what_is_done_boldly_is_undone_as_a_whole_and_done_again_with_care(store: Lone) -> None:
    """Where a step inside fails, nothing of the first try stays, written or kept; the second try undoes the step alone."""
    tries: list[int] = []

    def fails(connection: Connection) -> None:
        connection.execute(update(customers).values(orders=9))
        raise ZeroDivisionError

    def step() -> int:
        tries.append(len(tries))
        with store.write() as connection:
            connection.execute(update(customers).values(points=customers.c.orders + len(tries)))
            reads(connection)
            with pytest.raises(ZeroDivisionError):
                undoing(connection, lambda: fails(connection))
        return len(tries)

    assert store.boldly(step) == 2
    with store.read() as connection:
        assert connection.execute(select(customers.c.orders, customers.c.points)).all() == [(0, 2), (0, 2)]
        assert store.boldly(lambda: len(tries)) == 2
    store.close()


def test_a_name_is_known_until_it_or_its_customer_changes(
    store: Lone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is called what is read once, and again when the name goes to somebody else or the customer is written."""
    asked: list[list[str]] = []
    by_id, by_email = people._PLAIN

    class Asked:
        def rows(self, connection: Connection, ids: list[str]) -> list[Any]:
            asked.append(ids)
            return by_id.rows(connection, ids=ids)

    monkeypatch.setattr(people, "_PLAIN", (Asked(), by_email))

    def found(connection: Connection) -> tuple[int | None, str | None]:
        facts = normalise("events", {"customer": "c1", "event": "visited"}, Reading("UTC", NOW))
        assert isinstance(facts, list)
        met = people.People(connection)
        met.load(facts)
        return met.by_id["c1"].id, met.by_id["c1"].email

    with store.write() as connection:
        connection.execute(insert(customer_ids).values(external_id="c1", customer_id=1))
        assert found(connection) == found(connection) == (1, "c1@example.test")
        assert asked == [["c1"]]
        connection.execute(update(customers).where(customers.c.id == 1).values(email="new@example.test"))
        assert found(connection) == found(connection) == (1, "new@example.test")
        assert len(asked) == 2
        connection.execute(update(customer_ids).values(customer_id=2))
        assert found(connection) == found(connection) == (2, "c2@example.test")
        assert len(asked) == 3
        connection.execute(delete(customer_ids))
        with pytest.raises(KeyError):
            found(connection)
    store.close()


def test_other_stores_keep_nothing(tmp_path: Path) -> None:
    """Where others write, each asking reads."""
    database = scratch(tmp_path)
    with database.read() as connection:
        assert kept(connection) is None
        assert reads(connection) == reads(connection) == [1, 2]
    database.close()


def test_no_kind_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most that a kind holds it begins anew."""
    monkeypatch.setattr(keeping, "MOST", 2)
    memory = Kept()
    memory.of("test").update({1: 1, 2: 2, 3: 3})
    assert memory.of("test") == {}


def test_the_watched_columns_are_there() -> None:
    """What is watched is what tables have."""
    assert set(CUSTOMER) <= set(customers.c.keys())
    assert all("customer_id" in metadata.tables[name].c for name in ABOUT)
