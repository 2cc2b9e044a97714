"""Days of supply, with the numbers worked out by hand."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from engine.recommend.supply import SUPPLY, Line, learned_pace, middle_days, run_out_days
from engine.store import meta
from engine.store.tables import products
from tests.unit.recommend.shop import NOW, Shop, ago
from tests.unit.recommend.statements import counted


def days(shop: Shop, *lines: Line) -> list[float | None]:
    """Return the run-out days of lines, after a night in which the categories were learned."""
    with shop.database.write() as connection:
        known = meta.get(connection, SUPPLY, {})
        meta.put(connection, SUPPLY, known | {"categories": middle_days(connection)})
    with shop.database.read() as connection:
        return run_out_days(connection, lines)


def test_a_stated_supply_is_multiplied_by_the_pieces(shop: Shop) -> None:
    """30 days a piece and 3 pieces make 90 days, whatever was learned."""
    shop.product("coffee", days_of_supply=30.0, learned_days=5.0)
    assert days(shop, Line(1, "coffee", 3.0, NOW)) == [90.0]


def test_what_nobody_can_say_is_none(shop: Shop) -> None:
    """An unknown product, one without history, and a line without pieces never run out."""
    shop.products("mug")
    shop.product("coffee", days_of_supply=30.0)
    lines = (Line(1, "nothing", 1.0, NOW), Line(1, "mug", 1.0, NOW), Line(1, "coffee", 0.0, NOW))
    assert days(shop, *lines) == [None, None, None]


def test_the_products_learned_days_stand_in_for_a_new_customer(shop: Shop) -> None:
    """20 days a piece, times 2 pieces."""
    shop.product("tea", learned_days=20.0)
    assert days(shop, Line(1, "tea", 2.0, NOW)) == [pytest.approx(40.0)]


def test_the_category_stands_in_for_a_new_product(shop: Shop) -> None:
    """The median of 10, 20 and 60 days of the category's other products is 20."""
    for sku, learned in (("a", 10.0), ("b", 20.0), ("c", 60.0), ("new", None)):
        shop.product(sku, category="tea", learned_days=learned)
    assert days(shop, Line(1, "new", 1.0, NOW)) == [pytest.approx(20.0)]


def test_an_own_gap_is_shrunk_toward_product_and_category(shop: Shop) -> None:
    """Own gaps 8 and 12 (median 10), product 20, category 40: (10² · 20² · 40)^⅕ = 17.411 days a piece."""
    shop.product("tea", category="tea", learned_days=20.0)
    shop.product("other", category="tea", learned_days=60.0)  # the category's median: 40
    for when in (20, 12, 0):
        shop.order(1, "tea", when)
    assert days(shop, Line(1, "tea", 1.0, NOW)) == [pytest.approx(17.411, abs=0.001)]


def test_gaps_are_measured_by_the_piece(shop: Shop) -> None:
    """4 pieces for 40 days and 2 for 24 are 10 and 12 days a piece: 3 pieces last 33 days."""
    shop.products("tea")
    for when, pieces in ((64, 4.0), (24, 2.0), (0, 3.0)):
        shop.order(1, {"tea": pieces}, when)
    assert days(shop, Line(1, "tea", 3.0, NOW)) == [pytest.approx(33.0)]


def test_one_own_gap_alone_is_no_habit(shop: Shop) -> None:
    """Two purchases of something that nobody knows about say nothing yet."""
    shop.products("tea")
    shop.order(1, "tea", 20)
    shop.order(1, "tea", 0)
    assert days(shop, Line(1, "tea", 1.0, NOW)) == [None]
    assert learned_pace([20.0], None, None) is None


def test_cancelled_orders_and_later_ones_and_other_customers_do_not_count(shop: Shop) -> None:
    """Only what this customer bought and kept, up to the line's own moment, makes the habit."""
    shop.products("tea")
    for when in (60, 40, 20):
        shop.order(1, "tea", when)
    shop.order(1, "tea", 30, cancelled_days_ago=29)
    shop.order(1, "tea", 1)
    shop.order(2, "tea", 50)
    assert days(shop, Line(1, "tea", 1.0, ago(20))) == [pytest.approx(20.0)]


def test_a_shop_may_learn_that_quantity_hardly_counts(shop: Shop) -> None:
    """With an exponent of ½, four pieces last twice as long as one, in the habit as in the date."""
    shop.product("tea", learned_days=10.0)
    with shop.database.write() as connection:
        meta.put(connection, SUPPLY, {"exponent": 0.5})
    assert days(shop, Line(1, "tea", 4.0, NOW)) == [pytest.approx(20.0)]
    shop.product("coffee", days_of_supply=10.0)
    assert days(shop, Line(1, "coffee", 4.0, NOW)) == [40.0]


def test_a_batch_of_any_size_costs_three_statements(shop: Shop) -> None:
    """Statements grow neither with the lines nor with the catalogue: what a category teaches is learned by night."""
    shop.products(*(f"p{number}" for number in range(30)), category="tea")
    with shop.database.write() as connection:
        connection.execute(update(products).values(learned_days=9.0))
    lines = [Line(number, f"p{number}", 1.0, NOW) for number in range(30)]
    with shop.database.read() as connection:
        for batch in (lines[:1], lines):
            with counted(connection) as statements:
                assert run_out_days(connection, batch) == [pytest.approx(9.0)] * len(batch)
            assert len(statements) == 3
