"""Kills the engine while it changes much at once: an apply, an erasure, a night's rebuilding, deliveries of webhooks.

    python -m tests.crash.changing --work apply --url URL --folder DIR --kills N

A child does the work and writes down outside each part that was acknowledged. It is killed at every step, evenly; then what
was acknowledged is looked for, the work is done again as somebody would who saw it die, and the tables must be those of an
undisturbed run. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select

from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.facts.fact import Kind
from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.facts.rights import erase
from engine.runtime.nightly import run_nightly
from engine.runtime.opening import open_engine
from engine.settings import Settings
from engine.store import tables
from engine.store.database import Database, connect
from engine.store.tables import metadata
from tests.crash.fuse import Fuse, forked, in_child
from tests.crash.stages import stage_at
from tests.crash.taking_in import Tally
from tests.integration.living_shop import FLOW, SENDER, SETTINGS, TEMPLATE
from tests.integration.web_server import serving

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
CANARY = "canary7f3a"
SECRET = "hush"
PEOPLE = 9
LAPSED = """
flow: come-back
summary: Call those who stayed away.
topic: offers
trigger: {lapsed: {event: order_placed, after: 20d}}
enter_if: [{customer: {spent_percentile: {gte: 0}}}]
exit_when: [{did: order_placed}]
steps:
  - send: hello
"""
ACTIVE = """
flow: friends
summary: Greet those who bought twice.
topic: offers
trigger: {segment: friends}
exit_when: [{did: refund_asked}]
steps:
  - send: hello
"""
SEGMENTS = "friends:\n  - customer: {orders: {gte: 2}}\n"
# Rows are compared without numbers of our own, and without the moments at which a run happened to do something.
_LEFT_OUT = {
    "id", "key", "event_id", "change_id", "arrived_at", "received_at", "at", "first_seen_at", "updated_at", "created_at",
    "enrollment_id", "customer_id", "payload",
}  # fmt: skip
Ack = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Work:
    """What is done and may die: `act` acknowledges its parts; `tables` must end alike; `lost` looks for what was told done."""

    act: Callable[[Database, Settings, Ack], None]
    tables: Sequence[Table]
    lost: Callable[[Connection, Sequence[str]], list[str]]
    prepare: Callable[[Database, Settings], None]


def tell_history(database: Database, settings: Settings) -> None:
    """Take in nine customers with orders, views and consents of the last weeks."""
    people = [f"{CANARY}-{n}" for n in range(PEOPLE)]
    told: list[tuple[Kind, list[dict[str, Any]]]] = [
        ("products", [
            {"sku": f"T{n}", "title": f"Tea {n}", "category": f"k{n % 2}", "price": "4.50", "url": f"https://kiyomi.test/{n}",
             "image_url": f"https://kiyomi.test/{n}.png"} for n in range(6)
        ]),
        ("customers", [{"external_id": who, "email": f"{who}@example.test", "first_name": CANARY, "consent": ["offers"]} for who in people]),
        ("orders", [
            {"order_id": f"o{n}-{which}", "customer": who, "placed_at": (NOW - timedelta(days=60 - 9 * n - which)).isoformat(),
             "lines": [{"sku": f"T{n % 6}", "quantity": 1, "price": "4.50"}, {"sku": f"T{(n + which) % 6}", "quantity": 2, "price": "4.50"}]}
            for n, who in enumerate(people) for which in range(1 + n % 3)
        ]),
        ("events", [{"customer": who, "event": "product_viewed", "message_id": f"v{who}", "sku": "T1", "email": f"{who}@example.test",
                     "at": (NOW - timedelta(days=3)).isoformat()} for who in people]),
    ]  # fmt: skip
    for kind, rows in told:
        ingest_rows(database, kind, rows, settings=settings, now=NOW - timedelta(days=1), backfill=True)


def applied(database: Database, settings: Settings) -> None:
    """The history, with everything live."""
    tell_history(database, settings)
    apply(database, settings, now=NOW, who="crash")


def bought_since(database: Database, settings: Settings) -> None:
    """Everything live, and somebody who has become a friend since, which only a night looks for."""
    applied(database, settings)
    again = {
        "order_id": "o0-1", "customer": f"{CANARY}-0", "placed_at": (NOW - timedelta(hours=1)).isoformat(),
        "lines": [{"sku": "T0", "quantity": 1, "price": "4.50"}],
    }  # fmt: skip
    ingest_rows(database, "orders", [again], settings=settings, now=NOW)


def do_apply(database: Database, settings: Settings, ack: Ack) -> None:
    """Apply over the history, and go on with whatever a dead apply has left; one with `backfill` would do all anew."""
    apply(database, settings, now=NOW, who="crash")
    ack("applied")


def lost_by_apply(connection: Connection, acknowledged: Sequence[str]) -> list[str]:
    """Return the flows that were told live and are not."""
    live = set(connection.scalars(select(tables.flows.c.flow)))
    return sorted({"hello", "come-back", "friends"} - live) if acknowledged else []


def do_erase(database: Database, settings: Settings, ack: Ack) -> None:
    """Erase everybody who is still known by their address."""
    for number in range(PEOPLE):
        with database.write() as connection:
            customer = find_customer(connection, f"{CANARY}-{number}")
            if customer is not None:
                erase(connection, customer, now=NOW)
        ack(f"{CANARY}-{number}")


def lost_by_erase(connection: Connection, acknowledged: Sequence[str]) -> list[str]:
    """Return where somebody stands of whom it was told that they are forgotten."""
    return [
        f"{name} in {table.name}"
        for table in metadata.sorted_tables
        for row in connection.execute(select(table)).mappings()
        for name in acknowledged
        if name in json.dumps([str(value) for value in row.values()])
    ]


def do_nightly(database: Database, settings: Settings, ack: Ack) -> None:
    """Rebuild what a night rebuilds."""
    run_nightly(open_engine(settings, database, environ={}), NOW)
    ack("night")


def lost_by_night(connection: Connection, acknowledged: Sequence[str]) -> list[str]:
    """Return what a night has not built that was told done."""
    built = connection.execute(select(tables.product_ranks).limit(1)).first()
    return ["the ranks of products"] if acknowledged and built is None else []


def do_webhooks(database: Database, settings: Settings, ack: Ack) -> None:
    """Serve, and deliver orders as Shopify does and tracks as Segment does."""
    key = (settings.root / "key").read_text()
    with serving(settings, database, {"HOMING_SHOPIFY_SECRET": SECRET}) as served:
        for number in range(PEOPLE):
            body = json.dumps(shopify_order(number)).encode()
            seal = base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()
            answer = served.client.post("/webhooks/shopify", content=body, headers={
                "X-Shopify-Topic": "orders/create", "X-Shopify-Hmac-Sha256": seal, "X-Shopify-Webhook-Id": f"w{number}",
                "X-Shopify-Triggered-At": NOW.isoformat(), "X-Shopify-Shop-Domain": "kiyomi.test", "X-Shopify-Api-Version": "2025-01",
            })  # fmt: skip
            if answer.status_code == 200:
                ack(f"order {8000 + number}")
            call = {
                "type": "track",
                "userId": f"s{number}",
                "event": "Seen",
                "messageId": f"t{number}",
                "timestamp": NOW.isoformat(),
            }
            answer = served.client.post("/v1/batch", json={"batch": [call]}, auth=(key, ""))
            if answer.status_code == 200:
                ack(f"event t{number}")


def shopify_order(number: int) -> dict[str, Any]:
    """Return an order as Shopify tells it."""
    moment = NOW.isoformat()
    return {
        "id": 8000 + number, "name": f"#{number}", "email": f"w{number}@example.test", "created_at": moment, "updated_at": moment,
        "processed_at": moment, "currency": "EUR", "total_price": "9.00", "financial_status": "paid",
        "customer": {"id": 500 + number, "email": f"w{number}@example.test", "created_at": moment, "updated_at": moment},
        "line_items": [{"id": number, "sku": "T1", "quantity": 2, "price": "4.50", "title": "Tea", "product_id": 1, "variant_id": 2}],
    }  # fmt: skip


def lost_by_webhooks(connection: Connection, acknowledged: Sequence[str]) -> list[str]:
    """Return the answered deliveries whose facts are not there."""
    there = {f"order {name}" for name in connection.scalars(select(tables.orders.c.order_id))}
    there |= {name.replace(":", " ") for name in connection.scalars(select(tables.events.c.key))}
    return sorted(set(acknowledged) - there)


def make_key(database: Database, settings: Settings) -> None:
    """The history, and a write key whose text lies beside the project."""
    from engine.web import keys  # noqa: PLC0415 - only this work needs it

    tell_history(database, settings)
    with database.write() as connection:
        key = keys.create(connection, "crash", now=NOW, scopes=("write",), origins=())
    (settings.root / "key").write_text(key)


_PLACED = (tables.customers, tables.orders, tables.order_lines, tables.events)
WORKS: Mapping[str, Work] = {
    "apply": Work(do_apply, (tables.flows, tables.flow_versions, tables.timers, tables.segment_members),
                  lost_by_apply, tell_history),
    "erase": Work(do_erase, (*_PLACED, tables.consents, tables.timers, tables.segment_members, tables.erased), lost_by_erase, applied),
    "nightly": Work(do_nightly, (tables.product_ranks, tables.product_affinities, tables.customer_scores, tables.segment_members,
                                 tables.enrollments), lost_by_night, bought_since),
    "webhooks": Work(do_webhooks, (*_PLACED, tables.receipts), lost_by_webhooks, make_key),
}  # fmt: skip


def contents(connection: Connection, compared: Sequence[Table]) -> dict[str, list[str]]:
    """Return what these tables say, in an order of its own."""
    return {
        table.name: sorted(
            json.dumps(
                {name: str(value) for name, value in row.items() if name not in _LEFT_OUT}, sort_keys=True
            )
            for row in connection.execute(select(table)).mappings()
        )
        for table in compared
    }


def project_at(folder: Path) -> Settings:
    """Write the project: a flow for sign-ups, one for those who stayed away, one for a segment."""
    for name, text in {
        "homing.toml": SETTINGS.format(sender=SENDER, provider="mailbox", rate="1000/s", options=""),
        "flows/hello.yaml": FLOW, "flows/come-back.yaml": LAPSED, "flows/friends.yaml": ACTIVE, "flows/segments.yaml": SEGMENTS,
        "templates/hello.mjml": TEMPLATE,
    }.items():  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return settings_module.load(folder, {})


def acknowledging(path: Path) -> Ack:
    """Return what writes down outside, surely, that a part was acknowledged."""

    def ack(what: str) -> None:
        with path.open("ab") as file:
            file.write(f"{what}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    return ack


def run_all(work: Work, url: str, folder: Path, kills: int) -> Tally:
    """Kill so many children, evenly over the steps of an undisturbed run."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, stage, database = project_at(folder), stage_at(url), connect(url)
    work.prepare(database, settings)
    database.close()
    stage.keep()
    counted, acks = folder / "steps", folder / "acks"

    def undisturbed() -> None:
        fuse = Fuse(None)
        fuse.lay(database.engine)
        work.act(database, settings, lambda _what: None)
        counted.write_text(str(len(fuse.steps)))

    def again() -> None:
        work.act(database, settings, lambda _what: None)

    def until(at: int) -> None:
        Fuse(at).lay(database.engine)
        work.act(database, settings, acknowledging(acks))

    def now() -> dict[str, list[str]]:
        with database.read() as connection:
            found = contents(connection, work.tables)
        database.close()
        return found

    before = now()
    assert in_child(undisturbed) == 0
    whole, last, tally = now(), int(counted.read_text()), Tally()
    idle = [name for name, rows in whole.items() if not rows and not before[name]]
    assert idle == [], f"nothing is done to {idle}: that they end alike would prove nothing"
    for number in range(kills):
        at = 1 + int(number * last / kills)
        stage.restore()
        acks.write_bytes(b"")
        status = os.waitpid(forked(partial(until, at)), 0)[1]
        killed = int(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
        acknowledged = acks.read_text().splitlines()
        tally.runs, tally.kills = tally.runs + 1, tally.kills + killed
        tally.after_an_acceptance += killed if acknowledged else 0
        with database.read() as connection:
            broken = [f"told done, but: {each}" for each in work.lost(connection, acknowledged)]
        database.close()
        if in_child(again) != 0:
            broken.append("doing it again failed")
        for name, rows in now().items():
            if rows != whole[name]:
                odd = sorted(set(rows) ^ set(whole[name])) or ["the same rows, but not as often"]
                broken.append(f"{name} differ from an undisturbed run: {odd[:2]}")
        tally.broken += [f"killed at {at}: {each}" for each in broken]
    stage.close()
    return tally


def main() -> None:
    """Run as a program of its own, so that what is forked is small."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", choices=sorted(WORKS), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, required=True)
    given = parser.parse_args()
    tally = run_all(WORKS[given.work], given.url, given.folder, given.kills)
    sys.stdout.write(json.dumps(asdict(tally)) + "\n")


if __name__ == "__main__":
    main()
