"""No address, no name and no secret in what programs say about their work, whatever goes wrong meanwhile."""

from __future__ import annotations

import base64
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Text, bindparam, func, insert, select
from sqlalchemy.exc import DBAPIError

from engine.store.database import Database
from engine.store.prepared import Prepared
from engine.store.tables import customers
from tests.integration.living_shop import LivingShop, make_project, prepare, terminate, wait_for
from tests.servers.ports import free_port
from tests.servers.process import RunningServer, start_smtp

CANARY = "canary7f3a"
SECRETS = {
    "HOMING_SHOPIFY_SECRET": f"{CANARY}-of-shopify",
    "HOMING_WOOCOMMERCE_SECRET": f"{CANARY}-of-woocommerce",
    "HOMING_SMTP_PASSWORD": f"{CANARY}-of-smtp",
}
PEOPLE = (
    '{"kind": "customers", "external_id": "canary7f3a-id", "email": "canary7f3a@example.test", "first_name": "Canary7f3a", "consent": ["offers"]}\n'
    '{"kind": "customers", "external_id": "c2", "email": "canary7f3a at example.test"}\n'
    '{"kind": "events", "customer": "canary7f3a-id", "event": "signed_up", "id": "e1"}\n'
    '{"kind": "events", "customer": "c3", "event": "signed_up", "email": "canary7f3a@x.test", "occurred_at": "canary7f3a"}\n'
)


@contextmanager
def started(shop: LivingShop, *arguments: str, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and end it."""
    process = shop.start(*arguments, log=log)
    try:
        yield process
    finally:
        terminate(process, signal.SIGTERM)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Give an SMTP server of this test's own."""
    (tmp_path / "smtp").mkdir()
    with start_smtp(tmp_path / "smtp") as smtp:
        yield smtp


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_personal_in_logs(
    sqlite_url: str, tmp_path: Path, server: RunningServer, as_json: bool
) -> None:
    """Daemon, ticks and server, at their most talkative, over a server that refuses and repeats what it was told."""
    root = tmp_path / "shop"
    make_project(root, smtp_port=server.port)
    with (root / "homing.toml").open("a") as settings:
        settings.write('\n[web]\nurl = "https://mail.kiyomi.test"\n')
    shop = LivingShop(root, sqlite_url, SECRETS)
    prepare(root, sqlite_url)
    (root / "facts.jsonl").write_text(PEOPLE)
    said = [shop.homing("ingest", "-vv", str(root / "facts.jsonl"))]
    server.script("rcpt", "reply", reply="450 4.1.1 <canary7f3a@example.test> is not here yet, Canary7f3a")
    how = ("-vv", "--json") if as_json else ("-vv",)
    said.append(shop.homing("tick", *how))
    with started(shop, "run", *how, log="daemon"):
        wait_for(lambda: "leads" in shop.log("daemon"), 120, "a leader")
    server.script("answer", "reply", reply="550 5.1.1 canary7f3a@example.test unknown")
    said += [shop.homing(name, *how) for name in ("tick", "status", "doctor", "live")]
    call_the_server(shop, *how)
    told = [*(done.stdout + done.stderr for done in said), shop.log("daemon"), shop.log("serve")]
    for words in told:
        assert words
        assert CANARY not in words.lower(), words
        assert "Traceback" not in words, words


def call_the_server(shop: LivingShop, *how: str) -> None:
    """Send the server what it takes, what it refuses, and what it does not know, all with names in it."""
    port = free_port()
    with started(shop, "serve", "--port", str(port), *how, log="serve"):
        wait_for(lambda: answers(port), 120, "a server")
        basic = base64.b64encode(f"{CANARY}:".encode()).decode()
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Basic {basic}"}, timeout=60
        ) as client:
            client.post("/v1/track", json={"userId": CANARY, "event": "x", "email": f"{CANARY}@x.test"})
            client.post("/v1/batch", content=f"{{broken {CANARY}@x.test")
            client.post("/webhooks/shopify", content=b"{}", headers={"X-Shopify-Topic": "orders/create"})
            client.get(f"/u/{CANARY}")
            client.post(f"/u/{CANARY}", data={"List-Unsubscribe": "One-Click"})
            client.get(f"/nothing/{CANARY}?email={CANARY}@x.test")
            client.post("/house/login", data={"password": CANARY})


def answers(port: int) -> bool:
    """Whether a server answers there."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def test_an_error_of_the_database_tells_no_value(database: Database) -> None:
    """A statement that fails names itself, and nothing that was bound to it."""
    row = {"external_id": "c1", "email": f"{CANARY}@example.test", "first_name": CANARY}
    with database.write() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(insert(customers), [row | {"id": "no number"}])
    assert CANARY not in str(caught.value)


def test_a_prepared_statement_tells_no_value(sqlite_database: Database) -> None:
    """Nor do those that go to the driver in its own words."""
    prepared = Prepared(select(func.json_extract(bindparam("of", type_=Text()), "$.a")))
    with sqlite_database.read() as connection, pytest.raises(DBAPIError) as caught:
        prepared.rows(connection, of=f"{CANARY} {{")
    assert "malformed" in str(caught.value)
    assert CANARY not in str(caught.value)
