"""The two executions of a condition are one meaning: SQL on both databases, and memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from engine.audience.loading import load
from engine.audience.memory import CustomerFacts, explain, holds, judge
from engine.audience.sql import customers_matching, truths
from engine.audience.subjects import Ask, Subject
from engine.flows.conditions import Clause, FieldTest, Of, Operator, Test
from engine.store.database import Database
from engine.store.tables import customers
from tests.contracts.conditions.shop import EVERYTHING, QUESTIONS_IN_PLACE, REGULARS, crowded, visitors
from tests.contracts.conditions.worlds import (
    ASKS,
    NASTY_NUMBERS,
    NASTY_TEXTS,
    NOW,
    SEGMENT_SETS,
    SUBJECTS,
    ZONES,
    World,
    any_test,
    worlds,
)

EXAMPLES = int(os.environ.get("HOMING_CONDITION_EXAMPLES", "12"))
SHARE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="HOMING_CONDITION_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    phases=[Phase.generate],  # a failure names its clause; shrinking whole worlds takes minutes
)


class Crowd:
    """The crowded shop: its database, its subjects, and all that is known of each.

    No dataclass: Hypothesis would write all of it beside the clause that failed, and then warn of that instead.
    """

    def __init__(self, database: Database, subjects: list[Subject], known: list[CustomerFacts]) -> None:
        self.database, self.subjects, self.known = database, subjects, known


@pytest.fixture
def crowd(database: Database) -> Crowd:
    """Give the crowded shop, written and read once."""
    world = crowded()
    subjects = visitors(world)
    with database.write() as connection:
        world.insert(connection)
        known = [load(connection, EVERYTHING, subject, now=NOW, segments={}) for subject in subjects]
    return Crowd(database, subjects, known)


@SHARE
@given(
    world=worlds(),
    asks=st.lists(ASKS, min_size=1, max_size=6),
    subjects=st.lists(SUBJECTS, min_size=1, max_size=4),
    segments=SEGMENT_SETS,
    zone=st.sampled_from(ZONES),
)
def test_a_batch_and_one_customer_agree(
    database: Database,
    world: World,
    asks: list[Ask],
    subjects: list[Subject],
    segments: Mapping[str, tuple[Clause, ...]],
    zone: str,
) -> None:
    """The truths of a batch in SQL are those that are explained one customer at a time."""
    with database.engine.connect() as connection:
        change = connection.begin()
        world.insert(connection)
        batch = truths(connection, asks, subjects, now=NOW, segments=segments, shop_zone=zone)
        for subject, found in zip(subjects, batch, strict=True):
            told = explain(connection, asks, subject, now=NOW, segments=segments, shop_zone=zone)
            assert [clause.holds for clause in told] == list(found), told
            assert all(isinstance(held, bool) for held in found)
        change.rollback()


@SHARE
@given(
    world=worlds(),
    asks=st.lists(ASKS, min_size=1, max_size=2),
    segments=SEGMENT_SETS,
    zone=st.sampled_from(ZONES),
)
def test_an_audience_is_whoever_holds(
    database: Database, world: World, asks: list[Ask], segments: Mapping[str, tuple[Clause, ...]], zone: str
) -> None:
    """The audience of clauses is every customer who is not erased and for whom all of them hold in memory."""
    clauses = [ask.clause for ask in asks]
    with database.engine.connect() as connection:
        change = connection.begin()
        world.insert(connection)
        expected = set()
        for row in world.rows["customers"]:
            subject = Subject(row["id"], NOW, NOW)
            conditions = [clause.condition for clause in clauses]
            facts = load(connection, conditions, subject, now=NOW, segments=segments)
            held = [
                holds(one, facts, subject, now=NOW, segments=segments, shop_zone=zone) for one in conditions
            ]
            if all(held) and row["erased_at"] is None:
                expected.add(row["id"])
        for among in (None, [1, 2, 3], [2], []):
            query = customers_matching(clauses, now=NOW, segments=segments, shop_zone=zone, among=among)
            assert set(connection.execute(query).scalars()) == expected & set(
                among or (() if among == [] else (1, 2))
            )
        change.rollback()


VALUES: list[Any] = [
    *NASTY_TEXTS, *NASTY_NUMBERS, None, True, False, [], {}, ["vip", 12, True, None, "2026-03-29"], [["vip"]], [0.1], {"a": 1},
    [{"a": "vip"}], ["\u00e9", 2**53 + 1], ["2026-03-29T12:00:00Z"],
]  # fmt: skip
COLUMNS = ("a", "first_name", "points", "spent", "created_at", "average_gap_days", "tags")


def _one_of_each() -> list[dict[str, Any]]:
    """Return a customer for each nasty value, who has it as a property, as tags, and in the columns that can hold it."""
    rows = []
    for number, value in enumerate(VALUES, start=1):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        small = is_number and abs(value) < 2**31
        row = {
            "id": number,
            "first_seen_at": NOW,
            "properties": {"a": value},
            "tags": None if is_number else value,  # SQLite keeps a document that is one number as a number
            "first_name": value if isinstance(value, str) else None,
            "points": int(value) if small else None,
            "spent": Decimal(repr(value)) if small else 0,
            "average_gap_days": float(value) if is_number and abs(value) < 10**300 else None,
            "created_at": NOW
            + (
                timedelta(microseconds=value) if isinstance(value, int) and small else timedelta(hours=number)
            ),
        }
        rows.append(row)
    return rows


@SHARE
@given(several=st.lists(any_test(), min_size=5, max_size=20), zone=st.sampled_from(ZONES))
def test_every_value_meets_every_test(database: Database, several: list[Test], zone: str) -> None:
    """Each test says the same of each nasty value in SQL as in memory, whatever column or property holds it."""
    paths = [COLUMNS[n % len(COLUMNS)] for n in range(len(several))]
    asks = [
        Ask(Clause(Of("customer", (FieldTest(path, (test,)),)), ""))
        for test, other in zip(several, paths, strict=True)
        for path in ("a", other)
    ]
    subjects = [Subject(number, NOW, NOW) for number in range(1, len(VALUES) + 2)]
    with database.engine.connect() as connection:
        change = connection.begin()
        connection.execute(customers.insert(), _one_of_each())
        batch = truths(connection, asks, subjects, now=NOW, segments={}, shop_zone=zone)
        kept = {row["id"]: dict(row) for row in connection.execute(select(customers)).mappings()}
        change.rollback()
    for subject, found in zip(subjects, batch, strict=True):
        facts = CustomerFacts(customer=kept.get(subject.customer_id))
        told = judge(asks, facts, subject, now=NOW, segments={}, shop_zone=zone)
        wrong = [clause for clause, held in zip(told, found, strict=True) if clause.holds != held]
        assert not wrong, (kept.get(subject.customer_id), wrong)


@pytest.mark.parametrize("op", ["eq", "ne", "contains", "starts_with", "gte", "lt"])
def test_every_text_meets_every_text(database: Database, op: Operator) -> None:
    """Letters small and capital, signs that SQL reads as wildcards, days and moments: compared in SQL as in memory."""
    asks = [
        Ask(Clause(Of("customer", (FieldTest(path, (Test(op, operand),)),)), f"{path} {op} {operand!r}"))
        for operand in NASTY_TEXTS
        for path in ("a", "first_name", "tags")
    ]
    subjects = [Subject(number, NOW, NOW) for number in range(1, len(VALUES) + 2)]
    with database.engine.connect() as connection:
        change = connection.begin()
        connection.execute(customers.insert(), _one_of_each())
        kept = {row["id"]: dict(row) for row in connection.execute(select(customers)).mappings()}
        for start in range(0, len(asks), 30):
            some = asks[start : start + 30]
            batch = truths(connection, some, subjects, now=NOW, segments={}, shop_zone="UTC")
            for subject, found in zip(subjects, batch, strict=True):
                facts = CustomerFacts(customer=kept.get(subject.customer_id))
                told = judge(some, facts, subject, now=NOW, segments={}, shop_zone="UTC")
                assert [
                    clause for clause, held in zip(told, found, strict=True) if clause.holds != held
                ] == []
        change.rollback()


@SHARE
@given(
    asks=st.lists(QUESTIONS_IN_PLACE, min_size=10, max_size=40),
    zone=st.sampled_from(ZONES),
    among=st.sampled_from([None, list(range(10, 50)), []]),
)
def test_a_crowded_shop_agrees(crowd: Crowd, asks: list[Ask], zone: str, among: list[int] | None) -> None:
    """Where values meet and moments touch, a batch, an audience and memory still say the same."""
    shop: dict[str, Any] = {"now": NOW, "segments": REGULARS, "shop_zone": zone}
    clauses = [asks[0].clause]
    with crowd.database.read() as connection:
        batch = truths(connection, asks, crowd.subjects, **shop)
        audience = set(connection.execute(customers_matching(clauses, among=among, **shop)).scalars())
    for subject, facts, found in zip(crowd.subjects, crowd.known, batch, strict=True):
        told = judge(asks, facts, subject, **shop)
        wrong = [
            (ask, held) for ask, clause, held in zip(asks, told, found, strict=True) if clause.holds != held
        ]
        assert not wrong, (subject, wrong)
        entering = Subject(subject.customer_id, NOW, NOW)
        (member,) = judge([Ask(clauses[0])], _alone(facts), entering, **shop)
        asked = facts.customer is not None and facts.customer["erased_at"] is None
        expected = asked and member.holds and (among is None or subject.customer_id in among)
        assert (subject.customer_id in audience) == expected, clauses


def _alone(facts: CustomerFacts) -> CustomerFacts:
    """Return what is known of the customer alone, without the cart, order and lines of a trigger."""
    return replace(facts, cart=None, cart_lines=(), order=None, order_lines=())
