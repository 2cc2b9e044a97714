"""What is said of each slot."""

from __future__ import annotations

from sqlalchemy import insert

from engine.flows.recommend_rules import shop_rules
from engine.recommend.explain import rebuilt_at, shown_to
from engine.recommend.rebuild import rebuild
from engine.recommend.strategies import STRATEGIES, Request
from engine.store.tables import product_affinities
from tests.unit.recommend.shop import NOW, Shop, ago


def test_each_slot_names_what_led_to_it(shop: Shop) -> None:
    """The strongest of the customer's products first, by its title; what was bought again with times and day."""
    shop.product("tea", title="Sencha")
    shop.product("pot", title="Iron pot")
    shop.products("cup", "mug")
    rows = [
        {"strategy": "for_you", "sku": sku, "rank": place, "other": other, "score": score}
        for place, (sku, other, score) in enumerate(
            (("tea", "cup", 0.1), ("pot", "cup", 0.3), ("tea", "mug", 0.2))
        )
    ]
    with shop.database.write() as connection:
        connection.execute(insert(product_affinities), rows)
    for when in (9, 3):
        shop.order(1, "tea", when)
    shop.order(1, "pot", 5)
    with shop.database.read() as connection:
        found = shown_to(connection, Request(1, (), ("for_you", "reorder")), NOW)
    assert [(pick["sku"], pick["because"]) for pick in found] == [
        ("cup", ["pot", "tea"]), ("mug", ["tea"]), ("tea", []), ("pot", []),
    ]  # fmt: skip
    assert found[0]["why"] == "bought by people who, as this customer, chose Iron pot, Sencha"
    assert found[2]["why"] == f"bought 2 times by this customer, last on {ago(3):%Y-%m-%d}"
    assert found[3]["why"].startswith("bought once")


def test_every_strategy_has_words(shop: Shop) -> None:
    """Whatever fills a slot, a sentence without holes stands behind it, the shop's own rules included."""
    shop.products(*(f"p{number}" for number in range(14)), category="tea", properties={"tags": ["x"]})
    for customer_id in range(1, 9):
        shop.order(customer_id, f"p{customer_id} p{customer_id + 1} p3", customer_id)
    shop.event(1, "product_viewed", 1, "p9")
    shop.event(1, "wishlist_added", 1, "p10")
    shop.cart(1, "p11", 1)
    rebuild(shop.database, NOW)
    rules, _ = shop_rules({"always": [{"sku": "p13"}]})
    for strategy in STRATEGIES:
        with shop.database.read() as connection:
            for pick in shown_to(connection, Request(1, ("p4",), (strategy,)), NOW, rules):
                assert pick["strategy"] in (strategy, "always")
                assert pick["why"]
                assert "{" not in pick["why"]


def test_when_the_tables_were_built_is_known(shop: Shop) -> None:
    """Never, and then the moment of the last rebuild."""
    with shop.database.read() as connection:
        assert rebuilt_at(connection) is None
    rebuild(shop.database, NOW)
    with shop.database.read() as connection:
        assert rebuilt_at(connection) == NOW
