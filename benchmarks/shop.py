"""A big shop for measuring: N customers, 3 orders and 10 events each, written in bulk.

The rows are what ingest would have written (projections included); writing them directly keeps building a million
customers to minutes. The same number and seed give the same shop on both databases.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import func, literal_column, select, text
from sqlalchemy import table as sql_table

from engine.store.database import Database
from engine.store.types import to_micros

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
PRODUCTS = 1_000
ZONES = (
    ("DE", "Europe/Berlin"),
    ("JP", "Asia/Tokyo"),
    ("US", "America/New_York"),
    ("GB", "Europe/London"),
    ("TW", "Asia/Taipei"),
)
CHUNK = 20_000

COLUMNS = {
    "customers": (
        "id", "external_id", "email", "first_name", "locale", "timezone", "country", "zone", "birthday", "first_seen_at",
        "orders", "spent", "first_order_at", "last_order_at", "average_gap_days", "usual_gap_days", "last_activity_at",
    ),
    "customer_ids": ("external_id", "customer_id"),
    "consents": ("customer_id", "topic", "state", "at", "received_at"),
    "consent_state": ("customer_id", "topic", "granted_at"),
    "orders": ("order_id", "customer_id", "placed_at", "status", "status_at", "total", "refunded", "updated_at"),
    "order_lines": ("order_id", "line_no", "sku", "quantity", "price"),
    "events": (
        "id", "key", "customer_id", "name", "occurred_at", "arrived_at", "value", "order_id", "cart_id", "sku", "properties",
        "backfill",
    ),
}  # fmt: skip


def build(database: Database, customers: int, seed: int = 1) -> None:
    """Fill an empty, migrated database with a shop of this size; ANALYZE at the end."""
    _write(database, "products", _PRODUCT_COLUMNS, _products(database))
    for start in range(0, customers, CHUNK):
        made: dict[str, list[Sequence[Any]]] = {name: [] for name in COLUMNS}
        for number in range(start, min(start + CHUNK, customers)):
            _customer(number, random.Random(seed * 1_000_003 + number), made, database.is_sqlite)
        for name, columns in COLUMNS.items():
            _write(database, name, columns, made[name])
    _settle(database)


_PRODUCT_COLUMNS = (
    "sku",
    "title",
    "category",
    "price",
    "currency",
    "url",
    "image_url",
    "days_of_supply",
    "first_seen_at",
)


def _products(database: Database) -> Iterator[Sequence[Any]]:
    for number in range(PRODUCTS):
        yield (
            f"P{number}", f"Article {number}", f"category {number % 20}", 100_000 + number, "EUR", f"https://shop.test/{number}",
            f"https://shop.test/{number}.png", 30.0 if number % 3 == 0 else None, _time(NOW - timedelta(days=900), database.is_sqlite),
        )  # fmt: skip


def _time(moment: datetime, sqlite: bool) -> Any:  # noqa: FBT001
    return to_micros(moment) if sqlite else moment


def _customer(number: int, rng: random.Random, made: dict[str, list[Sequence[Any]]], sqlite: bool) -> None:  # noqa: FBT001
    identity = number + 1
    country, zone = ZONES[number % len(ZONES)]
    placed = sorted(NOW - timedelta(minutes=rng.randrange(60, 700 * 1440)) for _ in range(3))
    gaps = [(b - a).total_seconds() / 86_400 for a, b in pairwise(placed)]
    born = datetime(1950 + rng.randrange(55), 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(365))
    totals = [rng.randrange(10, 200) * 10_000 for _ in placed]
    made["customers"].append(
        (
            identity, f"c{identity}", f"c{identity}@example.test", f"Name{identity % 997}", "en", zone, country, zone,
            born.date().isoformat(), _time(placed[0], sqlite), 3, sum(totals), _time(placed[0], sqlite),
            _time(placed[-1], sqlite), sum(gaps) / 2, sum(gaps) / 2, _time(placed[-1], sqlite),
        )
    )  # fmt: skip
    made["customer_ids"].append((f"c{identity}", identity))
    if number % 10:
        first = _time(placed[0], sqlite)
        made["consents"].append((identity, "all", "granted", first, first))
        made["consent_state"].append((identity, "all", _time(placed[0], sqlite)))
    base = number * 10
    for place, (moment, total) in enumerate(zip(placed, totals, strict=True)):
        order_id, sku = f"o{identity}-{place}", f"P{rng.randrange(PRODUCTS)}"
        stamp = _time(moment, sqlite)
        made["orders"].append((order_id, identity, stamp, "placed", stamp, total, 0, stamp))
        made["order_lines"].append((order_id, 1, sku, 1.0, total))
        told = {
            "order_id": order_id,
            "value": total / 10_000,
            "lines": [{"sku": sku, "quantity": 1, "price": total / 10_000}],
        }
        made["events"].append(
            (base + place + 1, f"order:{order_id}:placed", identity, "order_placed", stamp, stamp, total, order_id, None, None,
             json.dumps(told), False)
        )  # fmt: skip
    for place in range(3, 10):
        sku = f"P{rng.randrange(PRODUCTS)}"
        stamp = _time(NOW - timedelta(minutes=rng.randrange(60, 700 * 1440)), sqlite)
        made["events"].append(
            (base + place + 1, f"view:{identity}:{place}", identity, "product_viewed", stamp, stamp, None, None, None, sku,
             json.dumps({"sku": sku}), False)
        )  # fmt: skip


def _write(database: Database, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    names = ", ".join(columns)
    with database.write() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        cursor = raw.cursor()
        if database.is_sqlite:
            marks = ", ".join("?" * len(columns))
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # type: ignore[arg-type] # noqa: S608 - our own names
            return
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _settle(database: Database) -> None:
    with database.write() as connection:
        if not database.is_sqlite:
            for table in ("customers", "events"):
                sequence = func.pg_get_serial_sequence(table, "id")
                highest = (
                    select(func.max(literal_column("id"))).select_from(sql_table(table)).scalar_subquery()
                )
                connection.execute(select(func.setval(sequence, highest)))
        connection.execute(text("ANALYZE"))
