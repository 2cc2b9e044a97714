"""Random worlds and conditions: customers with nasty values, and what somebody might ask about them.

Goes out: Hypothesis strategies. The pools are small, so that values meet, and full of edges: wrong types, quotes, NBSP,
combining accents, -0, 1e308, moments one microsecond apart, ISO text that is almost right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sqlalchemy import Connection

from engine.audience.subjects import Ask, Subject
from engine.calendar import Duration
from engine.flows.conditions import (
    OPERATORS,
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
    Operator,
    Scalar,
    Test,
)
from engine.store.tables import metadata

NOW = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ZONES = ("UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati", "Europe/Berlin")
EVENT_NAMES = ("order_placed", "cart_updated", 'it\'s "odd"; --')
SKUS = ("T1", "t1", "Tee'", "\u00c9")
SEGMENTS = ("inner", "outer")

NASTY_TEXTS: list[str] = [
        "", "JP", "jp", "12", "true", "null", "O'Brien", '"q"', "a\u00a0b", "a b", "%", "_", "\\", "\u00e9", "e\u0301",
        "\U0001f600", "\uffff", "'; DROP TABLE customers; --", "$.a", "vip", "T1", "c1", "o1", "gold\n",
        "2026-03-29", "2026-03-29T12:00:00Z", "2026-03-29 21:00+09:00", "2026-03-29T12:00:00.000001Z",
        "2026-03-29T12:00", "2026-03-29T21:00:00", "2026-02-27", "2026-03-28T12:00:00.5-05:00", "2026-04-05",
        "2026-02-30", "2024-02-29", "2100-02-29", "2000-02-29T00:00:00Z", "2026-13-01", "2026-00-10", "2026-03-29Z",
        "2026-03-29T24:00:00Z", "2026-03-29T12:60:00Z", "2026-03-29T12:00:00.1234567Z", "2026-03-29T12:00:00.Z",
        "2026-03-29T12:00:00+15:00", "2026-03-29T12:00:00+14:59", "2026-03-29T12:00:00z", " 2026-03-29",
        "2026-03-29\n", "9999-12-31T23:59:59-14:59", "1000-01-01T00:00:00+14:59", "0999-12-31", "03-29", "2026-3-29",
        "2026-03-29T12:00:00,5Z", "\u0662\u0660\u0662\u0666-03-29", "20260329", "now", "2461129.5",
    ]  # fmt: skip
TEXTS = st.sampled_from(NASTY_TEXTS) | st.text(
    st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4
)
NASTY_NUMBERS: list[int | float] = [0, -0.0, 1, 1.0, -1, 2, 5, 12, 0.1, 0.30000000000000004, 0.3, 2.5, 19.99, 1e308, -1e308, 1e-320, 5e-324, 1e11, 1e12,
     2**53, 2**53 + 1, 2**63, 10**30, 10**400, -(10**400), 1.7976931348623157e308, 0.00005, 0.00015]  # fmt: skip
NUMBERS = (
    st.sampled_from(NASTY_NUMBERS) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-20, 20)
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
KEYS = st.sampled_from(
    [
        "a",
        "b",
        "value",
        "sku",
        "cart_id",
        "at",
        "lines",
        "properties",
        "x y",
        "tags",
        "0",
        "score",
        "category",
        "price",
    ]
)
LINES: SearchStrategy[list[Any]] = st.lists(
    st.fixed_dictionaries(
        {}, optional={"sku": st.sampled_from(SKUS) | SCALARS, "quantity": SCALARS, "price": SCALARS}
    )
    | SCALARS,
    max_size=3,
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
DOCUMENTS: SearchStrategy[dict[str, Any]] = st.builds(
    lambda plain, lines: {**plain, **({} if lines is None else {"lines": lines})},
    st.dictionaries(KEYS, JSON, max_size=4),
    st.none() | LINES,
)
MOMENTS = st.sampled_from(
    [
        NOW + timedelta(days=days) + MICROSECOND * step
        for days in (-365, -31, -30, -7, -1, 0, 1, 7)
        for step in (-1, 0, 1)
    ]
    + [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)]
)
MONEY = st.sampled_from(
    [Decimal(text) for text in ("0", "-1", "0.0001", "19.99", "20", "100", "1e11", "9e13")]
)
DURATIONS = st.sampled_from(
    [Duration.parse(text) for text in ("0min", "1h", "24h", "1d", "7d", "30d", "1mo", "1y", "-1d", "999999y")]
)
OPERANDS: SearchStrategy[Scalar] = st.one_of(
    TEXTS,
    st.booleans(),
    MOMENTS,
    st.integers(-20, 20),
    st.sampled_from(
        [2**53, 2**63, 10**30, 10**400, Decimal("1e400"), Decimal("-1e400"), Decimal("1e-400"), Decimal("-0")]
    ),
    NUMBERS.map(lambda number: Decimal(repr(number)) if isinstance(number, float) else number),
    MONEY,
    st.just("broken\x00\ud800"),
)
MICRO_COUNTS = st.sampled_from([None, 0, 1, 2, 5, -3, 100])


def _rows(**columns: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(columns)


@dataclass(frozen=True)
class World:
    """Rows for every table that conditions can ask, by the table's name, in an order that keys allow."""

    rows: dict[str, tuple[dict[str, Any], ...]]

    def insert(self, connection: Connection) -> None:
        """Write the rows."""
        for name, rows in self.rows.items():
            if rows:
                connection.execute(metadata.tables[name].insert(), list(rows))


def _customer(number: int) -> SearchStrategy[dict[str, Any]]:
    texts = st.none() | TEXTS
    moments = st.none() | MOMENTS
    return _rows(
        id=st.just(number), first_name=texts, country=texts, tier=texts, birthday=texts, locale=texts,
        created_at=moments, last_order_at=moments, points=MICRO_COUNTS, orders=st.integers(0, 3), spent=MONEY,
        average_gap_days=st.none() | st.floats(-50, 50), tags=st.none() | JSON, properties=st.none() | DOCUMENTS,
        first_seen_at=MOMENTS, erased_at=st.sampled_from([None, None, None, NOW]),
    )  # fmt: skip


def _numbered(rows: list[dict[str, Any]], **names: str) -> tuple[dict[str, Any], ...]:
    return tuple(
        {**row, **{name: (n if kind == "id" else f"{name}{n}") for name, kind in names.items()}}
        for n, row in enumerate(rows, start=1)
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Two customers, with scores, orders, carts, products, facts and offers."""
    owners = st.sampled_from([1, 2])
    texts, moments, money = st.none() | TEXTS, st.none() | MOMENTS, st.none() | MONEY
    line = _rows(sku=st.sampled_from(SKUS), quantity=st.sampled_from([0.0, 1.0, 2.5]), price=money)
    product = _rows(
        title=texts, category=texts, price=money, stock=MICRO_COUNTS, available=st.none() | st.booleans(),
        days_of_supply=st.none() | st.floats(0, 99), properties=st.none() | DOCUMENTS, first_seen_at=MOMENTS,
    )  # fmt: skip
    event = _rows(
        customer_id=owners, name=st.sampled_from(EVENT_NAMES), occurred_at=MOMENTS, arrived_at=MOMENTS, value=money,
        order_id=st.sampled_from([None, "o1", "o2"]), cart_id=st.sampled_from([None, "c1"]), sku=st.none() | st.sampled_from(SKUS),
        properties=st.none() | DOCUMENTS, backfill=st.booleans(),
    )  # fmt: skip
    offer = _rows(
        offer=st.sampled_from(["ten", "o'ffer"]), code=st.just("C"), customer_id=st.none() | owners,
        issued_at=moments, expires_at=moments, used_at=moments,
    )  # fmt: skip
    order = _rows(
        customer_id=owners, placed_at=MOMENTS, status=st.sampled_from(["placed", "cancelled"]), status_at=MOMENTS,
        cancelled_at=moments, total=MONEY, coupon=texts, shipments=st.none() | JSON, properties=st.none() | DOCUMENTS,
        updated_at=MOMENTS,
    )  # fmt: skip
    cart = _rows(
        customer_id=owners, updated_at=MOMENTS, url=texts, value=money, properties=st.none() | DOCUMENTS
    )
    scores = _rows(
        customer_id=st.just(1),
        at=MOMENTS,
        rfm_r=MICRO_COUNTS,
        spent_percentile=st.none() | st.floats(0, 1),
        predicted_value=money,
    )
    known = draw(st.lists(st.sampled_from(SKUS), unique=True))
    in_order, in_cart = draw(st.lists(line, max_size=2)), draw(st.lists(line, max_size=2))
    return World(
        {
            "customers": (draw(_customer(1)), draw(_customer(2))),
            "customer_scores": tuple(draw(st.lists(scores, max_size=1))),
            "products": tuple({**draw(product), "sku": sku} for sku in known),
            "orders": ({**draw(order), "order_id": "o1"},),
            "order_lines": tuple({**row, "order_id": "o1"} for row in _numbered(in_order, line_no="id")),
            "carts": ({**draw(cart), "cart_id": "c1"},),
            "cart_lines": tuple({**row, "cart_id": "c1"} for row in _numbered(in_cart, line_no="id")),
            "events": _numbered(draw(st.lists(event, max_size=6)), id="id", key="key"),
            "offer_codes": tuple(draw(st.lists(offer, max_size=3))),
        }
    )


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────

COMMON = ("a", "b", "a.b", "properties.a", "value", "x y", "tags", "a.0", "properties.properties.a")
PATHS = {
    "customer": (
        *COMMON, "first_name", "country", "tier", "birthday", "created_at", "last_order_at", "points", "orders", "spent",
        "average_gap_days", "rfm.r", "spent_percentile", "predicted_value", "tags.a", "churn_risk", "nobody",
    ),
    "trigger": (*COMMON, "sku", "at", "lines.price", "score", "order_number"),
    "answer": (*COMMON, "score", "nps.score", "answer.a", "sku"),
    "product": (*COMMON, "sku", "title", "category", "price", "stock", "available", "in_stock", "days_of_supply", "first_seen_at"),
    "cart": (*COMMON, "cart_id", "url", "items", "updated_at", "lines.price"),
    "order": (*COMMON, "order_id", "status", "total", "coupon", "items", "placed_at", "cancelled_at", "shipments", "shipments.a"),
    "event": (*COMMON, "order_id", "cart_id", "sku", "at", "event", "lines.sku", "lines.category", "score"),
    "line": ("sku", "quantity", "price", "title", "category", "stock", "available", "in_stock", "a", "properties.a.b"),
}  # fmt: skip


@st.composite
def any_test(draw: st.DrawFn) -> Test:
    """One test: any operator with operands that may not fit it."""
    op: Operator = draw(st.sampled_from(OPERATORS))
    if op == "exists":
        return Test(op, draw(st.booleans()))
    if op in ("in", "not_in"):
        return Test(op, tuple(draw(st.lists(OPERANDS, max_size=3))))
    if op in ("within", "older_than", "in_next"):
        return Test(op, draw(DURATIONS))
    if op in ("before", "after"):
        return Test(op, draw(MOMENTS))
    return Test(op, draw(OPERANDS))


def _fields(scope: str, *, least: int = 0) -> SearchStrategy[tuple[FieldTest, ...]]:
    several = st.lists(any_test(), min_size=1, max_size=2).map(tuple)
    one = st.builds(FieldTest, st.sampled_from(PATHS[scope]), several)
    return st.lists(one, min_size=least, max_size=2).map(tuple)


LINES_TESTS = st.builds(Lines, st.sampled_from(["any", "all", "none"]), _fields("line", least=1))


@st.composite
def ofs(draw: st.DrawFn) -> Of:
    """Tests on the fields and lines of one scope."""
    scope: Any = draw(st.sampled_from(["customer", "trigger", "product", "cart", "order", "answer"]))
    lines = st.lists(LINES_TESTS, max_size=1).map(tuple)
    return Of(scope, draw(_fields(scope)), draw(lines))


COUNT_TESTS = st.lists(
    st.builds(
        Test,
        st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]),
        st.sampled_from([0, 1, 2, 3, Decimal("1.5"), Decimal("19.99"), 20, 100]),
    ),
    max_size=1,
).map(tuple)
SUMS = st.lists(
    st.builds(FieldTest, st.sampled_from(["value", "a", "price", "score"]), COUNT_TESTS), max_size=1
).map(tuple)
DIDS = st.builds(
    Did,
    st.sampled_from([*EVENT_NAMES, "never"]),
    times=COUNT_TESTS,
    within=st.none() | DURATIONS,
    since=st.none() | st.just("entry") | MOMENTS,
    where=_fields("event"),
    sums=SUMS,
    same=st.sampled_from([None, None, "order_id", "cart_id", "sku", "a", "value", "properties.b"]),
)
OFFERS = st.builds(
    OfferIs,
    st.sampled_from(["ten", "o'ffer"]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, True, False]),
)


def conditions(*, segments: tuple[str, ...] = SEGMENTS) -> SearchStrategy[Condition]:
    """Any condition; `segments` are those it may name."""
    leaves: SearchStrategy[Condition] = st.one_of(ofs(), DIDS, DIDS, OFFERS)
    if segments:
        leaves |= st.sampled_from(segments).map(InSegment)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: All(tuple(items))),
            st.lists(inner, max_size=3).map(lambda items: Any_(tuple(items))),
            inner.map(Not),
        ),
        max_leaves=4,
    )


def _clause(condition: Condition) -> Clause:
    return Clause(condition, "")


ASKS = st.builds(lambda condition, after: Ask(_clause(condition), after), conditions(), st.booleans())
SEGMENT_SETS = st.fixed_dictionaries(
    {
        "inner": st.lists(conditions(segments=()).map(_clause), max_size=2).map(tuple),
        "outer": st.lists(conditions(segments=("inner",)).map(_clause), max_size=2).map(tuple),
    }
)
SUBJECTS = st.builds(
    Subject,
    customer_id=st.sampled_from([1, 1, 2, 999]),
    entered_at=MOMENTS,
    since_at=MOMENTS,
    event_id=st.sampled_from([None, 1, 2]),
    order_id=st.sampled_from([None, "o1", "o2", "broken\x00"]),
    cart_id=st.sampled_from([None, "c1", "nowhere"]),
    sku=st.none() | st.sampled_from(SKUS),
    trigger=DOCUMENTS,
    answers=st.dictionaries(st.sampled_from(["nps", "answer"]), DOCUMENTS, max_size=2),
)
