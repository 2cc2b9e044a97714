"""The strategies of recommendations: what each starts from, and where its products stand.

Comes in: what a mail asks for, and what its customer did. Goes out: the products to start from, the lists to look into, and
the customer's own products in their order. Nothing is read here.

| strategy | order |
| --- | --- |
| bought_together, similar | affinity to the context's products, summed |
| for_you | affinity to what the customer bought, carted, wished for, viewed (weights 1, .8, .6, .4), summed |
| bestsellers, trending | the nightly ranks; where the request narrows to categories, the ranks of those |
| popular_in_category | the ranks of the request's category, else of the context's, else of what the customer bought |
| recently_viewed, wishlist, cart | the customer's own, newest first |
| reorder | what the customer bought, by how often and how lately (an order 180 days ago counts half), times how often the product's buyers come back for it |
| newest | first seen last; of those seen at once, changed last |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from engine.flows.conditions import FieldTest
from engine.recommend.popularity import Ranked
from engine.recommend.shopper import Shopper

ALWAYS = "always"  # recorded as the strategy of a slot that the shop's rules filled
SEEDS = 30  # of a customer's own products, those that for_you starts from
# By strategy, the tables of affinities that it sums, and what each weighs.
AFFINE: Mapping[str, Mapping[str, float]] = {
    "bought_together": {"bought_together": 1.0},
    "similar": {"similar": 1.0},
    "for_you": {"for_you": 1.0, "similar": 0.05},
}


@dataclass(frozen=True, slots=True)
class Request:
    """What one mail asks for.

    `sku_context` holds the products of the trigger, its order and its cart; `chain` the strategies, first choice first;
    fewer than `at_least` picks are none; `where` tests the product; `category` is what popular_in_category is asked of;
    `per_category` is the most of one category where the shop's own limit is not to hold. Requests of one `mail` do not
    repeat each other's products.
    """

    customer_id: int
    sku_context: tuple[str, ...] = ()
    chain: tuple[str, ...] = ("bestsellers",)
    count: int = 4
    at_least: int = 1
    where: tuple[FieldTest, ...] = ()
    category: str | None = None
    per_category: int | None = None
    mail: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with its shopper and the products it starts from, weighed."""

    request: Request
    shopper: Shopper
    categories: tuple[str, ...]
    narrowed: tuple[str, ...]  # categories that the request's `where` leaves
    _seeds: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def seeds(self, strategy: str) -> Mapping[str, float]:
        """Return what a strategy of affinities starts from; worked out once."""
        found = self._seeds.get(strategy)
        if found is None:
            found = self._seeds[strategy] = seeds_of(strategy, self.request, self.shopper)
        return found


def seeds_of(strategy: str, request: Request, shopper: Shopper) -> Mapping[str, float]:
    """Return the products that a strategy of affinities starts from, with the weight of each."""
    if strategy != "for_you":
        return dict.fromkeys(request.sku_context, 1.0)
    weights: Counter[str] = Counter()
    most = max(shopper.bought.values(), default=1.0)
    weights.update({sku: habit / most for sku, habit in shopper.bought.items()})
    for weight, skus in ((0.8, shopper.carted), (0.6, shopper.wished), (0.4, shopper.viewed)):
        weights.update(dict.fromkeys(skus[:SEEDS], weight))
    return dict(nsmallest(SEEDS, weights.items(), key=lambda item: (-item[1], item[0])))


def head(chain: tuple[str, ...]) -> tuple[str, ...]:
    """Return a chain up to the first strategy that mostly fills what is left; what comes after it is seldom looked at."""
    plenty = next((place for place, name in enumerate(chain, 1) if name in PLENTIFUL), len(chain))
    return chain[:plenty]


def narrowed(where: Sequence[FieldTest]) -> tuple[str, ...]:
    """Return the categories that tests leave, where they name them (`category: tea`, `category: [tea, mugs]`)."""
    for named in where:
        for test in named.tests:
            if named.path == "category" and test.op in ("eq", "in"):
                operands = test.operand if isinstance(test.operand, tuple) else (test.operand,)
                return tuple(operand for operand in operands if isinstance(operand, str))
    return ()


def _in_categories(categories: Sequence[str]) -> list[tuple[str, str]]:
    return [("popular_in_category", category) for category in categories]


# By strategy, the ranks (strategy, scope) that it takes in turns.
RANKED: Mapping[str, Callable[[Asked], list[tuple[str, str]]]] = {
    "bestsellers": lambda asked: _in_categories(asked.narrowed) or [("bestsellers", "")],
    "trending": lambda _asked: [("trending", "")],
    "popular_in_category": lambda asked: _in_categories(asked.categories),
}


def in_order(skus: Sequence[str]) -> list[Ranked]:
    """Return products that stand in an order as if they were ranked so."""
    return [Ranked(sku, 1.0 / place) for place, sku in enumerate(skus, 1)]


# The customer's own products; `reorder` needs more than the shopper and is served by the shelf.
OWN: Mapping[str, Callable[[Shopper], list[Ranked]]] = {
    "recently_viewed": lambda shopper: in_order(shopper.viewed),
    "wishlist": lambda shopper: in_order(shopper.wished),
    "cart": lambda shopper: in_order(shopper.carted),
    "reorder": lambda shopper: in_order(list(shopper.bought)),
}
INTERESTED = frozenset({"for_you", "recently_viewed", "wishlist", "cart"})  # by more than what was bought
# What lies near a customer's deeds is read for the heads of chains alone.
BY_DEEDS = INTERESTED | AFFINE.keys()
PLENTIFUL = frozenset({"newest", "trending", "bestsellers", "popular_in_category"})
STRATEGIES: tuple[str, ...] = (*AFFINE, *RANKED, *OWN, "newest")
