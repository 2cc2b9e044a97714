"""What an operator is told of a provider that takes nothing: by `tick`, by the daemon's log, and by `status`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from engine.store.tables import messages
from engine.store.types import EPOCH
from tests.integration.living_shop import make_project, prepare
from tests.servers.process import RunningServer, start_smtp

MAILS = 25


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Give an SMTP server of this test's own."""
    folder = tmp_path / "smtp"
    folder.mkdir()
    with start_smtp(folder) as smtp:
        yield smtp


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Give a port at which nothing answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_why_mails_are_put_off_is_told_until_they_go_again(
    database_url: str, tmp_path: Path, closed_port: int, server: RunningServer
) -> None:
    """A tick whose provider is away says so once, `status` names the reason, and is silent when mails go again."""
    make_project(tmp_path, smtp_port=closed_port)
    shop = prepare(tmp_path, database_url, MAILS)

    ticked = shop.homing("tick")
    assert (ticked.returncode, f"{MAILS} retry" in ticked.stdout) == (0, True)
    told = [line for line in ticked.stderr.splitlines() if "put off" in line]
    assert len(told) == 1  # of three groups of ten
    assert told[0].startswith("WARNING messages are put off count=10 reason=")
    assert "refused" in told[0]
    assert "@" not in ticked.stderr

    shown = shop.homing("status").stdout
    assert f"provider smtp: of the newest hand-overs {MAILS} retry" in shown
    assert "the last of them: retry, " in shown
    health = json.loads(shop.homing("status", "--json").stdout)["provider"]
    assert (health["name"], health["newest"], health["last"]["outcome"]) == (
        "smtp",
        {"retry": MAILS},
        "retry",
    )
    assert "refused" in health["last"]["reason"]

    make_project(tmp_path, smtp_port=server.port)
    with shop.database() as database, database.write() as connection:
        connection.execute(update(messages).values(try_at=EPOCH))  # the wait before the next try is over
    assert shop.homing("tick").stderr == ""
    assert "provider" not in shop.homing("status").stdout
    health = json.loads(shop.homing("status", "--json").stdout)["provider"]
    assert (health["newest"], health["last"]["outcome"]) == ({"accepted": MAILS, "retry": MAILS}, "accepted")
    assert health["last"]["reason"] is None
