"""The whole engine on a seeded scheduler: what it promises holds after every step, and planted bugs are found.

The shares in `make test` are small; CI plays 500 seeds beside it (`make test-seeds`), and `make test-sim` plants every bug.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.plants import PLANTS
from tests.simulation.house import Plan, Prepared, prepare
from tests.simulation.planted import BUGS
from tests.simulation.seeds import fast_folder, find, play, shrink, story

SEEDS = int(os.environ.get("HOMING_SIMULATION_SEEDS", "30"))
PART = 10  # seeds in one test
SAMPLE = ("gate-not-asked-again", "lost-hand-over-is-sent-again", "cap-ignored", "fact-lost-on-failure")


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    """Give the shop of the simulation with its flows applied."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        yield prepare(Path(folder))


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_promises_hold_after_every_step(first: int, prepared: Prepared) -> None:
    """Nothing twice, nothing after a stop, caps and quiet hours kept, nothing lost, whatever comes between."""
    for seed in range(first, min(first + PART, SEEDS)):
        result = play(Plan(seed), prepared)
        assert result.promise is None, story(result, prepared)
        assert result.mails


def test_the_same_seed_is_the_same_run(prepared: Prepared) -> None:
    """A seed can be played again: the same points, kills and mails."""
    first, again = (play(Plan(5, days=8), prepared) for _ in range(2))
    assert (first.points, first.kills, first.mails) == (again.points, again.kills, again.mails)


@pytest.mark.parametrize("bug", SAMPLE)
def test_a_planted_bug_is_found(bug: str, prepared: Prepared) -> None:
    """The simulation notices when a promise is broken on purpose."""
    assert bug in BUGS
    assert find(bug, prepared, range(30)) is not None


def test_every_planted_bug_stands_beside_its_promise() -> None:
    """The page of guarantees tells each switch with the promise that it breaks, and no other."""
    page = (Path(__file__).resolve().parents[2] / "GUARANTEES.md").read_text(encoding="utf-8")
    table = page.partition("## Bugs planted on purpose")[2].partition("\nEvery promise above")[0]
    told = [name for row in table.splitlines() if row.startswith("| ") for name in row.split("`")[1::2]]
    assert sorted(told) == sorted((*BUGS, *PLANTS))


def test_a_run_prints_its_result_alone() -> None:
    """The trouble that is played on purpose fills no screen with log lines: what was broken can be seen."""
    line = [sys.executable, "-m", "tests.simulation", "--seeds", "0-1", "--days", "12"]
    done = subprocess.run(
        line, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2]
    )
    assert done.stderr == ""
    assert done.stdout.startswith("2 seeds in ")


def test_what_is_found_is_made_small(prepared: Prepared) -> None:
    """A seed that breaks a promise is told as one line that breaks the same by fewer customers, days and faults."""
    found = find("cap-ignored", prepared, range(30))
    assert found is not None
    small = shrink(found, prepared, "cap-ignored")
    assert small.promise == found.promise
    assert len(small.plan.customers) < len(found.plan.customers)
    assert small.plan.without
