"""Facts go in and become rows, events and counts: on both databases, whatever order they come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, select

from engine.facts.fact import Kind
from engine.facts.ingest import IngestReport, arrive, ingest_rows, next_arrival
from engine.settings import Settings, Shop
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import (
    cart_lines,
    carts,
    consent_state,
    consents,
    customer_ids,
    customers,
    enrollments,
    events,
    fact_inbox,
    flow_versions,
    flows,
    order_lines,
    orders,
    product_changes,
    product_prices,
    products,
    staged_facts,
    suppressions,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = Settings(Path(), shop=Shop(timezone="Europe/Berlin", currency="EUR"))


def tell(
    database: Database, kind: Kind, *rows: Mapping[str, Any], now: datetime = NOW, **more: Any
) -> IngestReport:
    """Ingest rows and return the report."""
    return ingest_rows(database, kind, rows, settings=SETTINGS, now=now, **more)


def table(database: Database, which: Table, *columns: str) -> list[Any]:
    """Return a table's rows in the order of its key: the given columns as tuples, or all as mappings."""
    with database.read() as connection:
        rows = connection.execute(select(which).order_by(*which.primary_key.columns)).mappings().all()
    if len(columns) == 1:
        return [row[columns[0]] for row in rows]
    return [tuple(row[name] for name in columns) if columns else dict(row) for row in rows]


def apply_a_flow(database: Database) -> None:
    """Make one flow active, so that somebody reads the inbox."""
    with database.write() as connection:
        connection.execute(
            flow_versions.insert().values(
                hash="v1",
                flow="welcome",
                behaviour_hash="b",
                definition={"kind": "marketing"},
                created_at=NOW,
            )
        )
        connection.execute(
            flows.insert().values(flow="welcome", version="v1", active=True, applied_at=NOW, version_at=NOW)
        )


def at(days: float) -> str:
    """Return the moment that many days after the first of January 2026."""
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)).isoformat()


def test_orders_are_counted(database: Database) -> None:
    """Orders, spending and gaps of a customer follow the orders: cancelled ones count for nothing, refunds are taken off."""
    report = tell(
        database, "orders",
        {"order_id": "o1", "customer": "c1", "placed_at": at(0), "lines": [{"sku": "T1", "quantity": 2, "price": "8.50"}]},
        {"order_id": "o2", "customer": "c1", "placed_at": at(10), "total": "20.00"},
        {"order_id": "o3", "customer": "c1", "placed_at": at(40), "total": "30.00"},
        {"order_id": "o4", "customer": "c1", "placed_at": at(45), "total": "99.00"},
        {"order_id": "o4", "customer": "c1", "status": "cancelled", "status_at": at(46)},
        {"order_id": "o2", "status": "refunded", "status_at": at(12), "refunds": [{"amount": "5.00"}]},
    )  # fmt: skip
    assert (report.read, report.new) == (6, 6)
    (row,) = table(database, customers)
    assert (row["orders"], row["spent"]) == (3, Decimal("62.00"))
    assert (row["average_gap_days"], row["usual_gap_days"]) == (20.0, 20.0)
    assert row["last_order_at"].isoformat() == at(40)
    assert table(database, order_lines, "sku", "quantity", "price") == [("T1", 2.0, Decimal("8.50"))]
    assert sorted(table(database, events, "key")) == [
        "order:o1:placed", "order:o2:placed", "order:o2:refunded", "order:o3:placed", "order:o4:cancelled", "order:o4:placed",
    ]  # fmt: skip


def test_the_same_file_again_changes_nothing(database: Database) -> None:
    """Facts told a second time change nothing and raise nothing, whatever their kind, with or without a time of their own."""
    told: list[tuple[Kind, dict[str, Any]]] = [
        ("customers", {"external_id": "c1", "email": "a@x.test", "consent": "all"}),
        ("products", {"sku": "T1", "price": "3", "stock": 4}),
        ("orders", {"order_id": "o1", "customer": "c1", "placed_at": at(1), "total": 5}),
        ("carts", {"cart_id": "k1", "customer": "c1", "lines": [{"sku": "T1"}]}),
        ("events", {"event": "viewed", "customer": "c1", "sku": "T1"}),
        ("events", {"event": "viewed", "customer": "c1", "sku": "T1", "id": "e1", "at": at(2)}),
        ("consents", {"customer": "c1", "topic": "offers", "state": "withdrawn"}),
    ]
    everything = (
        customers,
        products,
        orders,
        carts,
        cart_lines,
        consents,
        consent_state,
        product_changes,
        product_prices,
        staged_facts,
    )
    for kind, row in told:
        tell(database, kind, row)
    before = [table(database, which) for which in everything]
    keys = table(database, events, "key")
    for kind, row in told:
        later = tell(database, kind, row, now=NOW + timedelta(days=1))
        if "id" not in row and kind == "events":
            continue  # without an id and a time, an event of another day is another event
        assert (later.new, later.stale) == (0, 0), kind
    assert [table(database, which) for which in everything if which is not customers] == before[1:]
    assert len(table(database, events, "key")) <= len(keys) + 1


def test_a_field_can_go_back(database: Database) -> None:
    """Without a time of its own a fact is true when it is received: a customer can move away and back."""
    for day, country in enumerate(("DE", "AT", "DE")):
        tell(database, "customers", {"external_id": "c1", "country": country}, now=NOW + timedelta(days=day))
    assert table(database, customers, "country", "zone") == [("DE", "Europe/Berlin")]


def test_older_facts_never_overwrite(database: Database) -> None:
    """A field keeps its newest telling by the fact's own time; an older fact still fills in what nobody had told."""
    tell(database, "customers", {"external_id": "c1", "first_name": "New", "updated_at": at(5)})
    report = tell(
        database,
        "customers",
        {"external_id": "c1", "first_name": "Old", "last_name": "Name", "updated_at": at(1)},
    )
    assert report.new == 1
    report = tell(database, "customers", {"external_id": "c1", "first_name": "Older", "updated_at": at(0)})
    assert report.stale == 1
    assert table(database, customers, "first_name", "last_name") == [("New", "Name")]


def test_one_email_is_one_customer(database: Database) -> None:
    """Two ids that come to share an address are one customer: orders add up, either id finds it, the older row stays."""
    tell(database, "orders", {"order_id": "o1", "customer": "c1", "placed_at": at(1), "total": 10})
    tell(database, "orders", {"order_id": "o2", "customer": "c2", "placed_at": at(2), "total": 20})
    tell(database, "customers", {"external_id": "c1", "email": "a@x.test", "updated_at": at(1)})
    tell(
        database,
        "customers",
        {"external_id": "c2", "email": "A@x.test ", "first_name": "Ann", "updated_at": at(2)},
    )
    tell(database, "events", {"event": "viewed", "customer": "c2"})
    (row,) = table(database, customers)
    assert (row["external_id"], row["orders"], row["spent"], row["first_name"]) == (
        "c1",
        2,
        Decimal("30.00"),
        "Ann",
    )
    assert table(database, customer_ids, "external_id", "customer_id") == [
        ("c1", row["id"]),
        ("c2", row["id"]),
    ]
    assert set(table(database, events, "customer_id")) == {row["id"]}


def test_the_stricter_consent_wins_a_merge(database: Database) -> None:
    """Of two customers who are one, what either withdrew is withdrawn, though the other granted it later."""
    tell(database, "customers", {"external_id": "c1", "consent": "offers", "consent_at": at(9)})
    tell(database, "customers", {"external_id": "c2", "email": "a@x.test"})
    tell(database, "consents", {"customer": "c2", "topic": "all", "state": "withdrawn", "at": at(3)})
    tell(database, "customers", {"external_id": "c1", "email": "a@x.test"}, now=NOW + timedelta(days=1))
    (offers,) = [row for row in table(database, consent_state) if row["topic"] == "offers"]
    assert offers["withdrawn_at"] is not None
    assert offers["withdrawn_at"] >= offers["granted_at"]
    assert len(table(database, consents)) == 3
    tell(
        database,
        "consents",
        {"customer": "c1", "topic": "offers", "state": "granted", "at": NOW.isoformat()},
        now=NOW + timedelta(days=2),
    )
    (offers,) = [row for row in table(database, consent_state) if row["topic"] == "offers"]
    assert offers["granted_at"] > offers["withdrawn_at"]


def test_merged_enrollments_keep_their_unique_keys(database: Database) -> None:
    """Where both customers are live in one flow, the one that goes leaves it; their stories stay."""
    apply_a_flow(database)
    tell(
        database,
        "customers",
        {"external_id": "c1", "email": "a@x.test"},
        {"external_id": "c2"},
        {"external_id": "c3"},
    )
    with database.write() as connection:
        for customer, occurrence, slot in ((1, "x", ""), (2, "x", "k"), (2, "y", ""), (3, "y", "s")):
            connection.execute(
                enrollments.insert().values(
                    flow="welcome", version="v1", customer_id=customer, occurrence=occurrence, slot=slot, entered_at=NOW, since_at=NOW,
                    context={}, state="active", anchor_at=NOW, next_at=NOW,
                )
            )  # fmt: skip
    tell(
        database,
        "customers",
        {"external_id": "c2", "email": "a@x.test"},
        {"external_id": "c3", "email": "a@x.test"},
        now=NOW + timedelta(days=1),
    )
    rows = table(database, enrollments, "customer_id", "occurrence", "state")
    assert {customer for customer, _, _ in rows} == {1}
    assert [state for _, _, state in rows] == ["active", "exited", "exited", "exited"]
    assert len({occurrence for _, occurrence, _ in rows}) == 4


def test_swapped_addresses(database: Database) -> None:
    """Two customers may swap their addresses within one file."""
    tell(
        database,
        "customers",
        {"external_id": "c1", "email": "a@x.test"},
        {"external_id": "c2", "email": "b@x.test"},
    )
    later = NOW + timedelta(days=1)
    tell(database, "customers", {"external_id": "c1", "email": "z@x.test"}, {"external_id": "c2", "email": "a@x.test"}, {"external_id": "c1", "email": "b@x.test"}, now=later)  # fmt: skip
    assert table(database, customers, "external_id", "email") == [("c1", "b@x.test"), ("c2", "a@x.test")]


def test_consent_states(database: Database) -> None:
    """An undated grant stands at the beginning of time and never overrides a withdrawal; pending and soft are kept apart."""
    tell(
        database, "consents",
        {"customer": "c1", "topic": "offers", "state": "withdrawn", "at": at(3)},
        {"customer": "c1", "topic": "offers", "state": "granted"},
        {"customer": "c1", "topic": "reminders", "state": "granted", "basis": "soft_opt_in", "at": at(1)},
        {"customer": "c1", "topic": "reminders", "state": "pending"},
        {"customer": "c1", "topic": "all", "state": "withdrawn"},
    )  # fmt: skip
    states = {row["topic"]: row for row in table(database, consent_state)}
    assert (
        states["offers"]["granted_at"] == datetime(1970, 1, 1, tzinfo=UTC) < states["offers"]["withdrawn_at"]
    )
    assert states["reminders"]["soft_granted_at"].isoformat() == at(1)
    assert states["reminders"]["granted_at"] is None
    assert states["reminders"]["pending_at"] == NOW == states["all"]["withdrawn_at"]
    names = table(database, events, "name")
    assert sorted(names) == ["consent_granted", "consent_granted", "consent_withdrawn", "consent_withdrawn"]


def test_products_change_only_against_what_was_known(database: Database) -> None:
    """The first load changes nothing; then prices fall, stock runs low and comes back; older facts change nothing."""
    apply_a_flow(database)
    tell(
        database,
        "products",
        {"sku": "T1", "price": "10.00", "stock": 25, "updated_at": at(1)},
        {"sku": "T2", "stock": 0, "updated_at": at(1)},
    )
    assert table(database, product_changes) == []
    tell(
        database, "products",
        {"sku": "T1", "price": "8.00", "updated_at": at(2)},
        {"sku": "T1", "stock": 4, "updated_at": at(3)},
        {"sku": "T2", "stock": 9, "updated_at": at(3)},
        {"sku": "T1", "price": "1.00", "updated_at": at(0)},
    )  # fmt: skip
    changes = table(database, product_changes, "sku", "change", "old_price", "new_price", "new_stock")
    assert changes == [
        ("T1", "price_drop", Decimal("10.00"), Decimal("8.00"), 25),
        ("T1", "low_stock", Decimal("8.00"), Decimal("8.00"), 4),
        ("T2", "back_in_stock", None, None, 9),
    ]
    assert table(database, products, "sku", "price", "stock") == [("T1", Decimal("8.00"), 4), ("T2", None, 9)]
    assert len(table(database, fact_inbox)) == 3
    assert [price for _, price in table(database, product_prices, "since", "price")] == [
        Decimal("1.00"),
        Decimal("10.00"),
        Decimal("8.00"),
    ]


def test_carts(database: Database) -> None:
    """A cart is its newest telling; each telling is an event; empty lines empty it, lines that are not told do not."""
    tell(
        database, "carts",
        {"cart_id": "k1", "customer": "c1", "updated_at": at(1), "lines": [{"sku": "T1", "price": "3", "quantity": 2}]},
        {"cart_id": "k1", "customer": "c1", "updated_at": at(2), "url": "https://shop.test/k1"},
        {"cart_id": "k2", "customer": "c1", "updated_at": at(2), "lines": [{"sku": "T1"}]},
        {"cart_id": "k2", "customer": "c1", "updated_at": at(3), "lines": []},
        {"cart_id": "k2", "customer": "c1", "updated_at": at(1), "lines": [{"sku": "T9"}]},
        {"cart_id": "k3", "updated_at": at(3), "lines": []},
    )  # fmt: skip
    assert table(database, carts, "cart_id", "value") == [
        ("k1", Decimal("6.00")),
        ("k2", Decimal("0.00")),
        ("k3", Decimal("0.00")),
    ]
    assert table(database, cart_lines, "cart_id", "sku") == [("k1", "T1")]
    assert table(database, events, "name") == [
        "cart_updated",
        "cart_updated",
        "cart_updated",
        "cart_emptied",
        "cart_updated",
    ]
    (row,) = table(database, customers)
    assert row["last_activity_at"].isoformat() == at(3)


def test_events(database: Database) -> None:
    """Events are kept whole; what they name stands in columns; the future is taken as the time of receipt."""
    tell(
        database, "events",
        {"id": "e1", "event": "Product Viewed", "customer": "new@x.test", "sku": "T1", "at": at(1), "value": "12.5", "deep": {"a": [1]}},
        {"id": "e2", "event": "survey_answered", "customer": "new@x.test", "order_id": "o1", "score": 9, "at": "2030-01-01"},
        {"id": "e3", "event": "points_earned", "customer": "new@x.test", "balance": 120, "at": at(2)},
        {"id": "e4", "event": "tier_reached", "customer": "new@x.test", "tier": "gold", "at": at(2)},
    )  # fmt: skip
    first, second, *_ = table(database, events)
    assert (first["name"], first["sku"], first["value"], first["arrived_at"]) == (
        "product_viewed",
        "T1",
        Decimal("12.50"),
        NOW,
    )
    assert first["properties"]["deep"] == {"a": [1]}
    assert second["occurred_at"] == NOW
    assert second["properties"]["at"] == "2026-03-01T12:00:00Z"
    assert table(database, customers, "email", "points", "tier") == [("new@x.test", 120, "gold")]
    report = tell(
        database,
        "events",
        {"id": "e1", "event": "product_viewed", "customer": "new@x.test", "sku": "T2", "at": at(1)},
    )
    assert report.new == 1
    assert table(database, events, "sku")[0] == "T2"
    assert len(table(database, events)) == 4


def test_orders_of_nobody(database: Database) -> None:
    """A sale without a customer is kept with its lines, and raises nothing."""
    tell(database, "orders", {"order_id": "o1", "placed_at": at(1), "lines": [{"sku": "T1"}]})
    assert table(database, orders, "order_id", "customer_id") == [("o1", None)]
    assert table(database, events) == table(database, customers) == []
    tell(database, "orders", {"order_id": "o1", "customer": "c1", "placed_at": at(1)})
    assert table(database, events, "key") == ["order:o1:placed"]


def test_other_currencies(database: Database) -> None:
    """An order in another currency counts as an order and not as spending, and the report says so."""
    report = tell(
        database,
        "orders",
        {"order_id": "o1", "customer": "c1", "total": 9, "currency": "USD"},
        {"order_id": "o2", "customer": "c1", "total": 5},
    )
    assert table(database, customers, "orders", "spent") == [(2, Decimal("5.00"))]
    assert "another currency" in report.warnings[0]


def test_the_inbox_is_for_applied_flows(database: Database) -> None:
    """No flow, no inbox rows; with one, every event gets a row, backfilled ones too, and says that it was backfilled."""
    tell(database, "events", {"event": "viewed", "customer": "c1", "id": "e1"})
    assert table(database, fact_inbox) == []
    apply_a_flow(database)
    tell(database, "events", {"event": "viewed", "customer": "c1", "id": "e2"})
    tell(database, "events", {"event": "viewed", "customer": "c1", "id": "e3"}, backfill=True)
    tell(database, "events", {"event": "viewed", "customer": "c1", "id": "e4", "backfill": True})
    assert table(database, events, "key", "backfill") == [
        ("event:e1", False),
        ("event:e2", False),
        ("event:e3", True),
        ("event:e4", True),
    ]
    assert table(database, fact_inbox, "event_id") == [2, 3, 4]


def test_a_suppressed_address_stays_suppressed(database: Database) -> None:
    """Whoever comes to hold a suppressed address is suppressed."""
    with database.write() as connection:
        hashed = meta.keyed_hash(meta.secret(connection), "a@x.test")
        connection.execute(
            suppressions.insert().values(
                address_hash=hashed, customer_id=77, scope="all", reason="hard_bounce", at=NOW
            )
        )
    tell(database, "customers", {"external_id": "c1", "email": "a@x.test"})
    assert table(database, suppressions, "customer_id", "scope") == [(77, "all"), (1, "all")]


def virtual(database: Database, now: datetime = NOW) -> None:
    """Put the database on a virtual clock."""
    with database.write() as connection:
        meta.set_virtual_now(connection, now)


def test_a_virtual_clock_holds_back_what_lies_ahead(database: Database) -> None:
    """On a virtual clock nothing sees a fact before its own time: it waits, and arrives at its moment."""
    virtual(database, datetime(2026, 1, 1, tzinfo=UTC))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    order = {
        "order_id": "o1",
        "customer": "c1",
        "placed_at": at(2),
        "status": "cancelled",
        "status_at": at(4),
        "total": 5,
    }
    told: Iterable[tuple[Kind, dict[str, Any]]] = (
        ("orders", order),
        ("customers", {"external_id": "c1", "email": "a@x.test", "updated_at": at(1), "consent": "all"}),
        ("events", {"event": "viewed", "customer": "c1", "at": at(3)}),
        ("products", {"sku": "T1", "price": 3, "updated_at": at(1)}),
    )
    for _ in range(2):
        for kind, row in told:
            tell(database, kind, row, now=now)
    assert (
        table(database, customers)
        == table(database, orders)
        == table(database, events)
        == table(database, products)
        == []
    )
    assert table(database, consent_state) == []
    assert len(table(database, staged_facts)) == 6
    seen = []
    while True:
        with database.read() as connection:
            moment = next_arrival(connection)
        if moment is None:
            break
        assert arrive(database, until=moment - timedelta(seconds=1), settings=SETTINGS) == 0
        arrive(database, until=moment, settings=SETTINGS)
        seen.append((moment.day, table(database, orders, "status"), table(database, customers, "orders")))
    assert seen == [(2, [], [0]), (3, ["placed"], [1]), (4, ["placed"], [1]), (5, ["cancelled"], [0])]
    rows = table(database, events, "name", "occurred_at", "arrived_at")
    assert [name for name, _, _ in rows] == [
        "customer_created",
        "consent_granted",
        "order_placed",
        "viewed",
        "order_cancelled",
    ]
    assert all(occurred == arrived for _, occurred, arrived in rows)


def test_arriving_at_once_is_as_arriving_one_by_one(database: Database, sqlite_database: Database) -> None:
    """What waits gives the same rows whether it arrives in one sweep or moment by moment."""
    results = []
    for place, step in ((database, 1), (sqlite_database, 10_000)):
        virtual(place)
        for number in range(60):
            moment = (NOW + timedelta(hours=number + 1)).isoformat()
            kind: Kind = ("events", "orders", "customers", "carts", "products")[number % 5]
            customer = f"c{number % 4}"
            told: dict[str, dict[str, Any]] = {
                "events": {"event": "viewed", "customer": customer, "at": moment},
                "orders": {"order_id": f"o{number % 15}", "customer": customer, "status": ("placed", "cancelled")[number % 2], "status_at": moment, "total": number},
                "customers": {"external_id": customer, "email": f"m{number % 3}@x.test", "updated_at": moment, "first_name": f"N{number}"},
                "carts": {"cart_id": f"k{number % 10}", "customer": customer, "updated_at": moment, "lines": [{"sku": "T1", "price": number}]},
                "products": {"sku": "T1", "price": 100 - number, "stock": 60 - number, "updated_at": moment},
            }  # fmt: skip
            tell(place, kind, told[kind])
        while arrive(place, until=NOW + timedelta(days=9), settings=SETTINGS, limit=step):
            pass
        tables = (customers, orders, carts, cart_lines, products, product_changes, product_prices, events)
        names = {row["id"]: row["external_id"] for row in table(place, customers)}
        results.append(
            {which.name: [_unnumbered(row, names) for row in table(place, which)] for which in tables}
        )
    for name, rows in results[0].items():
        assert rows == results[1][name], name


def _unnumbered(row: dict[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Return a row without what numbers its customer: who was merged away used up a number."""
    plain = {
        name: value for name, value in row.items() if name not in ("told_at", "id", "customer_id", "key")
    }
    return plain | {"customer": names.get(row.get("customer_id", 0))}


@pytest.mark.parametrize("bad", [{"external_id": "c2", "email": "nonsense"}, {"first_name": "Nobody"}])
def test_the_rest_goes_on(database: Database, bad: dict[str, Any]) -> None:
    """A bad row is reported with its number and its column; the rows around it are taken."""
    seen: list[int] = []
    report = tell(
        database,
        "customers",
        {"external_id": "c1"},
        bad,
        {"external_id": "c3"},
        progress=lambda read, _share: seen.append(read),
    )
    assert (report.read, report.new, report.quarantined) == (3, 2, 1)
    assert (report.bad_rows[0].number, report.bad_rows[0].raw) == (2, (bad,))
    assert seen[-1] == 3
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(customers)) == 2
