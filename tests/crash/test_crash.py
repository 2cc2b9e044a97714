"""The share of the crash suite that every change goes through; `make test-crash` does the whole of it.

Each test runs a program of its own (sending.py, taking_in.py, changing.py, capping.py), which forks a prepared engine and
kills it at chosen steps: statements, commits, and what goes to and comes from a provider. What arrived is counted by real
servers outside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.changing import WORKS
from tests.crash.plants import PLANTS
from tests.crash.waiting import HOW, SLOW

ROOT = Path(__file__).resolve().parents[2]
KILLS = 102  # for each provider: at least 200 for each database
SHARED_KILLS = 30
ZOMBIES = 5
INGEST_KILLS = 24
CHANGE_KILLS = 10
MOST_KILLS = 300  # within which a planted bug is found; about every tenth kill shows one
FULL = os.environ.get("HOMING_TEST_SHARE") == "full"
CAPPED = 10_000 if FULL else 300
COUNTED = 10_000 if FULL else 40
LATE_SECONDS = 60.0 if FULL else 4.8  # with 60 the engine's own time-outs stand


def suite(program: str, url: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run one program of the suite and return what it found."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.crash.{program}", "--url", url, "--folder", str(folder), *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("provider", ["smtp", "sendgrid"])
def test_killed_at_any_step(database_url: str, provider: str, tmp_path: Path) -> None:
    """Killed at any statement, commit or word to a provider: no mail twice, none lost, each explained, whatever it answers."""
    found = suite("sending", database_url, tmp_path / "suite", "--provider", provider, "--kills", str(KILLS))
    assert found["broken"] == []
    assert found["kills"] >= KILLS
    assert found["after_an_acceptance"] >= KILLS / 2


@pytest.mark.parametrize("provider", ["smtp", "sendgrid"])
def test_a_late_word_is_refused(database_url: str, provider: str, tmp_path: Path) -> None:
    """A worker that stood still past its lease sends nothing twice when it goes on, and is not heard about the past."""
    found = suite(
        "sending", database_url, tmp_path / "suite", "--provider", provider, "--zombies", str(ZOMBIES)
    )
    assert found["broken"] == []
    assert found["kills"] == ZOMBIES


@pytest.mark.parametrize("provider", ["smtp", "sendgrid"])
def test_a_provider_that_answers_late(sqlite_url: str, provider: str, tmp_path: Path) -> None:
    """Its answers come when nobody waits any more: such mails are in doubt and never sent again, also beside other workers."""
    found = suite(
        "waiting", sqlite_url, tmp_path / "suite", "--provider", provider, "--seconds", str(LATE_SECONDS)
    )
    assert [(run["how"], run["broken"]) for run in found["runs"]] == [(how, []) for how in HOW]
    assert min(run["states"]["unknown"] for run in found["runs"]) >= SLOW


@pytest.mark.parametrize("provider", ["smtp", "sendgrid"])
def test_workers_beyond_one_machine_are_killed_at_any_step(
    postgres_url: str, provider: str, tmp_path: Path
) -> None:
    """The same where hints go through Redis and Celery's task does the work: also killed at any word to the broker."""
    found = suite(
        "sharing", postgres_url, tmp_path / "suite", "--provider", provider, "--kills", str(SHARED_KILLS)
    )
    assert found["broken"] == []
    assert found["kills"] >= SHARED_KILLS
    assert found["after_an_acceptance"] >= SHARED_KILLS / 3


def test_what_was_acknowledged_is_there(database_url: str, tmp_path: Path) -> None:
    """Killed at any step of taking facts in: what was acknowledged is there, and telling all again makes it whole."""
    found = suite("taking_in", database_url, tmp_path / "suite", "--kills", str(INGEST_KILLS))
    assert found["broken"] == []
    assert found["kills"] >= INGEST_KILLS * 0.9


@pytest.mark.parametrize("work", sorted(WORKS))
def test_large_changes_end_whole(database_url: str, work: str, tmp_path: Path) -> None:
    """Killed at any step of an apply, an erasure, a night or a delivery: what was told done is, and doing it again ends it."""
    found = suite("changing", database_url, tmp_path / "suite", "--work", work, "--kills", str(CHANGE_KILLS))
    assert found["broken"] == []
    assert found["kills"] >= CHANGE_KILLS * 0.9


def test_caps_hold_for_several_programs(database_url: str, tmp_path: Path) -> None:
    """Four programs that send a mail each to every customer at once: everybody gets the one that is allowed."""
    found = suite("capping", database_url, tmp_path / "suite", "--customers", str(CAPPED))
    assert found == {"one": CAPPED, "more": 0, "failed": 0}


def test_caps_counted_without_a_lock_are_found(database_url: str, tmp_path: Path) -> None:
    """The same, where each program counts first and hands over afterwards: everybody gets more, on SQLite, too."""
    found = suite("capping", database_url, tmp_path / "suite", "--customers", str(COUNTED), "--count-only")
    assert found == {"one": 0, "more": COUNTED, "failed": 0}


@pytest.mark.parametrize("plant", sorted(PLANTS))
def test_planted_bugs_are_found(sqlite_url: str, plant: str, tmp_path: Path) -> None:
    """The suite finds a worker that resends after a death, one that calls before it commits, and one without a fence."""
    how = ("--zombies", "4") if plant == "no-fence" else ("--kills", "24", "--most", str(MOST_KILLS))
    found = suite("sending", sqlite_url, tmp_path / "suite", "--provider", "smtp", *how, "--plant", plant)
    assert found["broken"]


def test_resending_is_found_beyond_one_machine(postgres_url: str, tmp_path: Path) -> None:
    """The same where work is shared through a broker: a worker that resends after a death is found."""
    how = ("--provider", "smtp", "--kills", str(SHARED_KILLS), "--most", str(MOST_KILLS), "--plant", "resend")
    found = suite("sharing", postgres_url, tmp_path / "suite", *how)
    assert found["broken"]
