"""Rows become facts, or say which column is bad and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.facts.fact import KINDS, BadRow, Fact, Kind, Line
from engine.facts.fields import Reading
from engine.facts.normalise import event_name, normalise

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def read(kind: Kind, row: dict[str, Any], *, cells: bool = False, zone: str = "Europe/Berlin") -> list[Fact]:
    """Return the facts of a good row."""
    facts = normalise(
        kind, row, Reading(zone, NOW, frozenset({"reminders", "offers"})), number=3, cells=cells
    )
    assert not isinstance(facts, BadRow), facts
    return facts


def refuse(kind: Kind, row: dict[str, Any], *, cells: bool = False) -> BadRow:
    """Return what is said about a bad row."""
    bad = normalise(kind, row, Reading("UTC", NOW), number=3, cells=cells)
    assert isinstance(bad, BadRow), bad
    assert bad.number == 3
    return bad


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2026-03-01T09:30:00+01:00", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        ("2026-03-01T09:30:00Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01 09:30", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ("2026-03-01 09:30:00 -0500", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        ("2026-03-29T02:30", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ],
)
def test_times(told: str, moment: datetime) -> None:
    """A time without an offset is on the shop's clock; one that does not exist there is the next that does."""
    (fact,) = read("events", {"event": "x", "customer": "c", "at": told})
    assert fact.at == moment


def test_money_is_exact() -> None:
    """Money is read as Decimals, from text and from JSON's numbers, and stands in documents as JSON's numbers."""
    (fact,) = read(
        "orders",
        {
            "order_id": "o",
            "total": Decimal("19.99"),
            "discount": "0.10",
            "lines": [{"sku": "T", "price": "3.30", "quantity": 2}],
        },
    )
    assert fact.fields["total"] == Decimal("19.99")
    assert fact.fields["discount"] == Decimal("0.10")
    assert fact.lines == (Line("T", Decimal(2), Decimal("3.30")),)
    assert fact.document["lines"] == [{"sku": "T", "quantity": 2, "price": 3.3}]


@pytest.mark.parametrize(
    ("kind", "row", "column"),
    [
        ("customers", {"first_name": "Ann"}, "external_id"),
        ("customers", {"email": "ann@"}, "email"),
        ("customers", {"email": "a b@x.test"}, "email"),
        ("customers", {"external_id": "c", "birthday": "02-30"}, "birthday"),
        ("customers", {"external_id": "c", "birthday": "2999-01-01"}, "birthday"),
        ("customers", {"external_id": "c", "points": "-1"}, "points"),
        ("customers", {"external_id": "c", "points": 1.5}, "points"),
        ("customers", {"external_id": "c", "created_at": "yesterday"}, "created_at"),
        ("customers", {"external_id": "c", "created_at": "0001-01-01"}, "created_at"),
        ("customers", {"external_id": "c", "first_name": "A\x00nn"}, "first_name"),
        ("customers", {"external_id": "c", "first_name": "A\ud800nn"}, "first_name"),
        ("customers", {"external_id": "c", "note": {"deep": ["\ud800"]}}, "note"),
        ("customers", {"external_id": "c", "note": "x" * 300_000}, ""),
        ("customers", {"external_id": "c", "height": float("nan")}, "height"),
        ("customers", {"external_id": "c", "height": Decimal("Infinity")}, "height"),
        ("customers", {"external_id": "c", "backfill": "perhaps"}, "backfill"),
        ("products", {"title": "Sencha"}, "sku"),
        ("products", {"sku": "T", "stock": "-3"}, "stock"),
        ("products", {"sku": "T", "price": "free"}, "price"),
        ("products", {"sku": "T", "price": "NaN"}, "price"),
        ("products", {"sku": "T", "price": "-1"}, "price"),
        ("products", {"sku": "T", "currency": "euro"}, "currency"),
        ("products", {"sku": "T", "available": "maybe"}, "available"),
        ("orders", {"customer": "c"}, "order_id"),
        ("orders", {"order_id": "o", "status": "lost"}, "status"),
        ("orders", {"order_id": "o", "total": "1e99"}, "total"),
        ("orders", {"order_id": "o", "lines": [{"quantity": 1}]}, "lines.sku"),
        ("orders", {"order_id": "o", "lines": [{"sku": "T", "quantity": -1}]}, "lines.quantity"),
        ("orders", {"order_id": "o", "lines": [{"sku": "T", "quantity": 10**6, "price": "100000"}]}, "lines"),
        ("carts", {"cart_id": "k", "lines": [{"sku": "T", "quantity": 10**6, "price": "-100000"}]}, "lines"),
        ("orders", {"order_id": "o", "refunds": [{"amount": "-5"}]}, "refunds"),
        ("orders", {"order_id": "o", "email": "nobody"}, "email"),
        ("carts", {"customer": "c"}, "cart_id"),
        ("events", {"customer": "c"}, "event"),
        ("events", {"event": "x"}, "customer"),
        ("consents", {"customer": "c", "topic": "offers"}, "state"),
        ("consents", {"customer": "c", "topic": "offers", "state": "yes"}, "state"),
        ("consents", {"customer": "c", "topic": "offers", "state": "granted", "basis": "guess"}, "basis"),
    ],
)
def test_bad_rows_name_their_column(kind: Kind, row: dict[str, Any], column: str) -> None:
    """A row that cannot be used says which column is the reason, and keeps the row."""
    bad = refuse(kind, row)
    assert bad.column == column
    assert bad.reason
    assert bad.raw == (row,)


def test_a_bad_zone_is_no_bad_row() -> None:
    """A zone, locale or country that nobody knows is left out and reported; the customer is taken."""
    reading = Reading("UTC", NOW)
    facts = normalise(
        "customers",
        {"external_id": "c", "timezone": "Mars/North", "locale": "klingon", "country": "Narnia"},
        reading,
    )
    assert isinstance(facts, list)
    assert facts[0].fields == {"external_id": "c"}
    assert len(reading.warnings) == 3


def test_customers() -> None:
    """Addresses, countries, locales, birthdays and tags take one normal form; other columns are properties."""
    (fact,) = read(
        "customers",
        {"external_id": 17, "email": " Ann@X.Test ", "country": "united kingdom", "locale": "pt_br", "birthday": "1990-05-17T00:00:00", "tags": "vip, tea,,vip",
         "shoe_size": "42", "zip": "01067", "properties": {"a": 1}},
        cells=True,
    )  # fmt: skip
    assert fact.fields == {
        "external_id": "17", "email": "ann@x.test", "country": "GB", "locale": "pt-BR", "birthday": "1990-05-17", "tags": ["vip", "tea"],
    }  # fmt: skip
    assert fact.properties == {"shoe_size": 42, "zip": "01067", "a": 1}


@pytest.mark.parametrize(
    ("told", "topics"),
    [
        ("all", ["all"]),
        ("reminders, offers", ["reminders", "offers"]),
        (["offers"], ["offers"]),
        ('["offers"]', ["offers"]),
    ],
)
def test_consent_of_a_customer(told: Any, topics: list[str]) -> None:
    """A customer's consent becomes one consent fact a topic, with its source and its date."""
    customer, *consents = read(
        "customers",
        {"external_id": "c", "consent": told, "consent_at": "2026-01-01T00:00Z", "consent_source": "shop"},
    )
    assert [fact.fields["topic"] for fact in consents] == topics
    assert {fact.customer for fact in consents} == {"c"}
    assert {fact.fields["source"] for fact in consents} == {"shop"}
    assert {fact.at for fact in consents} == {datetime(2026, 1, 1, tzinfo=UTC)}
    assert "consent" not in customer.fields


def test_stock_that_is_empty_is_not_tracked() -> None:
    """An empty stock says that stock is not tracked; any other empty cell says nothing, and null says nothing is there."""
    (fact,) = read("products", {"sku": "T", "stock": "", "title": ""}, cells=True)
    assert fact.fields == {"sku": "T", "stock": None}
    (fact,) = read("products", {"sku": "T", "title": None})
    assert fact.fields == {"sku": "T", "title": None}


def test_a_row_without_a_customer_but_with_an_address() -> None:
    """Orders, carts and events that name an address instead of a customer are that address's."""
    (fact,) = read("orders", {"order_id": "o", "email": "Ann@x.test"})
    assert fact.customer == "ann@x.test"
    assert fact.properties == {}


@pytest.mark.parametrize(
    ("row", "kind", "key"),
    [
        ({"event": "order_placed", "order_id": "o1", "value": 10}, "orders", "o1"),
        ({"event": "order_shipped", "order_id": "o1"}, "orders", "o1"),
        ({"event": "Order Completed", "order_id": "o1"}, "orders", "o1"),
        ({"event": "cart_updated", "cart_id": "k1"}, "carts", "k1"),
        ({"event": "cart_emptied", "cart_id": "k1"}, "carts", "k1"),
        ({"event": "product_viewed", "id": "e1", "sku": "T"}, "events", "event:e1"),
    ],
)
def test_events_of_other_kinds(row: dict[str, Any], kind: str, key: str) -> None:
    """An event that another kind of fact raises is read as that fact: an order_placed makes an order."""
    (fact,) = read("events", {"customer": "c", "at": "2026-02-01T00:00Z", **row})
    assert (fact.kind, fact.key, fact.customer) == (kind, key, "c")
    assert fact.at == datetime(2026, 2, 1, tzinfo=UTC)


def test_events_without_an_id_are_known_by_their_content() -> None:
    """The same event told twice without an id has one key, in whatever order its fields stand; another has another."""
    row = {"event": "x", "customer": "c", "at": "2026-02-01T00:00Z", "a": 1}
    same, other = read("events", dict(reversed(row.items())))[0], read("events", {**row, "a": 2})[0]
    assert read("events", row)[0].key == same.key != other.key


@pytest.mark.parametrize(
    ("told", "name"),
    [("Order Completed", "order_placed"), ("Product Added to Wishlist", "wishlist_added"), ("Some Event", "some_event"),
     ("someEvent", "some_event"), ("app.opened", "app.opened"), ("商品 閲覧", "商品_閲覧")],
)  # fmt: skip
def test_event_names(told: str, name: str) -> None:
    """Segment's names get their meaning here, other names snake_case."""
    assert event_name(told) == name


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.decimals()
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    ["external_id", "email", "customer", "order_id", "cart_id", "sku", "event", "at", "placed_at", "lines", "total", "stock", "tags", "consent",
     "topic", "state", "status", "timezone", "country", "birthday", "properties", "refunds", "backfill", "value", "kind"]
) | st.text(max_size=5)  # fmt: skip


@given(kind=st.sampled_from(KINDS), row=st.dictionaries(_NAMES, _JSON, max_size=8), cells=st.booleans())
def test_any_row_is_a_fact_or_a_bad_row(kind: Kind, row: dict[str, Any], cells: bool) -> None:
    """Whatever a row holds, reading it gives facts whose documents any database takes, or a bad row; never an error."""
    facts = normalise(kind, row, Reading("Europe/Berlin", NOW), number=1, cells=cells)
    if isinstance(facts, BadRow):
        assert facts.reason
        return
    for fact in facts:
        words = json.dumps(fact.document, allow_nan=False, ensure_ascii=False)
        words.encode("utf-8")
        assert "\x00" not in words
        assert fact.key


@given(row=st.fixed_dictionaries({"event": st.just("viewed"), "customer": st.just("c")}, optional={"at": st.just("2026-01-01T00:00Z"), "sku": st.text("ab1", max_size=3), "score": st.integers(0, 9) | st.decimals(0, 9, places=2), "tags": st.lists(st.text("xy", max_size=2), max_size=2)}))  # fmt: skip
def test_a_document_reads_as_the_same_fact(row: dict[str, Any]) -> None:
    """A fact that waited as its document comes out of it as it went in: same key, same time, same properties."""
    (fact,) = read("events", row)
    (again,) = read("events", json.loads(json.dumps(fact.document)))
    assert (again.key, again.at, again.document) == (fact.key, fact.at, fact.document)
