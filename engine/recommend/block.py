"""The slots of one block of products, while they are filled and as they are served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.recommend.catalogue import Offered


class Pick(NamedTuple):
    """One slot: the product as it is now, the strategy that put it there, and that strategy's score."""

    sku: str
    strategy: str
    score: float
    product: Mapping[str, Any]


class Block:
    """The slots of one block while they are filled: no article twice, and of a category no more than the limit."""

    def __init__(self, count: int, limit: int, taken: set[str]) -> None:
        self.count, self._limit, self._taken = count, limit, taken
        self.picks: list[Pick] = []
        self._passed_over: list[tuple[Offered, str, float]] = []
        self._held: Counter[str] = Counter()

    def take(self, found: Offered, strategy: str, score: float, *, own: bool) -> None:
        """Give a product a slot, unless its article has one or its category (but among the customer's own) has enough."""
        if found.article in self._taken:
            return
        shelf = found.category
        if shelf is not None and not own and self._held[shelf] >= self._limit:
            if len(self._passed_over) < self.count * 4:
                self._passed_over.append((found, strategy, score))
            return
        self._put(found, strategy, score)

    def filled(self) -> list[Pick]:
        """Return the slots; a category beyond its limit is better than an empty slot."""
        for found, strategy, score in self._passed_over:
            if len(self.picks) < self.count and found.article not in self._taken:
                self._put(found, strategy, score)
        return self.picks

    def _put(self, found: Offered, strategy: str, score: float) -> None:
        self._taken.add(found.article)
        if found.category is not None:
            self._held[found.category] += 1
        self.picks.append(Pick(found.product["sku"], strategy, score, found.product))
