"""The database goes away under a running daemon: it comes back by itself, with nothing lost and nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, select
from sqlalchemy.exc import OperationalError

from engine.render.compose import message_id
from engine.store.database import connect
from engine.store.migrate import upgrade
from engine.store.tables import messages
from tests.crash.test_crash import suite
from tests.integration.living_shop import PATIENCE, SENDER, LivingShop, in_ledger, make_project, prepare
from tests.servers.postgres import Postgres, postgres_server
from tests.servers.process import start_smtp

TIMES = 20 if os.environ.get("HOMING_TEST_SHARE") == "full" else 3
MAILS = 60 * TIMES
RECOVERS = 30.0  # seconds
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=50")


def restart(server: Postgres, _url: str) -> None:
    """Let the server crash and start again."""
    server.stop(signal.SIGQUIT)
    server.start()


def cut(_server: Postgres, url: str) -> None:
    """End every connection to the database."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.postgresql
@pytest.mark.parametrize("trouble", [restart, cut])
def test_the_server_comes_back(trouble: Callable[[Postgres, str], None], tmp_path: Path) -> None:
    """PostgreSQL crashes, or every connection is cut, again and again while mails leave: the daemon goes on by itself."""
    with postgres_server(DURABLE) as server, start_smtp(tmp_path) as smtp:
        url = server.url(server.create_database())
        migrated = connect(url)
        upgrade(migrated)
        migrated.close()
        root = tmp_path / "shop"
        make_project(root, smtp_port=smtp.port, rate="60/s")
        shop = prepare(root, url, MAILS)
        daemon = shop.start("run")
        try:
            chance = random.Random(4)
            _wait(lambda: bool(in_ledger(smtp.ledger)), PATIENCE, shop)
            for _ in range(TIMES):
                time.sleep(chance.uniform(0.6, 1.2))
                trouble(server, url)
                _wait_until_it_goes_on(shop, daemon)
            _wait(lambda: not shop.states().keys() & {"pending", "claimed", "handing_over"}, PATIENCE, shop)
        finally:
            daemon.terminate()
            daemon.wait(timeout=PATIENCE)
        _hold(shop, smtp.ledger)


@pytest.mark.postgresql
def test_a_daemon_that_starts_before_its_database(tmp_path: Path) -> None:
    """Started while the server is still down, it says so in its log and begins once the server answers."""
    with postgres_server() as server:
        url = server.url(server.create_database())
        migrated = connect(url)
        upgrade(migrated)
        migrated.close()
        make_project(tmp_path / "shop")
        shop = prepare(tmp_path / "shop", url, 3)
        server.stop(signal.SIGQUIT)
        daemon = shop.start("run")
        try:
            _wait(lambda: "trying again" in shop.log(), PATIENCE, shop)
            server.start()
            _wait(lambda: shop.states() == {"accepted": 3}, RECOVERS, shop)
        finally:
            daemon.terminate()
            daemon.wait(timeout=PATIENCE)


def _wait_until_it_goes_on(shop: LivingShop, daemon: subprocess.Popen[bytes]) -> None:
    """Wait until messages are settled again, or none is left; that takes less than RECOVERS seconds."""
    before = shop.states()
    _wait(
        lambda: shop.states() != before or not shop.states().keys() & {"pending", "claimed"}, RECOVERS, shop
    )
    assert daemon.poll() is None, shop.log()[-2000:]


def _wait(until: Callable[[], bool], seconds: float, shop: LivingShop) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"{_states(shop)} {shop.log()[-2000:]}"
        time.sleep(0.1)


def _states(shop: LivingShop) -> str:
    """Tell the states of the messages, where the database answers."""
    try:
        return str(shop.states())
    except OperationalError:
        return "the database does not answer"


def _hold(shop: LivingShop, ledger: Path) -> None:
    taken = in_ledger(ledger)
    assert max(taken.values()) == 1
    with shop.database() as database, database.read() as connection:
        rows = connection.execute(select(messages.c.key, messages.c.state)).all()
    of = {
        state: {message_id(r.key, SENDER) for r in rows if r.state == state}
        for state in {r.state for r in rows}
    }
    assert len(rows) == MAILS
    assert set(of) <= {"accepted", "unknown"}
    assert of["accepted"] <= set(taken) <= of["accepted"] | of.get("unknown", set())
    # Each interruption may leave the group in doubt that was under way; what was recorded late is not.
    assert len(of.get("unknown", ())) <= 20 * TIMES
    log = shop.log()
    assert "goes on" in log or "not recorded yet" in log or "failed" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("provider", ["smtp"])
def test_a_full_disk(sqlite_url: str, provider: str, tmp_path: Path) -> None:
    """The disk is full for a second, wherever that is met: the same process goes on, nothing twice and nothing lost."""
    found = suite("sending", sqlite_url, tmp_path / "suite", "--provider", provider, "--full", "8")
    assert found["broken"] == []
    assert found["kills"] >= 2
