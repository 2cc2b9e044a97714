"""Rebuilding the tables by night."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert, select, update

from engine.recommend.packed import packed_sales
from engine.recommend.popularity import rank, sold
from engine.recommend.rebuild import NAME, rebuild
from engine.store import meta
from engine.store.tables import marks, order_lines, orders, product_affinities, product_ranks, products
from tests.unit.recommend.shop import NOW, Shop, ago


def ranks(shop: Shop, strategy: str, scope: str = "") -> list[str]:
    """Return the skus of a rank in order."""
    statement = select(product_ranks.c.sku).where(
        product_ranks.c.strategy == strategy, product_ranks.c.scope == scope
    )
    with shop.database.read() as connection:
        return list(connection.execute(statement.order_by(product_ranks.c.rank)).scalars())


def affinities(shop: Shop, strategy: str, sku: str) -> list[str]:
    """Return what a product goes with, best first."""
    table = product_affinities
    statement = (
        select(table.c.other).where(table.c.strategy == strategy, table.c.sku == sku).order_by(table.c.rank)
    )
    with shop.database.read() as connection:
        return list(connection.execute(statement).scalars())


def learned(shop: Shop, sku: str) -> float | None:
    """Return the learned days a piece of a product."""
    with shop.database.read() as connection:
        found: float | None = connection.execute(
            select(products.c.learned_days).where(products.c.sku == sku)
        ).scalar_one()
        return found


def test_bestsellers_count_orders_of_ninety_days_then_ever(shop: Shop) -> None:
    """Orders count, not pieces; what sold lately stands before what sold more, but long ago."""
    shop.products("old", "new", "bulk", "never")
    for when in (200, 201, 202):
        shop.order(1, "old", when)
    shop.order(1, "new", 10)
    shop.order(2, "new", 11)
    shop.order(3, {"bulk": 500.0}, 12)
    rebuild(shop.database, NOW)
    assert ranks(shop, "bestsellers") == ["new", "bulk", "old"]


def test_anonymous_sales_count_and_cancelled_and_later_ones_do_not(shop: Shop) -> None:
    """Popularity knows sales without a customer, and nothing that was undone or had not happened yet."""
    shop.products("a", "b", "c")
    shop.order(None, "a", 5)
    shop.order(None, "a", 6)
    shop.order(1, "b", 5)
    for when in (3, 4, 5):
        shop.order(1, "b", when, cancelled_days_ago=2)
    for _ in range(5):
        shop.order(1, "c", -1)
    rebuild(shop.database, NOW)
    assert ranks(shop, "bestsellers") == ["a", "b"]


def test_products_that_cannot_be_shown_are_not_ranked(shop: Shop) -> None:
    """Without image or price a product would only take a rank away."""
    shop.products("fine")
    shop.product("blind", image_url=None)
    shop.product("empty", image_url="")
    shop.product("priceless", price=None)
    for when in (1, 2, 3):
        shop.order(1, "blind empty priceless fine", when)
    rebuild(shop.database, NOW)
    assert ranks(shop, "bestsellers") == ["fine"]
    assert affinities(shop, "bought_together", "fine") == []


def test_each_category_has_its_own_ranks(shop: Shop) -> None:
    """What is popular among teas is ranked apart from mugs."""
    shop.products("t1", "t2", category="tea")
    shop.products("m1", category="mugs")
    for customer_id, skus in ((1, "t2 m1"), (2, "t2 t1"), (3, "m1")):
        shop.order(customer_id, skus, 3)
    rebuild(shop.database, NOW)
    assert ranks(shop, "popular_in_category", "tea") == ["t2", "t1"]
    assert ranks(shop, "popular_in_category", "mugs") == ["m1"]


def test_trending_is_growth_beyond_the_shops_own(shop: Shop) -> None:
    """A steady bestseller does not trend; what sells three times as much as before does."""
    shop.products("steady", "rising")
    for week in range(10):
        for number in range(6):
            shop.order(100 + number, "steady", 7 * week + 1)
    for number in range(6):
        shop.order(200 + number, "rising", 3)
    with shop.database.read() as connection:
        trending = rank(sold(connection, packed_sales(connection, NOW), NOW))["trending", ""]
    assert [item.sku for item in trending] == ["rising"]
    # 18 orders in 14 days after 48 in 56: the shop grew by .375; nothing was expected of it, so 6 / √4
    assert trending[0].score == 3.0


def test_companions_are_found_across_orders(shop: Shop) -> None:
    """What lies in the same baskets again and again is bought together."""
    shop.products("tea", "pot", "lamp")
    for number in range(6):
        shop.order(number + 1, "tea pot", 10 + number)
        shop.order(None, "lamp", 10 + number)
    rebuild(shop.database, NOW)
    assert affinities(shop, "bought_together", "tea") == ["pot"]
    assert affinities(shop, "bought_together", "lamp") == []


def test_days_a_piece_are_learned_from_five_repeats(shop: Shop) -> None:
    """Gaps of 10, 20, 30, 40, 50 days, two of them for 2 pieces: 5, 10, 30, 40, 50; the median is 30."""
    shop.products("tea", "mug")
    at = 150.0
    for gap, pieces in ((10, 2.0), (20, 2.0), (30, 1.0), (40, 1.0), (50, 1.0)):
        shop.order(1, {"tea": pieces}, at)
        at -= gap
    shop.order(1, "tea", at)
    for when in (40, 30, 20, 10):
        shop.order(1, "mug", when)
    assert rebuild(shop.database, NOW).learned == 1
    assert learned(shop, "tea") == 30.0
    assert learned(shop, "mug") is None


def test_a_night_without_news_is_skipped(shop: Shop) -> None:
    """Nothing is computed or written again until an order or a product comes, or a week has passed."""
    shop.products("a", "b")
    shop.order(1, "a", 5)
    assert not rebuild(shop.database, NOW).skipped
    tomorrow = NOW + timedelta(days=1)
    again = rebuild(shop.database, tomorrow)
    assert again.skipped
    assert again.written == 0
    assert again.rows == {"bestsellers": 1}
    with shop.database.read() as connection:
        assert connection.execute(select(marks.c.at).where(marks.c.name == NAME)).scalar_one() == tomorrow
    shop.order(2, "b", 0)
    assert not rebuild(shop.database, tomorrow).skipped
    assert set(ranks(shop, "bestsellers")) == {"a", "b"}
    assert not rebuild(shop.database, tomorrow + timedelta(days=8)).skipped


def test_a_cancellation_is_news(shop: Shop) -> None:
    """The night after an order was cancelled its product is no bestseller any more."""
    shop.products("a", "b")
    shop.order(1, "a b", 5)
    order_id = shop.order(2, "b", 5)
    rebuild(shop.database, NOW)
    assert ranks(shop, "bestsellers") == ["b", "a"]
    with shop.database.write() as connection:
        cancelled = update(orders).where(orders.c.order_id.in_([order_id, "o1"])).values(cancelled_at=NOW)
        connection.execute(cancelled)
    shop.order(3, "a", 0)
    rebuild(shop.database, NOW + timedelta(hours=1))
    assert ranks(shop, "bestsellers") == ["a"]


def test_what_does_not_change_is_not_written(shop: Shop) -> None:
    """Doing all of it again on the same facts writes no row; what is gone from the facts goes from the tables."""
    shop.products("tea one", "tea two", category="tea")
    for number in range(6):
        with_both = {"tea one": 1.0, "tea two": 1.0}
        shop.order(number, with_both, 10 + number)
    shop.products("lamp")
    shop.order(9, "lamp", 5)
    first = rebuild(shop.database, NOW)
    assert first.written > 0
    assert first.rows == {
        "bestsellers": 3, "bought_together": 2, "for_you": 2, "popular_in_category": 2, "similar": 2,
    }  # fmt: skip
    assert rebuild(shop.database, NOW, force=True).written == 0
    with shop.database.write() as connection:
        connection.execute(update(products).where(products.c.sku == "tea two").values(image_url=None))
    rebuild(shop.database, NOW, force=True)
    assert affinities(shop, "bought_together", "tea one") == []
    assert affinities(shop, "similar", "tea one") == []
    assert affinities(shop, "for_you", "tea one") == []


def test_tastes_are_found_across_the_orders_of_a_customer(shop: Shop) -> None:
    """What the same customers buy goes together though it never lay in one basket; a stranger's purchase does not."""
    shop.products("tea", "pot", "lamp")
    for customer_id in range(1, 5):
        shop.order(customer_id, "tea", 40 + customer_id)
        shop.order(customer_id, "pot", 10 + customer_id)
        shop.order(None, "tea", 5)
    shop.order(9, "lamp", 3)
    rebuild(shop.database, NOW)
    assert affinities(shop, "for_you", "tea") == ["pot"]
    assert affinities(shop, "bought_together", "tea") == []
    assert affinities(shop, "for_you", "lamp") == []


def test_how_often_buyers_come_back_is_learned(shop: Shop) -> None:
    """Two buyers with four and one orders: (5 + 5) / (2 + 5); a product that nobody bought twice has no figure."""
    shop.products("tea", "mug")
    for when in (40, 30, 20, 10):
        shop.order(1, "tea mug" if when == 40 else "tea", when)
    shop.order(2, "tea mug", 15)
    rebuild(shop.database, NOW)
    with shop.database.read() as connection:
        rows = connection.execute(select(products.c.sku, products.c.learned_repeats))
        found = {row.sku: row.learned_repeats for row in rows}
    assert found == {"tea": 10 / 7, "mug": None}


def test_tables_of_an_older_shape_are_built_anew(shop: Shop) -> None:
    """After an upgrade that builds tables otherwise the next night does not wait for new orders."""
    shop.products("a")
    shop.order(1, "a", 5)
    rebuild(shop.database, NOW)
    with shop.database.write() as connection:
        meta.put(connection, NAME, {**meta.get(connection, NAME), "shape": 1})
    assert not rebuild(shop.database, NOW).skipped
    assert rebuild(shop.database, NOW).skipped


def test_an_empty_shop_is_rebuilt_too(shop: Shop) -> None:
    """No product, no order: no row and no error."""
    report = rebuild(shop.database, NOW)
    assert (report.rows, report.learned, report.written) == ({}, 0, 0)


def test_the_future_is_not_known(shop: Shop) -> None:
    """A rebuild at a moment gives the same tables whether or not later orders are there already."""
    shop.products("a", "b")
    for number in range(3):
        shop.order(number, "a", 50)
    with shop.database.write() as connection:
        row = {"order_id": "late", "placed_at": NOW, "status": "placed", "status_at": NOW, "updated_at": NOW}
        connection.execute(insert(orders), [row])
    for number in range(9):
        shop.order(number, "b", 5)
    rebuild(shop.database, ago(20))
    assert ranks(shop, "bestsellers") == ["a"]


def test_ranks_of_a_plain_night_are_those_of_reading_everything(shop: Shop) -> None:
    """The nights that read the last weeks' orders alone notice old ones that come late, are cancelled or go."""
    shop.products("a", "b", "c")
    with shop.database.write() as connection:
        placed = {f"old{number}": ago(100 + number) for number in range(120)}
        lines = [{"order_id": name, "line_no": 0, "sku": "abc"[at % 3]} for at, name in enumerate(placed)]
        rows = [
            {"order_id": name, "placed_at": at, "status": "placed", "status_at": at, "updated_at": at}
            for name, at in placed.items()
        ]
        connection.execute(insert(orders), rows)
        connection.execute(insert(order_lines), lines)
    rebuild(shop.database, NOW)

    def night(number: int) -> list[str]:
        """Let a night pass; return its bestsellers and hold them against those of reading everything."""
        assert not rebuild(shop.database, NOW + timedelta(days=number)).skipped
        with shop.database.read() as connection:
            assert meta.get(connection, NAME)["deep_at"] == NOW.isoformat()
        plain = ranks(shop, "bestsellers")
        with shop.database.read() as connection:
            now = NOW + timedelta(days=number)
            whole = rank(sold(connection, packed_sales(connection, now), now))["bestsellers", ""]
        assert plain == [item.sku for item in whole]
        return plain

    assert ranks(shop, "bestsellers") == ["a", "b", "c"]
    shop.order(None, "c", 120)
    assert night(1) == ["c", "a", "b"]
    shop.order(None, "b", -1)
    assert night(2) == ["b", "c", "a"]
    with shop.database.write() as connection:
        late = update(orders).where(orders.c.order_id.in_(["old2", "old5"]))
        connection.execute(late.values(cancelled_at=ago(-2), updated_at=ago(-2)))
    assert night(3) == ["b", "a", "c"]


def test_a_product_stands_once_in_an_order(shop: Shop) -> None:
    """Two lines of one product are one order of it, with the pieces of both."""
    shop.products("a", "b")
    with shop.database.write() as connection:
        told = {"order_id": "twice", "placed_at": ago(5), "status": "placed", "status_at": ago(5)}
        connection.execute(insert(orders), [{**told, "updated_at": ago(5)}])
        lines = [("a", 2.0), ("b", 1.0), ("a", 3.0)]
        connection.execute(
            insert(order_lines),
            [
                {"order_id": "twice", "line_no": number, "sku": sku, "quantity": pieces}
                for number, (sku, pieces) in enumerate(lines)
            ],
        )
    with shop.database.read() as connection:
        sales = packed_sales(connection, NOW)
    assert sales.counted() == {"a": 1, "b": 1}
    assert dict(zip(map(sales.skus.__getitem__, sales.items), sales.pieces, strict=True)) == {
        "a": 5.0,
        "b": 1.0,
    }
    assert list(sales.baskets({"b": 0, "a": 1})) == [[0, 1]]
