"""What a customer would be shown, with the reason behind each slot in words.

Comes in: a customer, a chain of strategies, what the mail is about. Goes out: plain data. The picks are those that a
mail of this moment would hold; the words say what each strategy looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from engine.recommend.serve import Request, recommend

_WHY = {
    "bought_together": "bought together with what this is about",
    "similar": "like what this is about",
    "for_you": "goes with what this customer bought, carted, wished for or viewed",
    "popular_in_category": "popular in the category that fits this customer",
    "bestsellers": "sells best in the shop",
    "trending": "sells better than usual at the moment",
    "recently_viewed": "viewed lately by this customer",
    "wishlist": "on this customer's wish list",
    "cart": "in this customer's cart",
    "reorder": "bought before by this customer, often or lately",
    "newest": "new in the shop",
}


def shown_to(
    connection: Connection,
    customer_id: int,
    chain: Sequence[str],
    count: int,
    about: Sequence[str],
    now: datetime,
) -> list[dict[str, Any]]:
    """Return the picks of a chain for one customer: sku, title, category, price, strategy, score, why."""
    request = Request(customer_id, tuple(about), tuple(chain), count)
    (picks,) = recommend(connection, [request], now)
    return [
        {
            "sku": pick.sku, "title": pick.product["title"], "category": pick.product["category"],
            "price": pick.product["price"], "currency": pick.product["currency"], "strategy": pick.strategy,
            "score": round(pick.score, 6), "why": _WHY[pick.strategy],
        }
        for pick in picks
    ]  # fmt: skip
