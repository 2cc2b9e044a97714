"""What is bought again: how long a piece lasts, how often its buyers come back for it, and how far quantity counts.

Comes in: the orders known at a moment that name a customer. Goes out: a `Repeats`. Promises to read the repeated purchases
once and to hold of them two numbers a gap. `engine.recommend.supply` turns it into a customer's own run-out date,
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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from math import log
from operator import itemgetter
from statistics import fmean, median
from typing import Any

from sqlalchemy import Connection, Select, func, select

from engine.recommend.sales import counts, gaps, stream
from engine.store.tables import order_lines, orders, products

REPEATS_FROM = 5  # gaps from which a product's days are called learned
BUYERS_AT_FIRST = 5.0  # buyers without repeats that every product is taken to have had
PULL = 20.0  # how strongly the exponent is held at 1, in squared logarithms: about 40 gaps after a doubled quantity


@dataclass(frozen=True, slots=True)
class Repeats:
    """What was learned: days a piece and orders a buyer by sku, and the exponent of pieces."""

    days: dict[str, float] = field(default_factory=dict)
    orders: dict[str, float] = field(default_factory=dict)
    exponent: float = 1.0


_Purchases = list[tuple[datetime, float]]


class _Gaps:
    """One product's gaps, customer by customer, packed: a large shop has millions of them."""

    __slots__ = ("_counts", "_numbers")

    def __init__(self, owns: Iterable[_Purchases]) -> None:
        self._counts, self._numbers = array("I"), array("d")
        for own in owns:
            found = gaps(own)
            self._counts.append(len(found))
            for pair in found:
                self._numbers.extend(pair)

    def __iter__(self) -> Iterator[list[tuple[float, float]]]:
        """Yield each customer's gaps as (days, pieces), as `gaps` returns them."""
        numbers = iter(self._numbers)
        for count in self._counts:
            yield [(next(numbers), next(numbers)) for _ in range(count)]


def repeats(connection: Connection, now: datetime) -> Repeats:
    """Return what the repeats of all products teach; products that nobody bought twice are left out."""
    held = {sku: _Gaps(owns) for sku, owns in _by_product(connection, now)}
    exponent = _fitted(own for found in held.values() for own in found)
    buyers = _buyers(connection, now)
    days: dict[str, float] = {}
    often: dict[str, float] = {}
    for sku, owns in held.items():
        found = [[length / pieces**exponent for length, pieces in own] for own in owns]
        again = sum(map(len, found))
        if again:
            often[sku] = (again + buyers[sku] + BUYERS_AT_FIRST) / (buyers[sku] + BUYERS_AT_FIRST)
        if again >= REPEATS_FROM:
            days[sku] = median(median(own) for own in found if own)
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


def _buyers(connection: Connection, now: datetime) -> dict[str, int]:
    """Return how many customers bought each product, once or more."""
    query = _sold(now, order_lines.c.sku, func.count(orders.c.customer_id.distinct()))
    return {sku: count for sku, count in connection.execute(query.group_by(order_lines.c.sku))}


def _by_product(connection: Connection, now: datetime) -> Iterator[tuple[str, list[_Purchases]]]:
    """Yield each product with the purchases of each of its customers who has more than one line of it."""
    by = (order_lines.c.sku, orders.c.customer_id)
    lines = func.count().over(partition_by=by).label("lines")
    sold = _sold(now, *by, orders.c.placed_at, order_lines.c.quantity, lines).subquery()
    wanted = (sold.c.sku, sold.c.customer_id, sold.c.placed_at, sold.c.quantity)
    statement = select(*wanted).where(sold.c.lines > 1)
    statement = statement.order_by(sold.c.sku, sold.c.customer_id, sold.c.placed_at)
    for sku, rows in groupby(stream(connection, statement), key=itemgetter(0)):
        yield sku, [_purchases(own) for _, own in groupby(rows, key=itemgetter(1))]


def _sold(now: datetime, *columns: Any) -> Select[Any]:
    """Return the query for these columns of what customers with a name bought of products that are known."""
    return (
        select(*columns)
        .select_from(order_lines)
        .join(orders, orders.c.order_id == order_lines.c.order_id)
        .join(products, products.c.sku == order_lines.c.sku)
        .where(counts(now), orders.c.customer_id.is_not(None))
    )


def _purchases(rows: Iterable[Any]) -> _Purchases:
    return [(placed_at, quantity) for _, _, placed_at, quantity in rows]
