"""What flows are worth: sales count once, for the last mail before them; groups are compared with intervals; on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from engine.facts.ingest import ingest_rows
from engine.store.database import Database
from engine.store.tables import customers, delivery_events, enrollments, messages
from engine.web.house import flows as pages
from engine.web.house.worth import looked_at, sold, spending_beside_holdout
from tests.integration.web_server import NOW, settings_at, small_shop

DAY = timedelta(days=1)
SINCE = NOW - 28 * DAY


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Database:
    """Give a database with a customer who got a mail of `hello` now, one of `late` a day later, and bought eight times."""
    settings = settings_at(tmp_path)
    small_shop(database, settings)
    rows: list[dict[str, Any]] = [
        order("before", NOW - DAY),  # before any mail
        order("hello", NOW + timedelta(hours=2)),
        order("at-once", NOW + DAY),  # at the very moment of the later mail, which may thank for it: the earlier one's
        order("late", NOW + 2 * DAY),  # after both: the later mail's
        order("much-later", NOW + 9 * DAY),  # a week is over
        order("foreign", NOW + timedelta(hours=3), currency="USD"),
        order("cancelled", NOW + timedelta(hours=4), status="cancelled", status_at=iso(NOW + timedelta(hours=5))),
        order("nobody", NOW + timedelta(hours=4), customer=None),
    ]  # fmt: skip
    ingest_rows(database, "orders", rows, settings=settings, now=NOW + 20 * DAY)
    with database.write() as connection:
        write_mail(connection, "late", NOW + DAY)
    return database


def iso(moment: datetime) -> str:
    """Return a moment as files write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def order(name: str, at: datetime, **more: Any) -> dict[str, Any]:
    """Return an order of 30 EUR of the small shop's customer."""
    told = {
        "order_id": name,
        "customer": "c1",
        "placed_at": iso(at),
        "currency": "EUR",
        "total": "30.00",
        **more,
    }
    return {name: value for name, value in told.items() if value is not None}  # fmt: skip


def write_mail(connection: Connection, flow: str, at: datetime) -> int:
    """Write another mail to the customer, of another flow; return its number."""
    entry = {
        "flow": flow, "version": "v1", "customer_id": 1, "occurrence": "1", "entered_at": at, "since_at": at, "context": {},
        "state": "completed", "anchor_at": at,
    }  # fmt: skip
    number = connection.execute(insert(enrollments).returning(enrollments.c.id), [entry]).scalar_one()
    mail = {
        "key": f"{flow}:1", "enrollment_id": number, "flow": flow, "version": "v1", "step": "one", "customer_id": 1,
        "kind": "marketing", "topic": "offers", "priority": 0, "state": "delivered", "created_at": at, "due_at": at,
        "try_at": at, "counted_at": at, "content": {},
    }  # fmt: skip
    return int(connection.execute(insert(messages).returning(messages.c.id), [mail]).scalar_one())


def test_a_sale_belongs_to_the_last_mail_before_it(shop: Database) -> None:
    """Each order counts once; what was cancelled, is in other money, or came a week after any mail counts for no flow.

    A mail that goes at the very moment of an order came from it, and not the other way round.
    """
    with shop.read() as connection:
        found = sold(connection, SINCE, NOW + 28 * DAY, "EUR")
    assert {flow: (each.orders, each.value) for flow, each in found.items()} == {
        "hello": (2, Decimal(60)),
        "late": (1, Decimal(30)),
    }


def test_machines_count_for_no_share(shop: Database) -> None:
    """Of opens and clicks only those of people stand on a flow's page, each mail once."""
    told = [("opened", False), ("opened", False), ("opened", True), ("clicked", True)]
    rows = [
        {"key": str(place), "message_id": 1, "kind": kind, "at": NOW, "machine": machine, "raw": {}}
        for place, (kind, machine) in enumerate(told)
    ]
    with shop.write() as connection:
        connection.execute(insert(delivery_events), rows)
        assert looked_at(connection, "hello", SINCE) == {"mails": 1, "opened": 1}


def test_spending_is_compared_with_the_holdout(shop: Database) -> None:
    """What somebody in the holdout spends stands beside what the mailed spend, counted over the same weeks."""
    with shop.write() as connection:
        ingest = {
            "flow": "hello",
            "version": "v1",
            "occurrence": "1",
            "since_at": NOW,
            "context": {},
            "anchor_at": NOW,
        }
        connection.execute(
            insert(customers), [{"id": 2, "external_id": "c2", "updated_at": NOW, "first_seen_at": NOW}]
        )
        connection.execute(
            insert(enrollments), [{**ingest, "customer_id": 2, "entered_at": NOW, "state": "held_out"}]
        )
        found = spending_beside_holdout(connection, "hello", NOW + 20 * DAY, "EUR")
    assert (found[False].mean, found[True].mean) == (120.0, 0.0)


def test_counting_a_flow_reads_its_own_part_of_an_index(sqlite_database: Database) -> None:
    """A flow's page asks the journal through its index alone, however long the journal is."""
    asked: list[tuple[str, Any]] = []
    with sqlite_database.read() as connection:
        engine = connection.engine
        listen = lambda _c, _u, statement, parameters, _x, _m: asked.append((statement, parameters))  # noqa: E731
        event.listen(engine, "before_cursor_execute", listen)
        pages.counted(connection, "hello", pages.lost(connection, "hello"))
        event.remove(engine, "before_cursor_execute", listen)
        of_journal = [each for each in asked if "FROM journal" in each[0]]
        assert len(of_journal) == 2
        for statement, parameters in of_journal:
            plan = " ".join(
                row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            )
            assert "USING COVERING INDEX ix_journal_flow_decision_step_reason" in plan
