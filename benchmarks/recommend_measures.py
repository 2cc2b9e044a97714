"""How good a list is: recall, nDCG, coverage, and how sure one can be of a mean.

Comes in: what was shown to each customer and what they bought. Goes out: means over customers, with intervals of 95 %
from a thousand samples of the customers, drawn with a seed.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log2

SAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over customers, with the interval in which 95 % of the samples lie."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f}–{self.high:.4f})"


@dataclass(frozen=True, slots=True)
class Quality:
    """What lists of so many slots were worth."""

    recall: Mean
    ndcg: Mean
    coverage: float  # share of the catalogue that was shown to anybody
    customers: int


def recall(shown: Sequence[str], bought: Collection[str]) -> float:
    """Return the share of what was bought that was shown.

    >>> recall(["a", "b"], {"a", "c", "d"})
    0.3333333333333333
    """
    return sum(sku in bought for sku in shown) / len(bought)


def ndcg(shown: Sequence[str], bought: Collection[str], slots: int) -> float:
    """Return the discounted gain of the list against the best list possible.

    >>> ndcg(["a", "x"], {"a"}, 2), round(ndcg(["x", "a"], {"a"}, 2), 3)
    (1.0, 0.631)
    """
    best = sum(1 / log2(place + 2) for place in range(min(slots, len(bought))))
    return sum(1 / log2(place + 2) for place, sku in enumerate(shown[:slots]) if sku in bought) / best


def quality(
    shown: Mapping[int, Sequence[str]], bought: Mapping[int, Collection[str]], slots: int, catalogue: int
) -> Quality:
    """Return the quality of lists for every customer who bought anything that counts; no list counts as an empty one."""
    who = sorted(customer for customer, skus in bought.items() if skus)
    recalls = [recall(shown.get(customer, ())[:slots], bought[customer]) for customer in who]
    gains = [ndcg(shown.get(customer, ()), bought[customer], slots) for customer in who]
    seen = {sku for customer in who for sku in shown.get(customer, ())[:slots]}
    return Quality(mean(recalls), mean(gains), len(seen) / catalogue, len(who))


def mean(values: Sequence[float], seed: int = 1) -> Mean:
    """Return the mean with its interval."""
    chance = random.Random(seed)
    drawn = sorted(sum(chance.choices(values, k=len(values))) / len(values) for _ in range(SAMPLES))
    return Mean(sum(values) / len(values), drawn[int(SAMPLES * 0.025)], drawn[int(SAMPLES * 0.975) - 1])
