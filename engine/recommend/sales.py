"""Which sales count: the one answer that popularity, co-purchase, supply and the scores share.

Comes in: the moment up to which facts are known. Goes out: SQL conditions and columns on orders and their lines. Promises
that a cancelled order counts for nothing and that nothing placed after the moment is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice, pairwise
from statistics import median
from typing import Any, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, and_, or_

from engine.store.tables import orders, products

FETCH = 10_000  # rows held at once while streaming
_Item = TypeVar("_Item")


def counts(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Return the condition that an order had been placed by `now`, or a parameter for it, and was not cancelled by then."""
    return and_(orders.c.placed_at <= now, or_(orders.c.cancelled_at.is_(None), orders.c.cancelled_at > now))


def presentable() -> ColumnElement[bool]:
    """Return the condition that a product can be shown in a mail at all: it has a price and an image."""
    return and_(products.c.price > 0, products.c.image_url.is_not(None), products.c.image_url != "")


def stream(connection: Connection, statement: Select[Any]) -> Iterator[Any]:
    """Yield the rows of a large read without holding them all."""
    for rows in connection.execution_options(yield_per=FETCH).execute(statement).partitions():
        yield from rows


def gaps(purchases: Sequence[tuple[datetime, float]]) -> list[tuple[float, float]]:
    """Return the days between one customer's purchases of one product, each with the pieces bought at its start.

    `purchases` are (moment, pieces) in order of time; those of one day (UTC) are one purchase.
    """
    return gaps_of_days((moment.toordinal(), pieces) for moment, pieces in purchases)


def gaps_of_days(purchases: Iterable[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return the gaps as `gaps` does, of purchases whose moments are days already, counted from any day."""
    days: dict[int, float] = {}
    for day, pieces in purchases:
        days[day] = days.get(day, 0.0) + pieces
    ordered = [(day, pieces) for day, pieces in sorted(days.items()) if pieces > 0]
    return [(float(later - day), pieces) for (day, pieces), (later, _) in pairwise(ordered)]


def paces(purchases: Sequence[tuple[datetime, float]], exponent: float = 1.0) -> list[float]:
    """Return the days that one piece lasted, for each gap: the gap divided by pieces to the power of the exponent.

    >>> from datetime import UTC
    >>> paces([(datetime(2026, 1, 1, tzinfo=UTC), 2.0), (datetime(2026, 1, 31, tzinfo=UTC), 1.0)])
    [15.0]
    """
    return [days / pieces**exponent for days, pieces in gaps(purchases)]


def median_or_none(values: Sequence[float]) -> float | None:
    """Return the median, or None of no values."""
    return float(median(values)) if values else None


def chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield the items in lists of at most `size`.

    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk
