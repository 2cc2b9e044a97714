"""Usual gaps of customers and of the shop."""

from __future__ import annotations

import pytest

from engine.insights import gaps
from engine.insights.gaps import shop_median_gap_days, usual_gaps
from tests.unit.recommend.shop import NOW, Shop, ago
from tests.unit.recommend.statements import counted


def test_the_usual_gap_is_the_median_from_three_orders_up(shop: Shop) -> None:
    """Gaps of 10, 20 and 90 days have the median 20; two orders are no habit."""
    for when in (120, 110, 90, 0):
        shop.order(1, "", when)
    shop.order(2, "", 30)
    shop.order(2, "", 10)
    with shop.database.read() as connection:
        assert usual_gaps(connection, "order_placed", [1, 2, 3], NOW) == {1: 20.0}


def test_cancelled_and_later_orders_do_not_count(shop: Shop) -> None:
    """An order that was cancelled, or is not placed yet at that moment, makes no gap."""
    for when in (60, 40, 20):
        shop.order(1, "", when)
    shop.order(1, "", 30, cancelled_days_ago=29)
    shop.order(1, "", 1)
    with shop.database.read() as connection:
        assert usual_gaps(connection, "order_placed", [1], ago(2)) == {1: 20.0}


def test_any_event_can_be_asked(shop: Shop) -> None:
    """Views are counted from the events, others are left out."""
    for when in (9, 6, 1):
        shop.event(1, "product_viewed", when, "a")
    shop.event(1, "wishlist_added", 5, "a")
    with shop.database.read() as connection:
        assert usual_gaps(connection, "product_viewed", [1], NOW) == {1: 4.0}
        assert shop_median_gap_days(connection, "product_viewed", NOW) == 4.0


def test_in_the_shops_median_each_customer_counts_once(shop: Shop) -> None:
    """One who buys daily weighs no more than two who take 30 and 50 days."""
    for when in range(20):
        shop.order(1, "", when)
    for customer_id, gap in ((2, 30), (3, 50)):
        shop.order(customer_id, "", gap)
        shop.order(customer_id, "", 0)
    with shop.database.read() as connection:
        assert shop_median_gap_days(connection, "order_placed", NOW) == 30.0


def test_a_shop_without_repeats_has_no_median(shop: Shop) -> None:
    """None, not zero, where nobody came back; the same in an empty shop."""
    with shop.database.read() as connection:
        assert shop_median_gap_days(connection, "order_placed", NOW) is None
    shop.order(1, "", 5)
    with shop.database.read() as connection:
        assert shop_median_gap_days(connection, "order_placed", NOW) is None


def test_a_large_shop_is_sampled(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more customers than the sample only evenly spaced ids are read."""
    monkeypatch.setattr(gaps, "SAMPLE", 2)
    for customer_id, gap in ((1, 10), (2, 20), (3, 30), (4, 40)):
        shop.order(customer_id, "", gap)
        shop.order(customer_id, "", 0)
    with shop.database.read() as connection:
        assert shop_median_gap_days(connection, "order_placed", NOW) == 20.0


def test_a_batch_of_any_size_is_one_statement(shop: Shop) -> None:
    """Statements do not grow with the customers."""
    for customer_id in range(1, 20):
        shop.order(customer_id, "", 5)
    with shop.database.read() as connection:
        for batch in ([1], list(range(1, 20))):
            with counted(connection) as statements:
                usual_gaps(connection, "order_placed", batch, NOW)
            assert len(statements) == 1
