"""What the benchmark of recommendations measures with, worked out by hand."""

from __future__ import annotations

from datetime import timedelta
from math import log2

import pytest
from sqlalchemy import func, select

from benchmarks.recommend_measures import mean, ndcg, quality, recall
from benchmarks.recommend_sales import Bought, Sales, add, fill
from engine.store.database import Database
from engine.store.tables import order_lines, orders, products
from tests.unit.recommend.shop import NOW


def test_recall_and_gain() -> None:
    """One of three bought products shown second of four: recall ⅓, gain 1/log₂3 of the best list's."""
    bought = {"a", "b", "c"}
    assert recall(["x", "a", "y", "z"], bought) == pytest.approx(1 / 3)
    best = 1 + 1 / log2(3) + 1 / log2(4)
    assert ndcg(["x", "a", "y", "z"], bought, 4) == pytest.approx((1 / log2(3)) / best)
    assert ndcg(["a", "b", "c", "x"], bought, 4) == pytest.approx(1.0)


def test_who_was_shown_nothing_counts_as_a_miss() -> None:
    """Leaving hard customers out would flatter; those who bought nothing that counts are left out."""
    found = quality({1: ["a"]}, {1: {"a"}, 2: {"b"}, 3: set()}, 4, catalogue=10)
    assert found.customers == 2
    assert (found.recall.value, found.ndcg.value, found.coverage) == (0.5, 0.5, 0.1)


def test_intervals_hold_the_mean_and_come_again() -> None:
    """The same values give the same interval; more of them a narrower one."""
    few, many = mean([0.0, 1.0] * 20), mean([0.0, 1.0] * 500)
    assert few == mean([0.0, 1.0] * 20)
    assert few.low < many.low < 0.5 < many.high < few.high


def test_a_trial_knows_nothing_of_what_is_held_out(sqlite_database: Database) -> None:
    """Neither orders nor products nor prices of the time measured are in the database."""
    lines = [
        Bought(NOW - timedelta(days=9), "o1", 1, "tea", 2.0, 10.0),
        Bought(NOW - timedelta(days=9), "o1", 1, "tea", 1.0, 10.0),
        Bought(NOW, "o2", 1, "tea", 1.0, 99.0),
        Bought(NOW + timedelta(days=1), "o3", 2, "new", 1.0, 5.0),
    ]
    sales = Sales("a shop", lines, {"tea": ("Tea", "tea"), "new": ("New", None)})
    fill(sqlite_database, sales, NOW)
    with sqlite_database.read() as connection:
        assert connection.execute(select(products.c.sku, products.c.price)).all() == [("tea", 10)]
        assert connection.execute(select(order_lines.c.sku, order_lines.c.quantity)).all() == [("tea", 3.0)]
        assert connection.execute(select(func.max(orders.c.placed_at))).scalar_one() < NOW
    add(sqlite_database, sales.between(NOW, NOW + timedelta(days=2)))
    with sqlite_database.read() as connection:
        assert connection.execute(select(func.count()).select_from(orders)).scalar_one() == 3
