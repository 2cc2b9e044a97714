"""SIGKILL at random moments of a run: no mail twice, none lost, none unexplained.

A shop with facts that wait is taken through entering, advancing and dispatch by real processes, which are killed again
and again and followed by new ones until nothing is due. What arrived is counted where it arrived: in the Maildir, and in
the ledger that the SMTP server writes before it answers. HOMING_CRASH_KILLS=100 (`make test-crash`) kills a hundred times
in runs of 1,000 mails on each database and each way out; without it the share is small.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import make_url, select

from engine import settings as settings_module
from engine.render.compose import message_id
from engine.runtime.doctor import examine
from engine.store.tables import messages
from tests.integration.living_shop import SENDER, LivingShop, in_ledger, make_project, prepare
from tests.servers.postgres import Postgres
from tests.servers.process import RunningServer, start_smtp

ASKED = os.environ.get("HOMING_CRASH_KILLS")
KILLS = int(ASKED or 2)
MAILS = 1_000 if ASKED else 150
KILLS_IN_A_RUN = 5
GROUP = 10
SENDERS = {"sqlite": 1, "postgresql": 2}  # threads of `homing run` that hand over, each a group at a time
OPEN = {"pending", "claimed", "handing_over"}
MOST_SECONDS = 300.0
SEED = 20261122


class Arrivals:
    """What has arrived so far, counted cheaply enough to be asked a thousand times a second."""

    def __init__(self, mailbox: Path, ledger: Path | None) -> None:
        self._mailbox, self._ledger = mailbox / "new", ledger
        self._offset = self._lines = 0

    def count(self) -> int:
        """Return how many mails have arrived."""
        if self._ledger is None:
            return sum(1 for _ in self._mailbox.iterdir()) if self._mailbox.exists() else 0
        if self._ledger.exists():
            with self._ledger.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
            self._offset += len(fresh)
            self._lines += fresh.count(b"\n")
        return self._lines


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def prepared(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Give the kind of database and the URL of a migrated, empty one to prepare."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return request.param, url


@pytest.fixture(params=["mailbox", "smtp"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer | None]:
    """Give the SMTP server that takes the mails, or None where the Maildir does."""
    if request.param == "mailbox":
        yield None
        return
    folder = tmp_path / "smtp"
    folder.mkdir()
    with start_smtp(folder) as running:
        yield running


def test_killed_at_any_moment(
    prepared: tuple[str, str], server: RunningServer | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """However often it is killed: each mail arrives at most once, and is accepted, unknown, or dropped with a reason."""
    kind, url = prepared
    template = tmp_path / "template"
    make_project(template, smtp_port=server.port if server else None)
    prepare(template, url, MAILS)
    chance = random.Random(f"{SEED} {kind} {server is None}")
    for number, first in enumerate(range(0, KILLS, KILLS_IN_A_RUN)):
        root = tmp_path / f"run-{number}"
        shutil.copytree(template, root)
        ledger = _fresh_ledger(server)
        with _copied(kind, url, root, request) as copy:
            _one_run(LivingShop(root, copy), ledger, min(KILLS_IN_A_RUN, KILLS - first), chance)


def _fresh_ledger(server: RunningServer | None) -> Path | None:
    if server is None:
        return None
    os.truncate(server.ledger, 0)  # the server appends, so it goes on at the new end
    return server.ledger


@contextmanager
def _copied(kind: str, url: str, root: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a copy of the prepared database, for one run."""
    if kind == "sqlite":
        shutil.copyfile(url.removeprefix("sqlite:///"), root / "copy.db")
        yield f"sqlite:///{root / 'copy.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(make_url(url).database or "")
    try:
        yield postgres.url(name)
    finally:
        postgres.drop_database(name)


def _one_run(shop: LivingShop, ledger: Path | None, kills: int, chance: random.Random) -> None:
    """Kill so many programs on the way, let the last one finish, and look at everything that came of it."""
    arrivals = Arrivals(shop.root / "mailbox", ledger)
    moments = sorted(chance.randint(0, MAILS - 1) for _ in range(kills))
    killed = 0
    for moment in moments:
        process = shop.start(chance.choice(["tick", "run"]))
        killed += _kill_at(process, arrivals, moment, chance.uniform(0, 0.03), shop)
        shop.let_leases_end()
    finished = shop.homing("tick")
    assert finished.returncode == 0, finished.stderr
    taken = in_ledger(ledger) if ledger is not None else shop.mailbox()
    _hold(shop, taken, killed, moments)


def _kill_at(
    process: subprocess.Popen[bytes], arrivals: Arrivals, moment: int, delay: float, shop: LivingShop
) -> int:
    """Kill the program when so many mails have arrived and a little later; return 0 where it had ended by itself."""
    deadline = time.monotonic() + MOST_SECONDS
    while arrivals.count() < moment and process.poll() is None:
        assert time.monotonic() < deadline, (
            f"{arrivals.count()} of {moment} mails arrived: {shop.log()[-2000:]}"
        )
        # What is unknown may arrive nowhere, so that the count is never reached.
        if arrivals.count() >= MAILS - KILLS_IN_A_RUN * GROUP and not shop.states().keys() & OPEN:
            break
        time.sleep(0.001)
    time.sleep(delay)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    return 0 if ended else 1


def _hold(shop: LivingShop, taken: Counter[str], killed: int, moments: list[int]) -> None:
    story = f"killed at {moments}"
    twice = {key: count for key, count in taken.items() if count > 1}
    assert not twice, f"{story}: mails that arrived twice: {twice}"
    with shop.database() as database, database.read() as connection:
        rows = connection.execute(select(messages.c.key, messages.c.state, messages.c.reason)).all()
    states = Counter(row.state for row in rows)
    assert len(rows) == shop.entered() == MAILS, story
    assert set(states) <= {"accepted", "unknown", "dropped"}, f"{story}: {states}"
    assert all(row.reason for row in rows if row.state == "dropped"), story
    # What is accepted has arrived; what is unknown may have; nothing else has.
    by_state = {
        state: {message_id(row.key, SENDER) for row in rows if row.state == state} for state in states
    }
    assert by_state.get("accepted", set()) <= set(taken), story
    assert set(taken) <= by_state.get("accepted", set()) | by_state.get("unknown", set()), story
    in_hand = GROUP * SENDERS["sqlite" if shop.url.startswith("sqlite") else "postgresql"]
    assert states["unknown"] <= killed * in_hand, f"{story}: {states}"
    with shop.database() as database:
        found = examine(settings_module.load(shop.root), datetime.now(UTC), {}, database)
    assert [str(each.message) for each in found.findings if each.code == "D601"] == [], story
