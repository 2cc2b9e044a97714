"""The whole engine on a seeded scheduler: what it promises holds after every step, and planted bugs are found.

The shares in `make test` are small; `make test-sim` plays 500 seeds and plants every bug.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.house import Plan, Prepared, prepare
from tests.simulation.planted import BUGS
from tests.simulation.seeds import command, find, play

SEEDS = int(os.environ.get("HOMING_SIMULATION_SEEDS", "4"))
SAMPLE = ("gate-not-asked-again", "lost-hand-over-is-sent-again", "cap-ignored")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Give the shop of the simulation with its flows applied."""
    return prepare(tmp_path_factory.mktemp("simulation"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_promises_hold_after_every_step(seed: int, prepared: Prepared) -> None:
    """Nothing twice, nothing after a stop, caps and quiet hours kept, nothing lost, whatever comes between."""
    result = play(Plan(seed), prepared)
    assert result.promise is None, f"{result.told}\nagain: {command(result.plan)}"
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
