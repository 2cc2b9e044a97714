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

from collections.abc import Iterator, Sequence
from datetime import timedelta
from heapq import nsmallest
from math import sqrt

from engine.recommend.popularity import Ranked
from engine.recommend.together import Baskets

LATELY = timedelta(days=28)
SHRINKAGE = 10.0
SEASON = 0.3  # the power of the second factor
BOTH_FROM = 2  # customers who must have bought both
LATEST = 300  # products of one customer that count, the latest ones: a reseller has no taste of their own
NEIGHBOURS = 24


def bought_by_the_same(
    customers: Baskets, skus: Sequence[str], lately: Sequence[int], ever: Sequence[int]
) -> Iterator[tuple[str, list[Ranked]]]:
    """Yield each product with its neighbours, best first; those without any are left out.

    `customers` holds each customer's products as a basket; `lately` and `ever` count orders by product number.
    """
    season = [((late + 1.0) / (all_of + 5.0)) ** SEASON for late, all_of in zip(lately, ever, strict=True)]
    for item, sku in enumerate(skus):
        own = customers.frequency[item]
        scored = [
            Ranked(
                skus[other],
                both / (sqrt(own * customers.frequency[other]) + SHRINKAGE) * season[other],
            )
            for other, both in customers.companions(item).items()
            if both >= BOTH_FROM
        ]
        if scored:
            yield sku, nsmallest(NEIGHBOURS, scored, key=lambda ranked: (-ranked.score, ranked.sku))
