"""RFM: how recently, how often and for how much customers bought, each as a score from 1 to 5.

Comes in: one value per customer. Goes out: one score per customer, 5 the best. Promises that equal values have equal
scores. By default the scores are quintiles: the share of the other customers with a smaller value, times five, rounded
down, plus one (at most 5). So where four of five customers bought once, all of these have frequency 1. A single customer
has 3. `Bins` sets limits of the shop's own instead.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Limits = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Bins:
    """Limits between the scores; None is quintiles.

    `recency_days` holds the most days for 5, 4, 3 and 2, as (30, 90, 180, 365); `frequency` the fewest orders and
    `monetary` the least spent for 2, 3, 4 and 5, as (2, 3, 5, 10).
    """

    recency_days: Limits | None = None
    frequency: Limits | None = None
    monetary: Limits | None = None


QUINTILES = Bins()


def recency_scores(days: Sequence[float], limits: Limits | None = None) -> list[int]:
    """Return the scores of days since the last order: the fewer the better.

    >>> recency_scores([1, 5, 40, 90, 400]), recency_scores([30, 31, 366], (30, 90, 180, 365))
    ([5, 4, 3, 2, 1], [5, 4, 1])
    """
    turned = None if limits is None else tuple(-limit for limit in reversed(limits))
    return _scores([-value for value in days], turned)


def value_scores(values: Sequence[float], limits: Limits | None = None) -> list[int]:
    """Return the scores of orders or amounts: the more the better.

    >>> value_scores([1, 1, 1, 1, 2]), value_scores([1, 2, 4, 12], (2, 3, 5, 10))
    ([1, 1, 1, 1, 5], [1, 2, 3, 5])
    """
    return _scores(values, limits)


def percentiles(values: Sequence[float]) -> list[float]:
    """Return for each value the share of the others that is smaller, 0 to 100; a single value has 50.

    >>> percentiles([10, 20, 20, 40, 30])
    [0.0, 25.0, 25.0, 100.0, 75.0]
    """
    ordered, others = sorted(values), len(values) - 1
    if others < 1:
        return [50.0] * len(values)
    return [100.0 * bisect_left(ordered, value) / others for value in values]


def _scores(values: Sequence[float], limits: Sequence[float] | None) -> list[int]:
    if limits is not None:
        return [1 + bisect_right(limits, value) for value in values]
    return [min(5, 1 + int(share / 20.0)) for share in percentiles(values)]
