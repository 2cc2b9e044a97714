"""How fast facts come in: a million order lines, told as a CSV file and told again, and what a virtual clock lets in.

    python benchmarks/ingest.py [--lines 1000000] [--customers 100000] [--database URL] [--staged 100000]

Prints seconds (by the wall and of the processor), lines a second and the highest memory of the process. The marks to meet: a million lines in under two
minutes on SQLite and under 500 MB; the same file again changes nothing.
"""

from __future__ import annotations

import argparse
import csv
import random
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import func, select

from engine.facts.ingest import IngestReport, arrive, ingest_file, ingest_rows
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.migrate import upgrade
from engine.store.tables import customers, events, order_lines, orders

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def clock() -> tuple[float, float]:
    """Return wall seconds and this process's own: the latter tell on a busy machine too."""
    return time.perf_counter(), time.process_time()


def write_orders(path: Path, lines: int, people: int, rng: random.Random) -> None:
    """Write a CSV file of orders with 1 to 5 lines each, over three years."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("order_id", "customer", "placed_at", "currency", "sku", "quantity", "price"))
        number, written = 0, 0
        while written < lines:
            number += 1
            placed = (NOW - timedelta(seconds=rng.randrange(3 * 365 * 86_400))).isoformat()
            customer = f"c{rng.randrange(people)}"
            for _ in range(rng.randint(1, 5)):
                sku = rng.randrange(5_000)
                writer.writerow(
                    (
                        f"o{number}",
                        customer,
                        placed,
                        "EUR",
                        f"T{sku}",
                        rng.randint(1, 3),
                        f"{1 + sku % 97}.90",
                    )
                )
                written += 1


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--staged", type=int, default=100_000)
    parser.add_argument("--database", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        file = root / "orders.csv"
        write_orders(file, given.lines, given.customers, random.Random(7))
        print(
            f"{given.lines:,} order lines of {given.customers:,} customers, {file.stat().st_size / 1e6:.0f} MB"
        )
        database = connect(given.database or f"sqlite:///{root / 'bench.db'}")
        upgrade(database)
        settings = Settings(root)
        for name in ("first time", "again"):
            start = clock()
            report = ingest_file(database, file, settings=settings, now=NOW)
            show(name, given.lines, start, report)
        _count(database)
        database.close()
        if given.staged and not given.database:
            _virtual(root, settings, given.staged, given.customers)


def _count(database: Database) -> None:
    with database.read() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in (customers, orders, order_lines, events)
        }
    print("  " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


def _virtual(root: Path, settings: Settings, staged: int, people: int) -> None:
    rng = random.Random(8)
    database = connect(f"sqlite:///{root / 'virtual.db'}")
    upgrade(database)
    with database.write() as connection:
        meta.set_virtual_now(connection, NOW)
    rows = (
        {"id": f"v{n}", "event": "product_viewed", "customer": f"c{rng.randrange(people)}", "sku": f"T{rng.randrange(5_000)}",
         "at": (NOW + timedelta(minutes=n + 1)).isoformat()}
        for n in range(staged)
    )  # fmt: skip
    start = clock()
    report = ingest_rows(database, "events", rows, settings=settings, now=NOW)
    show("staged for a virtual clock", staged, start, report)
    start = clock()
    count = arrive(database, until=NOW + timedelta(days=36_500), settings=settings)
    show("arrived", count, start, None)


def show(name: str, lines: int, start: tuple[float, float], report: IngestReport | None) -> None:
    """Print one figure: what took place since `start`."""
    wall, own = (now - then for now, then in zip(clock(), start, strict=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    outcome = (
        f"; {report.new:,} new, {report.unchanged:,} unchanged, {report.staged:,} staged" if report else ""
    )
    print(
        f"{name}: {wall:.1f} s ({own:.1f} s of processor), {lines / wall:,.0f} a second, {memory:.0f} MB at most{outcome}"
    )


if __name__ == "__main__":
    main()
