"""A day's facts for the shop of `benchmarks.shop`: three orders, four carts and three views in ten, each of another customer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from benchmarks import shop
from engine.facts.ingest import ingest_rows
from engine.settings import Settings
from engine.store.database import Database


def a_day_of_facts(
    database: Database, settings: Settings, now: datetime, count: int, customers: int, *, name: str
) -> None:
    """Ingest `count` facts of this moment; `name` makes them different from those of other calls."""
    made: dict[str, list[dict[str, Any]]] = {"orders": [], "carts": [], "events": []}
    at, shift = now.isoformat(), sum(name.encode()) * 104_729
    for number in range(count):
        customer, sku = f"c{(number * 7919 + shift) % customers + 1}", f"P{number % shop.PRODUCTS}"
        if number % 10 < 3:
            lines = [{"sku": sku, "quantity": 1, "price": 40}]
            order = {"order_id": f"{name}-{number}", "placed_at": at, "total": 40}
            made["orders"].append({**order, "customer": customer, "lines": lines})
        elif number % 10 < 7:
            lines = [{"sku": sku, "quantity": 1, "price": 60}]
            cart = {"cart_id": f"{name}-{number}", "updated_at": at, "value": 60}
            made["carts"].append({**cart, "customer": customer, "lines": lines})
        else:
            view = {"id": f"{name}-{number}", "event": "product_viewed", "at": at, "sku": sku}
            made["events"].append({**view, "customer": customer})
    for kind, rows in made.items():
        ingest_rows(database, kind, rows, settings=settings, now=now)  # type: ignore[arg-type]
