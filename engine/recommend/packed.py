"""Everybody's sales, read from the database once and packed, for all that the night derives from them.

Comes in: a database and the moment up to which facts are known. Goes out: orders from the oldest to the newest, each with its
products and pieces, as numbers in flat arrays. Promises: one read of orders and their lines, some thousands of rows at a time;
12 bytes for a line and 24 for an order; that a product stands once in an order, with the pieces of all its lines.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, select, type_coerce

from engine.recommend.sales import counts, stream
from engine.store.tables import order_lines, orders
from engine.store.types import to_micros

NOBODY = -1  # who bought anonymously
NEVER = (1 << 63) - 1  # microseconds


class _Numbers(dict[str, int]):
    """Numbers things in the order in which they are asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number


@dataclass(slots=True)
class PackedSales:
    """Orders by time; order n has the items from `starts[n]` up to `starts[n + 1]`, which are places in `skus`."""

    skus: list[str] = field(default_factory=list)
    placed: array[int] = field(default_factory=lambda: array("q"))  # microseconds since 1970
    customers: array[int] = field(default_factory=lambda: array("q"))  # NOBODY for anonymous orders
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    items: array[int] = field(default_factory=lambda: array("I"))
    pieces: array[float] = field(default_factory=lambda: array("d"))

    def add(self, placed: int, customer: int, items: Iterable[int], pieces: Iterable[float]) -> None:
        """Take one more order, placed at these microseconds since 1970 or at those of the one before."""
        self.placed.append(placed)
        self.customers.append(customer)
        self.items.extend(items)
        self.pieces.extend(pieces)
        self.starts.append(len(self.items))

    def after(self, moment: datetime) -> int:
        """Return the number of the first order later than `moment`."""
        return bisect_right(self.placed, to_micros(moment))

    def since(self, moment: datetime) -> int:
        """Return the number of the first order at `moment` or later."""
        return bisect_left(self.placed, to_micros(moment))

    def counted(self, first: int = 0, end: int | None = None) -> dict[str, int]:
        """Return in how many of the orders from `first` up to `end` (default: all that follow) each product stood."""
        last = len(self.placed) if end is None else max(first, end)
        found = Counter(self.items[self.starts[first] : self.starts[last]])
        return {self.skus[item]: count for item, count in found.items()}

    def baskets(self, number: Mapping[str, int], first: int = 0) -> Iterator[list[int]]:
        """Yield the products of each order from `first` on in ascending numbers; those without one, and orders of none, are left out."""
        places = self.numbered(number)
        starts, items = self.starts, self.items
        for order in range(first, len(self.placed)):
            basket = [
                place for item in items[starts[order] : starts[order + 1]] if (place := places[item]) >= 0
            ]
            if basket:
                basket.sort()
                yield basket

    def numbered(self, number: Mapping[str, int]) -> list[int]:
        """Return for each item the number that its product has elsewhere, or -1."""
        return [number.get(sku, -1) for sku in self.skus]

    def by_customer(self, first: int = 0) -> Iterator[list[int]]:
        """Yield the orders from `first` on of each customer who is known, oldest first; customers by their ids."""
        known = [order for order in range(first, len(self.placed)) if self.customers[order] != NOBODY]
        known.sort(key=self.customers.__getitem__)
        for _, own in groupby(known, key=self.customers.__getitem__):
            yield list(own)


@dataclass(frozen=True, slots=True)
class History:
    """All orders up to a moment, cancelled ones too: what counted at any moment until then, for who asks for many."""

    orders: PackedSales
    cancelled: array[int]  # microseconds since 1970, NEVER for what was not

    def at(self, now: datetime) -> PackedSales:
        """Return what `packed_sales` would read at `now`."""
        told, by_then = self.orders, to_micros(now)
        found, numbers = PackedSales(), _Numbers()
        for order in range(told.after(now)):
            if self.cancelled[order] > by_then:
                place = slice(told.starts[order], told.starts[order + 1])
                items = [numbers[told.skus[item]] for item in told.items[place]]
                found.add(told.placed[order], told.customers[order], items, told.pieces[place])
        found.skus.extend(numbers)
        return found


def packed_sales(connection: Connection, now: datetime, since: datetime | None = None) -> PackedSales:
    """Return the sales that count at `now`; those later than `since` alone where it is given."""
    statement = _statement(connection).where(counts(now))
    sales, _ = _packed(
        connection, statement if since is None else statement.where(orders.c.placed_at > since)
    )
    return sales


def history(connection: Connection, until: datetime) -> History:
    """Return the orders placed up to `until`, whatever became of them."""
    return History(*_packed(connection, _statement(connection).where(orders.c.placed_at <= until)))


def _packed(connection: Connection, statement: Select[Any]) -> tuple[PackedSales, array[int]]:
    """Return orders, and when each of them was cancelled."""
    sales, numbers, cancelled = PackedSales(), _Numbers(), array("q")
    for _, lines in groupby(stream(connection, statement), key=itemgetter(0)):
        own: dict[int, float] = {}
        for line in lines:
            _, placed, undone, customer, sku, quantity = line
            item = numbers[sku]
            own[item] = own.get(item, 0.0) + quantity
        sales.add(_micros(placed), NOBODY if customer is None else customer, own, own.values())
        cancelled.append(NEVER if undone is None else _micros(undone))
    sales.skus.extend(numbers)
    return sales, cancelled


def _micros(moment: int | datetime) -> int:
    return moment if isinstance(moment, int) else to_micros(moment)


def _statement(connection: Connection) -> Select[Any]:
    # SQLite holds microseconds already: half the work would be to make moments of them.
    moments = [orders.c.placed_at, orders.c.cancelled_at]
    told = (
        [type_coerce(each, BigInteger) for each in moments]
        if connection.dialect.name == "sqlite"
        else moments
    )
    return (
        select(orders.c.order_id, *told, orders.c.customer_id, order_lines.c.sku, order_lines.c.quantity)
        .join_from(orders, order_lines, orders.c.order_id == order_lines.c.order_id)
        .order_by(orders.c.placed_at, orders.c.order_id)
    )
