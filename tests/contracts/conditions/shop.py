"""One crowded shop, and questions that hit: customers, facts, carts and offers at every edge that conditions have.

Goes out: rows for every table, a subject for each customer, and strategies for questions about them. Where random worlds
are wide, this one is dense: few values, so that about half of the questions hold, and moments one microsecond apart.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from engine.audience.subjects import Ask, Subject
from engine.calendar import Duration
from engine.flows.conditions import (
    All,
    Any_,
    Clause,
    Condition,
    Did,
    FieldTest,
    InSegment,
    Lines,
    Not,
    Of,
    OfferIs,
    Test,
)
from tests.contracts.conditions.worlds import MICROSECOND, NOW, World

CUSTOMERS = 60
_DAY = timedelta(days=1)
EDGES = [NOW - days * _DAY + step * MICROSECOND for days in (0, 1, 30) for step in (-1, 0, 1)]
SKUS = ("T1", "T2", "T3", "T4", "gone")
_ISO = (
    "2026-03-29T12:00:00Z",
    "2026-03-29T21:00:00+09:00",
    "2026-03-28T12:00:00.000001Z",
    "2026-03-29",
    "2026-02-27T12:00",
)


def _line(random: Random, price: Callable[[str], Any]) -> dict[str, Any]:
    return {
        "sku": random.choice(SKUS),
        "quantity": random.choice([1.0, 2.0]),
        "price": random.choice([None, price("5"), price("8")]),
    }


def _document(random: Random) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "a": random.choice([1, 2, "1", "x", "X", None, True, ["x", 2]]),
        "at_text": random.choice(_ISO),
    }
    told = {**plain, "lines": [_told(_line(random, float)) for _ in range(random.randrange(3))]}
    kept = {name: value for name, value in told.items() if random.random() < 0.6}
    inside = {name: value for name, value in _document_inside(random).items() if random.random() < 0.6}
    return {**kept, **({"properties": inside} if random.random() < 0.5 else {})}


def _document_inside(random: Random) -> dict[str, Any]:
    return {
        "a": random.choice([1, 2, "x"]),
        "b": {"c": random.choice([0.1, 0.2, 0.3])},
        "lines": [{"sku": "T1"}],
    }


def _told(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if value is not None}


def _customer(random: Random, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "country": random.choice(["JP", "jp", "DE", None]),
        "first_seen_at": NOW,
        "created_at": random.choice([*EDGES, None]),
        "points": random.choice([0, 1, 2, None]),
        "orders": random.choice([0, 1, 2]),
        "spent": random.choice([Decimal("0"), Decimal("19.99"), Decimal("20")]),
        "average_gap_days": random.choice([1.0, 2.0, 2.5, None]),
        "tags": random.choice([["vip"], ["x", "vip"], [], None]),
        "properties": random.choice([None, _document(random)]),
        "erased_at": random.choice([None, None, None, NOW]),
    }


def _fact(random: Random, number: int, customer: int) -> dict[str, Any]:
    occurred = random.choice(EDGES)
    return {
        "id": number,
        "key": f"k{number}",
        "customer_id": customer,
        "name": random.choice(["order_placed", "cart_updated"]),
        "occurred_at": occurred,
        "arrived_at": occurred if random.random() < 0.6 else random.choice(EDGES),
        "value": random.choice([None, Decimal("0.1"), Decimal("19.99"), Decimal("20")]),
        "order_id": random.choice([None, "o1", "o2"]),
        "cart_id": random.choice([None, "c1", "c2"]),
        "sku": random.choice([None, *SKUS]),
        "properties": random.choice([None, _document(random)]),
        "backfill": random.random() < 0.3,
    }


def _product(random: Random, sku: str) -> dict[str, Any]:
    stock, available = {"T1": (0, True), "T2": (1, False), "T3": (None, None), "T4": (2, True)}[sku]
    document = {"a": random.choice([1, 2, "x"])}
    category = "tea" if sku in ("T1", "T4") else "cup"
    price = Decimal("9") if sku != "T3" else None
    known = {"sku": sku, "stock": stock, "available": available, "first_seen_at": NOW, "properties": document}
    return {**known, "category": category, "price": price}


def _owned(random: Random, key: str, letter: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return carts or orders, and their lines."""
    owners, lines = [], []
    for number in range(1, 7):
        owner = {
            key: f"{letter}{number}",
            "customer_id": 1,
            "updated_at": random.choice(EDGES),
            "properties": _document(random),
        }
        owners.append(owner)
        lines += [{key: owner[key], "line_no": no, **_line(random, Decimal)} for no in range(number % 4)]
    return owners, lines


def crowded() -> World:
    """Return the rows of the shop, the same every time."""
    random = Random(29)
    carts, in_carts = _owned(random, "cart_id", "c")
    orders, in_orders = _owned(random, "order_id", "o")
    numbers = range(1, CUSTOMERS + 1)
    facts = [number for number in numbers for _ in range(number % 4)]
    codes = [number for number in numbers for _ in range(number % 3)]
    more = ("placed_at", "status_at")
    return World(
        {
            "customers": tuple(_customer(random, number) for number in numbers),
            "customer_scores": tuple({"customer_id": number, "at": NOW, "rfm_r": number % 5} for number in numbers if number % 2),
            "products": tuple(_product(random, sku) for sku in SKUS if sku != "gone"),
            "orders": tuple(
                {**row, **{name: random.choice(EDGES) for name in more}, "status": random.choice(["placed", "paid"]), "total": random.choice([0, 20])}
                for row in orders
            ),
            "order_lines": tuple(in_orders),
            "carts": tuple({**row, "value": random.choice([None, Decimal("0"), Decimal("20")])} for row in carts),
            "cart_lines": tuple(in_carts),
            "events": tuple(_fact(random, number, customer) for number, customer in enumerate(facts, start=1)),
            "offer_codes": tuple(
                {
                    "offer": random.choice(["ten", "ten", "other"]),
                    "code": "C",
                    "customer_id": customer,
                    "issued_at": random.choice([*EDGES[:3], None]),
                    "expires_at": random.choice([*EDGES[:3], None]),
                    "used_at": random.choice([*EDGES[:3], None, None]),
                }
                for customer in codes
            ),
        }
    )  # fmt: skip


def visitors(world: World) -> list[Subject]:
    """Return a subject for each customer of the shop, and one whom nobody knows."""
    random = Random(7)
    own: dict[int, list[int]] = {}
    for row in world.rows["events"]:
        own.setdefault(row["customer_id"], []).append(row["id"])
    return [
        Subject(
            number,
            random.choice(EDGES),
            random.choice(EDGES),
            event_id=random.choice([None, *own.get(number, [])]),
            order_id=random.choice([None, *(f"o{n}" for n in range(1, 8))]),
            cart_id=random.choice([None, *(f"c{n}" for n in range(1, 8))]),
            sku=random.choice([None, *SKUS]),
            trigger={
                **_document(random),
                **random.choice([{}, {"cart_id": "c1", "sku": "T1"}, {"order_id": "o2"}]),
            },
            answers=random.choice([{}, {"nps": _document(random)}, {"answer": {"a": 1}, "nps": {"a": 2}}]),
        )
        for number in range(1, CUSTOMERS + 2)
    ]


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────────

_OPS = st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"])
_NUMBERS = st.sampled_from([0, 1, 2, Decimal("0.1"), Decimal("2.5"), 5, 8, 9, Decimal("19.99"), 20])
_SPANS = st.sampled_from([Duration(days=1), Duration(days=30)])


def _field(paths: tuple[str, ...], test: SearchStrategy[Test]) -> SearchStrategy[FieldTest]:
    return st.builds(FieldTest, st.sampled_from(paths), test.map(lambda one: (one,)))


_NUMBER = st.builds(Test, _OPS, _NUMBERS)
_TEXT: SearchStrategy[Test] = st.one_of(
    st.builds(Test, st.sampled_from(["eq", "ne", "contains", "starts_with", "gt"]), st.sampled_from(["x", "X", "JP", "vip", "T1", "tea", "c1"])),
    st.builds(Test, st.sampled_from(["in", "not_in"]), st.sampled_from([("x", 1), ("JP", "vip"), ("T1", "T3"), ()])),
)  # fmt: skip
_MOMENT: SearchStrategy[Test] = st.one_of(
    st.builds(Test, st.sampled_from(["before", "after", "eq", "gte"]), st.sampled_from(EDGES)),
    st.builds(Test, st.sampled_from(["within", "older_than", "in_next"]), _SPANS),
)
_THERE = st.booleans().map(lambda there: Test("exists", there))
_STOCK = st.booleans().map(lambda held: Test("eq", held))

_FREE = st.one_of(
    _field(("a", "properties.a", "b.c"), _NUMBER | _TEXT | _THERE), _field(("at_text",), _MOMENT | _THERE)
)
_ON_LINE = st.one_of(
    _field(("in_stock",), _STOCK),
    _field(("price", "quantity"), _NUMBER | _THERE),
    _field(("sku", "category", "a"), _TEXT | _THERE),
    _field(("stock",), _NUMBER),
)
_LINES = st.builds(
    Lines, st.sampled_from(["any", "all", "none"]), st.lists(_ON_LINE, min_size=1, max_size=2).map(tuple)
)
_WHERE = st.one_of(
    _FREE,
    _field(("value",), _NUMBER | _THERE),
    _field(("sku", "cart_id", "lines.category"), _TEXT | _THERE),
    _field(("at",), _MOMENT),
)
_FIELDS: dict[str, SearchStrategy[FieldTest]] = {
    "customer": st.one_of(
        _FREE,
        _field(("country", "tags"), _TEXT | _THERE),
        _field(("points", "orders", "spent", "average_gap_days", "rfm.r"), _NUMBER | _THERE),
        _field(("created_at",), _MOMENT),
    ),
    "trigger": _FREE | _field(("sku", "cart_id", "lines.category"), _TEXT),
    "answer": _FREE | _field(("nps.a", "answer.a"), _NUMBER),
    "product": _FREE | _field(("in_stock",), _STOCK) | _field(("category",), _TEXT | _THERE) | _field(("price", "stock"), _NUMBER),
    "cart": _FREE | _field(("value", "items", "lines.price"), _NUMBER | _THERE) | _field(("updated_at",), _MOMENT),
    "order": _FREE | _field(("total", "items", "lines.price"), _NUMBER | _THERE) | _field(("placed_at",), _MOMENT),
}  # fmt: skip


def _few(strategy: SearchStrategy[Any], most: int) -> SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


_DIDS: SearchStrategy[Condition] = st.builds(
    Did,
    st.sampled_from(["order_placed", "cart_updated"]),
    times=_few(st.builds(Test, _OPS, st.sampled_from([0, 1, 2])), 1),
    within=st.none() | _SPANS,
    since=st.sampled_from([None, None, "entry", EDGES[3], EDGES[4]]),
    where=_few(_WHERE, 1),
    sums=st.just(()) | _few(_field(("value", "a", "b.c"), _NUMBER), 1),
    same=st.sampled_from([None, None, None, "cart_id", "order_id", "sku", "a"]),
)
_PLAIN_DIDS: SearchStrategy[Condition] = st.builds(
    Did, st.sampled_from(["order_placed", "cart_updated"]), times=_few(st.just(Test("gte", 2)), 1)
)
_OFFERS: SearchStrategy[Condition] = st.builds(
    OfferIs,
    st.just("ten"),
    held=st.sampled_from([None, True, False]),
    used=st.sampled_from([None, True, False]),
)
_OF_FIELDS: SearchStrategy[Condition] = st.sampled_from(sorted(_FIELDS)).flatmap(
    lambda scope: st.builds(Of, st.just(scope), fields=_few(_FIELDS[scope], 2))
)
_OF_LINES: SearchStrategy[Condition] = st.builds(
    Of,
    st.sampled_from(["trigger", "cart", "order"]),
    fields=st.just(()),
    lines=_LINES.map(lambda one: (one,)),
)
_LEAVES: SearchStrategy[Condition] = st.one_of(
    _DIDS, _PLAIN_DIDS, _OFFERS, _OF_FIELDS, _OF_LINES, st.just(InSegment("regulars"))
)
QUESTIONS: SearchStrategy[Condition] = st.one_of(
    _LEAVES,
    _LEAVES,
    _LEAVES.map(Not),
    st.lists(_LEAVES, min_size=2, max_size=3).map(lambda items: All(tuple(items))),
    st.lists(_LEAVES, min_size=2, max_size=3).map(lambda items: Any_(tuple(items))),
)
QUESTIONS_IN_PLACE = st.builds(
    lambda condition, after: Ask(Clause(condition, ""), after), QUESTIONS, st.booleans()
)
REGULARS = {
    "regulars": (
        Clause(Did("order_placed"), ""),
        Clause(Of("customer", (FieldTest("orders", (Test("gte", 1),)),)), ""),
    )
}
EVERYTHING: list[Condition] = [
    *(
        Of(scope, (), (Lines("any", ()),))
        for scope in ("customer", "trigger", "product", "cart", "order", "answer")
    ),
    Did("order_placed", where=(FieldTest("lines.sku", ()),)),
    Did("cart_updated", where=(FieldTest("lines.sku", ()),)),
    OfferIs("ten"),
]
