"""The demo shop's facts: canonical, repeatable, in order, and with everything in them that the flows live on."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from engine.calendar import is_zone
from engine.deploy.demo_shop import HISTORY_DAYS, demo_facts
from engine.deploy.pictures import picture

START = datetime(2026, 1, 10, 8, tzinfo=UTC)
DAYS = 60
TIME_OF = {
    "products": "updated_at",
    "customers": "updated_at",
    "consents": "at",
    "events": "at",
    "carts": "updated_at",
    "orders": "status_at",
}
FIELDS = {
    "products": {"sku", "updated_at", "title", "category", "brand", "price", "currency", "url", "image_url", "stock", "available",
                 "days_of_supply", "group"},
    "customers": {"external_id", "updated_at", "created_at", "email", "first_name", "last_name", "locale", "timezone", "country",
                  "birthday", "tags", "favourite"},
    "consents": {"customer", "topic", "state", "basis", "at", "source", "wording"},
    "events": {"id", "event", "customer", "at", "sku", "order_id", "rating", "checkout_id", "cart_id", "value", "url", "lines"},
    "carts": {"cart_id", "customer", "updated_at", "url", "checkout_url", "currency", "value", "lines"},
    "orders": {"order_id", "customer", "placed_at", "status", "status_at", "currency", "total", "discount", "coupon", "lines",
               "shipments", "refunds", "returns", "cart_id"},
}  # fmt: skip

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def facts() -> list[tuple[str, dict[str, Any]]]:
    """Give the facts of the shop as `homing demo` makes it."""
    return list(demo_facts(7, START, DAYS))


@pytest.fixture(scope="module")
def rows(facts: list[tuple[str, dict[str, Any]]]) -> Rows:
    """Give the facts by kind."""
    by_kind: Rows = defaultdict(list)
    for kind, row in facts:
        by_kind[kind].append(row)
    return by_kind


def test_the_same_seed_tells_the_same_story() -> None:
    """Equal arguments give equal facts; another seed gives others."""
    once, again = list(demo_facts(1, START, 5, customers=40)), list(demo_facts(1, START, 5, customers=40))
    assert once == again
    assert once != list(demo_facts(2, START, 5, customers=40))


def test_a_customer_is_the_same_in_a_larger_shop() -> None:
    """More customers add stories and change none."""
    small = [fact for fact in demo_facts(1, START, 5, customers=20) if fact[0] != "products"]
    large = list(demo_facts(1, START, 5, customers=60))
    assert all(fact in large for fact in small)


def test_facts_come_in_the_order_in_which_they_happened(facts: list[tuple[str, dict[str, Any]]]) -> None:
    """Times never go back and stay within the year before the start and the days after it."""
    times = [datetime.fromisoformat(row[TIME_OF[kind]]) for kind, row in facts]
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert START - timedelta(days=HISTORY_DAYS) <= times[0]
    assert times[-1] < START + timedelta(days=DAYS)


def test_rows_have_canonical_fields_only(facts: list[tuple[str, dict[str, Any]]]) -> None:
    """Every field is one of FACTS, but one property of customers and the cart of an order."""
    assert all(set(row) <= FIELDS[kind] for kind, row in facts)


def test_nobody_is_told_of_before_they_exist(facts: list[tuple[str, dict[str, Any]]]) -> None:
    """A customer, a product and an order come before whatever names them."""
    known: set[str] = set()
    for kind, row in facts:
        if kind in ("customers", "products"):
            known.add(row.get("external_id") or row["sku"])
            continue
        named = {
            row["customer"],
            *(line["sku"] for line in row.get("lines", ())),
            *([row["sku"]] if "sku" in row else []),
        }
        assert named <= known


def test_the_catalogue_has_what_recommendations_need(rows: Rows) -> None:
    """300 products in ten categories, with prices and pictures; supply is stated for some that run out, not for all."""
    products = {row["sku"]: row for row in rows["products"] if "new harvest" not in row["title"]}
    assert len(products) == 300
    assert len({row["category"] for row in products.values()}) == 10
    assert all(
        Decimal(row["price"]) > 0 and row["image_url"].startswith("https://") for row in products.values()
    )
    stated = sum("days_of_supply" in row for row in products.values())
    assert 100 < stated < 220


def test_pictures_are_where_they_are_said_to_be() -> None:
    """Every product has its picture below the given address, also one that comes in later or changes."""
    facts = demo_facts(1, START, 5, customers=5, pictures="https://mail.shop.example/images")
    told = [row["image_url"] for kind, row in facts if kind == "products"]
    assert len(set(told)) > 20
    assert all(
        address.startswith("https://mail.shop.example/images/") and picture(address) for address in told
    )


def test_new_harvests_come_in_all_the_time(rows: Rows) -> None:
    """Whoever stayed away for three months has missed something, with a picture of its own kind."""
    arrived = [row for row in rows["products"] if "new harvest" in row["title"]]
    assert 10 <= len(arrived) == len({row["sku"] for row in arrived})
    assert all(picture(row["image_url"]) for row in rows["products"])


def test_the_catalogue_changes_in_the_days_to_be_played(rows: Rows) -> None:
    """Prices fall, shelves empty and fill again while the demo runs."""
    later = [row for row in rows["products"] if row["updated_at"] >= START.isoformat()]
    assert any(not row["available"] for row in later)
    assert any(0 < row["stock"] < 5 for row in later)
    first = {row["sku"]: Decimal(row["price"]) for row in reversed(rows["products"])}
    assert any(Decimal(row["price"]) < first[row["sku"]] for row in later)


def test_the_customers_are_of_many_kinds(rows: Rows) -> None:
    """Eleven countries, real zones, some fields missing, birthdays with and without a year, and on 29 February."""
    people = rows["customers"]
    assert len(people) == len({row["email"] for row in people}) == 2_000
    assert all(row["email"].isascii() and row["email"].endswith("@example.test") for row in people)
    assert len({row["country"] for row in people}) == 11
    assert {row["locale"] for row in people} >= {"de", "en-GB", "ja", "zh-TW", "fr"}
    assert all(is_zone(row["timezone"]) for row in people if "timezone" in row)
    for field in ("timezone", "birthday", "first_name"):
        assert any(field not in row for row in people)
    birthdays = Counter(len(row["birthday"]) for row in people if "birthday" in row)
    assert set(birthdays) == {5, 10}
    assert sum(row.get("birthday", "").endswith("02-29") for row in people) >= 5


def test_consents_are_of_every_state(rows: Rows) -> None:
    """Most agreed; some only to one topic, some by a sale, some are pending, some took it back, some were never asked."""
    states = Counter((row["state"], row["basis"]) for row in rows["consents"])
    assert set(states) == {
        ("granted", "opt_in"),
        ("granted", "soft_opt_in"),
        ("pending", "opt_in"),
        ("withdrawn", "opt_in"),
    }
    assert len({row["customer"] for row in rows["consents"] if row["state"] == "granted"}) > 1_500
    assert len({row["customer"] for row in rows["consents"]}) < 2_000


def test_orders_end_in_every_way(rows: Rows) -> None:
    """Placed, shipped, delivered; some cancelled, some returned and refunded; totals are what the lines say."""
    statuses = Counter(row["status"] for row in rows["orders"])
    assert set(statuses) == {"placed", "shipped", "delivered", "cancelled", "returned", "refunded"}
    for row in rows["orders"]:
        lines = sum((Decimal(line["price"]) * line["quantity"] for line in row["lines"]), Decimal(0))
        assert Decimal(row["total"]) + Decimal(row.get("discount", 0)) == lines


def test_the_year_has_a_season(rows: Rows) -> None:
    """December sells more than August."""
    months = Counter(row["placed_at"][5:7] for row in rows["orders"] if row["status"] == "placed")
    assert months["12"] > 1.2 * months["08"]


def test_people_buy_again_by_their_own_cycle_or_stay_away(rows: Rows) -> None:
    """There is matter for replenishment (the same product again and again), for win-back, and for a first order."""
    bought: Counter[tuple[str, str]] = Counter()
    last: dict[str, str] = {}
    count: Counter[str] = Counter()
    for row in rows["orders"]:
        if row["status"] == "placed":
            bought.update((row["customer"], line["sku"]) for line in row["lines"])
            count[row["customer"]] += 1
            last[row["customer"]] = row["placed_at"]
    assert sum(times >= 5 for times in bought.values()) > 300
    quiet = (START - timedelta(days=120)).isoformat()
    assert sum(count[customer] >= 3 and at < quiet for customer, at in last.items()) > 100
    assert sum(times == 1 for times in count.values()) > 100
    assert len(count) < 2_000


def test_carts_are_left_and_come_back_to(rows: Rows) -> None:
    """In the days to be played some carts are bought, some emptied, some forgotten."""
    played = START.isoformat()
    filled = {row["cart_id"] for row in rows["carts"] if row["lines"] and row["updated_at"] >= played}
    emptied = {row["cart_id"] for row in rows["carts"] if not row["lines"]}
    ordered = {row["cart_id"] for row in rows["orders"] if "cart_id" in row}
    assert len(filled & ordered) > 100
    assert len(filled & emptied - ordered) > 5
    assert len(filled - emptied - ordered) > 100
