"""The recommendation tables of a simulation: kept in files, and as they stood at their moment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.deploy.simulate_shelf import EVERY, TABLES, put_on, shelves
from engine.facts.ingest import ingest_rows
from engine.recommend.rebuild import rebuild
from engine.recommend.supply import SUPPLY
from engine.store import meta
from engine.store.database import Database
from engine.store.scratch import scratch
from engine.store.tables import products
from tests.integration.small_shop import END, START, make_project

WANTED = {"bought_together", "for_you", "similar", "bestsellers", "popular_in_category", "trending", "newest"}


def _tell_sales(database: Database, folder: Path) -> None:
    settings = make_project(folder)
    catalogue = [
        {"sku": f"T{number}", "title": f"Green tea {number}", "category": "tea", "price": 10 + number,
         "image_url": f"https://kiyomi.test/{number}.png", "url": f"https://kiyomi.test/{number}"}
        for number in range(8)
    ]  # fmt: skip
    sales: list[dict[str, Any]] = [
        {"order_id": f"o{number}-{place}", "customer": f"c{number}", "total": 30,
         "placed_at": (START - timedelta(days=90 - 9 * place, hours=number)).isoformat(),
         "lines": [{"sku": f"T{(number + shift) % 8}", "quantity": 1, "price": 10} for shift in (0, 1, 3)]}
        for number in range(24) for place in range(12)
    ]  # fmt: skip
    for sale in sales[::7]:  # after the first of two shelves
        sale |= {"status": "cancelled", "status_at": (START - EVERY + timedelta(days=3)).isoformat()}
    people = [{"external_id": f"c{number}", "email": f"c{number}@example.test"} for number in range(24)]
    for kind, rows in (("products", catalogue), ("customers", people), ("orders", sales)):
        report = ingest_rows(database, kind, rows, settings=settings, now=END)  # type: ignore[arg-type]
        assert not report.bad_rows


def _held(database: Database) -> dict[str, Any]:
    with database.read() as connection:
        found: dict[str, Any] = {
            table.name: sorted(tuple(row) for row in connection.execute(select(table))) for table in TABLES
        }
        learned = select(products.c.sku, products.c.learned_days, products.c.learned_repeats)
        return found | {
            "learned": sorted(tuple(row) for row in connection.execute(learned)),
            "supply": meta.get(connection, SUPPLY),
        }


def test_a_shelf_is_what_a_night_at_its_moment_would_have_built(tmp_path: Path, database: Database) -> None:
    """Each shelf, put on one after the other, holds the tables that a rebuild at its moment makes, on both databases."""
    _tell_sales(database, tmp_path / "shop")
    start = START - EVERY
    found = shelves(database, start, START + timedelta(days=1), WANTED, tmp_path)
    assert [shelf.since for shelf in found] == [start, START]
    assert sum(len(shelves(database, start, START + timedelta(days=1), WANTED, tmp_path, (part, 2)))
               for part in range(2)) == len(found)  # fmt: skip
    store = scratch(tmp_path, "store.db")
    with store.write() as connection:
        for number in range(8):
            connection.execute(products.insert().values(sku=f"T{number}", first_seen_at=start))
    rebuild(database, start)
    held = []
    for shelf in found:
        with store.write() as connection:
            put_on(connection, shelf)
        held.append(_held(store))
        rebuild(database, shelf.since, force=True)
        assert held[-1] == _held(database)
    store.close()
    assert held[0] != held[1]
    assert all(held[1][table.name] for table in TABLES)
    assert any(days for _, days, _ in held[1]["learned"])
