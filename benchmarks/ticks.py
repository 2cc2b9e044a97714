"""Measures ticks: at rest and with 1,000 new facts, the six starter flows together, on SQLite and PostgreSQL.

Beside them, on the same facts, the loop that others run: load each customer through an ORM and evaluate in Python.
Run: `python -m benchmarks.ticks --customers 100000 [--postgres URL]`. Prints ratios with the data's size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any


from benchmarks import shop
from engine import settings as settings_module
from engine.delivery.outcome import Accepted
from engine.deploy.apply import apply
from engine.facts.ingest import ingest_rows
from engine.project import init_project
from engine.runtime import passes
from engine.runtime.opening import open_engine
from engine.store.database import Database, connect
from engine.store.migrate import ensure_current


class Nothing:
    """A provider that accepts at once and does nothing."""

    name = "nothing"

    def hand_over(self, mails: Any) -> list[Any]:
        return [Accepted(mail.key) for mail in mails]

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        return None


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def new_facts(database: Database, settings: Any, round_no: int, count: int, customers: int) -> None:
    """Ingest `count` facts of a mixed day: orders, carts, views."""
    now = shop.NOW + timedelta(minutes=round_no)
    orders, carts, views = [], [], []
    for number in range(count):
        customer = f"c{(number * 7919 + round_no * 104_729) % customers + 1}"
        sku, at = f"P{number % shop.PRODUCTS}", now.isoformat()
        if number % 10 < 3:
            orders.append({"order_id": f"n{round_no}-{number}", "customer": customer, "placed_at": at, "total": 40,
                           "lines": [{"sku": sku, "quantity": 1, "price": 40}]})  # fmt: skip
        elif number % 10 < 7:
            carts.append({"cart_id": f"k{round_no}-{number}", "customer": customer, "updated_at": at, "value": 60,
                          "lines": [{"sku": sku, "quantity": 1, "price": 60}]})  # fmt: skip
        else:
            views.append({"id": f"v{round_no}-{number}", "event": "product_viewed", "customer": customer, "at": at, "sku": sku})
    for kind, rows in (("orders", orders), ("carts", carts), ("events", views)):
        ingest_rows(database, kind, rows, settings=settings, now=now)  # type: ignore[arg-type]


def measure(database: Database, settings: Any, customers: int) -> dict[str, Any]:
    seconds: dict[str, Any] = {}
    ensure_current(database)
    seconds["build"], _ = timed(lambda: shop.build(database, customers))
    seconds["apply"], _ = timed(lambda: apply(database, settings, now=shop.NOW, who="bench"))
    engine = open_engine(settings, database)
    engine = replace(engine, exits=replace(engine.exits, mailbox=Nothing()))
    seconds["first tick"], _ = timed(lambda: passes.run_pass(engine, shop.NOW))
    rest = [timed(lambda: passes.run_pass(engine, shop.NOW))[0] for _ in range(20)]
    seconds["at rest"] = statistics.median(rest)
    with_facts, dispatched = [], []
    for round_no in range(1, 6):
        new_facts(database, settings, round_no, 1_000, customers)
        now = shop.NOW + timedelta(minutes=round_no)
        with Undispatched():
            with_facts.append(timed(lambda now=now: passes.run_pass(engine, now))[0])
        taken, report = timed(lambda now=now: passes.run_pass(engine, now))
        handed = sum(report.outcomes.values())
        dispatched.append((handed, taken))
    seconds["1,000 facts"] = statistics.median(with_facts)
    total = sum(count for count, _ in dispatched)
    seconds["render, gate and hand over, messages/s"] = total / max(sum(taken for _, taken in dispatched), 1e-9)
    return seconds


class Undispatched:
    """Leaves dispatch out of a pass, to measure entering and advancing alone."""

    def __enter__(self) -> None:
        self.kept = passes._dispatch_all
        passes._dispatch_all = lambda *_: None  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        passes._dispatch_all = self.kept


def project(folder: Path) -> Any:
    init_project(folder)
    return settings_module.load(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--postgres", help="URL of an empty PostgreSQL database")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="homing-bench-"))
    try:
        settings = project(folder / "shop")
        found = {}
        places = [("sqlite", "sqlite:///bench.db")] + ([("postgresql", arguments.postgres)] if arguments.postgres else [])
        for name, url in places:
            database = connect(url, folder)
            found[name] = measure(database, settings, arguments.customers)
            print_one(name, arguments.customers, found[name], sys.stderr)
            database.close()
        if arguments.json:
            print(json.dumps(found, indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def print_one(name: str, customers: int, seconds: dict[str, Any], out: Any) -> None:
    print(f"{name}: {customers:,} customers, {3 * customers:,} orders, {10 * customers:,} events", file=out)
    for what, value in seconds.items():
        shown = f"{value:,.0f}" if what.endswith("/s") else f"{value * 1000:,.1f} ms"
        print(f"  {what:<42} {shown:>14}", file=out)


if __name__ == "__main__":
    main()

