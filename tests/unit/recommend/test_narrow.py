"""The `where` of a recommendation."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from engine.calendar import Duration
from engine.flows.conditions import FieldTest, Operator, Test
from engine.recommend.narrow import passes

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PRODUCT: dict[str, Any] = {
    "category": "tea", "price": Decimal("12.50"), "stock": 3, "available": True, "brand": None, "days_of_supply": 30.0,
    "properties": {"size": "12", "season": {"from": "2026-05-20T00:00:00+00:00"}, "tags": ["new", "gift"], "organic": False},
}  # fmt: skip


def holds(path: str, op: Operator, operand: Any) -> bool:
    """Return whether one test holds for the product."""
    return passes(PRODUCT, (FieldTest(path, (Test(op, operand),)),), NOW)


@pytest.mark.parametrize(
    ("path", "op", "operand"),
    [
        ("category", "eq", "tea"),
        ("category", "in", ("mugs", "tea")),
        ("category", "ne", "Tea"),
        ("category", "starts_with", "te"),
        ("category", "contains", "ea"),
        ("price", "gte", Decimal("12.5")),
        ("price", "lt", 13),
        ("stock", "eq", 3),
        ("days_of_supply", "lte", 30),
        ("available", "eq", True),
        ("properties.organic", "eq", False),
        ("properties.tags", "contains", "gift"),
        ("properties.tags", "eq", "new"),
        ("properties.tags", "not_in", ("old", "used")),
        ("properties.season.from", "within", Duration(days=30)),
        ("properties.season.from", "before", NOW),
        ("properties.season.from", "older_than", Duration(days=5)),
        ("brand", "exists", False),
        ("category", "exists", True),
    ],
)
def test_what_holds(path: str, op: Operator, operand: Any) -> None:
    """Each operator holds where it should."""
    assert holds(path, op, operand)


@pytest.mark.parametrize(
    ("path", "op", "operand"),
    [
        ("category", "eq", "Tea"),
        ("category", "gt", 3),
        ("properties.size", "gte", 5),
        ("properties.size", "eq", 12),
        ("available", "eq", 1),
        ("available", "gte", 1),
        ("stock", "starts_with", "3"),
        ("properties.tags", "ne", "gift"),
        ("properties.tags", "gt", "a"),
        ("properties.season.from", "in_next", Duration(days=5)),
        ("properties.season.from", "within", Duration(days=5)),
        ("category", "within", Duration(days=5)),
        ("brand", "eq", "Leaf"),
        ("brand", "lt", "Leaf"),
        ("category.inside", "exists", True),
    ],
)
def test_what_does_not_hold(path: str, op: Operator, operand: Any) -> None:
    """Another case, another type and a missing value fail."""
    assert not holds(path, op, operand)


def test_a_missing_value_passes_only_what_asks_for_it() -> None:
    """`ne` and `not_in` hold for what is not there, as `exists: false` does; everything else fails."""
    assert holds("properties.none", "ne", "x")
    assert holds("properties.none", "not_in", ("x", "y"))
    assert holds("properties.none", "exists", False)


def test_all_tests_must_hold() -> None:
    """Several tests on one field, and several fields, mean all of them; none means any product."""
    between = FieldTest("price", (Test("gt", 10), Test("lt", 12)))
    assert not passes(PRODUCT, (FieldTest("category", (Test("eq", "tea"),)), between), NOW)
    assert passes(PRODUCT, (), NOW)
