"""What customers are likely to do: orders and carts of others become no customer's past."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine.deploy.simulate_behaviour import stage_likely
from engine.deploy.simulate_copy import Slice
from engine.facts.fact import iso
from engine.facts.ingest import ingest_rows
from engine.store.database import Database
from engine.store.scratch import lone
from engine.store.tables import staged_facts
from tests.integration.small_shop import NOW, START, make_project

WHOLE = Slice()
PEOPLE = 30
CYCLE = timedelta(days=4)
SPAN = timedelta(days=8)  # two orders of everybody
AFTERWARDS = {"shipped": timedelta(days=2), "delivered": timedelta(days=6), "refunded": timedelta(days=11)}
LINES = [{"sku": "T1", "quantity": 1, "price": 30}]


def facts() -> dict[str, list[dict[str, Any]]]:
    """Return a shop whose customers all order every four days, a refund now and then, each order made of a cart."""
    told: dict[str, list[dict[str, Any]]] = {"customers": [], "carts": [], "orders": [], "events": []}
    for number in range(PEOPLE):
        who = f"c{number}"
        told["customers"].append({"external_id": who, "created_at": iso(START - timedelta(days=60))})
        at, count = START - timedelta(days=50, hours=7 * number), 0
        while at < NOW:
            count += 1
            cart, order = f"k{number}-{count}", f"o{number}-{count}"
            changed = [at - timedelta(days=3), at - timedelta(hours=30), at + timedelta(days=1)]
            for moment, lines in zip(changed, [LINES, LINES * 2, []], strict=True):
                told["carts"].append(
                    {"cart_id": cart, "customer": who, "updated_at": iso(moment), "lines": lines}
                )
            placed = {"order_id": order, "customer": who, "placed_at": iso(at), "cart_id": cart}
            own = {**placed, "total": 30 + number, "lines": LINES}
            told["orders"].append({**own, "status": "placed", "status_at": iso(at)})
            for status, after in AFTERWARDS.items():
                if status != "refunded" or count % 3 == 0:
                    told["orders"].append({**own, "status": status, "status_at": iso(at + after)})
            rated = iso(at + timedelta(days=7))
            told["events"].append(
                {"id": f"e{order}", "event": "rated", "customer": who, "at": rated, "order_id": order}
            )
            at += CYCLE
    moment_of = {"customers": "created_at", "carts": "updated_at", "orders": "status_at", "events": "at"}
    return {kind: [row for row in rows if row[moment_of[kind]] <= iso(NOW)] for kind, rows in told.items()}


@pytest.fixture
def shop(tmp_path: Path, sqlite_database: Database) -> Database:
    """Return a database to which the shop was told."""
    settings = make_project(tmp_path)
    for kind, rows in facts().items():
        assert not ingest_rows(sqlite_database, kind, rows, settings=settings, now=NOW).bad_rows  # type: ignore[arg-type]
    return sqlite_database


def likely(shop: Database, folder: Path, seed: int, part: Slice = WHOLE) -> list[Any]:
    """Return the facts that are staged for the days ahead."""
    target = lone(folder)
    try:
        stage_likely(shop, target, part, NOW, NOW + SPAN, seed)
        with target.read() as connection:
            return list(connection.execute(select(staged_facts).order_by(staged_facts.c.id)))
    finally:
        target.close()


@pytest.mark.parametrize("seed", range(1, 6))
def test_nothing_likely_is_about_an_order_or_cart_of_the_past_that_the_customer_has_not(
    shop: Database, tmp_path: Path, seed: int
) -> None:
    """What is told of an order is told of one placed ahead or of the customer's own; and of carts likewise."""
    owner = {row[f"{kind}_id"]: row["customer"] for kind in ("order", "cart") for row in facts()[f"{kind}s"]}
    begun: set[str] = set()
    of_own: Counter[str] = Counter()
    for row in likely(shop, tmp_path, seed):
        told, ahead = row.payload, row.arrives_at
        assert NOW < ahead <= NOW + SPAN
        if row.kind == "orders" and told["status"] == "placed":
            assert told["placed_at"] == iso(ahead)
            begun.add(told["order_id"])
        if row.kind == "carts" and told["lines"]:
            begun.add(told["cart_id"])
        for name in {told.get("order_id"), told.get("cart_id")} - {None}:
            assert name in begun or owner[name] == told["customer"]
            of_own[row.kind] += name not in begun
            assert name in begun or not {"placed_at", "total", "lines"} & told.keys() or row.kind == "carts"
        if cart_id := (told.get("properties") or {}).get("cart_id"):
            assert cart_id in begun or owner[cart_id] == told["customer"]
    assert min(of_own[kind] for kind in ("orders", "carts", "events")) > 0


@pytest.mark.parametrize("seed", range(1, 6))
def test_as_many_orders_are_placed_ahead_as_similar_customers_placed(
    shop: Database, tmp_path: Path, seed: int
) -> None:
    """Who always orders every four days orders twice in eight."""
    placed = {
        (row.payload["customer"], row.payload["order_id"])
        for row in likely(shop, tmp_path, seed)
        if row.kind == "orders" and "placed_at" in row.payload
    }
    assert Counter(who for who, _ in placed) == {f"c{number}": 2 for number in range(PEOPLE)}


def test_what_is_likely_does_not_depend_on_who_else_is_asked_for(shop: Database, tmp_path: Path) -> None:
    """Parts of the customers have the facts that they have in the whole."""

    def told(part: Slice, name: str) -> list[tuple[datetime, str, str]]:
        (tmp_path / name).mkdir()
        rows = likely(shop, tmp_path / name, 1, part)
        return sorted((row.arrives_at, row.kind, repr(row.payload)) for row in rows)

    assert sorted(told(Slice(0, 2), "one") + told(Slice(1, 2), "two")) == told(WHOLE, "whole")
