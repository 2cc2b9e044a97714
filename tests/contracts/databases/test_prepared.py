"""Prepared statements on both databases: the same rows in the same types as by SQLAlchemy's own way, bound and heard."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, event, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from engine.store.database import Database
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import customers, products

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {
        "external_id": f"c{n}", "email": f"c{n}@example.test", "zone": None if n % 2 else "Asia/Tokyo",
        "first_seen_at": NOW, "properties": {"n": n, "words": ["ä", "日本"]} if n else None,
    }
    for n in range(4)
]  # fmt: skip
WHOLE = select(customers).where(within(customers.c.external_id, "names")).order_by(customers.c.external_id)


@pytest.fixture
def filled(database: Database) -> Database:
    """A database with four customers and a product."""
    with database.write() as connection:
        connection.execute(insert(customers), ROWS)
        product = {
            "sku": "tea",
            "title": "Tea",
            "price": Decimal("4.50"),
            "first_seen_at": NOW,
            "updated_at": NOW,
        }
        connection.execute(insert(products), [product])
    return database


def test_rows_are_those_of_sqlalchemy_in_the_same_types(filled: Database) -> None:
    """Moments, documents, money and missing values come back as they do by SQLAlchemy, by name and by place."""
    asked, catalogue = Prepared(WHOLE), select(products)
    with filled.read() as connection:
        for names in (["c0", "c3"], ["c1"], []):
            plain = connection.execute(WHOLE, {"names": names}).all()
            found = asked.rows(connection, names=names)
            assert [tuple(row) for row in found] == [tuple(row) for row in plain]
            assert asked.dicts(connection, names=names) == [dict(row._mapping) for row in plain]
        assert asked.first(connection, names=["c3"]).properties == {"n": 3, "words": ["ä", "日本"]}
        assert asked.first(connection, names=["nobody"]) is None
        assert tuple(Prepared(catalogue).rows(connection)[0]) == tuple(connection.execute(catalogue).one())


def test_what_is_fixed_and_what_is_given_are_both_bound(filled: Database) -> None:
    """Lists of `in_`, limits and given values, however they are written, mean what they mean in SQLAlchemy."""
    query = select(customers.c.external_id).where(
        customers.c.external_id.in_(("c0", "c1", "x' OR 1=1 --")), customers.c.email != bindparam("email")
    )
    asked = Prepared(query.order_by(customers.c.external_id).limit(5))
    with filled.read() as connection:
        assert asked.column(connection, email="c0@example.test") == ["c1"]
        assert asked.column(connection, email="' OR 1=1 --") == ["c0", "c1"]


def test_changes_tell_how_many_rows_they_changed(filled: Database) -> None:
    """An update or delete counts its rows, one with RETURNING gives them, one with many values runs with each."""
    changed = (
        update(customers).where(customers.c.external_id == bindparam("which")).values(zone=bindparam("there"))
    )
    returning = update(customers).where(within(customers.c.external_id, "names")).values(locale="de")
    with filled.write() as connection:
        assert Prepared(changed).run(connection, which="c0", there="Europe/Berlin") == 1
        Prepared(changed).run_each(connection, [{"which": f"c{n}", "there": f"zone {n}"} for n in (2, 3)])
        Prepared(changed).run_each(connection, [])
        found = Prepared(returning.returning(customers.c.external_id)).column(connection, names=["c1", "c2"])
        assert sorted(found) == ["c1", "c2"]
        assert (
            Prepared(delete(customers).where(within(customers.c.external_id, "names"))).run(
                connection, names=["c1"]
            )
            == 1
        )
    with filled.read() as connection:
        zones = {
            row[0]: row[1] for row in connection.execute(select(customers.c.external_id, customers.c.zone))
        }
    assert zones == {"c0": "Europe/Berlin", "c2": "zone 2", "c3": "zone 3"}


def test_a_missing_value_is_an_error(filled: Database) -> None:
    """A parameter that is not given is no NULL."""
    with filled.read() as connection, pytest.raises((KeyError, DBAPIError)):
        Prepared(WHOLE).rows(connection)


def test_an_error_of_the_database_is_the_one_of_sqlalchemy(filled: Database) -> None:
    """What the database refuses is the same class of error as by SQLAlchemy's own way, and undone with the rest."""
    statement = insert(customers).values(external_id=bindparam("name"), first_seen_at=bindparam("moment"))

    def refused() -> None:
        with filled.write() as connection:
            connection.execute(delete(customers).where(customers.c.external_id == "c3"))
            Prepared(statement).run(connection, name="c0", moment=NOW)

    with pytest.raises(IntegrityError):
        refused()
    with filled.read() as connection:
        assert Prepared(WHOLE).first(connection, names=["c3"]) is not None


def test_who_listens_hears_prepared_statements_too(sqlite_database: Database) -> None:
    """Tests that look at plans and break off at every statement miss none of them."""
    asked, heard = Prepared(select(customers.c.id)), []

    def note(_connection: Any, _cursor: sqlite3.Cursor, statement: str, *_: Any) -> None:
        heard.append(statement)

    with sqlite_database.read() as connection:
        asked.rows(connection)
    event.listen(sqlite_database.engine, "before_cursor_execute", note)
    with sqlite_database.read() as connection:
        asked.rows(connection)
    event.remove(sqlite_database.engine, "before_cursor_execute", note)
    assert [statement for statement in heard if statement.startswith("SELECT")] == [
        "SELECT customers.id \nFROM customers"
    ]
