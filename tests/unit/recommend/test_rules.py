"""Diversity, and the shop's own rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert

from engine.flows.recommend_rules import ShopRules, shop_rules
from engine.recommend.block import Pick
from engine.recommend.serve import recommend
from engine.recommend.strategies import Request
from engine.store.tables import product_ranks
from tests.unit.recommend.shop import NOW, Shop
from tests.unit.recommend.statements import counted


def ranked(shop: Shop, skus: str) -> None:
    """Let the products be bestsellers in this order."""
    rows = [
        {"strategy": "bestsellers", "scope": "", "rank": place, "sku": sku, "score": 1.0 / place}
        for place, sku in enumerate(skus.split(), 1)
    ]
    with shop.database.write() as connection:
        connection.execute(insert(product_ranks), rows)


def rules(**table: Any) -> ShopRules:
    """Return the rules of a section that holds no mistake."""
    found, wrong = shop_rules(table)
    assert wrong == []
    return found


def picks(shop: Shop, by: ShopRules | None = None, **asked: Any) -> list[Pick]:
    """Serve one block of bestsellers."""
    request = Request(1, **({"chain": ("bestsellers",)} | asked))
    with shop.database.read() as connection:
        return recommend(connection, [request], NOW, by or ShopRules())[0]


def skus(shop: Shop, by: ShopRules | None = None, **asked: Any) -> str:
    """Serve one block of bestsellers and return its skus."""
    return " ".join(pick.sku for pick in picks(shop, by, **asked))


def test_at_most_two_of_a_category(shop: Shop) -> None:
    """Four teas sell best, yet the block holds two of them; products without a category are not limited."""
    shop.products("t1", "t2", "t3", "t4", category="tea")
    shop.products("m1", category="mugs")
    shop.products("x1", "x2", "x3")
    ranked(shop, "t1 t2 t3 m1 t4 x1 x2 x3")
    assert skus(shop) == "t1 t2 m1 x1"
    assert skus(shop, count=6) == "t1 t2 m1 x1 x2 x3"


def test_a_block_may_ask_for_more_of_a_category(shop: Shop) -> None:
    """By a number of its own or by naming the category; the shop's limit may be another, or none."""
    shop.products("t1", "t2", "t3", "t4", category="tea")
    shop.products("m1", "m2", category="mugs")
    ranked(shop, "t1 t2 t3 m1 t4 m2")
    assert skus(shop, per_category=3) == "t1 t2 t3 m1"
    assert skus(shop, per_category=1, count=2) == "t1 m1"
    assert skus(shop, rules(per_category=1), count=2) == "t1 m1"
    assert skus(shop, rules(per_category=0)) == "t1 t2 t3 m1"


def test_an_empty_slot_is_worse_than_a_third_tea(shop: Shop) -> None:
    """A shop of one category fills its blocks all the same."""
    shop.products("t1", "t2", "t3", "t4", category="tea")
    ranked(shop, "t1 t2 t3 t4")
    assert skus(shop) == "t1 t2 t3 t4"


def test_the_customers_own_products_are_not_limited(shop: Shop) -> None:
    """What lies in the cart is shown as it is."""
    shop.products("t1", "t2", "t3", category="tea")
    shop.products("m1", category="mugs")
    shop.cart(1, "t1 t2 t3 m1", 1)
    assert skus(shop, chain=("cart",)) == "t1 t2 t3 m1"


def test_two_blocks_of_one_mail_show_different_products(shop: Shop) -> None:
    """The second block goes on where the first one ended; another mail starts anew."""
    shop.products("a", "b", "c", "d")
    ranked(shop, "a b c d")
    block = Request(1, (), ("bestsellers",), 2, mail=7)
    with shop.database.read() as connection:
        found = recommend(connection, [block, block, Request(1, (), ("bestsellers",), 2, mail=8)], NOW)
    assert [[pick.sku for pick in chosen] for chosen in found] == [["a", "b"], ["c", "d"], ["a", "b"]]


def test_never_bars_from_every_block(shop: Shop) -> None:
    """By tag, category, stock or margin; however the file told its tags; also what lies in the cart."""
    shop.product("a", properties={"tags": "gift, sale"})
    shop.product("b", properties={"tags": ["sale"]})
    shop.product("c", category="vouchers")
    shop.product("d", properties={"cost": "9.50"})
    shop.product("e", stock=2)
    shop.product("f", properties={"tags": "sales"})
    ranked(shop, "a b c d e f")
    never = [{"tags": "sale"}, {"category": "vouchers"}, {"margin": {"lt": 0.1}}, {"stock": {"lt": 3}}]
    assert skus(shop, rules(never=never)) == "f"
    shop.cart(1, "a f", 1)
    assert skus(shop, rules(never=never), chain=("cart",)) == "f"


def test_always_takes_the_first_slot(shop: Shop) -> None:
    """The house's favourite comes first, once, recorded as such; not where it is bought, sold out or out of place."""
    shop.products("a", "b")
    shop.product("house", category="tea", properties={"tags": ["house"]})
    shop.product("other", category="tea", properties={"tags": ["house"]})
    shop.product("gone", properties={"tags": ["house"]}, stock=0)
    ranked(shop, "a other b")
    by = rules(always=[{"tags": "house"}])
    found = picks(shop, by, count=3)
    assert [(pick.sku, pick.strategy) for pick in found] == [
        ("other", "always"), ("a", "bestsellers"), ("b", "bestsellers"),
    ]  # fmt: skip
    assert skus(shop, by, chain=("cart",)) == ""
    shop.order(1, "other", 5)
    assert skus(shop, by, count=2) == "house a"


def test_boosts_change_the_order_within_a_strategy(shop: Shop) -> None:
    """Twice the score for what earns more, half for what is nearly gone."""
    shop.product("a", stock=2)
    shop.products("b", "d")
    shop.product("c", properties={"margin": 0.5})
    ranked(shop, "a b c d")  # scores 1, 1/2, 1/3, 1/4
    by = rules(boost=[{"margin": {"gte": 0.4}, "by": 2.5}, {"stock": {"lt": 5}, "by": 0.4}])
    assert skus(shop, by) == "c b a d"


def test_rules_cost_one_statement_more(shop: Shop) -> None:
    """`always` reads the catalogue once for a batch; the other rules read nothing."""
    shop.products("a", "b")
    ranked(shop, "a b")
    plain, full = (
        ShopRules(),
        rules(always=[{"sku": "a"}], never=[{"sku": "x"}], boost=[{"sku": "b", "by": 2}]),
    )
    seen = []
    with shop.database.read() as connection:
        for by in (plain, full):
            for size in (1, 50):
                with counted(connection) as statements:
                    recommend(connection, [Request(number) for number in range(size)], NOW, by)
                seen.append(len(statements))
    assert seen == [seen[0], seen[0], seen[0] + 1, seen[0] + 1]


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ({"never": "sale"}, "never", "list of tables"),
        ({"never": [{}]}, "never", "every product"),
        ({"never": [{"prize": 3}]}, "never", 'did you mean "price"'),
        ({"boost": [{"tags": "x"}]}, "boost", "by"),
        ({"boost": [{"tags": "x", "by": 50}]}, "boost", "0.1 to 10"),
        ({"boost": [{"by": 2}]}, "boost", "every product"),
        ({"per_category": -1}, "per_category", "whole number"),
        ({"always": [{"margin": {"over": 3}}]}, "always", "over"),
    ],
)
def test_what_cannot_be_read_is_told(table: dict[str, Any], key: str, says: str) -> None:
    """Each mistake names its key and a way out, and the rest holds."""
    found, wrong = shop_rules(
        table | {"never": [*table.get("never", []), {"sku": "z"}]} if key != "never" else table
    )
    assert [name for name, _ in wrong] == [key]
    assert says in wrong[0][1]
    assert (found.boost, found.always) == ((), ())


def test_margins_are_exact(shop: Shop) -> None:
    """A price of 10 and a cost of 7 leave three tenths, no less."""
    shop.product("a", price=Decimal(10), properties={"cost": 7})
    ranked(shop, "a")
    assert skus(shop, rules(never=[{"margin": {"lt": 0.3}}])) == "a"
    assert picks(shop)[0].product["margin"] == Decimal("0.3")
