"""`homing run` as real processes: two at once, killed, stopped, paused, without its database, and with --dev."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, select, text

from engine.delivery.dispatch import GROUP
from engine.runtime.leader import LEADER
from engine.store.tables import leases
from tests.integration.living_shop import (
    ENDS_SECONDS,
    FLOW,
    PATIENCE,
    LivingShop,
    in_ledger,
    make_project,
    prepare,
    terminate,
    wait_for,
)
from tests.servers.process import RunningServer, start_smtp

TAKEOVER_SECONDS = 30.0


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give a list for started programs; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Give an SMTP server of this test's own."""
    folder = tmp_path / "smtp"
    folder.mkdir()
    with start_smtp(folder) as smtp:
        yield smtp


def leads(shop: LivingShop, log: str) -> bool:
    """Whether the program with that log came to lead."""
    return " leads " in shop.log(log)


def lease_end(shop: LivingShop) -> datetime:
    """Return until when the leader may lead."""
    with shop.database() as database, database.read() as connection:
        until: datetime = connection.execute(
            select(leases.c.until).where(leases.c.name == LEADER)
        ).scalar_one()
        return until


def test_two_daemons_share_the_work(
    database_url: str, tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """Of two daemons one leads, nothing goes twice, and where the leader is killed the other leads within 30 s."""
    make_project(tmp_path)
    shop = prepare(tmp_path, database_url, 40)
    daemons = {log: shop.start("run", "--workers", "2", log=log) for log in ("one", "two")}
    running += daemons.values()
    wait_for(lambda: any(leads(shop, log) for log in daemons), PATIENCE, "a leader")
    wait_for(lambda: shop.signs() == 2, PATIENCE, "both daemons")
    for first in (40, 60, 80):
        shop.sign_up(first, 20)
    wait_for(lambda: shop.states()["accepted"] == 100, PATIENCE, "a hundred mails")
    leader = next(log for log in daemons if leads(shop, log))
    follower = next(log for log in daemons if log != leader)
    assert not leads(shop, follower)
    told = json.loads(shop.homing("status", "--json").stdout)["daemon"]
    assert told["leader"] in shop.log(leader)
    assert told["daemons"] == 2
    daemons[leader].kill()
    daemons[leader].wait()
    ends = lease_end(shop)
    wait_for(lambda: leads(shop, follower), TAKEOVER_SECONDS, "another leader")
    assert datetime.now(UTC) >= ends, "the follower waits for the lease"
    shop.sign_up(100, 10)
    wait_for(lambda: shop.states()["accepted"] == 110, PATIENCE, "the mails after the leader's death")
    assert terminate(daemons[follower])[0] == 0
    assert set(shop.mailbox().values()) == {1}
    assert len(shop.mailbox()) == 110


def test_sigterm_finishes_or_releases(
    database_url: str, tmp_path: Path, server: RunningServer, running: list[subprocess.Popen[bytes]]
) -> None:
    """Stopped in the middle of a slow run it ends within 10 s with exit code 0, and nothing is left in doubt."""
    make_project(tmp_path, smtp_port=server.port, rate="4/s")
    shop = prepare(tmp_path, database_url, 100)
    daemon = shop.start("run")
    running.append(daemon)
    wait_for(lambda: len(server.taken()) >= 3, PATIENCE, "some mails")
    wait_for(lambda: shop.states()["claimed"] > 0, PATIENCE, "mails that are claimed and wait for the rate")
    code, seconds = terminate(daemon)
    assert (code, seconds < ENDS_SECONDS) == (0, True), shop.log()
    states = shop.states()
    assert set(states) == {"accepted", "pending"}, states
    assert states["accepted"] == len(server.taken()) < 100
    make_project(tmp_path, smtp_port=server.port)
    assert shop.homing("tick").returncode == 0
    assert shop.states() == {"accepted": 100}
    assert set(in_ledger(server.ledger).values()) == {1}


def test_a_slow_domain_holds_up_nobody_else(
    postgres_url: str, tmp_path: Path, server: RunningServer, running: list[subprocess.Popen[bytes]]
) -> None:
    """Two daemons together keep the rate of one domain, and the mails to others do not wait for it."""
    make_project(tmp_path, smtp_port=server.port)
    settings = tmp_path / "homing.toml"
    allow = settings.read_text().replace('"@example.test"', '"@example.test", "@slow.test", "@stuck.test"')
    settings.write_text(allow + '\n[delivery.domains]\n"slow.test" = "2/s"\n"stuck.test" = "1/h"\n')
    shop = prepare(tmp_path, postgres_url)
    shop.sign_up(0, 6, domain="stuck.test")
    shop.sign_up(50, 12, domain="slow.test")
    shop.sign_up(100, 30)
    running += [shop.start("run", log=log) for log in ("one", "two")]

    def moments(domain: str) -> list[float]:
        return sorted(mail["at"] for mail in server.taken() if mail["recipients"][0].endswith(f"@{domain}"))

    wait_for(lambda: len(moments("example.test")) == 30, PATIENCE, "the mails to those without a rate")
    wait_for(lambda: len(moments("slow.test")) == 12, PATIENCE, "the mails to the slow domain")
    assert len(moments("stuck.test")) <= 2  # one of each daemon; the others come an hour later each
    # Each of two daemons begins with a burst of its part: what follows keeps the pace. A machine that stands still makes it
    # longer: who waits saves up no more than a burst.
    slow = moments("slow.test")
    assert slow[-1] - slow[0] >= (12 - 4) / 2 * 0.7


def test_sigterm_while_the_provider_hangs(
    sqlite_url: str, tmp_path: Path, server: RunningServer, running: list[subprocess.Popen[bytes]]
) -> None:
    """A provider that never answers cannot hold up the end; what it may have taken is unknown and not sent again."""
    server.script("answer", "hang", recorded=True, times=1)
    make_project(tmp_path, smtp_port=server.port)
    shop = prepare(tmp_path, sqlite_url, 15)
    daemon = shop.start("run")
    running.append(daemon)
    wait_for(lambda: len(server.taken()) >= 1, PATIENCE, "the first mail")
    code, seconds = terminate(daemon)
    assert (code, seconds < ENDS_SECONDS) == (0, True), shop.log()
    server.behave()
    shop.let_leases_end()
    assert shop.homing("tick").returncode == 0
    assert shop.states() == {"unknown": 10, "accepted": 5}
    assert set(in_ledger(server.ledger).values()) == {1}


def test_a_pause_takes_hold_within_two_seconds(
    database_url: str, tmp_path: Path, server: RunningServer, running: list[subprocess.Popen[bytes]]
) -> None:
    """After `homing pause` no more leave than two seconds' mails, not even of those that were claimed; it survives a restart."""
    make_project(tmp_path, smtp_port=server.port, rate="10/s")
    shop = prepare(tmp_path, database_url, 400)
    flow = [] if database_url.startswith("sqlite") else ["hello"]
    running.append(shop.start("run"))
    wait_for(lambda: len(server.taken()) >= 3, PATIENCE, "some mails")
    assert shop.homing("pause", *flow).returncode == 0
    paused = len(server.taken())
    wait_for(
        lambda: set(shop.states()) == {"accepted", "pending"}, PATIENCE, "what was claimed to be released"
    )
    taken = len(server.taken())
    assert taken - paused <= 2 * 10 + GROUP  # two seconds at the rate, and those that were being handed over
    time.sleep(2)
    assert len(server.taken()) == taken < 400
    assert terminate(running[-1])[0] == 0
    running.append(shop.start("run", log="again"))
    wait_for(lambda: "leads" in shop.log("again"), PATIENCE, "the daemon that was started anew")
    time.sleep(2)
    assert len(server.taken()) == taken
    assert set(shop.states()) == {"accepted", "pending"}
    assert shop.homing("resume", *flow).returncode == 0
    wait_for(lambda: len(server.taken()) > taken, PATIENCE, "mails after resuming")


@pytest.mark.postgresql
def test_a_database_that_goes_away(
    postgres_url: str, tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """A database that ends every connection and takes none for a while is a log line and a retry, not an end."""
    make_project(tmp_path)
    shop = prepare(tmp_path, postgres_url, 5)
    daemon = shop.start("run")
    running.append(daemon)
    wait_for(lambda: shop.states()["accepted"] == 5, PATIENCE, "the first mails")
    shop.sign_up(5, 5)
    url = make_url(postgres_url)
    name = url.database
    admin = url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        wait_for(lambda: "failed" in shop.log(), PATIENCE, "a log line")
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    wait_for(lambda: "goes on" in shop.log(), PATIENCE, "the next beat")
    shop.sign_up(10, 5)
    wait_for(
        lambda: shop.states()["accepted"] + shop.states()["unknown"] == 15, PATIENCE, "the mails after it"
    )
    assert daemon.poll() is None
    assert terminate(daemon)[0] == 0
    assert set(shop.mailbox().values()) == {1}
    assert "@example.test" not in shop.log()


def test_a_virtual_database_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    """The daemon lives on real time and says so."""
    make_project(tmp_path)
    shop = LivingShop(tmp_path, sqlite_url)
    assert shop.homing("apply", "--yes", "--now", "2026-03-01T09:00+01:00").returncode == 0
    refused = shop.homing("run")
    assert refused.returncode == 2
    assert "virtual clock" in refused.stderr


def test_a_database_of_another_schema_is_refused(database_url: str, tmp_path: Path) -> None:
    """A schema that this version does not know ends the daemon at once, with exit code 3 and what to do."""
    make_project(tmp_path)
    shop = LivingShop(tmp_path, database_url)
    with shop.database() as database, database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    refused = shop.homing("run")
    assert refused.returncode == 3
    assert "newer" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_dev_applies_on_save(sqlite_url: str, tmp_path: Path, running: list[subprocess.Popen[bytes]]) -> None:
    """What is saved is applied; what is broken is told, and the last good state goes on."""
    make_project(tmp_path)
    shop = LivingShop(tmp_path, sqlite_url)
    daemon = shop.start("run", "--dev")
    running.append(daemon)
    wait_for(lambda: "applied: hello (new)" in shop.log(), PATIENCE, "the first apply")
    path = tmp_path / "flows" / "hello.yaml"
    path.write_text(FLOW.replace("send: hello", "send: nothing-of-that-name"), encoding="utf-8")
    wait_for(lambda: "nothing-of-that-name" in shop.log(), PATIENCE, "the mistake")
    path.write_text(FLOW.replace("steps:", "steps:\n  - wait: 1h"), encoding="utf-8")
    wait_for(lambda: "applied: hello (behaviour)" in shop.log(), PATIENCE, "the change")
    settings = tmp_path / "homing.toml"
    before = settings.read_text(encoding="utf-8")
    settings.write_text(before + "\n[plicy]\ncaps = []\n", encoding="utf-8")
    wait_for(lambda: "[plicy] is no section" in shop.log(), PATIENCE, "the mistake in the settings")
    settings.write_text(before, encoding="utf-8")
    wait_for(lambda: shop.log().count("homing.toml was saved") == 2, PATIENCE, "the settings again")
    assert terminate(daemon, signal.SIGINT)[0] == 0


def test_going_live_is_seen_by_a_running_daemon(
    sqlite_url: str, tmp_path: Path, server: RunningServer, running: list[subprocess.Popen[bytes]]
) -> None:
    """Until `homing live` mails stay in the mailbox; from then on they leave, without a restart."""
    make_project(tmp_path, smtp_port=server.port)
    settings = tmp_path / "homing.toml"
    words = settings.read_text(encoding="utf-8").replace('allow = ["@example.test"]', 'mode = "live"')
    settings.write_text(words, encoding="utf-8")
    shop = prepare(tmp_path, sqlite_url, 5)
    daemon = shop.start("run")
    running.append(daemon)
    wait_for(lambda: shop.states()["accepted"] == 5, PATIENCE, "the sandbox mails")
    assert (len(shop.mailbox()), len(server.taken())) == (5, 0)
    done = shop.homing("live", "--json")
    assert done.returncode == 0, done.stderr
    shop.sign_up(5, 5)
    wait_for(lambda: len(server.taken()) == 5, PATIENCE, "the real mails")
    assert len(shop.mailbox()) == 5
    assert terminate(daemon)[0] == 0
