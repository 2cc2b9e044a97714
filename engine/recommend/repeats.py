"""What is bought again: how long a piece lasts, how often its buyers come back for it, and how far quantity counts.

Comes in: the sales known at a moment. Goes out: a `Repeats`, of orders that name a customer. Promises to hold two numbers a
gap. `engine.recommend.supply` turns it into a customer's own run-out date,
`engine.recommend.serve` into an order of what to buy again.

    days a piece      the middle of the customers' own middles of gap / pieces^e, from 5 gaps up
    orders a buyer    (orders + 5) / (buyers + 5)
    e, the exponent   (Σ xy + 20) / (Σ x² + 20), from 0 to 1

x and y are how far log pieces and log gap lie from the customer's own mean for that product. The fit is pulled to 1,
twice the pieces last twice as long, until a shop's own sales say otherwise: on Complete Journey they say 0.1.
Each customer counts once for a product, so that those who buy it every week do not speak for all.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import log
from statistics import fmean, median

from engine.recommend.packed import PackedSales
from engine.recommend.sales import gaps, gaps_of_days

REPEATS_FROM = 5  # gaps from which a product's days are called learned
BUYERS_AT_FIRST = 5.0  # buyers without repeats that every product is taken to have had
DAY = 86_400_000_000  # microseconds
PULL = 20.0  # how strongly the exponent is held at 1, in squared logarithms: about 40 gaps after a doubled quantity


@dataclass(frozen=True, slots=True)
class Repeats:
    """What was learned: days a piece and orders a buyer by sku, and the exponent of pieces."""

    days: dict[str, float] = field(default_factory=dict)
    orders: dict[str, float] = field(default_factory=dict)
    exponent: float = 1.0


class _Gaps:
    """One product's gaps, customer by customer, packed: a large shop has millions of them."""

    __slots__ = ("_counts", "_numbers")

    def __init__(self) -> None:
        self._counts, self._numbers = array("I"), array("d")

    def add(self, found: Sequence[tuple[float, float]]) -> None:
        """Take one customer's gaps as (days, pieces)."""
        self._counts.append(len(found))
        for pair in found:
            self._numbers.extend(pair)

    def __iter__(self) -> Iterator[list[tuple[float, float]]]:
        """Yield each customer's gaps as they were added."""
        numbers = iter(self._numbers)
        for count in self._counts:
            yield [(next(numbers), next(numbers)) for _ in range(count)]


def repeats(sales: PackedSales, known: Collection[str]) -> Repeats:
    """Return what the repeats of all products teach that are `known`; those that nobody bought twice are left out."""
    buyers, gaps_of = _bought_again(sales)
    held = sorted(
        (sku, buyers[item], gaps_of[item])
        for item, sku in enumerate(sales.skus)
        if item in gaps_of and sku in known
    )
    exponent = _fitted(own for _, _, found in held for own in found)
    days: dict[str, float] = {}
    often: dict[str, float] = {}
    for sku, people, owns in held:
        found = [[length / pieces**exponent for length, pieces in own] for own in owns]
        again = sum(map(len, found))
        if again:
            often[sku] = (again + people + BUYERS_AT_FIRST) / (people + BUYERS_AT_FIRST)
        if again >= REPEATS_FROM:
            days[sku] = median(median(own) for own in found)
    return Repeats(days, often, exponent)


def fitted_exponent(histories: Iterable[Sequence[tuple[datetime, float]]]) -> float:
    """Return by which power of the pieces the gap after them grows, between 0 and 1; 1 where nothing is known."""
    return _fitted(map(gaps, histories))


def _fitted(each: Iterable[Sequence[tuple[float, float]]]) -> float:
    above = below = PULL
    for known in each:
        if len(known) < 2:
            continue
        x = [log(pieces) for _, pieces in known]
        y = [log(days) for days, _ in known]
        middle_x, middle_y = fmean(x), fmean(y)
        above += sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
        below += sum((a - middle_x) ** 2 for a in x)
    return min(1.0, max(0.0, above / below))


def _bought_again(sales: PackedSales) -> tuple[Counter[int], dict[int, _Gaps]]:
    """Return how many customers bought each product, and the gaps of those who bought it on more than one day."""
    buyers: Counter[int] = Counter()
    found: defaultdict[int, _Gaps] = defaultdict(_Gaps)
    starts, items, pieces = sales.starts, sales.items, sales.pieces
    for own in sales.by_customer():
        days = [sales.placed[order] // DAY for order in own]
        if days[0] == days[-1]:
            buyers.update({item for order in own for item in items[starts[order] : starts[order + 1]]})
            continue
        bought: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
        for day, order in zip(days, own, strict=True):
            for place in range(starts[order], starts[order + 1]):
                bought[items[place]].append((day, pieces[place]))
        buyers.update(bought.keys())
        for item, purchases in bought.items():
            if len(purchases) > 1 and (gaps_found := gaps_of_days(purchases)):
                found[item].add(gaps_found)
    return buyers, found
