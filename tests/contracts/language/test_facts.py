"""The table of facts: what each kind holds, what it raises, and what becomes of repeated, late and contradicting rows."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.facts.rights import erase
from engine.store.tables import carts, consents, customers, events, product_changes, products
from tests.scenarios.world import World


@pytest.mark.parametrize("never", ["9999-12-31", "9999-12-31T23:59:59Z", "2999-01-01", "0000-00-00"])
def test_points_that_never_expire(here: World, never: str) -> None:
    """A date beyond every calendar says never: the row is taken, an older date goes, and no mail counts from it."""
    here.flow("flow: f\ntopic: reminders\ntrigger: {date: points_expire_at}\nsteps: [{send: letter}]\n")
    here.apply()
    here.customer(points_expire_at="2026-04-01", updated_at="2026-02-01T00:00:00Z")
    here.customer(points_expire_at=never, updated_at="2026-02-02T00:00:00Z")
    assert here.rows_of(customers.c.points_expire_at) == [None]
    here.go_on(days=60)
    assert here.sent == []


def test_a_date_that_cannot_be_is_still_told(here: World) -> None:
    """A slip of the hand is set aside with its reason."""
    row = {"external_id": "ann", "points_expire_at": "1026-04-01"}
    report = ingest_rows(here.database, "customers", [row], settings=here.settings, now=here.now)
    assert [bad.column for bad in report.bad_rows] == ["points_expire_at"]


def happened(here: World, *names: str) -> list[tuple[str, str]]:
    """Return the events of these names (all, where none is given) with their moments, in order."""
    rows = sorted(here.rows(events), key=lambda row: (row.occurred_at, row.id))
    return [(row.name, f"{row.occurred_at:%m-%d %H:%M}") for row in rows if not names or row.name in names]


def test_customers(here: World) -> None:
    """Every field of a customer is kept, what nobody knows becomes a property, and both events are raised."""
    told = {
        "external_id": "ann", "email": " Ann@Example.test ", "first_name": "Ann", "last_name": "Lee", "locale": "ja-JP",
        "timezone": "Asia/Tokyo", "country": "JP", "birthday": "05-17", "created_at": "2025-01-01T10:00:00Z", "tags": ["vip"],
        "points": 10, "points_expire_at": "2026-05-20T00:00:00Z", "tier": "gold", "referral_code": "R1", "referral_url": "https://k.test/r",
        "subscription_status": "active", "consent": ["reminders"], "consent_source": "shop", "consent_at": "2026-02-01T10:00:00Z",
        "shoe_size": 42, "updated_at": "2026-02-01T10:00:00Z",
    }  # fmt: skip
    here.tell("customers", told)
    here.tell("customers", told | {"tier": "silver", "updated_at": "2026-02-02T10:00:00Z"})
    (row,) = here.rows(customers)
    kept = {name: getattr(row, name) for name in told if hasattr(row, name)}
    assert kept["email"] == "ann@example.test"
    assert (row.tier, row.points, row.birthday, row.properties) == ("silver", 10, "05-17", {"shoe_size": 42})
    assert set(told) - set(kept) == {"consent", "consent_source", "consent_at", "shoe_size"}
    assert happened(here) == [
        ("customer_created", "01-01 10:00"),
        ("consent_granted", "02-01 10:00"),
        ("customer_updated", "02-02 10:00"),
    ]


def test_a_repeated_a_newer_and_an_older_row(here: World) -> None:
    """The same content changes nothing, newer content updates, an older one never overwrites."""
    for tier, day in (("a", 5), ("a", 5), ("b", 6), ("c", 4)):
        here.tell(
            "customers", {"external_id": "ann", "tier": tier, "updated_at": f"2026-02-0{day}T10:00:00Z"}
        )
    assert here.rows_of(customers.c.tier) == ["b"]
    assert happened(here, "customer_updated") == [("customer_updated", "02-06 10:00")]


def test_times_without_an_offset_are_the_shops(here: World) -> None:
    """Nine in the morning in Berlin is eight in UTC; without a time it is that of the receipt."""
    here.tell("events", {"event": "a", "customer": "ann", "at": "2026-02-01 09:00"})
    here.tell("events", {"event": "b", "customer": "ann"})
    assert happened(here, "a", "b") == [("a", "02-01 08:00"), ("b", "03-01 09:00")]


@pytest.mark.parametrize("reference", ["ann", "ann@example.test", "ANN@example.test"])
def test_a_customer_is_an_id_or_an_address(here: World, reference: str) -> None:
    """Facts find their customer by either."""
    here.customer()
    here.event("a", reference)
    assert len(here.rows(customers)) == 1


def test_products(here: World) -> None:
    """A product's events are told against what was known, never on the first load."""

    def told(day: int, **fields: object) -> None:
        here.tell(
            "products",
            {"sku": "T1", "updated_at": f"2026-02-{day:02}T10:00:00Z", "currency": "EUR", **fields},
        )

    told(1, title="Tea", price="10.00", stock=0, days_of_supply=30, group="tea", brand="K", category="tea")
    assert here.rows(product_changes) == []
    told(2, stock=30)
    told(3, price=8)
    told(4, stock=3)
    told(5, price=12)
    told(6, available=False)
    told(7, available=True)
    assert [row.change for row in here.rows(product_changes)] == [
        "back_in_stock",
        "price_drop",
        "low_stock",
        "back_in_stock",
    ]
    told(8, stock=0)
    told(9, stock="")
    names = ("title", "stock", "variant_group", "days_of_supply", "brand", "available")
    assert [here.rows_of(products.c[name])[0] for name in names] == ["Tea", None, "tea", 30, "K", True]


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("cancelled", "order_cancelled"),
        ("refunded", "order_refunded"),
        ("shipped", "order_shipped"),
        ("delivered", "order_delivered"),
        ("returned", "order_returned"),
        ("paid", None),
    ],
)
def test_statuses_of_orders(here: World, status: str, event: str | None) -> None:
    """Each status raises its event at its own time, with the order's total as its value."""
    told = {
        "order_id": "o1",
        "customer": "ann",
        "placed_at": "2026-02-01T10:00:00Z",
        "currency": "EUR",
        "total": "12.50",
        "lines": [{"sku": "T1", "quantity": 2, "price": "6.25"}],
    }
    here.tell("orders", told | {"status": "placed"})
    here.tell("orders", told | {"status": status, "status_at": "2026-02-03T10:00:00Z"})
    wanted = [("order_placed", "02-01 10:00")] + ([(event, "02-03 10:00")] if event else [])
    assert [each for each in happened(here) if each[0].startswith("order_")] == wanted
    assert {row.value for row in here.rows(events) if row.name.startswith("order_")} == {Decimal("12.5")}
    (row,) = here.rows(customers)
    assert row.orders == (0 if status == "cancelled" else 1)


def test_an_order_in_one_row(here: World) -> None:
    """An order told once with a late status raises what came before it, too."""
    here.tell("orders", {
        "order_id": "o1", "customer": "ann", "placed_at": "2026-02-01T10:00:00Z", "status": "shipped", "status_at": "2026-02-03T10:00:00Z", "total": 5,
        "currency": "EUR", "discount": 1, "coupon": "TEN", "shipments": [{"carrier": "DHL", "tracking_url": "https://t.test", "estimated_at": "2026-02-05", "skus": ["T1"]}],
        "refunds": [{"amount": 1, "full": False}], "returns": [{"status": "asked", "reason": "small"}],
    })  # fmt: skip
    assert [name for name, _ in happened(here) if name.startswith("order_")][:2] == [
        "order_placed",
        "order_shipped",
    ]


def test_carts(here: World) -> None:
    """A cart's value is its lines' sum unless it is told; no lines at all is an emptied cart, lines not told are not."""

    def told(minute: int, **fields: object) -> None:
        here.tell(
            "carts",
            {"cart_id": "c1", "customer": "ann", "updated_at": f"2026-02-01T10:{minute:02}:00Z", **fields},
        )

    told(1, lines=[{"sku": "T1", "quantity": 2, "price": 5}, {"sku": "T2", "quantity": 1, "price": "2.50"}])
    assert here.rows_of(carts.c.value)[0] == Decimal("12.5")
    told(2, lines=[{"sku": "T1", "quantity": 2, "price": 5}], value=9)
    assert here.rows_of(carts.c.value)[0] == Decimal(9)
    told(3, checkout_url="https://k.test/c")
    told(4, lines=[])
    assert [name for name, _ in happened(here) if name.startswith("cart_")] == ["cart_updated"] * 3 + [
        "cart_emptied"
    ]


@pytest.mark.parametrize(
    "event",
    [
        {"event": "product_viewed", "sku": "T1"}, {"event": "wishlist_added", "sku": "T1"}, {"event": "wishlist_removed", "sku": "T1"},
        {"event": "stock_alert_requested", "sku": "T1"}, {"event": "checkout_started", "checkout_id": "k1", "value": 5, "url": "https://k.test", "lines": [{"sku": "T1", "quantity": 1, "price": 5}]},
        {"event": "review_given", "sku": "T1", "order_id": "o1", "rating": 5}, {"event": "survey_answered", "survey": "nps", "score": 9, "choice": "a", "text": "b", "order_id": "o1"},
        {"event": "points_earned", "points": 5, "balance": 9}, {"event": "points_redeemed", "points": 5}, {"event": "tier_reached", "tier": "gold", "direction": "up"},
        {"event": "referral_shared"}, {"event": "referral_converted", "friend": "ben", "order_id": "o2"}, {"event": "delivery_delayed", "order_id": "o1", "new_date": "2026-03-04"},
        {"event": "return_requested"}, {"event": "return_received"}, {"event": "complaint_opened"}, {"event": "complaint_closed"}, {"event": "refill_answered", "sku": "T1", "days": 10},
        {"event": "anything_at_all", "colour": "red"},
    ],
    ids=lambda row: row["event"],
)  # fmt: skip
def test_events(here: World, event: dict[str, object]) -> None:
    """An event raises itself; its fields can be asked for."""
    here.tell("events", event | {"customer": "ann", "at": "2026-02-01T10:00:00Z", "id": "1"})
    here.tell("events", event | {"customer": "ann", "at": "2026-02-01T10:00:00Z", "id": "1"})
    (row,) = [row for row in here.rows(events) if row.name == event["event"]]
    told = {
        **row.properties,
        "sku": row.sku,
        "order_id": row.order_id,
        "cart_id": row.cart_id,
        "value": row.value,
    }
    assert {name for name in event if name not in ("event",)} <= {
        name for name, value in told.items() if value is not None
    }


def test_points_and_tiers_move_the_customer(here: World) -> None:
    """What a loyalty event says of the balance and the tier is known of the customer."""
    here.customer()
    here.event("points_earned", points=5, balance=25)
    here.event("tier_reached", tier="gold", direction="up")
    (row,) = here.rows(customers)
    assert (row.points, row.tier) == (25, "gold")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Order Completed", "order_placed"),
        ("Some Event", "some_event"),
        ("someOther Event", "some_other_event"),
    ],
)
def test_names_of_events(here: World, theirs: str, ours: str) -> None:
    """Names as Segment's libraries send them become ours, or snake_case."""
    here.tell("events", {"event": theirs, "customer": "ann", "order_id": "o1"})
    assert ours in {name for name, _ in happened(here)}


def test_consents(here: World) -> None:
    """A consent has a topic, a state, a basis, a time, a source and its wording, and raises its event."""
    row = {
        "customer": "ann",
        "topic": "reminders",
        "basis": "soft_opt_in",
        "source": "shop",
        "wording": "Yes please",
    }
    here.tell("consents", row | {"state": "granted", "at": "2026-02-01T10:00:00Z"})
    here.tell("consents", row | {"state": "pending", "at": "2026-02-02T10:00:00Z"})
    here.tell("consents", row | {"state": "withdrawn", "at": "2026-02-03T10:00:00Z"})
    assert [each for each in happened(here) if each[0].startswith("consent_")] == [
        ("consent_granted", "02-01 10:00"),
        ("consent_withdrawn", "02-03 10:00"),
    ]
    assert [(each.state, each.basis, each.source, each.wording) for each in here.rows(consents)] == [
        (state, "soft_opt_in", "shop", "Yes please") for state in ("granted", "pending", "withdrawn")
    ]


def test_rows_about_an_erased_customer(here: World) -> None:
    """They are no findings, make nobody, and mail nobody."""
    here.flow("flow: f\ntopic: reminders\ntrigger: {event: app_opened}\nsteps: [{send: letter}]\n")
    here.apply()
    here.customer()
    with here.database.write() as connection:
        found = find_customer(connection, "ann")
        assert found is not None
        erase(connection, found, now=here.now)
    here.customer()
    here.event("app_opened")
    here.tell("orders", {"order_id": "o1", "customer": "ann@example.test", "total": 5, "currency": "EUR"})
    here.go_on(days=1)
    assert here.sent == []
    assert {row.email for row in here.rows(customers)} == {None}


@pytest.mark.parametrize("backfill", ["row", "command"])
def test_backfill(here: World, backfill: str) -> None:
    """Told as history, by its row or by the command, a fact is recorded and triggers nothing."""
    here.flow("flow: f\ntopic: reminders\ntrigger: {event: app_opened}\nsteps: [{send: letter}]\n")
    here.apply()
    here.customer()
    row = {"event": "app_opened", "customer": "ann"}
    if backfill == "row":
        here.tell("events", row | {"backfill": True})
    else:
        here.tell("events", row, backfill=True)
    here.go_on(days=1)
    assert (here.sent, happened(here, "app_opened")) == ([], [("app_opened", "03-01 09:00")])
