"""Simulations of a shop whose pool of codes runs dry: who waits for a code does so as live, and the same everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from engine.deploy import simulate as simulate_module
from engine.deploy import simulate_run
from engine.deploy.simulate import Task, driven, simulate
from engine.deploy.simulate_report import document
from engine.facts import ingest
from engine.runtime import passes
from engine.settings import Settings
from engine.store.database import Database, connect
from engine.store.scratch import Lone
from engine.store.tables import offer_codes
from tests.integration.small_shop import NOW, make_project, play_of, tell
from tests.integration.test_simulate import REPLAY, ledger, live_ledger

CODES = tuple(f"P-{number}" for number in range(6))
CART = """flow: cart
topic: reminders
trigger: {event: cart_updated, quiet_for: 4h}
re_entry: {per: cart, after: 2d}
exit_when: [{did: order_placed}]
steps:
  - {send: note, offer: pool}
  - wait: {until: offer.pool.expires_at, offset: -1d}
  - {send: note, id: last-day}
"""
OFFERS = "pool: {percent: 10, pool: codes.txt, valid_for: 2d, once_per: message, when_empty: wait}\n"
DAILY = replace(REPLAY, beat=timedelta(days=1))  # so that much comes at once


def dry_shop(root: Path) -> Settings:
    """Write a project whose reminders of carts need one of six codes."""
    settings = make_project(root)
    (root / "flows/cart.yaml").write_text(CART, encoding="utf-8")
    (root / "flows/offers.yaml").write_text(OFFERS, encoding="utf-8")
    (root / "codes.txt").write_text("\n".join(CODES), encoding="utf-8")
    return settings


def with_codes(database: Database, settings: Settings) -> Database:
    """Tell the shop's facts, and put its codes into the pool."""
    tell(database, settings, NOW)
    with database.write() as connection:
        connection.execute(insert(offer_codes), [{"offer": "pool", "code": code} for code in CODES])
    return database


def test_who_waits_for_a_code_does_so_as_live(tmp_path: Path, sqlite_database: Database) -> None:
    """A replay says message by message what the daemon's code does: some get codes that others gave back, some none."""
    settings = dry_shop(tmp_path)
    with_codes(sqlite_database, settings)
    task = Task("", tmp_path, play_of(settings), REPLAY, folder=tmp_path)
    with driven(sqlite_database, task) as simulated:
        found = ledger(simulated.database)
    assert found == live_ledger(tmp_path, settings)
    fates = {(step, state, reason) for _, flow, step, state, reason, _ in found if flow == "cart"}
    assert {
        ("note", "accepted", "None"),
        ("note", "dropped", "no_offer"),
        ("last-day", "accepted", "None"),
    } <= fates


def test_the_same_bytes_whatever_the_database(tmp_path: Path, sqlite_url: str, postgres_url: str) -> None:
    """SQLite and PostgreSQL give the same report of it."""
    settings = dry_shop(tmp_path)
    texts = set()
    for url in (sqlite_url, postgres_url):
        database = with_codes(connect(url), settings)
        texts.add(json.dumps(document(simulate(database, play_of(settings), REPLAY, processes=2))))
        database.close()
    assert len(texts) == 1


def test_the_same_bytes_however_it_is_cut(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small batches and careful stops change no byte of it."""
    settings = dry_shop(tmp_path)
    with_codes(sqlite_database, settings)
    for stretch in (REPLAY, DAILY):
        texts = set()
        for chunk, most, careful in ((1_000, 2_000, False), (3, 3, False), (1_000, 2_000, True)):
            with monkeypatch.context() as patch:
                patch.setattr(ingest, "CHUNK", chunk)
                patch.setattr(passes, "CHUNK", chunk)
                patch.setattr(simulate_module, "MOST", most)
                patch.setattr(simulate_run, "SETTLED_EVERY", 1 if most == 3 else 8)
                if careful:
                    patch.setattr(Lone, "boldly", lambda _store, step: step())
                texts.add(
                    json.dumps(document(simulate(sqlite_database, play_of(settings), stretch, processes=1)))
                )
        assert len(texts) == 1
