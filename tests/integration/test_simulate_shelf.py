"""The recommendation tables of a simulation: kept in files, and as they stood at their moment."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.clock import machine_now
from engine.delivery.dispatch import Exits, Worker
from engine.deploy.apply import apply
from engine.deploy.simulate import Stretch, Task, driven, tables_for
from engine.deploy.simulate_shelf import EVERY, TABLES, put_on, shelves
from engine.deploy.stage import Tray
from engine.facts.fact import Kind
from engine.facts.ingest import ingest_rows
from engine.recommend.rebuild import rebuild
from engine.recommend.supply import SUPPLY
from engine.runtime.passes import Engine
from engine.runtime.ticking import drive
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.scratch import scratch
from engine.store.tables import customers, messages, products
from tests.integration.small_shop import END, START, TEMPLATE, make_project, play_of

WANTED = {"bought_together", "for_you", "similar", "bestsellers", "popular_in_category", "trending", "newest"}


def _tell_sales(database: Database, folder: Path, now: datetime = END) -> Settings:
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
    people = [
        {"external_id": f"c{number}", "email": f"c{number}@example.test", "consent": ["offers"],
         "updated_at": (START - timedelta(days=100)).isoformat(), "consent_at": (START - timedelta(days=100)).isoformat()}
        for number in range(24)
    ]  # fmt: skip
    told: tuple[tuple[Kind, list[dict[str, Any]]], ...] = (
        ("products", catalogue), ("customers", people), ("orders", sales),
    )  # fmt: skip
    for kind, rows in told:
        assert not ingest_rows(database, kind, rows, settings=settings, now=now).bad_rows
    return settings


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


FLOW = """flow: more
topic: offers
re_entry: {per: order}
trigger: {event: order_placed}
exit_when: [{did: order_cancelled, same: order_id}]
policy: {caps: []}
steps: [{wait: 17min}, {send: more}]
"""
PICKS = "recommend:\n  picks: {from: [bestsellers], count: 3, at_least: 1, otherwise: skip}\n---\n<mjml>"


def _picked(database: Database) -> list[tuple[str, datetime, str | None, list[str]]]:
    """Return for each mail whose it is, when it fell due, why it did not go, and by which strategies it recommends."""
    query = select(customers.c.external_id, messages.c.due_at, messages.c.reason, messages.c.content)
    with database.read() as connection:
        rows = connection.execute(query.join(messages, messages.c.customer_id == customers.c.id)).all()
    return sorted(
        (who, at, why, [each["strategy"] for each in content.get("slots", {}).get("picks", ())])
        for who, at, why, content in rows
    )


def test_a_replay_recommends_what_the_live_engine_would(tmp_path: Path, sqlite_database: Database) -> None:
    """With tables made at the moments of the shelves, live mails recommend as those of a replay: of none before the first sale."""
    settings = _tell_sales(sqlite_database, tmp_path)
    (tmp_path / "flows/more.yaml").write_text(FLOW, encoding="utf-8")
    mail = TEMPLATE.replace("---\n<mjml>", PICKS).replace(
        "Hello. ", "{% for each in picks %}{{ each.title }}{% endfor %}"
    )
    (tmp_path / "templates/more.mjml").write_text(mail, encoding="utf-8")
    for name in ("cart", "thanks", "lapse"):
        (tmp_path / f"flows/{name}.yaml").unlink()
    start, play = START - timedelta(days=92), play_of(settings)  # two days before the first sale
    second, until = start + EVERY, START
    made = tuple(shelves(sqlite_database, start, until, tables_for(play), tmp_path))
    task = Task("", tmp_path, play, Stretch(start, until, replay=True), shelves=made, folder=tmp_path)
    with driven(sqlite_database, task) as simulated:
        found = _picked(simulated.database)
    live, begun = scratch(tmp_path, "live.db"), START - timedelta(days=110)
    with live.write() as connection:
        meta.set_virtual_now(connection, begun)
    _tell_sales(live, tmp_path / "again", begun)
    tray = Tray()
    worker = Worker("test", machine_now, random.Random(1))
    engine = Engine(settings, live, Exits(tray, None, tray.call), worker)
    drive(engine, begun, start, nights=False)
    apply(live, settings, now=start, who="test")
    for since, end in ((start, second), (second, until)):
        rebuild(live, since, force=True)
        drive(engine, since, end, nights=False)
    expected = _picked(live)
    live.close()
    assert found == expected
    told = {(at > second, why, *by) for _, at, why, by in found}
    assert told == {(False, "nothing_to_recommend"), (True, None, *["bestsellers"] * 3)}
