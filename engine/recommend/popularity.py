"""What sells: bestsellers, what is popular in each category, and what is trending.

Comes in: the orders known at a moment, anonymous ones included. Goes out: ranked products by strategy and scope. Promises
that an order counts once for a product however many pieces it holds, so that no bulk buyer makes a bestseller, and that
only products with price and image are ranked (stock changes too quickly for a nightly table; serving looks at it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, select

from engine.recommend.packed import PackedSales
from engine.recommend.sales import presentable
from engine.store.tables import products

WINDOW = timedelta(days=90)
RECENT = timedelta(days=14)
BEFORE = timedelta(days=56)  # what the recent days are compared with lies this long before them
PRIOR_ORDERS = 4.0  # orders by which growth from next to nothing is damped
TRENDING_FROM = 3  # recent orders from which a product can be trending
DEEPEST = 1000  # ranks kept for the whole shop
DEEPEST_IN_CATEGORY = 200
NOTHING: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Sold:
    """In how many orders a product stood: ever, in the last 90 days, in the last 14, and in the 56 before those."""

    sku: str
    category: str | None
    ever: int
    window: int
    recent: int
    before: int


class Ranked(NamedTuple):
    """One product with its score; a list of them is in order of rank."""

    sku: str
    score: float


def sold(
    connection: Connection, sales: PackedSales, now: datetime, earlier: Mapping[str, int] = NOTHING
) -> list[Sold]:
    """Return every presentable product that was ever sold, with its orders by time.

    `sales` hold at least what was sold in the last 90 days; `earlier` are the orders of each product before them.
    """
    counted = sales.counted()
    window = sales.counted(sales.after(now - WINDOW))
    lately = sales.after(now - RECENT)
    recent, before = sales.counted(lately), sales.counted(sales.since(now - RECENT - BEFORE), lately)
    statement = select(products.c.sku, products.c.category).where(presentable()).order_by(products.c.sku)
    return [
        Sold(sku, category, ever, window.get(sku, 0), recent.get(sku, 0), before.get(sku, 0))
        for sku, category in connection.execute(statement)
        if (ever := counted.get(sku, 0) + earlier.get(sku, 0))
    ]


def rank(items: Sequence[Sold]) -> dict[tuple[str, str], list[Ranked]]:
    """Return the ranks by (strategy, scope); the scope is the category, or empty for the whole shop."""
    ranks = {("bestsellers", ""): _by_sales(items)[:DEEPEST], ("trending", ""): _trending(items)[:DEEPEST]}
    by_category: defaultdict[str, list[Sold]] = defaultdict(list)
    for item in items:
        if item.category:
            by_category[item.category].append(item)
    for category, members in by_category.items():
        ranks["popular_in_category", category] = _by_sales(members)[:DEEPEST_IN_CATEGORY]
    return {key: ranked for key, ranked in ranks.items() if ranked}


def _by_sales(items: Iterable[Sold]) -> list[Ranked]:
    """Order by orders of the last 90 days; among equals, and for what did not sell lately, by orders ever.

    The score is the 90 days' orders plus a fraction below 1 that stands for the orders ever.
    """
    return _sorted(Ranked(item.sku, item.window + item.ever / (item.ever + 1000.0)) for item in items)


def _trending(items: Sequence[Sold]) -> list[Ranked]:
    """Order by how far recent orders exceed what the weeks before let expect, in standard deviations.

    (recent − expected) / √(expected + 4): expected is the product's own orders of the 56 days before, scaled by how the
    whole shop grew, so that December does not make everything trend.
    """
    recent, before = sum(item.recent for item in items), sum(item.before for item in items)
    scale = recent / before if before else 0.0
    scored = []
    for item in items:
        expected = item.before * scale
        if item.recent >= TRENDING_FROM and item.recent > expected:
            scored.append(Ranked(item.sku, (item.recent - expected) / (expected + PRIOR_ORDERS) ** 0.5))
    return _sorted(scored)


def _sorted(ranked: Iterable[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda item: (-item.score, item.sku))
