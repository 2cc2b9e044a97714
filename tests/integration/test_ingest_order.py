"""Whatever order the same facts arrive in, they come to the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from engine.facts.ingest import ingest_rows
from engine.settings import Settings
from engine.store.database import connect
from engine.store.tables import (
    cart_lines,
    carts,
    consent_state,
    customers,
    events,
    metadata,
    order_lines,
    orders,
    products,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(Path())
DAYS = st.integers(0, 50).map(lambda day: (START + timedelta(days=day)).isoformat())
# Numbers; when fields were told; and the last activity, which never goes back though a placing was told too late.
UNCOMPARED = ("id", "told_at", "customer_id", "last_activity_at")
SCHEMA = [str(CreateTable(table).compile(dialect=sqlite.dialect())) for table in metadata.sorted_tables] + [
    str(CreateIndex(index).compile(dialect=sqlite.dialect()))
    for table in metadata.sorted_tables
    for index in table.indexes
    if index.unique
]
LINES = st.lists(
    st.fixed_dictionaries(
        {"sku": st.sampled_from(["T1", "T2"]), "quantity": st.integers(1, 3), "price": st.integers(1, 9)}
    ),
    max_size=2,
)
PEOPLE = st.sampled_from(["c1", "c2"])

ORDERS = st.fixed_dictionaries(
    {"kind": st.just("orders"), "order_id": st.sampled_from(["o1", "o2", "o3"]), "status": st.sampled_from(["placed", "paid", "cancelled", "refunded", "shipped"]), "status_at": DAYS},
    optional={"customer": PEOPLE, "placed_at": DAYS, "total": st.integers(1, 99), "lines": LINES, "refunds": st.just([{"amount": 1}]), "coupon": st.none() | st.just("TEA")},
)  # fmt: skip
CUSTOMERS = st.fixed_dictionaries(
    {"kind": st.just("customers"), "external_id": PEOPLE, "updated_at": DAYS},
    optional={
        "first_name": st.none() | st.sampled_from(["Ann", "Bo"]),
        "country": st.sampled_from(["DE", "AT"]),
        "shoe": st.integers(40, 42),
    },
)
PRODUCTS = st.fixed_dictionaries(
    {"kind": st.just("products"), "sku": st.just("T1"), "updated_at": DAYS},
    optional={"price": st.integers(1, 9), "stock": st.none() | st.integers(0, 5)},
)
CARTS = st.fixed_dictionaries(
    {"kind": st.just("carts"), "cart_id": st.just("k1"), "customer": PEOPLE, "updated_at": DAYS},
    optional={"lines": LINES},
)
CONSENTS = st.fixed_dictionaries(
    {"kind": st.just("consents"), "customer": PEOPLE, "topic": st.sampled_from(["all", "offers"]), "state": st.sampled_from(["granted", "withdrawn", "pending"]), "at": DAYS},
    optional={"basis": st.just("soft_opt_in")},
)  # fmt: skip
EVENTS = st.fixed_dictionaries(
    {
        "kind": st.just("events"),
        "event": st.sampled_from(["viewed", "points_earned"]),
        "customer": PEOPLE,
        "at": DAYS,
        "balance": st.integers(1, 9),
    }
)


def own_time(row: dict[str, Any]) -> tuple[str, ...]:
    """Return what two facts about one thing must not share: of two with one time the later received wins."""
    names = ("order_id", "cart_id", "sku", "external_id", "customer", "topic", "event")
    key = str(
        [row.get(name) for name in names if name != "customer" or row["kind"] in ("consents", "events")]
    )
    return (row["kind"], key, row.get("status_at") or row.get("updated_at") or row["at"])


FACTS = st.lists(ORDERS | CUSTOMERS | PRODUCTS | CARTS | CONSENTS | EVENTS, max_size=8, unique_by=own_time)


def outcome(rows: list[dict[str, Any]], sizes: int) -> dict[str, list[Any]]:
    """Return what every table holds after the facts were told in this order, so many at a time, without numbering."""
    database = connect("sqlite://")
    with database.write() as connection:
        for statement in SCHEMA:
            connection.exec_driver_sql(statement)
    for start in range(0, len(rows), sizes):
        for row in rows[start : start + sizes]:
            told = {name: value for name, value in row.items() if name != "kind"}
            report = ingest_rows(database, row["kind"], [told], settings=SETTINGS, now=NOW)
            assert report.quarantined == 0, report
    found: dict[str, list[Any]] = {}
    with database.read() as connection:
        names = {
            row.id: row.external_id
            for row in connection.execute(select(customers.c.id, customers.c.external_id))
        }
        for table in (customers, orders, order_lines, products, carts, cart_lines, consent_state, events):
            kept = [column for column in table.c if column.name not in UNCOMPARED]
            rows_found = connection.execute(
                select(*kept, *([table.c.customer_id] if "customer_id" in table.c else []))
            ).mappings()
            found[table.name] = sorted((_named(dict(row), names) for row in rows_found), key=str)
    found["events"] = [row for row in found["events"] if not row["name"].startswith("customer_")]
    database.close()
    return found


def _named(row: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    if "customer_id" in row:
        row["customer_id"] = names.get(row["customer_id"])
    if str(row.get("key", "")).startswith("consent:"):
        row["key"] = "consent"
    return row


@settings(max_examples=40, deadline=None)
@given(facts=FACTS, order=st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(facts: list[dict[str, Any]], order: Any) -> None:
    """The same facts give the same customers, orders, products, carts, consents and events in any order of arrival."""
    shuffled = list(facts)
    order.shuffle(shuffled)
    assert outcome(facts, 3) == outcome(shuffled, 2)
