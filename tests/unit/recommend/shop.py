"""A shop in a few words: rows that tests of recommendations and scores need, straight into the tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import insert

from engine.store.database import Database
from engine.store.tables import cart_lines, carts, customers, events, order_lines, orders, products

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ago(days: float) -> datetime:
    """Return the moment that many days before NOW."""
    return NOW - timedelta(days=days)


class Shop:
    """Fills one database; ids are made up in order."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._orders = 0
        self._customers: set[int] = set()

    def product(self, sku: str, **fields: Any) -> None:
        """Put a product into the catalogue; without more it has a price and an image and is not tracked."""
        row = {"sku": sku, "title": sku, "price": Decimal(10), "image_url": "https://shop.test/x.png"}
        with self.database.write() as connection:
            connection.execute(insert(products), [{**row, "first_seen_at": ago(400), **fields}])

    def products(self, *skus: str, **fields: Any) -> None:
        """Put several alike products into the catalogue."""
        for sku in skus:
            self.product(sku, **fields)

    def customer(self, customer_id: int) -> None:
        """Make sure that the customer is there."""
        if customer_id not in self._customers:
            self._customers.add(customer_id)
            with self.database.write() as connection:
                connection.execute(insert(customers), [{"id": customer_id, "first_seen_at": ago(400)}])

    def order(
        self,
        customer_id: int | None,
        lines: Mapping[str, float] | str,
        days_ago: float,
        *,
        total: str = "0",
        cancelled_days_ago: float | None = None,
    ) -> str:
        """Place an order, by default of one piece each of the skus in `lines`; return its id."""
        if customer_id is not None:
            self.customer(customer_id)
        self._orders += 1
        order_id, at = f"o{self._orders}", ago(days_ago)
        pieces = dict.fromkeys(lines.split(), 1.0) if isinstance(lines, str) else lines
        row: dict[str, Any] = {
            "order_id": order_id,
            "customer_id": customer_id,
            "placed_at": at,
            "status": "placed",
        }
        row |= {"status_at": at, "updated_at": at, "total": Decimal(total)}
        row["cancelled_at"] = None if cancelled_days_ago is None else ago(cancelled_days_ago)
        with self.database.write() as connection:
            connection.execute(insert(orders), [row])
            rows = [
                {"order_id": order_id, "line_no": number, "sku": sku, "quantity": quantity}
                for number, (sku, quantity) in enumerate(pieces.items())
            ]
            if rows:
                connection.execute(insert(order_lines), rows)
        return order_id

    def event(self, customer_id: int, name: str, days_ago: float, sku: str | None = None) -> None:
        """Record that something happened."""
        self.customer(customer_id)
        at = ago(days_ago)
        row = {"customer_id": customer_id, "name": name, "occurred_at": at, "arrived_at": at, "sku": sku}
        with self.database.write() as connection:
            connection.execute(insert(events), [{**row, "key": f"{customer_id} {name} {days_ago} {sku}"}])

    def cart(self, customer_id: int, skus: str, days_ago: float) -> None:
        """Leave a cart."""
        self.customer(customer_id)
        cart_id = f"c{customer_id}-{days_ago}"
        with self.database.write() as connection:
            row = {"cart_id": cart_id, "customer_id": customer_id, "updated_at": ago(days_ago)}
            connection.execute(insert(carts), [row])
            lines = [
                {"cart_id": cart_id, "line_no": number, "sku": sku, "quantity": 1.0}
                for number, sku in enumerate(skus.split())
            ]
            connection.execute(insert(cart_lines), lines)
