"""The rights of the person: found, shown, exported, erased and suppressed at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.facts import rights
from engine.facts.fact import Kind
from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.facts.profile import customer_record, export
from engine.settings import Settings
from engine.store.database import Database, to_json
from engine.store.tables import (
    customers,
    enrollments,
    events,
    flow_versions,
    flows,
    journal,
    messages,
    metadata,
    orders,
    suppressions,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = Settings(Path())


def tell(database: Database, kind: Kind, row: dict[str, object], days: int = 0) -> str:
    """Ingest one row and return the only outcome."""
    report = ingest_rows(database, kind, [row], settings=SETTINGS, now=NOW + timedelta(days=days))
    return "erased" if report.erased else "new" if report.new else "unchanged"


@pytest.fixture
def ann(database: Database) -> int:
    """Give a customer with a story: facts of every kind, two live enrollments and a message that waits in each."""
    tell(
        database,
        "customers",
        {"external_id": "c1", "email": "ann@x.test", "first_name": "Ann", "consent": "all", "shoe": 42},
    )
    tell(
        database,
        "orders",
        {"order_id": "o1", "customer": "c1", "total": 10, "lines": [{"sku": "T1"}], "note": "for Ann"},
    )
    tell(database, "carts", {"cart_id": "k1", "customer": "c1", "lines": [{"sku": "T1"}]})
    tell(database, "events", {"event": "viewed", "customer": "ann@x.test", "at": "2026-02-01T00:00Z"})
    with database.write() as connection:
        for flow, kind in (("offers", "marketing"), ("receipts", "transactional")):
            connection.execute(
                flow_versions.insert().values(
                    hash=flow, flow=flow, behaviour_hash="b", definition={"kind": kind}, created_at=NOW
                )
            )
            connection.execute(
                flows.insert().values(flow=flow, version=flow, active=True, applied_at=NOW, version_at=NOW)
            )
            enrollment = connection.execute(
                enrollments.insert().values(
                    flow=flow,
                    version=flow,
                    customer_id=1,
                    occurrence="x",
                    entered_at=NOW,
                    since_at=NOW,
                    state="active",
                    anchor_at=NOW,
                    context={"trigger": {"email": "ann@x.test"}},
                    next_at=NOW,
                )
            ).inserted_primary_key
            assert enrollment is not None
            connection.execute(
                messages.insert().values(
                    key=flow, enrollment_id=enrollment[0], flow=flow, version=flow, step="s", customer_id=1, kind=kind, priority=1,
                    state="pending", created_at=NOW, due_at=NOW, try_at=NOW, subject="Dear Ann",
                )
            )  # fmt: skip
        found = find_customer(connection, "c1")
    assert found == 1
    return found


def test_found_and_shown(database: Database, ann: int) -> None:
    """A customer is found by id or address; the record has the flat fields, events, consents and where they stand."""
    with database.read() as connection:
        assert find_customer(connection, " ANN@x.test") == ann
        assert find_customer(connection, "nobody") is None
        record = customer_record(connection, ann)
        whole = export(connection, ann)
    assert (record["email"], record["first_name"], record["orders"], record["spent"]) == (
        "ann@x.test",
        "Ann",
        1,
        10,
    )
    assert record["properties"] == {"shoe": 42}
    assert record["events"][0] == {"event": "viewed", "at": "2026-02-01T00:00:00Z"}
    assert {event["event"] for event in record["events"]} == {
        "viewed",
        "customer_created",
        "consent_granted",
        "order_placed",
        "cart_updated",
    }
    assert [(consent["topic"], consent["state"]) for consent in record["consents"]] == [("all", "granted")]
    assert record["topics"] == {"all": "granted"}
    assert whole["orders_placed"][0]["lines"] == [{"sku": "T1", "quantity": 1.0, "price": None}]
    assert whole["messages"][0]["subject"] == "Dear Ann"
    json.loads(to_json(whole))


def test_a_date_alone_stays_a_day(database: Database) -> None:
    """A day told without a time is kept as that day, whatever the zone; a time told later is that moment again."""

    def until() -> object:
        with database.read() as connection:
            return customer_record(connection, 1)["points_expire_at"]

    again: dict[str, object] = {"external_id": "c1", "points_expire_at": "2026-05-20"}
    assert [tell(database, "customers", again), until()] == ["new", "2026-05-20"]
    assert tell(database, "customers", again) == "unchanged"
    older = {"updated_at": "2026-01-01T00:00Z", "points_expire_at": "2026-03-01T00:00Z"}
    tell(database, "customers", {"external_id": "c1", **older}, 1)
    tell(database, "customers", {"external_id": "c1", "timezone": "America/New_York"}, 1)
    assert until() == "2026-05-20"
    tell(database, "customers", {"external_id": "c1", "points_expire_at": "2026-05-20T00:00+02:00"}, 2)
    assert until() == "2026-05-19T22:00:00Z"
    tell(database, "customers", {"external_id": "c1", "points_expire_at": None}, 3)
    assert until() is None
    with database.read() as connection:
        row = connection.execute(select(customers)).one()
        assert (row.points_expire_at, row.points_expire_on) == (None, None)


def test_erased(database: Database, ann: int) -> None:
    """Erasing leaves nothing personal in any table, ends every flow, and later files about the person change nothing."""
    with database.write() as connection:
        rights.erase(connection, ann, now=NOW + timedelta(days=1))
    with database.read() as connection:
        for table in metadata.sorted_tables:
            rows = str([tuple(row) for row in connection.execute(select(table))])
            for word in ("ann@x.test", "Ann", "'c1'"):
                assert word not in rows, (table.name, word)
        assert set(connection.scalars(select(enrollments.c.state))) == {"exited"}
        assert set(connection.execute(select(messages.c.state, messages.c.reason))) == {
            ("dropped", "suppressed")
        }
        assert connection.execute(select(orders.c.order_id, orders.c.customer_id)).all() == [("o1", None)]
        assert find_customer(connection, "c1") is None
    assert tell(database, "customers", {"external_id": "c1", "email": "new@x.test"}, 2) == "erased"
    assert tell(database, "customers", {"external_id": "c9", "email": "Ann@x.test"}, 2) == "erased"
    assert tell(database, "orders", {"order_id": "o2", "customer": "c1"}, 2) == "erased"
    assert tell(database, "events", {"event": "viewed", "customer": "ann@x.test"}, 2) == "erased"
    assert tell(database, "consents", {"customer": "c1", "topic": "all", "state": "granted"}, 2) == "erased"
    with database.read() as connection:
        assert len(connection.execute(select(customers.c.id)).all()) == 1
        assert connection.execute(select(events.c.id)).all() == []


def test_suppressed(database: Database, ann: int) -> None:
    """Suppressing marketing ends marketing flows only; suppressing all ends every one, and the journal says why."""
    with database.write() as connection:
        rights.suppress(connection, ann, now=NOW, scope="marketing")
    with database.read() as connection:
        states = dict(connection.execute(select(enrollments.c.flow, enrollments.c.state)).all())
        assert states == {"offers": "exited", "receipts": "active"}
        assert dict(connection.execute(select(messages.c.flow, messages.c.state)).all()) == {
            "offers": "dropped",
            "receipts": "pending",
        }
        assert connection.scalars(select(journal.c.decision).order_by(journal.c.id)).all() == [
            "exited",
            "dropped",
        ]
    for _ in range(2):
        with database.write() as connection:
            rights.suppress(connection, ann, now=NOW)
    with database.read() as connection:
        assert set(connection.scalars(select(enrollments.c.state))) == {"exited"}
        assert sorted(connection.scalars(select(suppressions.c.scope))) == ["all", "marketing"]
        assert customer_record(connection, ann)["suppressed"] == ["all", "marketing"]


def test_a_consent_of_their_own(database: Database, ann: int) -> None:
    """A customer's own word is a consent fact like any other: ledger, state, and an event that wakes the flows."""
    with database.write() as connection:
        rights.record_consent(
            connection,
            ann,
            "offers",
            "withdrawn",
            now=NOW + timedelta(days=1),
            source="preferences",
            wording="No offers",
        )
    with database.read() as connection:
        record = customer_record(connection, ann)
        assert record["topics"] == {"all": "granted", "offers": "withdrawn"}
        assert record["consents"][-1]["wording"] == "No offers"
        assert record["events"][-1]["event"] == "consent_withdrawn"
