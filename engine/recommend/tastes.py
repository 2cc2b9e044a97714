"""What people of like taste buy: which products are bought by the same customers, whatever the basket.

Comes in: what each customer bought, and in how many orders each product stood lately and ever, by product number. Goes
out: for each product those that its buyers buy too, best first. Promises memory for the customers' products and one
product's neighbours at a time.

    score(a, b) = both / (√(buyers(a) · buyers(b)) + 10) · ((lately(b) + 1) / (ever(b) + 5))^0.3

`both` is the customers who bought a and b, `lately` the orders of the last 28 days. The first factor is the cosine of the
two products' buyers, pulled to 0 where few are known; the second prefers what is sold at this time of the year. Chosen
on an earlier month of Online Retail among powers, windows and lengths; docs/recommendations.md has what it is worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from heapq import nsmallest
from math import sqrt

from engine.recommend.packed import PackedSales
from engine.recommend.popularity import Ranked
from engine.recommend.together import Baskets

LATELY = timedelta(days=28)
SHRINKAGE = 10.0
SEASON = 0.3  # the power of the second factor
BOTH_FROM = 2  # customers who must have bought both
LATEST = 300  # products of one customer that count, the latest ones: a reseller has no taste of their own
NEIGHBOURS = 24


def collections(sales: PackedSales, number: Mapping[str, int], first: int) -> Iterator[list[int]]:
    """Yield what each customer bought in the orders from `first` on, as numbers of products, at most the latest ones."""
    places = sales.numbered(number)
    starts, items = sales.starts, sales.items
    for own in sales.by_customer(first):
        latest: dict[int, int] = {}
        for order in own:
            placed = sales.placed[order]
            for item in items[starts[order] : starts[order + 1]]:
                latest[item] = placed
        known = [item for item in latest if places[item] >= 0]
        if len(known) > LATEST:
            known = nsmallest(LATEST, known, key=lambda item: (-latest[item], sales.skus[item]))
        if len(known) > 1:
            yield sorted(places[item] for item in known)


def bought_by_the_same(
    customers: Baskets, skus: Sequence[str], lately: Sequence[int], ever: Sequence[int]
) -> Iterator[tuple[str, list[Ranked]]]:
    """Yield each product with its neighbours, best first; those without any are left out.

    `customers` holds each customer's products as a basket; `lately` and `ever` count orders by product number. `skus`
    are in order, so that among equals the smaller number comes first.
    """
    season = [((late + 1.0) / (all_of + 5.0)) ** SEASON for late, all_of in zip(lately, ever, strict=True)]
    frequency = [customers.frequency[item] for item in range(len(skus))]
    for item, sku in enumerate(skus):
        own = frequency[item]
        scored = [
            (-(both / (sqrt(own * frequency[other]) + SHRINKAGE) * season[other]), other)
            for other, both in customers.companions(item).items()
            if both >= BOTH_FROM
        ]
        if scored:
            yield sku, [Ranked(skus[other], -score) for score, other in nsmallest(NEIGHBOURS, scored)]
