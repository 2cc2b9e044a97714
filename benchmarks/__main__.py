"""The figures of docs/benchmarks.md, measured here: `make bench`, or `python -m benchmarks --customers 1000000`.

Builds a shop for each size on SQLite and PostgreSQL (a server of its own, durable), and prints what a tick, a dispatch, the
loop that others run and django-drip-campaigns cost on it; then how fast a project is checked and its scenarios are played,
a simulated year, `homing why` beside a million mails, and how fast a million order lines and track events come in.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.checking import measure as measure_checking
from benchmarks.intake import measure_intake
from benchmarks.scenarios import measure_scenarios
from benchmarks.simulation import measure_simulation
from benchmarks.ticks import measure
from benchmarks.why import measure_why
from engine.store.database import connect
from tests.servers.postgres import ServerMissing, postgres_server

DURABLE = (
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, nargs="+", default=[100_000])
    parser.add_argument(
        "--databases", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"]
    )
    parser.add_argument(
        "--simulate", type=int, default=100_000, help="customers of a simulated year; 0: none"
    )
    parser.add_argument(
        "--mails", type=int, default=1_000_000, help="mails beside which why is asked; 0: none"
    )
    parser.add_argument("--lines", type=int, default=1_000_000, help="order lines to ingest; 0: none")
    parser.add_argument("--events", type=int, default=1_000_000, help="track events to take in; 0: none")
    given = parser.parse_args()
    for customers in given.customers:
        for name in given.databases:
            with tempfile.TemporaryDirectory(prefix="homing-bench-") as folder:
                (_on_sqlite if name == "sqlite" else _on_postgres)(Path(folder), customers)
    measure_scenarios()
    measure_checking()
    if given.simulate:
        with tempfile.TemporaryDirectory(prefix="homing-bench-") as folder:
            measure_simulation(Path(folder), given.simulate)
    if given.mails:
        with tempfile.TemporaryDirectory(prefix="homing-bench-") as folder:
            measure_why(Path(folder) / "shop", given.mails)
    if given.events:
        measure_intake(given.events)
    if given.lines:
        script = Path(__file__).with_name("ingest.py")
        subprocess.run([sys.executable, script, "--lines", str(given.lines)], check=True)  # noqa: S603 - our own script


def _on_sqlite(folder: Path, customers: int) -> None:
    database = connect("sqlite:///bench.db", folder)
    try:
        measure(database, folder / "shop", customers)
    finally:
        database.close()


def _on_postgres(folder: Path, customers: int) -> None:
    try:
        with postgres_server(DURABLE) as server:
            database = connect(server.url(server.create_database()))
            try:
                measure(database, folder / "shop", customers)
            finally:
                database.close()
    except ServerMissing as missing:
        print(f"PostgreSQL: left out, {missing}")


if __name__ == "__main__":
    main()
