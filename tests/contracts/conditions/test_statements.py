"""What reaches the databases: bound values, indexes, and one statement for a batch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event
from sqlalchemy.dialects import postgresql, sqlite

from engine.audience.sql import customers_matching, truths
from engine.audience.subjects import Ask, Subject
from engine.calendar import Duration
from engine.errors import UsageError
from engine.flows.conditions import (
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
from engine.store.database import Database
from tests.contracts.conditions.test_one_meaning import SHARE
from tests.contracts.conditions.worlds import NOW

# A word that no statement of ours could hold by itself, with everything that ends strings and comments.
EVIL = "zzevil'\"\\`; DROP TABLE customers; --/*"
SEGMENTS = {"buyers": (Clause(Did("order_placed"), ""),)}


def _asks(word: str) -> list[Condition]:
    """Return conditions with a user's word wherever one can stand."""
    test = (
        Test("eq", word),
        Test("gt", word),
        Test("contains", word),
        Test("starts_with", word),
        Test("in", (word,)),
    )
    lines = (Lines("any", (FieldTest("category", test), FieldTest("price", test))),)
    fields = (FieldTest("country", test), FieldTest("properties.a", test), FieldTest("created_at", test))
    return [
        Of("customer", fields),
        Of("trigger", (FieldTest("a", test),), lines),
        Of("cart", (FieldTest("url", test),), lines),
        Of("order", (FieldTest("status", test),), lines),
        Of("product", (FieldTest("title", test),)),
        Of("answer", (FieldTest("a", test),)),
        Did(word, where=(FieldTest("a", test), FieldTest("sku", test)), same="a"),
        OfferIs(word, held=True),
    ]


def _statements(connection: Connection) -> list[tuple[str, Any]]:
    """Return the list into which every statement is written from now on."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        seen.append((text, values))

    event.listen(connection, "before_cursor_execute", note)
    return seen


def test_what_a_user_wrote_is_never_statement_text(database: Database) -> None:
    """Values, event names, offers and field names are bound: the statement's text holds none of them."""
    named = [Of("customer", (FieldTest("zzevil_field.zzevil-inner", (Test("exists", True),)),))]
    subject = Subject(1, NOW, NOW, order_id=EVIL, cart_id=EVIL, sku=EVIL, trigger={EVIL: EVIL, "a": EVIL})
    asks = [Ask(Clause(condition, EVIL)) for condition in (*_asks(EVIL), *named)]
    with database.read() as connection:
        seen = _statements(connection)
        truths(connection, asks, [subject], now=NOW, segments={}, shop_zone="UTC")
        clauses = [ask.clause for ask in asks]
        connection.execute(
            customers_matching(clauses, now=NOW, segments={}, shop_zone="UTC", among=[1])
        ).all()
    assert len(seen) == 2
    assert all("zzevil" not in text and "DROP" not in text for text, _ in seen)
    assert all("zzevil" in str(values) for _, values in seen)


@settings(SHARE, max_examples=8)
@given(word=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8))
def test_the_text_is_the_same_whatever_the_words(word: str) -> None:
    """Two conditions that differ only in a user's words compile to the same statement on both databases."""
    dialects: tuple[Any, ...] = (sqlite, postgresql)
    for dialect in (module.dialect() for module in dialects):
        texts = {
            str(
                customers_matching(
                    [Clause(condition, "") for condition in _asks(chosen)],
                    now=NOW,
                    segments={},
                    shop_zone="UTC",
                ).compile(dialect=dialect)
            )
            for chosen in (word, "plain")
        }
        assert len(texts) == 1


@pytest.mark.parametrize(
    "path", ["a'b", 'a"b', "a\\b", "a..b", "", "a.", "x\x00", "$[0]", "a\nb", "a" * 101, ".".join("a" * 9)]
)
def test_a_path_that_is_none_never_gets_that_far(path: str) -> None:
    """Names outside of the closed grammar are refused before a statement is made."""
    condition = Of("customer", (FieldTest(path, (Test("exists", True),)),))
    with pytest.raises(UsageError):
        customers_matching([Clause(condition, "")], now=NOW, segments={}, shop_zone="UTC")


def test_a_batch_is_one_statement(database: Database) -> None:
    """However many subjects and asks: one statement, whose text does not grow with the subjects."""
    asks = [Ask(Clause(condition, "")) for condition in _asks("word")]
    with database.read() as connection:
        seen = _statements(connection)
        for count in (1, 700):
            subjects = [Subject(number, NOW, NOW) for number in range(count)]
            found = truths(connection, asks, subjects, now=NOW, segments={}, shop_zone="UTC")
            assert len(found) == count
    assert len(seen) == 2
    assert seen[0][0] == seen[1][0]


def test_an_equal_number_is_no_boolean(database: Database) -> None:
    """A statement is not taken for another one's because Python finds 1, 1.0 and True equal."""
    with database.read() as connection:
        for operand, expected in ((True, True), (1, False), (True, True)):
            ask = Ask(Clause(Of("trigger", (FieldTest("a", (Test("eq", operand),)),)), "same words"))
            subject = Subject(1, NOW, NOW, trigger={"a": True})
            assert truths(connection, [ask], [subject], now=NOW, segments={}, shop_zone="UTC") == [
                (expected,)
            ]


LOOKED_UP: list[Condition] = [
    Of(
        "customer", (FieldTest("country", (Test("in", ("JP", "TW")),)), FieldTest("rfm.r", (Test("gte", 4),)))
    ),
    Did("order_placed", within=Duration(days=30)),
    Not(Did("order_placed", times=(Test("gte", 2),), where=(FieldTest("value", (Test("gte", 20),)),))),
    Of(
        "cart",
        (FieldTest("items", (Test("gt", 0),)),),
        (Lines("any", (FieldTest("in_stock", (Test("eq", True),)),)),),
    ),
    Of(
        "order",
        (FieldTest("total", (Test("gt", 0),)),),
        (Lines("all", (FieldTest("category", (Test("eq", "tea"),)),)),),
    ),
    Of("trigger", (), (Lines("none", (FieldTest("category", (Test("eq", "tea"),)),)),)),
    Of("product", (FieldTest("stock", (Test("gt", 0),)),)),
    OfferIs("ten", held=True, used=False),
    InSegment("buyers"),
]


def test_everything_is_looked_up_by_an_index(sqlite_database: Database) -> None:
    """On SQLite no table is scanned for a batch of subjects: only the subjects themselves and lists inside documents."""
    asks = [Ask(Clause(condition, ""), after_entry=True) for condition in LOOKED_UP]
    subject = Subject(1, NOW, NOW - timedelta(days=1), 1, "o1", "c1", "T1", {"lines": []})
    with sqlite_database.read() as connection:
        seen = _statements(connection)
        truths(connection, asks, [subject], now=NOW, segments=SEGMENTS, shop_zone="UTC")
        text, values = seen[0]
        plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
    scans = [line for line in plan if line.startswith("SCAN")]
    assert [line for line in scans if "VIRTUAL TABLE" not in line] == ["SCAN subjects"], plan
    facts = [line for line in plan if "SEARCH events" in line]
    assert len(facts) == 3
    assert all("customer_id=? AND name=? AND occurred_at" in line for line in facts)
