"""The purchase histories that scores are made of, for all customers at once.

Comes in: the orders known at a moment. Goes out: columns of plain numbers, about 60 bytes a customer. Promises that
cancelled orders, anonymous sales and erased customers are left out, that refunds are taken off, and that the orders of one
day (UTC) are one purchase for the models (a corrected order is no second visit) but count singly for frequency.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, select, type_coerce

from engine.insights.btyd import History, Spend
from engine.recommend.sales import counts, stream
from engine.store.tables import customers, orders
from engine.store.types import MONEY_SCALE

WEEK_DAYS = 7.0


def _whole() -> array[int]:
    return array("q")


def _real() -> array[float]:
    return array("d")


@dataclass(frozen=True, slots=True)
class Histories:
    """One entry per customer in each column; days are whole, money is in the shop's units."""

    customer_ids: array[int] = field(default_factory=_whole)
    orders: array[int] = field(default_factory=_whole)
    spent: array[float] = field(default_factory=_real)
    repeats: array[int] = field(default_factory=_whole)  # purchase days after the first
    repeat_mean: array[float] = field(
        default_factory=_real
    )  # value of a purchase day after the first; 0 without
    active_days: array[int] = field(default_factory=_whole)  # from the first purchase to the last
    age_days: array[int] = field(default_factory=_whole)  # from the first purchase to now

    def __len__(self) -> int:
        return len(self.customer_ids)

    def histories(self) -> Iterator[History]:
        """Yield each customer's history in weeks."""
        for x, active, age in zip(self.repeats, self.active_days, self.age_days, strict=True):
            yield History(x, active / WEEK_DAYS, age / WEEK_DAYS)

    def spends(self) -> list[Spend]:
        """Return what repeat purchases were worth, of customers who made any."""
        return [Spend(x, mean) for x, mean in zip(self.repeats, self.repeat_mean, strict=True) if x > 0]

    def recency_days(self) -> list[int]:
        """Return the days since each customer's last purchase."""
        return [age - active for active, age in zip(self.active_days, self.age_days, strict=True)]


def read_histories(connection: Connection, now: datetime) -> Histories:
    """Read every customer's purchases up to `now`, in one streamed statement."""
    net = type_coerce(orders.c.total, BigInteger) - type_coerce(orders.c.refunded, BigInteger)
    statement = (
        select(orders.c.customer_id, orders.c.placed_at, net)
        .join_from(orders, customers, customers.c.id == orders.c.customer_id)
        .where(counts(now), customers.c.erased_at.is_(None))
        .order_by(orders.c.customer_id, orders.c.placed_at)
    )
    found = Histories()
    today = now.toordinal()
    for customer_id, rows in groupby(stream(connection, statement), key=itemgetter(0)):
        found.customer_ids.append(customer_id)
        _append(found, today, rows)
    return found


def _append(found: Histories, today: int, rows: Iterable[Any]) -> None:
    purchases: dict[int, int] = {}
    count = 0
    for _, placed_at, net in rows:
        day = placed_at.toordinal()
        purchases[day] = purchases.get(day, 0) + net
        count += 1
    first, repeats, spent = min(purchases), len(purchases) - 1, sum(purchases.values())
    found.orders.append(count)
    found.spent.append(spent / MONEY_SCALE)
    found.repeats.append(repeats)
    found.repeat_mean.append((spent - purchases[first]) / MONEY_SCALE / repeats if repeats else 0.0)
    found.active_days.append(max(purchases) - first)
    found.age_days.append(today - first)
