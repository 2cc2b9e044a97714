"""Usual gaps: how long customers take from one fact to the next of the same name.

Comes in: an event's name and the moment up to which facts are known. Goes out: days, as medians. Promises one statement
for a batch of customers, three for the whole shop, and a bounded reading: of a large shop a fixed sample of customers,
evenly spaced, answers for all. Purchases are read from the orders, so that cancelled ones do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import median

from sqlalchemy import Connection, bindparam, func, select

from engine.recommend.sales import counts
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import customers, events, orders
from engine.store.types import Instant

ORDER_PLACED = "order_placed"
USUAL_FROM = 3  # facts from which a customer's own gap is called usual
SAMPLE = 2_000  # customers that answer for the whole shop
_DAY = timedelta(days=1)


def usual_gaps(
    connection: Connection, event: str, customer_ids: Sequence[int], now: datetime
) -> dict[int, float]:
    """Return the median gap in days between facts of that name, for each customer who has at least 3 of them."""
    found = _gaps(connection, event, customer_ids, now)
    return {customer_id: median(gaps) for customer_id, gaps in found if len(gaps) >= USUAL_FROM - 1}


def shop_median_gap_days(connection: Connection, event: str, now: datetime) -> float | None:
    """Return the shop's median gap in days, or None where no customer has two such facts.

    Each customer with at least two facts counts once, with the median of the own gaps: a few who buy every day do not
    speak for the rest. Beyond 2,000 customers an evenly spaced sample of that many ids is read.
    """
    middles = [median(gaps) for _, gaps in _gaps(connection, event, _sample(connection), now)]
    return median(middles) if middles else None


def _sample(connection: Connection) -> Sequence[int]:
    lowest = connection.execute(select(func.min(customers.c.id))).scalar()
    highest = connection.execute(select(func.max(customers.c.id))).scalar()
    if lowest is None or highest is None:
        return ()
    step = max(1, (highest - lowest + 1) // SAMPLE)
    return range(lowest, highest + 1, step)


def _gaps(
    connection: Connection, event: str, customer_ids: Iterable[int], now: datetime
) -> Iterator[tuple[int, list[float]]]:
    ids = list(customer_ids)
    if event == ORDER_PLACED:
        rows = _PURCHASES.rows(connection, ids=ids, now=now)
    else:
        rows = _FACTS.rows(connection, ids=ids, now=now, event=event)
    for customer_id, group in groupby(rows, key=itemgetter(0)):
        gaps = [(later - earlier) / _DAY for (_, earlier), (_, later) in pairwise(group)]
        if gaps:
            yield customer_id, gaps


_NOW = bindparam("now", type_=Instant())
_PURCHASES = Prepared(
    select(orders.c.customer_id, orders.c.placed_at)
    .where(counts(_NOW), within(orders.c.customer_id, "ids"))
    .order_by(orders.c.customer_id, orders.c.placed_at)
)
_FACTS = Prepared(
    select(events.c.customer_id, events.c.occurred_at)
    .where(
        within(events.c.customer_id, "ids"), events.c.name == bindparam("event"), events.c.occurred_at <= _NOW
    )
    .order_by(events.c.customer_id, events.c.occurred_at)
)
