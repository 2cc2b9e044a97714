"""Simulations of a shop in which much changes on its way: prices, stocks, segments, scores, consents and suppressions."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.clock import machine_now
from engine.delivery.dispatch import Exits, Worker
from engine.deploy.apply import apply
from engine.deploy.simulate import Task, driven, simulate
from engine.deploy.simulate_report import document
from engine.deploy.stage import Tray
from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.facts.rights import suppress
from engine.runtime.passes import Engine
from engine.runtime.ticking import drive
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.scratch import scratch
from tests.integration.small_shop import END, NOW, START, make_project, play_of, tell
from tests.integration.test_simulate import REPLAY, ledger

BEFORE = START - timedelta(days=30)
WITHDRAWN = START + timedelta(days=6, minutes=5)
SUPPRESSED = START + timedelta(days=9, minutes=17, seconds=3)
FLOWS = {
    "cheaper": "topic: offers\ntrigger: {product: price_drop, interest: [viewed], within: 30d}\n",
    "again": "topic: offers\ntrigger: {product: back_in_stock, interest: [viewed], within: 30d}\n",
    "loyal": "topic: reminders\nre_entry: never\ntrigger: {segment: loyal}\n",
    "best": "topic: reminders\nre_entry: {per: cart}\ntrigger: {event: cart_updated}\n"
    "enter_if: [{customer: {rfm.r: {gte: 3}}}]\n",
}


def changing_shop(root: Path) -> Settings:
    """Write the small shop's project with a flow for each of what changes."""
    settings = make_project(root)
    (root / "flows/segments.yaml").write_text("loyal: [{customer: {orders: {gte: 2}}}]\n", encoding="utf-8")
    for name, text in FLOWS.items():
        steps = "exit_when: [{did: order_cancelled}]\nsteps: [{send: note}]\n"
        (root / f"flows/{name}.yaml").write_text(f"flow: {name}\n{text}{steps}", encoding="utf-8")
    return settings


def tell_all(database: Database, settings: Settings, now: Any) -> None:
    """Tell the shop's facts, and what changes."""
    days = [START + timedelta(days=day) for day in (1, 4, 8)]
    catalogue: list[dict[str, Any]] = [
        {"sku": "T2", "title": "Cup", "price": 20, "stock": 0, "updated_at": BEFORE.isoformat()},
        {"sku": "T3", "title": "Pot", "price": 60, "updated_at": BEFORE.isoformat()},
        {"sku": "T3", "price": 50, "updated_at": days[1].isoformat()},
        {"sku": "T2", "stock": 9, "updated_at": days[2].isoformat()},
    ]
    views = [
        {"event": "product_viewed", "customer": f"c{n}", "sku": f"T{2 + n % 2}", "at": (days[0] + timedelta(minutes=n)).isoformat()}
        for n in range(40)
    ]  # fmt: skip
    consents = [
        {"customer": f"c{n}", "topic": topic, "state": "withdrawn", "at": WITHDRAWN.isoformat()}
        for n in range(0, 40, 3) for topic in ("offers", "reminders")
    ]  # fmt: skip
    tell(database, settings, now)
    for each in catalogue:
        assert not ingest_rows(database, "products", [each], settings=settings, now=now).bad_rows
    assert not ingest_rows(database, "events", views, settings=settings, now=now).bad_rows
    assert not ingest_rows(database, "consents", consents, settings=settings, now=now).bad_rows


def suppress_some(database: Database) -> None:
    """Suppress every fifth customer at the moment of that."""
    with database.write() as connection:
        for number in range(0, 40, 5):
            found = find_customer(connection, f"c{number}")
            assert found is not None
            suppress(connection, found, now=SUPPRESSED, scope="marketing" if number % 2 else "all")


def test_a_replay_of_a_changing_shop_decides_as_the_live_engine(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """Prices, stocks, segments, scores, withdrawals and suppressions come at their time, message by message as live."""
    settings = changing_shop(tmp_path)
    tell_all(sqlite_database, settings, NOW)
    suppress_some(sqlite_database)
    task = Task("", tmp_path, play_of(settings), REPLAY, folder=tmp_path)
    with driven(sqlite_database, task) as simulated:
        found = ledger(simulated.database)
    live = scratch(tmp_path, "live.db")
    with live.write() as connection:
        meta.set_virtual_now(connection, BEFORE)
    tell_all(live, settings, BEFORE)
    tray = Tray()
    engine = Engine(
        settings, live, Exits(tray, None, tray.call), Worker("test", machine_now, random.Random(1))
    )
    drive(engine, BEFORE, START, nights=False)
    apply(live, settings, now=START, who="test")
    drive(engine, START, SUPPRESSED)
    suppress_some(live)
    drive(engine, SUPPRESSED, END)
    expected = ledger(live)
    live.close()
    assert found == expected
    sent = {flow for _, flow, _, state, _, _ in expected if state == "accepted"}
    assert sent == {"cart", "thanks", "lapse", *FLOWS}
    assert any(at > f"{SUPPRESSED}" for *_, at in expected)


@pytest.mark.parametrize("tied", [True, False])
def test_parts_are_not_made_of_what_ties_customers_together(
    tmp_path: Path, sqlite_url: str, *, tied: bool
) -> None:
    """A shop with scores over everybody gives the same bytes by one process and by three, as one without them does."""
    settings, database = changing_shop(tmp_path), connect(sqlite_url)
    if not tied:
        (tmp_path / "flows/best.yaml").unlink()
    tell_all(database, settings, NOW)
    play = play_of(settings)
    texts = {json.dumps(document(simulate(database, play, REPLAY, processes=number))) for number in (1, 3)}
    database.close()
    assert len(texts) == 1
