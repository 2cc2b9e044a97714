"""What is bought together: co-purchase lift, shrunk and corrected for popularity.

Comes in: the baskets of known orders as product numbers. Goes out: for each product its best companions. Promises memory
for the baskets themselves and one product's neighbours at a time, never for all pairs.

    score(a, b) = ln((together + k) / (expected + k)) · together / (together + k)

`together` is the baskets with both, `expected` = baskets(a) · baskets(b) / baskets, k = 20. The first factor takes out
popularity (two bestsellers meet by chance) and is pulled to 0 where little is known; the second asks for evidence.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import chain
from math import log

from engine.recommend.popularity import Ranked

SHRINKAGE = 20.0
TOGETHER_FROM = 2  # baskets in which two products must have met
LARGEST_BASKET = 80  # distinct products; beyond it a basket is a stocktaking, not a taste
COMPANIONS = 24


class Baskets:
    """Baskets packed into flat arrays: which products stood in each, and in which each product stood."""

    def __init__(self, baskets: Iterable[Sequence[int]], size: int, largest: int = LARGEST_BASKET) -> None:
        """Take baskets of distinct product numbers below `size`; those beyond `largest` join no products."""
        self._items = array("I")
        self._starts = array("Q", [0])
        self.count = 0
        self.frequency: Counter[int] = Counter()
        self._of_item = [array("I") for _ in range(size)]
        alone = array("I")
        for basket in baskets:
            self.count += 1
            if not 1 < len(basket) <= largest:  # its products meet no others
                alone.extend(basket)
                continue
            number = len(self._starts) - 1
            self._items.extend(basket)
            self._starts.append(len(self._items))
            for item in basket:
                self._of_item[item].append(number)
        self.frequency.update(self._items)
        self.frequency.update(alone)

    def companions(self, item: int) -> Counter[int]:
        """Return in how many baskets each other product stood beside this one."""
        starts, items = self._starts, self._items
        met = Counter(
            chain.from_iterable(items[starts[number] : starts[number + 1]] for number in self._of_item[item])
        )
        del met[item]
        return met


def bought_together(baskets: Baskets, skus: Sequence[str]) -> Iterator[tuple[str, list[Ranked]]]:
    """Yield each product with its companions, best first; those without any are left out. `skus` are in order."""
    frequency = [baskets.frequency[item] for item in range(len(skus))]
    for item, sku in enumerate(skus):
        scored = []
        own = frequency[item]
        for other, together in baskets.companions(item).items():
            if together < TOGETHER_FROM:
                continue
            expected = own * frequency[other] / baskets.count
            if together > expected and (score := lift(together, expected)) > 0:
                scored.append((-score, other))
        if scored:
            yield sku, [Ranked(skus[other], -negative) for negative, other in nsmallest(COMPANIONS, scored)]


def lift(together: int, expected: float) -> float:
    """Return the score above; 0 where two products meet just as often as chance has it.

    >>> round(lift(20, 5.0), 3), lift(5, 5.0)
    (0.235, 0.0)
    """
    return log((together + SHRINKAGE) / (expected + SHRINKAGE)) * together / (together + SHRINKAGE)
