"""What a customer would be shown, with the reason behind each slot in words.

Comes in: a request as a mail would make it. Goes out: plain data. The picks are those that a mail of this moment would
hold; the words name what of the customer's or of the mail's led to each, as far as the strategy knows one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from engine.flows.recommend_rules import ShopRules
from engine.recommend.block import Pick
from engine.recommend.sales import counts
from engine.recommend.serve import PLAIN, recommend
from engine.recommend.shopper import meet, shoppers
from engine.recommend.strategies import AFFINE, ALWAYS, Request, seeds_of
from engine.store.dialect import among
from engine.store.tables import marks, order_lines, orders, product_affinities, products

REBUILT = "recommend"  # the mark that the nightly rebuild leaves
_WHY = {
    "bought_together": "bought together with {named}",
    "similar": "like {named}",
    "for_you": "bought by people who, as this customer, chose {named}",
    "popular_in_category": "popular in {category}",
    "bestsellers": "sells best{within}",
    "trending": "sells better than usual at the moment",
    "recently_viewed": "viewed lately by this customer",
    "wishlist": "on this customer's wish list",
    "cart": "in this customer's cart",
    "reorder": "bought {times} by this customer, last on {last}",
    "newest": "{newest}",
    ALWAYS: "the shop's rules want it in every block",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What led to the picks: the products that each goes with, and what the customer bought when."""

    reasons: Mapping[tuple[str, str], Sequence[str]]  # (strategy, sku) → skus, the strongest first
    titles: Mapping[str, str]
    bought: Mapping[str, tuple[int, datetime]]  # orders, and the last of them


def shown_to(
    connection: Connection, request: Request, now: datetime, rules: ShopRules = PLAIN
) -> list[dict[str, Any]]:
    """Return the picks of a request: sku, title, category, price, currency, strategy, score, why, because.

    `because` lists the skus that a pick goes with, the strongest first; for strategies that know none it is empty.
    """
    (picks,) = recommend(connection, [request], now, rules)
    found = _found(connection, request, picks, now)
    return [
        {
            "sku": pick.sku, "title": pick.product["title"], "category": pick.product["category"],
            "price": pick.product["price"], "currency": pick.product["currency"], "strategy": pick.strategy,
            "score": round(pick.score, 6), "why": _words(pick, request, found),
            "because": list(found.reasons.get((pick.strategy, pick.sku), ())),
        }
        for pick in picks
    ]  # fmt: skip


def rebuilt_at(connection: Connection) -> datetime | None:
    """Return when the tables that recommendations are served from were built, or None where they never were."""
    at: datetime | None = connection.execute(select(marks.c.at).where(marks.c.name == REBUILT)).scalar()
    return at


def _words(pick: Pick, request: Request, found: Found) -> str:
    reasons = [found.titles.get(sku) or sku for sku in found.reasons.get((pick.strategy, pick.sku), ())]
    times, last = found.bought.get(pick.sku, (0, None))
    return _WHY[pick.strategy].format(
        named=", ".join(reasons[:2]) or "what this is about",
        category=pick.product["category"] or "its category",
        within=" in its category" if request.where else " in the shop",
        times="once" if times == 1 else f"{times} times",
        last=f"{last:%Y-%m-%d}" if last else "",
        newest=_since(pick.product["first_seen_at"]),
    )


def _since(seen: datetime | None) -> str:
    """Say since when a product is there; what came with the catalogue's beginning was there before."""
    return (
        "as new as all that the catalogue began with"
        if seen is None
        else f"new in the shop since {seen:%Y-%m-%d}"
    )


def _found(connection: Connection, request: Request, picks: Sequence[Pick], now: datetime) -> Found:
    found = shoppers(connection, [request.customer_id], now)
    meet(connection, [request.customer_id], now, found)
    shopper = found[request.customer_id]
    reasons: dict[tuple[str, str], list[str]] = {}
    for strategy in dict.fromkeys(pick.strategy for pick in picks if pick.strategy in AFFINE):
        weights = seeds_of(strategy, request, shopper)
        skus = [pick.sku for pick in picks if pick.strategy == strategy]
        reasons |= {(strategy, sku): led for sku, led in _led(connection, strategy, weights, skus).items()}
    named = {sku for led in reasons.values() for sku in led}
    rows = connection.execute(
        select(products.c.sku, products.c.title).where(among(connection, products.c.sku, sorted(named)))
    )
    titles = {row.sku: row.title or row.sku for row in rows}
    return Found(reasons, titles, _bought(connection, request.customer_id, now))


def _led(
    connection: Connection, strategy: str, weights: Mapping[str, float], skus: Sequence[str]
) -> dict[str, list[str]]:
    """Return for each pick the seeds that speak for it, the strongest first."""
    table = product_affinities
    statement = select(table.c.strategy, table.c.sku, table.c.other, table.c.score).where(
        among(connection, table.c.strategy, sorted(AFFINE[strategy])),
        among(connection, table.c.sku, sorted(weights)),
        among(connection, table.c.other, sorted(skus)),
    )
    scores: dict[str, dict[str, float]] = {}
    for of, sku, other, score in connection.execute(statement):
        share = AFFINE[strategy][of]
        own = scores.setdefault(other, {})
        own[sku] = own.get(sku, 0.0) + weights[sku] * share * score
    return {
        other: [sku for sku, _ in sorted(own.items(), key=lambda item: (-item[1], item[0]))]
        for other, own in scores.items()
    }


def _bought(connection: Connection, customer_id: int, now: datetime) -> dict[str, tuple[int, datetime]]:
    statement = (
        select(order_lines.c.sku, func.count(orders.c.order_id.distinct()), func.max(orders.c.placed_at))
        .join_from(orders, order_lines, order_lines.c.order_id == orders.c.order_id)
        .where(orders.c.customer_id == customer_id, counts(now))
        .group_by(order_lines.c.sku)
    )
    return {sku: (times, last) for sku, times, last in connection.execute(statement)}
