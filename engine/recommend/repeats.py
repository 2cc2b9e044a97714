"""How long a piece lasts: the median gap between repeated purchases of a product, learned from everybody's orders.

Comes in: the orders known at a moment that name a customer. Goes out: days a piece by product, from 5 repeats up. Promises
to hold one product's purchases at a time. `engine.recommend.supply` turns it into a customer's own run-out date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from statistics import median
from typing import Any

from sqlalchemy import Connection, select

from engine.recommend.sales import counts, paces, stream
from engine.store.tables import order_lines, orders, products

REPEATS_FROM = 5


def learned_days(connection: Connection, now: datetime) -> dict[str, float]:
    """Return the median days a piece by sku, for products with at least 5 gaps between one customer's purchases."""
    statement = (
        select(order_lines.c.sku, orders.c.customer_id, orders.c.placed_at, order_lines.c.quantity)
        .join_from(order_lines, orders, orders.c.order_id == order_lines.c.order_id)
        .join(products, products.c.sku == order_lines.c.sku)
        .where(counts(now), orders.c.customer_id.is_not(None))
        .order_by(order_lines.c.sku, orders.c.customer_id, orders.c.placed_at)
    )
    learned: dict[str, float] = {}
    for sku, rows in groupby(stream(connection, statement), key=itemgetter(0)):
        gaps = list(_gaps(rows))
        if len(gaps) >= REPEATS_FROM:
            learned[sku] = median(gaps)
    return learned


def _gaps(rows: Iterable[Any]) -> Iterator[float]:
    for _, group in groupby(rows, key=itemgetter(1)):
        purchases = [(placed_at, quantity) for _, _, placed_at, quantity in group]
        if len(purchases) > 1:
            yield from paces(purchases)
