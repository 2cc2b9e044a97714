"""Serving recommendations to a batch of mails."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert

from engine.flows.conditions import FieldTest, Test
from engine.flows.recommend_rules import shop_rules
from engine.recommend import serve
from engine.recommend.block import Pick
from engine.recommend.catalogue import as_shown
from engine.recommend.rebuild import rebuild
from engine.recommend.serve import recommend, slots_of
from engine.recommend.strategies import STRATEGIES, Request
from engine.store.tables import product_affinities, product_ranks
from tests.unit.recommend.shop import NOW, Shop, ago
from tests.unit.recommend.statements import counted


def ranked(shop: Shop, skus: str, strategy: str = "bestsellers", scope: str = "") -> None:
    """Put a rank of products into the table."""
    rows = [
        {"strategy": strategy, "scope": scope, "rank": place, "sku": sku, "score": 1.0 / place}
        for place, sku in enumerate(skus.split(), 1)
    ]
    with shop.database.write() as connection:
        connection.execute(insert(product_ranks), rows)


def affine(shop: Shop, sku: str, others: str, strategy: str = "bought_together") -> None:
    """Put what a product goes with into the table."""
    rows = [
        {"strategy": strategy, "sku": sku, "rank": place, "other": other, "score": 1.0 / place}
        for place, other in enumerate(others.split(), 1)
    ]
    with shop.database.write() as connection:
        connection.execute(insert(product_affinities), rows)


def served(shop: Shop, *requests: Request) -> list[list[Pick]]:
    """Serve requests in one batch."""
    with shop.database.read() as connection:
        return recommend(connection, requests, NOW)


def skus(picks: Sequence[Pick]) -> str:
    """Return the skus of picks in order."""
    return " ".join(pick.sku for pick in picks)


def only(shop: Shop, **asked: Any) -> str:
    """Serve one request and return its skus."""
    chain = tuple(asked.pop("chain").split())
    context = tuple(asked.pop("context", "").split())
    return skus(served(shop, Request(asked.pop("customer_id", 1), context, chain, **asked))[0])


def test_the_chain_fills_the_block_in_order(shop: Shop) -> None:
    """First what goes with the order, then bestsellers; each slot knows its strategy, none comes twice."""
    shop.products("tea", "pot", "bag", "mug", "lamp")
    affine(shop, "tea", "pot bag")
    ranked(shop, "bag mug lamp")
    picks = served(shop, Request(1, ("tea",), ("bought_together", "bestsellers"), 3))[0]
    assert [(pick.sku, pick.strategy) for pick in picks] == [
        ("pot", "bought_together"), ("bag", "bought_together"), ("mug", "bestsellers"),
    ]  # fmt: skip
    assert picks[0].score == 1.0
    assert picks[0].product["price"] == Decimal(10)


def test_what_cannot_be_sold_or_shown_is_left_out(shop: Shop) -> None:
    """Out of stock, unavailable, without image, without price or unknown: none takes a slot; untracked stock is fine."""
    shop.product("sold_out", stock=0)
    shop.product("off", available=False)
    shop.product("blind", image_url=None)
    shop.product("priceless", price=None)
    shop.product("last", stock=1, available=True)
    shop.product("untracked")
    ranked(shop, "sold_out off blind priceless ghost last untracked")
    assert only(shop, chain="bestsellers") == "last untracked"


def test_the_trigger_and_what_was_bought_are_left_out(shop: Shop) -> None:
    """Neither the context nor earlier purchases come again; a cancelled order is no purchase; reorder may repeat."""
    shop.products("a", "b", "c", "d")
    ranked(shop, "a b c d")
    shop.order(1, "b", 30)
    shop.order(1, "c", 30, cancelled_days_ago=29)
    assert only(shop, chain="bestsellers", context="a") == "c d"
    assert only(shop, chain="reorder", context="a") == "b"
    assert only(shop, chain="reorder", context="b") == ""


def test_no_two_variants_of_one_article(shop: Shop) -> None:
    """Of a shirt in three sizes one is shown; none where the customer has one of them, or it is in the trigger."""
    for size in ("s", "m", "l"):
        shop.product(size, variant_group="shirt")
    shop.products("hat")
    ranked(shop, "m s l hat")
    assert only(shop, chain="bestsellers") == "m hat"
    assert only(shop, chain="bestsellers", context="l") == "hat"
    shop.order(2, "s", 5)
    assert only(shop, chain="bestsellers", customer_id=2) == "hat"


def test_fewer_than_at_least_are_none(shop: Shop) -> None:
    """A block that would look empty is left to its `otherwise`."""
    shop.products("a")
    ranked(shop, "a")
    assert only(shop, chain="bestsellers", at_least=2) == ""
    assert only(shop, chain="bestsellers", at_least=1) == "a"


def test_affinities_to_all_of_the_context_add_up(shop: Shop) -> None:
    """What goes with both products of the order stands before what goes with one."""
    shop.products("tea", "milk", "pot", "cup", "jug")
    affine(shop, "tea", "pot cup")
    affine(shop, "milk", "jug cup")
    affine(shop, "milk", "cup", strategy="similar")
    assert only(shop, chain="bought_together", context="tea milk") == "cup jug pot"
    assert only(shop, chain="similar", context="tea milk") == "cup"


def test_popular_in_category_finds_the_category(shop: Shop) -> None:
    """It is the one asked for, else the context's, else what the customer bought most of."""
    shop.products("t0", "t1", category="tea")
    shop.products("m0", "m1", category="mugs")
    shop.products("l1", category="lamps")
    for scope, sku in (("tea", "t1"), ("mugs", "m1"), ("lamps", "l1")):
        ranked(shop, sku, "popular_in_category", scope)
    shop.order(1, "m0", 30)
    assert only(shop, chain="popular_in_category", context="t0", category="lamps") == "l1"
    assert only(shop, chain="popular_in_category", context="t0") == "t1"
    assert only(shop, chain="popular_in_category") == "m1"
    assert only(shop, chain="popular_in_category", customer_id=9) == ""


def test_several_categories_take_turns(shop: Shop) -> None:
    """An order of tea and mugs is followed by tea, mug, tea, mug."""
    shop.products("t0", "t1", "t2", category="tea")
    shop.products("m0", "m1", "m2", category="mugs")
    ranked(shop, "t1 t2", "popular_in_category", "tea")
    ranked(shop, "m1 m2", "popular_in_category", "mugs")
    assert only(shop, chain="popular_in_category", context="m0 t0") == "m1 t1 m2 t2"


def test_where_narrows_every_strategy(shop: Shop) -> None:
    """Tests on the product hold for each slot; a named category brings that category's own ranks."""
    shop.products("t1", "t2", category="tea", properties={"organic": True})
    shop.product("t3", category="tea", price=Decimal(99))
    shop.products("m1", category="mugs")
    ranked(shop, "m1 t1")
    ranked(shop, "t3 t2 t1", "popular_in_category", "tea")
    tea = FieldTest("category", (Test("eq", "tea"),))
    cheap = FieldTest("price", (Test("lt", 50),))
    organic = FieldTest("properties.organic", (Test("eq", True),))
    assert only(shop, chain="bestsellers", where=(tea,)) == "t3 t2 t1"
    assert only(shop, chain="bestsellers", where=(tea, cheap)) == "t2 t1"
    assert only(shop, chain="bestsellers", where=(organic,)) == "t1"


def test_the_customers_own_interests_come_newest_first(shop: Shop) -> None:
    """Views of the last 90 days, wishes not taken back, and what lies in the cart; nothing later than now."""
    shop.products("a", "b", "c", "d", "e", "f")
    for when, sku in ((40, "a"), (2, "b"), (1, "a"), (100, "c"), (-1, "d")):
        shop.event(1, "product_viewed", when, sku)
    for when, sku in ((9, "a"), (8, "b"), (5, "c"), (-1, "d")):
        shop.event(1, "wishlist_added", when, sku)
    shop.event(1, "wishlist_removed", 7, "b")
    shop.event(1, "wishlist_removed", 6, "c")
    shop.cart(1, "e f", 3)
    shop.cart(1, "f a", 1)
    shop.cart(1, "d", -1)
    assert only(shop, chain="recently_viewed") == "a b"
    assert only(shop, chain="wishlist") == "c a"
    assert only(shop, chain="cart") == "f a e"


def test_reorder_prefers_the_frequent_and_the_recent(shop: Shop) -> None:
    """Three orders beat one; of two with one order each the later one stands first."""
    shop.products("tea", "oil", "mug")
    shop.order(1, "mug", 300)
    shop.order(1, "oil", 10)
    for when in (100, 60, 20):
        shop.order(1, "tea", when)
    assert only(shop, chain="reorder") == "tea oil mug"


def test_reorder_prefers_what_people_come_back_for(shop: Shop) -> None:
    """Of a mug and a tea bought once each the tea stands first, where its buyers come back three times."""
    shop.product("mug")
    shop.product("tea", learned_repeats=3.0)
    shop.order(1, "mug", 10)
    shop.order(1, "tea", 40)
    assert only(shop, chain="reorder") == "tea mug"


def test_for_you_follows_what_the_customer_likes(shop: Shop) -> None:
    """What was bought weighs more than what was viewed; what is bought already does not come."""
    shop.products("tea", "pot", "lamp", "bulb", "sugar")
    affine(shop, "tea", "pot sugar", "for_you")
    affine(shop, "lamp", "bulb sugar", "for_you")
    shop.order(1, "tea", 5)
    shop.event(1, "product_viewed", 2, "lamp")
    assert only(shop, chain="for_you") == "pot sugar bulb"
    assert only(shop, chain="for_you", customer_id=7) == ""


def test_newest_are_those_seen_first_last(shop: Shop) -> None:
    """By when the catalogue first had them; what comes later than now is not known."""
    for when, sku in ((30, "a"), (2, "b"), (10, "c"), (-1, "d")):
        shop.product(sku, first_seen_at=ago(when))
    assert only(shop, chain="newest") == "b c a"


def test_newest_of_a_fresh_shop_are_those_changed_last(shop: Shop) -> None:
    """Of products that came at once, the shop's own last change decides, then the SKU: the same order on each database."""
    for sku, changed in (("a", 9), ("b", None), ("c", 2), ("d", 9), ("e", None)):
        shop.product(sku, first_seen_at=ago(1), updated_at=None if changed is None else ago(changed))
    assert only(shop, chain="newest", count=5) == "c a d b e"


def test_what_the_catalogue_began_with_is_not_called_new(shop: Shop) -> None:
    """A product of the first loading has no first day, by a rule of the shop or in a mail made again either."""
    shop.product("old", first_seen_at=ago(30))
    shop.product("old-too", first_seen_at=ago(28))
    shop.product("new", first_seen_at=ago(5))
    with shop.database.read() as connection:
        picks = recommend(connection, [Request(1, (), ("newest",))], NOW)[0]
    assert {pick.sku: pick.product["first_seen_at"] for pick in picks} == {
        "new": ago(5), "old-too": None, "old": None
    }  # fmt: skip
    rules = shop_rules({"always": [{"sku": "old"}]})[0]
    with shop.database.read() as connection:
        picks = recommend(connection, [Request(1, (), ("newest",))], NOW, rules)[0]
        again = as_shown(connection, ["new", "old", "gone"])
    assert {pick.sku: pick.product["first_seen_at"] for pick in picks}["old"] is None
    assert again == {pick.sku: pick.product for pick in picks if pick.sku != "old-too"}


def requests_of(shop: Shop, mails: int) -> list[Request]:
    """Fill a shop with fifty customers who buy and look, and return the requests of so many mails."""
    shop.products(*(f"p{number}" for number in range(12)), category="tea")
    for number in range(1, 51):
        shop.order(number, f"p{number % 12} p{(number + 1) % 12}", number)
        shop.event(number, "product_viewed", 1, f"p{(number + 5) % 12}")
    rebuild(shop.database, NOW)
    return [Request(number % 50 + 1, (f"p{number % 12}",), (), mail=number) for number in range(mails)]


@pytest.mark.parametrize("chain", [*((strategy,) for strategy in STRATEGIES), STRATEGIES], ids=" ".join)
def test_statements_do_not_grow_with_the_batch(shop: Shop, chain: tuple[str, ...]) -> None:
    """Fifty mails and five hundred cost no more statements than one, at most eight, by every strategy."""
    requests = [replace(request, chain=chain) for request in requests_of(shop, 500)]
    seen = []
    with shop.database.read() as connection:
        for size in (1, 50, 500):
            with counted(connection) as statements:
                assert len(recommend(connection, requests[:size], NOW)) == size
            seen.append(len(statements))
    assert 8 >= seen[0] >= seen[1] >= seen[2]


def test_an_empty_batch_asks_nothing(shop: Shop) -> None:
    """No request, no statement."""
    with shop.database.read() as connection, counted(connection) as statements:
        assert recommend(connection, [], NOW) == []
    assert statements == []


_CHAINS = [
    ("bought_together", "bestsellers"),
    ("for_you", "similar", "newest"),
    ("similar",),
    ("wishlist", "for_you", "popular_in_category", "bestsellers"),
    ("newest", "for_you", "popular_in_category", "bestsellers"),
    ("bought_together", "popular_in_category", "recently_viewed", "reorder"),
]


@pytest.mark.parametrize("mixed", [False, True])
def test_who_counts_slots_counts_those_that_are_filled(shop: Shop, mixed: bool) -> None:
    """Slots that are only counted are those of the picks, by strategy, whatever limits, purchases and variants there are.

    Mixed are the categories of an article's variants.
    """
    chance = random.Random(7)
    skus = [f"p{number}" for number in range(40)]
    for sku in skus:
        group, category = (
            chance.choice([None, None, "g1", "g2", "g3"]),
            chance.choice(["a", "b", "c", "d", None]),
        )
        if group is not None and not mixed:
            group = f"{group} {category}"
        shop.product(sku, category=category, variant_group=group, stock=chance.choice([0, 5, 5, 5]))
    for customer in range(1, 31):
        for _ in range(chance.randrange(4)):
            shop.order(
                customer, " ".join(chance.sample(skus, chance.randrange(1, 6))), chance.randrange(1, 300)
            )
        shop.customer(customer)
        for name in ("product_viewed", "wishlist_added"):
            for sku in chance.sample(skus, chance.randrange(3)):
                shop.event(customer, name, 1, sku)
    for sku in skus:
        for strategy in ("bought_together", "similar", "for_you"):
            if near := chance.sample(skus, chance.randrange(0, 7)):
                affine(shop, sku, " ".join(near), strategy)
    ranked(shop, " ".join(chance.sample(skus, 20)))
    for category in "abcd":
        ranked(shop, " ".join(chance.sample(skus, 10)), "popular_in_category", category)
    requests = [
        Request(
            customer, tuple(chance.sample(skus, chance.randrange(0, 3))),
            chance.choice(_CHAINS),
            chance.randrange(1, 6), chance.randrange(1, 7), per_category=chance.choice([None, 1, 2]),
            mail=chance.choice([None, customer, customer % 5]),
        )
        for customer in range(1, 31)
        for _ in range(3)
    ]  # fmt: skip
    for rules in (serve.PLAIN, replace(serve.PLAIN, per_category=2)):
        with shop.database.read() as connection:
            picked = recommend(connection, requests, NOW, rules)
            assert slots_of(connection, requests, NOW, rules) == [[p.strategy for p in own] for own in picked]
    assert sum(map(len, picked)) > 50
