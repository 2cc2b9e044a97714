"""What conditions mean, said by the execution in memory; the contract suite holds SQL to the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from engine.audience.memory import CustomerFacts, holds, judge
from engine.audience.subjects import Ask, Subject
from engine.calendar import Duration
from engine.errors import UsageError
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
    Operator,
    Quantifier,
    Test,
)

NOW = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
SUBJECT = Subject(1, NOW - DAY, NOW - 2 * DAY)
NOBODY = CustomerFacts()


def is_so(
    condition: Condition, facts: CustomerFacts = NOBODY, subject: Subject = SUBJECT, **more: Any
) -> bool:
    """Return whether a condition holds now, in a shop in Tokyo."""
    return holds(
        condition, facts, subject, now=NOW, segments=more.pop("segments", {}), shop_zone="Asia/Tokyo", **more
    )


def of_customer(path: str, op: Operator, operand: Any) -> Of:
    """Return a condition on one field of the customer."""
    return Of("customer", (FieldTest(path, (Test(op, operand),)),))


def fact(number: int, at: datetime, **fields: Any) -> dict[str, Any]:
    """Return an event as it is stored."""
    empty = {"value": None, "order_id": None, "cart_id": None, "sku": None, "properties": None}
    return {"id": number, "name": "order_placed", "occurred_at": at, "arrived_at": at, **empty, **fields}


def with_facts(*facts: dict[str, Any]) -> CustomerFacts:
    """Return a customer to whom these facts happened."""
    return CustomerFacts(events={"order_placed": facts})


MISSING = [("a", {}), ("a", {"a": None}), ("a.b", {"a": [{"b": 1}]}), ("a.0", {"a": [1]})]
BOUND = [("eq", 1), ("gt", 0), ("lt", 9), ("in", (1, "x")), ("contains", "x"), ("starts_with", ""), ("exists", True),
         ("before", NOW), ("after", NOW), ("within", Duration(days=1)), ("older_than", Duration(days=1)),
         ("in_next", Duration(days=1))]  # fmt: skip


@pytest.mark.parametrize(("path", "properties"), MISSING)
def test_missing_fails_every_test_but_three(path: str, properties: dict[str, Any]) -> None:
    """An absent, null or unreachable value passes `exists: false`, `ne` and `not_in`, and nothing else."""
    facts = CustomerFacts(customer={"properties": properties})
    for op, operand in BOUND:
        assert not is_so(of_customer(path, op, operand), facts), op  # type: ignore[arg-type]
    for op, operand in (("exists", False), ("ne", 1), ("not_in", (1,))):
        assert is_so(of_customer(path, op, operand), facts), op  # type: ignore[arg-type]


MISFITS = [("12", "gte", 5), (12, "eq", "12"), (True, "eq", 1), (1, "eq", True), (True, "gt", 0), ("true", "eq", True),
           ([5], "gte", 1), ({"a": 1}, "eq", 1), ("soon", "after", NOW), (5, "contains", "5"), (12, "starts_with", "1")]  # fmt: skip


@pytest.mark.parametrize(("value", "op", "operand"), MISFITS)
def test_a_type_that_does_not_fit_counts_as_missing(value: Any, op: Operator, operand: Any) -> None:
    """Text is no number, a number no text, a boolean neither; but the value exists."""
    facts = CustomerFacts(customer={"properties": {"a": value}})
    assert not is_so(of_customer("a", op, operand), facts)
    assert is_so(of_customer("a", "exists", True), facts)


HELD = [
    ("JP", "eq", "JP"), ("jp", "ne", "JP"), ("Zebra", "lt", "apple"), ("\uffff", "lt", "\U0001f600"),
    ("Tee 100%", "contains", "0%"), ("Tee", "starts_with", "Te"), ("Tee", "contains", ""),
    (0.1, "eq", Decimal("0.1")), (-0.0, "eq", 0), (2**53 + 1, "eq", 2**53), (1e308, "lt", Decimal("1e400")),
    (["vip", 5], "eq", "vip"), (["vip", 5], "contains", 5), (["vip"], "in", ("a", "vip")), (["vip"], "ne", "a"), ([], "exists", True),
    ("2026-03-29", "eq", datetime(2026, 3, 28, 15, 0, tzinfo=UTC)),
    ("2026-03-29T21:00", "within", Duration(days=1)), ("2026-03-29T21:00", "in_next", Duration(days=1)),
    ("2026-02-27T21:00:00+09:00", "within", Duration(days=30)), ("2026-02-27T20:59:59+09:00", "older_than", Duration(days=30)),
    ("2026-04-05T12:00:00Z", "in_next", Duration(days=7)), ("2026-03-29T12:00:00.000001Z", "after", NOW),
]  # fmt: skip


@pytest.mark.parametrize(("value", "op", "operand"), HELD)
def test_values_compare_as_documented(value: Any, op: Operator, operand: Any) -> None:
    """Text by code points, numbers as doubles, lists by their items, moments with both ends of a span included."""
    assert is_so(of_customer("a", op, operand), CustomerFacts(customer={"properties": {"a": value}}))


def test_stored_money_and_counts_compare_exactly() -> None:
    """A column of money is what was told, to the ten-thousandth, and orders are never missing."""
    facts = CustomerFacts(
        customer={"spent": Decimal("19.99"), "orders": 0, "points": None}, scores={"rfm_r": 5}
    )
    assert is_so(of_customer("spent", "eq", Decimal("19.99")), facts)
    assert is_so(of_customer("spent", "lt", Decimal("19.990000001")), facts)
    assert is_so(of_customer("orders", "eq", 0), facts)
    assert is_so(of_customer("points", "exists", False), facts)
    assert is_so(of_customer("rfm.r", "gte", 5), facts)


def test_did_counts_what_has_arrived_up_to_now() -> None:
    """A fact counts from the microsecond in which it happened and had arrived."""
    assert is_so(Did("order_placed"), with_facts(fact(1, NOW)))
    assert not is_so(Did("order_placed"), with_facts(fact(1, NOW + TICK)))
    assert not is_so(Did("order_placed"), with_facts(fact(1, NOW - DAY, arrived_at=NOW + TICK)))
    assert is_so(Did("order_placed", times=(Test("eq", 0),)))


def test_the_triggering_fact_never_counts_itself() -> None:
    """Whoever enters with an order has not ordered before by that order, also as a segment says it."""
    subject = Subject(1, NOW, NOW, event_id=7)
    segments = {"buyers": (Clause(Did("order_placed"), ""),)}
    for facts, expected in (
        (with_facts(fact(7, NOW)), False),
        (with_facts(fact(6, NOW - DAY), fact(7, NOW)), True),
    ):
        assert is_so(Did("order_placed"), facts, subject) is expected
        assert is_so(InSegment("buyers"), facts, subject, segments=segments) is expected


def test_after_the_entry_means_later() -> None:
    """In exits, goals and waits a fact of the very microsecond of the entry does not count, the next one does."""
    for at, expected in ((SUBJECT.since_at, False), (SUBJECT.since_at + TICK, True)):
        assert is_so(Did("order_placed"), with_facts(fact(1, at)), after_entry=True) is expected
        assert (
            is_so(Not(Any_((Did("order_placed"),))), with_facts(fact(1, at)), after_entry=True)
            is not expected
        )
    for at, expected in ((SUBJECT.entered_at, False), (SUBJECT.entered_at + TICK, True)):
        assert is_so(Did("order_placed", since="entry"), with_facts(fact(1, at))) is expected


def test_a_bound_of_its_own_counts_instead() -> None:
    """`within`, `since` and segments look back beyond the entry, also in an exit."""
    old = with_facts(fact(1, NOW - 3 * DAY))
    assert is_so(Did("order_placed", within=Duration(days=3)), old, after_entry=True)
    assert is_so(Did("order_placed", since=NOW - 3 * DAY), old, after_entry=True)
    assert not is_so(Did("order_placed", since=NOW - 3 * DAY + TICK), old, after_entry=True)
    segments = {"buyers": (Clause(Did("order_placed"), ""),)}
    assert is_so(InSegment("buyers"), old, after_entry=True, segments=segments)


def test_where_times_and_sums() -> None:
    """Facts are filtered first; then counted, and their field summed without the surprises of floats."""
    facts = with_facts(
        fact(1, NOW - DAY, value=Decimal("60"), properties={"tip": 0.1, "properties": {"colour": "red"}}),
        fact(2, NOW, value=Decimal("40"), properties={"tip": 0.2, "colour": "red"}),
        fact(3, NOW, value=Decimal("500"), properties={"tip": "much", "colour": "blue"}),
    )
    red = (FieldTest("colour", (Test("eq", "red"),)),)
    assert is_so(Did("order_placed", where=red, times=(Test("eq", 2),)), facts)
    for path, total in (("value", 100), ("tip", Decimal("0.3"))):
        assert is_so(Did("order_placed", where=red, sums=(FieldTest(path, (Test("eq", total),)),)), facts)
    assert is_so(Did("order_placed", sums=(FieldTest("tip", (Test("eq", Decimal("0.3")),)),)), facts)
    assert not is_so(Did("order_placed", sums=(FieldTest("value", (Test("lt", 100),)),)))


def test_same_is_the_subjects_id_or_what_its_trigger_told() -> None:
    """`same: cart_id` needs a cart on both sides; other names compare what was told."""
    facts = with_facts(fact(1, NOW, cart_id="c1", properties={"survey": "nps", "score": 9}))
    same = Did("order_placed", same="cart_id")
    assert is_so(same, facts, Subject(1, NOW, NOW, cart_id="c1"))
    assert is_so(same, facts, Subject(1, NOW, NOW, trigger={"cart_id": "c1"}))
    assert not is_so(same, facts, Subject(1, NOW, NOW, cart_id="c2", trigger={"cart_id": "c1"}))
    assert not is_so(same, facts)
    assert is_so(Did("order_placed", same="survey"), facts, Subject(1, NOW, NOW, trigger={"survey": "nps"}))
    assert not is_so(Did("order_placed", same="score"), facts, Subject(1, NOW, NOW, trigger={"score": "9"}))


PRODUCTS = {
    "T1": {"sku": "T1", "category": "tea", "price": Decimal("9"), "stock": 0, "available": True},
    "T2": {"sku": "T2", "category": "tea", "price": Decimal("5"), "stock": None, "available": None},
}


def line(sku: str, price: Any = None) -> dict[str, Any]:
    """Return one line of a cart."""
    return {"sku": sku, "quantity": 1.0, "price": price}


@pytest.mark.parametrize(
    ("quantifier", "skus", "expected"),
    [("any", "T1 T2", True), ("all", "T1 T2", True), ("none", "T1 T2", False), ("any", "", False), ("all", "", True),
     ("none", "", True), ("all", "T1 X", False), ("any", "X", False), ("none", "X", True)],
)  # fmt: skip
def test_lines_are_counted_by_their_products(quantifier: Quantifier, skus: str, expected: bool) -> None:
    """Any, all or none of the lines; with no lines `any` does not hold and the others do."""
    facts = CustomerFacts(
        cart={"cart_id": "c1"}, cart_lines=[line(sku) for sku in skus.split()], products=PRODUCTS
    )
    tea = (FieldTest("category", (Test("eq", "tea"),)),)
    subject = Subject(1, NOW, NOW, cart_id="c1", trigger={"lines": [{"sku": sku} for sku in skus.split()]})
    assert is_so(Of("cart", (), (Lines(quantifier, tea),)), facts, subject) is expected
    assert is_so(Of("trigger", (), (Lines(quantifier, tea),)), facts, subject) is expected


def test_in_stock_is_false_only_where_that_is_known() -> None:
    """A product that nobody told us about counts as in stock; its other fields are missing."""

    def asked(path: str, op: Operator, operand: Any) -> list[bool]:
        tests = (Lines("any", (FieldTest(path, (Test(op, operand),)),)),)
        return [
            is_so(Of("cart", (), tests), CustomerFacts(cart_lines=[line(sku)], products=PRODUCTS))
            for sku in ("T1", "T2", "X")
        ]

    assert asked("in_stock", "eq", True) == [False, True, True]
    assert asked("category", "exists", True) == [True, True, False]


def test_a_lines_own_price_wins() -> None:
    """What the cart says a piece costs wins over the catalogue, which fills in."""
    nine = Of("cart", (FieldTest("lines.price", (Test("eq", 9),)),))
    for price, expected in ((None, True), (Decimal("8"), False)):
        assert is_so(nine, CustomerFacts(cart_lines=[line("T1", price)], products=PRODUCTS)) is expected


def test_an_offer_is_held_until_it_expires() -> None:
    """Held is issued, not expired and not in a mail to come; used is used, whatever else; somebody without it holds nothing."""
    code = {"offer": "ten", "issued_at": NOW, "expires_at": NOW + TICK, "used_at": None, "message_id": 7}
    facts = CustomerFacts(offers=[code])
    assert is_so(OfferIs("ten", held=True, used=False), facts)
    assert is_so(OfferIs("ten", held=False), CustomerFacts(offers=[code], on_the_way=frozenset({7})))
    assert is_so(OfferIs("ten", held=False), CustomerFacts(offers=[{**code, "expires_at": NOW}]))
    assert is_so(
        OfferIs("ten", used=True), CustomerFacts(offers=[{**code, "expires_at": NOW, "used_at": NOW}])
    )
    assert is_so(OfferIs("ten", held=False, used=False))
    assert is_so(OfferIs("other", held=False), facts)


def test_nothing_in_a_list() -> None:
    """All of nothing holds, any of nothing does not."""
    assert is_so(All(()))
    assert not is_so(Any_(()))


def test_an_unknown_segment_is_said_plainly() -> None:
    """A segment that is not there is the user's mistake, with its name."""
    with pytest.raises(UsageError, match='no segment "gone"'):
        is_so(InSegment("gone"))


def test_every_part_is_told_with_what_was_found() -> None:
    """`why` shows each clause, the parts nested in it, and the values found, on the shop's clock."""
    facts = CustomerFacts(
        customer={"country": "DE", "email": "someone@example.com", "properties": {"size": 42.5}},
        events={"order_placed": [fact(1, NOW - DAY), fact(2, NOW)]},
    )
    nested = Any_(
        (
            of_customer("country", "in", ("JP", "TW")),
            Not(Did("order_placed", within=Duration(days=30))),
            Of(
                "customer",
                (FieldTest("size", (Test("gt", 40),)), FieldTest("email", (Test("exists", False),))),
            ),
        )
    )
    asks = [Ask(Clause(nested, "as written"))]
    (told,) = judge(asks, facts, SUBJECT, now=NOW, segments={}, shop_zone="Asia/Tokyo")
    assert (told.clause, told.holds, told.found) == ("as written", False, "0 of 3 hold")
    assert [(part.clause, part.holds, part.found) for part in told.parts] == [
        ("customer: {country: [JP, TW]}", False, "country DE"),
        ("did_not: order_placed, within: 30d", False, "found 2 times, last 2026-03-29 21:00"),
        ("customer: {size: {gt: 40}, email: {exists: false}}", False, "size 42.5; email known"),
    ]
    assert [part.holds for part in told.parts[2].parts] == [True, False]
