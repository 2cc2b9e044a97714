"""A year of a real shop goes in, and comes to what an independent count of the raw lines says."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import os
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import func, select

from engine.facts.ingest import arrive, ingest_file, next_arrival
from engine.settings import Settings, Shop
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.tables import consent_state, customers, events, order_lines, orders, products

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(
    os.environ.get("HOMING_ONLINE_RETAIL", ROOT.parent / "shared" / "data" / "online_retail.csv.gz")
)
NO_PRODUCTS = {"POST", "DOT", "C2", "M", "D", "S", "PADS", "CRUK", "BANK CHARGES", "AMAZONFEE", "B"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SOURCE.is_file(), reason="the data set is no part of the project: HOMING_ONLINE_RETAIL names it"
    ),
]


def converter() -> ModuleType:
    """Return the example's program as a module."""
    spec = importlib.util.spec_from_file_location(
        "online_retail", ROOT / "examples" / "online-retail" / "convert.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look themselves up by the name of their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def counted() -> dict[str, Any]:
    """Count the raw lines without anything of ours: sales by invoice, and cancelled pieces by customer and product."""
    with gzip.open(SOURCE, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    sales = [
        row for row in rows
        if row["InvoiceNo"].isdigit() and float(row["Quantity"]) > 0 and float(row["UnitPrice"]) >= 0 and (row["CustomerID"] or float(row["UnitPrice"]) > 0)
    ]  # fmt: skip
    articles = [row for row in sales if row["StockCode"].upper() not in NO_PRODUCTS]
    invoices = {row["InvoiceNo"] for row in articles}
    money = sum(
        (
            Decimal(row["Quantity"]) * Decimal(row["UnitPrice"])
            for row in sales
            if row["InvoiceNo"] in invoices
        ),
        Decimal(0),
    )
    cancelled = [
        row
        for row in rows
        if row["InvoiceNo"].startswith("C")
        and row["CustomerID"]
        and row["StockCode"].upper() not in NO_PRODUCTS
    ]
    held: defaultdict[tuple[str, str], int] = defaultdict(int)
    back = Decimal(0)
    moves = [
        (row["InvoiceDate"], sign, row)
        for sign, part in ((0, articles), (1, cancelled))
        for row in part
        if row["CustomerID"]
    ]
    for _, _, row in sorted(moves, key=lambda move: (move[0], move[1], move[2]["InvoiceNo"])):
        key, pieces = (row["CustomerID"], row["StockCode"].upper()), int(float(row["Quantity"]))
        taken = min(-pieces, held[key]) if pieces < 0 else -pieces
        held[key] -= taken
        back += taken * Decimal(row["UnitPrice"]) if pieces < 0 else 0
    return {
        "customers": len({row["CustomerID"] for row in articles if row["CustomerID"]}),
        "products": len({row["StockCode"].upper() for row in articles}),
        "orders": len(invoices),
        "anonymous": len({row["InvoiceNo"] for row in articles if not row["CustomerID"]}),
        "lines": len(articles),
        "pieces": sum(int(float(row["Quantity"])) for row in articles),
        "money": money,
        "back": back,
    }


def test_the_totals_hold(sqlite_url: str, tmp_path: Path) -> None:
    """Customers, orders, lines, pieces and money are those of the raw lines; cancellations reduce what was spent."""
    example = converter()
    paths = example.write(example.convert(SOURCE, example.read_mapping()), tmp_path / "facts")
    settings = Settings(tmp_path, shop=Shop(currency="GBP", timezone="Europe/London"))
    database = connect(sqlite_url)
    now = datetime(2012, 1, 1, tzinfo=UTC)
    for path in paths:
        report = ingest_file(database, path, settings=settings, now=now)
        assert (report.quarantined, report.warnings) == (0, ())
    expected = counted()
    with database.read() as connection:

        def one(what: Any) -> Any:
            return connection.scalar(select(what))

        found = {
            "customers": one(func.count(customers.c.id)),
            "products": one(func.count(products.c.sku)),
            "orders": one(func.count(orders.c.order_id)),
            "anonymous": connection.scalar(
                select(func.count()).select_from(orders).where(orders.c.customer_id.is_(None))
            ),
            "lines": one(func.count(order_lines.c.sku)),
            "pieces": one(func.sum(order_lines.c.quantity)),
            "money": one(func.sum(orders.c.total)),
            "back": one(func.sum(orders.c.refunded)),
        }
        back = found.pop("back")
        assert found == {name: value for name, value in expected.items() if name != "back"}
        # Never more goes back than was paid: a few cancellations are at a higher price than their order.
        assert Decimal("0.999") < back / expected["back"] <= 1
        kept = (orders.c.customer_id.is_not(None), orders.c.cancelled_at.is_(None))
        paid, returned = connection.execute(
            select(func.sum(orders.c.total), func.sum(orders.c.refunded)).where(*kept)
        ).one()
        assert connection.scalar(select(func.sum(customers.c.spent))) == paid - returned
        largest = connection.execute(select(orders).where(orders.c.order_id == "541431")).mappings().one()
        assert (largest["status"], largest["refunded"]) == ("cancelled", Decimal("77183.60"))
        assert (
            connection.scalar(select(func.count()).select_from(events).where(events.c.name == "order_placed"))
            == found["orders"] - found["anonymous"]
        )
    again = [ingest_file(database, path, settings=settings, now=now) for path in paths]
    assert [report.new for report in again] == [0, 0, 0]
    database.close()


def test_a_year_waits_for_the_virtual_clock(sqlite_url: str, tmp_path: Path) -> None:
    """On a virtual clock each order arrives at its own time: after a month only the first month is known."""
    example = converter()
    paths = example.write(example.convert(SOURCE, example.read_mapping()), tmp_path / "facts")
    settings = Settings(tmp_path, shop=Shop(currency="GBP", timezone="Europe/London"))
    database: Database = connect(sqlite_url)
    start = datetime(2010, 12, 1, tzinfo=UTC)
    with database.write() as connection:
        meta.set_virtual_now(connection, start)
    for path in paths:
        ingest_file(database, path, settings=settings, now=start)
    with database.read() as connection:
        assert next_arrival(connection) == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
        assert connection.scalar(select(func.count()).select_from(orders)) == 0
    arrive(database, until=start + timedelta(days=31), settings=settings)
    with database.read() as connection:
        last = connection.scalar(select(func.max(orders.c.placed_at)))
        assert last is not None
        assert last.month == 12
        assert connection.scalar(select(func.max(events.c.arrived_at))) < start + timedelta(days=31)
        assert connection.scalar(select(func.count()).select_from(consent_state))
    database.close()
