"""Several workers over a real Redis and a real PostgreSQL: whatever dies or comes twice, each mail arrives at most once.

The programs are started as on a server: one `homing run --distributed`, which hints at work, and `homing worker`s. What
arrived is counted where it arrived, in the ledger that the SMTP server writes before it answers.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from engine import settings as settings_module
from engine.errors import OutsideError
from engine.runtime.distributed import DISPATCH, TAKE_IN, Hint
from engine.runtime.distributed_broker import open_broker
from engine.store.tables import leases
from engine.store.types import EPOCH
from tests.integration.living_shop import (
    ENDS_SECONDS,
    PATIENCE,
    LivingShop,
    in_ledger,
    make_project,
    prepare,
    terminate,
    wait_for,
)
from tests.servers.process import RunningServer, start_smtp
from tests.servers.redis import Redis, redis_server

pytestmark = pytest.mark.postgresql
MAILS = 300
GROUP = 10


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """Give a Redis."""
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Give the SMTP server that takes the mails."""
    (tmp_path / "smtp").mkdir()
    with start_smtp(tmp_path / "smtp") as running:
        yield running


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give a list whose programs are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_workers_are_killed_and_the_broker_forgets(
    postgres_url: str,
    tmp_path: Path,
    redis: Redis,
    server: RunningServer,
    running: list[subprocess.Popen[bytes]],
) -> None:
    """One of two workers is killed, hints come twice, the broker starts again empty: each mail once, or unknown."""
    root = tmp_path / "shop"
    make_project(root, smtp_port=server.port, rate="100/s")
    shop = prepare(root, postgres_url, MAILS)
    shop.environ = {"HOMING_BROKER_URL": redis.url}
    leader = shop.start("run", "--distributed", log="leader")
    doomed, other = (shop.start("worker", log=name) for name in ("doomed", "other"))
    running += [leader, doomed, other]

    wait_for(lambda: len(server.taken()) >= 20, PATIENCE, "the first mails")
    wait_for(lambda: shop.signs() == 2, PATIENCE, "both workers")
    doomed.kill()
    doomed.wait()
    _hint_twice(shop, redis)
    redis.stop()
    redis.start()
    shop.sign_up(MAILS, 50)  # facts that come while the broker has forgotten everything
    _let_leases_end(shop, doomed.pid)
    everything = MAILS + 50
    wait_for(lambda: _settled(shop) >= everything, PATIENCE, lambda: _how_it_stands(shop))

    states = shop.states()
    assert set(states) <= {"accepted", "unknown"}, states
    assert states["unknown"] <= 2 * GROUP, states  # what the two threads of the killed one had in hand
    arrived = in_ledger(server.ledger)
    assert set(arrived.values()) == {1}
    assert states["accepted"] <= len(arrived) <= everything
    assert shop.entered() == everything
    for process in (other, leader):
        code, seconds = terminate(process)
        assert (code, seconds < ENDS_SECONDS) == (0, True), shop.log("other") + shop.log("leader")
    assert shop.signs() == 1  # the killed one's, which nobody could take away
    said = shop.log("leader") + shop.log("other") + shop.log("doomed")
    assert "Traceback" not in said
    assert "@example.test" not in said


def test_without_a_broker_workers_look_for_themselves(
    postgres_url: str,
    tmp_path: Path,
    redis: Redis,
    server: RunningServer,
    running: list[subprocess.Popen[bytes]],
) -> None:
    """A broker that goes away and stays away costs speed only: who signs up afterwards gets the mail, once."""
    root = tmp_path / "shop"
    make_project(root, smtp_port=server.port)
    shop = prepare(root, postgres_url, GROUP)
    shop.environ = {"HOMING_BROKER_URL": redis.url}
    running += [shop.start("run", "--distributed", log="leader"), shop.start("worker", log="other")]
    wait_for(lambda: _settled(shop) >= GROUP, PATIENCE, lambda: _how_it_stands(shop))
    redis.stop()
    shop.sign_up(GROUP, GROUP)
    wait_for(lambda: _settled(shop) >= 2 * GROUP, PATIENCE, lambda: _how_it_stands(shop))
    missed = "the broker does not answer"  # the worker may have looked by itself before anybody asked the broker again
    wait_for(lambda: missed in shop.log("leader") + shop.log("other"), PATIENCE, lambda: _how_it_stands(shop))
    assert shop.states() == {"accepted": 2 * GROUP}
    assert set(in_ledger(server.ledger).values()) == {1}
    for process in running:
        code, _ = terminate(process)
        assert code == 0, _how_it_stands(shop)
    said = shop.log("leader") + shop.log("other")
    assert "a bug of ours" not in said
    assert "Traceback" not in said


def test_a_broker_that_comes_back_is_spoken_to_again(postgres_url: str, redis: Redis) -> None:
    """Whatever failed in the connections while the broker was away, the next hint after its return arrives."""
    with LivingShop(Path(), postgres_url).database() as database:
        broker = open_broker(redis.url, database)
        for _ in range(3):
            assert _said(lambda: broker.send(Hint(TAKE_IN, "sandbox"), 10)) == "nothing"
            assert broker.waiting() == 1
            redis.stop()
            for ask in (broker.waiting, lambda: broker.send(Hint(TAKE_IN, "sandbox"), 10), broker.waiting):
                assert _said(ask) == "the broker does not answer; is [broker] url right, and does it run?"
            redis.start()
            assert _said(broker.waiting) == "nothing"


def _said(ask: Callable[[], object]) -> str:
    """Ask the broker; return what it was refused with."""
    try:
        ask()
    except OutsideError as refused:
        return str(refused)
    except Exception as error:  # noqa: BLE001 - the last word of a connection that died is of any kind
        return repr(error)
    return "nothing"


def _let_leases_end(shop: LivingShop, pid: int) -> None:
    """Let the slices of a dead program be free now instead of in 15 seconds: only their times are moved."""
    with shop.database() as database, database.write() as connection:
        own = leases.c.owner.contains(f":{pid}:")
        connection.execute(update(leases).where(own).values(until=EPOCH))


def _settled(shop: LivingShop) -> int:
    states = shop.states()
    return states["accepted"] + states["unknown"]


def _how_it_stands(shop: LivingShop) -> str:
    """Tell the states of the messages, who holds what, and what the programs said last."""
    with shop.database() as database, database.read() as connection:
        held = [tuple(row) for row in connection.execute(select(leases))]
    said = [f"{name}: {shop.log(name)[-2000:]}" for name in ("leader", "doomed", "other")]
    return "\n".join([str(dict(shop.states())), *map(str, held), *said])


def _hint_twice(shop: LivingShop, redis: Redis) -> None:
    """Send hints that the leader sent already, several times, and one that is none."""
    with shop.database() as database:
        broker = open_broker(redis.url, database)
        for _ in range(3):
            broker.send(Hint(TAKE_IN, "sandbox"), 10)
            broker.send(Hint(DISPATCH, "sandbox"), 10)
        broker.send(Hint("nonsense", "sandbox"), 10)
        assert broker.waiting() >= 0


def test_sqlite_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    """A file on one machine cannot be shared: one plain sentence, and the exit code of wrong usage."""
    make_project(tmp_path)
    shop = LivingShop(tmp_path, sqlite_url, {"HOMING_BROKER_URL": "redis://127.0.0.1:1/0"})
    for arguments in (["worker"], ["run", "--distributed"]):
        refused = shop.homing(*arguments)
        assert refused.returncode == 2
        assert "PostgreSQL" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_broker_must_be_named(postgres_url: str, tmp_path: Path) -> None:
    """Without a broker, or with the address of something else, a sentence says what to set."""
    make_project(tmp_path)
    for url in ("", "http://broker.test"):
        refused = LivingShop(tmp_path, postgres_url, {"HOMING_BROKER_URL": url}).homing("worker")
        assert refused.returncode == 2
        assert "broker" in refused.stderr


def test_a_worker_elsewhere_does_not_play_sandbox(postgres_url: str, tmp_path: Path) -> None:
    """Where the settings say live and this machine is not part of the installation, the worker refuses to start."""
    make_project(tmp_path)
    path = tmp_path / "homing.toml"
    path.write_text(path.read_text().replace("[delivery]", '[delivery]\nmode = "live"'), encoding="utf-8")
    assert settings_module.load(tmp_path).delivery.mode == "live"
    refused = LivingShop(tmp_path, postgres_url, {"HOMING_BROKER_URL": "redis://127.0.0.1:1/0"}).homing(
        "worker"
    )
    assert refused.returncode == 2
    assert "HOMING_INSTALLATION" in refused.stderr
