"""Kills the engine while it takes facts in: whatever was acknowledged is there, and telling all of it again makes it whole.

    python -m tests.crash.taking_in --url URL --folder DIR --kills N

A child takes in batches of customers, products, orders, events and consents, and writes down outside each batch that was
acknowledged. It is killed at every step of its run, evenly; then what was acknowledged is looked for, everything is told
again, and the tables must be those of an undisturbed run. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select

from engine.facts.fact import Kind
from engine.facts.ingest import ingest_rows
from engine.settings import Settings
from engine.store.database import Database, connect
from engine.store.tables import consents, customers, events, fact_inbox, order_lines, orders, products
from tests.crash.fuse import Fuse, forked, in_child
from tests.crash.stages import Stage, stage_at

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
PEOPLE, BATCHES = 8, 4
Batch = tuple[Kind, list[dict[str, Any]]]
# Rows are compared without numbers of our own (and the keys made of them), and moments of arrival.
_LEFT_OUT = {"id", "key", "customer_id", "event_id", "change_id", "arrived_at", "received_at", "at", "first_seen_at", "updated_at"}  # fmt: skip
COMPARED = (customers, products, orders, order_lines, events, consents, fact_inbox)


@dataclass(slots=True)
class Tally:
    """What the suite did so far."""

    runs: int = 0
    kills: int = 0
    after_an_acceptance: int = 0
    broken: list[str] = field(default_factory=list)


def batches() -> list[Batch]:
    """Return what is told, in order: each batch is acknowledged by itself."""
    chance = random.Random(7)
    told: list[Batch] = [
        ("products", [{"sku": f"T{n}", "title": f"Tea {n}", "price": f"{n + 3}.50"} for n in range(6)])
    ]
    for batch in range(BATCHES):
        people = [f"c{chance.randrange(PEOPLE)}" for _ in range(6)]
        moment = (NOW - timedelta(days=40 - batch)).isoformat()
        told.append(("customers", [{"external_id": who, "email": f"{who}@example.test", "consent": ["offers"]} for who in people]))  # fmt: skip
        told.append(("orders", [
            {"order_id": f"o{batch}-{n}", "customer": who, "placed_at": moment, "status": chance.choice(["placed", "cancelled"]),
             "lines": [{"sku": f"T{chance.randrange(6)}", "quantity": 2, "price": "4.50"}]}
            for n, who in enumerate(people)
        ]))  # fmt: skip
        told.append(("events", [
            {"customer": who, "event": "product_viewed", "message_id": f"v{batch}-{n}", "sku": "T1", "at": moment}
            for n, who in enumerate(people)
        ]))  # fmt: skip
        told.append(("consents", [
            {"customer": who, "topic": "offers", "state": chance.choice(["granted", "withdrawn"]), "at": moment}
            for who in people
        ]))  # fmt: skip
    return told


def take_in(database: Database, settings: Settings, told: Sequence[Batch], acks: Path | None) -> None:
    """Take the batches in; each one that is acknowledged is written down outside before the next one begins."""
    for number, (kind, rows) in enumerate(told):
        ingest_rows(database, kind, rows, settings=settings, now=NOW)
        if acks is not None:
            with acks.open("ab") as file:
                file.write(f"{number}\n".encode())
                file.flush()
                os.fsync(file.fileno())


def contents(connection: Connection) -> dict[str, list[str]]:
    """Return what the tables say, in an order of its own."""
    return {table.name: sorted(_told(row) for row in _rows(connection, table)) for table in COMPARED}


def _rows(connection: Connection, table: Table) -> list[Mapping[Any, Any]]:
    return list(connection.execute(select(table)).mappings().all())


def _told(row: Mapping[Any, Any]) -> str:
    return json.dumps({str(k): str(v) for k, v in row.items() if k not in _LEFT_OUT}, sort_keys=True)


def missing(connection: Connection, told: Sequence[Batch], acknowledged: Sequence[int]) -> list[str]:
    """Return the facts of acknowledged batches that are not there."""
    there = {
        "customers": set(connection.scalars(select(customers.c.external_id))),
        "products": set(connection.scalars(select(products.c.sku))),
        "orders": set(connection.scalars(select(orders.c.order_id))),
    }
    names = {"customers": "external_id", "products": "sku", "orders": "order_id"}
    seen = connection.scalar(select(func.count()).where(events.c.name == "product_viewed")) or 0
    told_of = sum(len(told[number][1]) for number in acknowledged if told[number][0] == "events")
    lost = [f"{told_of - seen} events"] if seen < told_of else []
    return lost + [
        f"{told[number][0]} {row[names[told[number][0]]]}"
        for number in acknowledged
        if told[number][0] in names
        for row in told[number][1]
        if row[names[told[number][0]]] not in there[told[number][0]]
    ]


def one_run(
    database: Database, settings: Settings, stage: Stage, at: int, acks: Path, whole: object
) -> tuple[int, int, list[str]]:
    """Kill a child at this step; return kills, acknowledged batches and what broke."""
    told = batches()
    stage.restore()
    acks.unlink(missing_ok=True)
    acks.touch()

    def work() -> None:
        Fuse(at).lay(database.engine)
        take_in(database, settings, told, acks)

    status = os.waitpid(forked(work), 0)[1]
    kills = int(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
    acknowledged = [int(line) for line in acks.read_text().split()]
    with database.read() as connection:
        broken = [f"acknowledged, but not there: {each}" for each in missing(connection, told, acknowledged)]
    database.close()
    if in_child(partial(take_in, database, settings, told, None)) != 0:
        broken.append("telling it again failed")
    with database.read() as connection:
        now = contents(connection)
    database.close()
    assert isinstance(whole, dict)
    for name in whole:
        odd = sorted(set(now[name]) ^ set(whole[name])) or ["the same rows, but not as often"]
        if now[name] != whole[name]:
            broken.append(f"{name} are not those of an undisturbed run: {odd[:2]}")
    return kills, len(acknowledged), broken


def run_all(url: str, folder: Path, kills: int) -> Tally:
    """Kill so many children, evenly over the steps of an undisturbed run."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, stage = Settings(folder), stage_at(url)
    database = connect(url)
    stage.keep()
    counted = folder / "steps"

    def work() -> None:
        fuse = Fuse(None)
        fuse.lay(database.engine)
        take_in(database, settings, batches(), None)
        counted.write_text(str(len(fuse.steps)))

    assert in_child(work) == 0
    with database.read() as connection:
        whole = contents(connection)
    database.close()
    tally, last = Tally(), int(counted.read_text())
    for number in range(kills):
        at = 1 + int(number * last / kills)
        count, acknowledged, broken = one_run(database, settings, stage, at, folder / "acks", whole)
        tally.runs += 1
        tally.kills += count
        tally.after_an_acceptance += count if acknowledged else 0
        tally.broken += [f"killed at {at}: {each}" for each in broken]
    stage.close()
    return tally


def main() -> None:
    """Run as a program of its own, so that what is forked is small."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, required=True)
    given = parser.parse_args()
    sys.stdout.write(json.dumps(asdict(run_all(given.url, given.folder, given.kills))) + "\n")


if __name__ == "__main__":
    main()
