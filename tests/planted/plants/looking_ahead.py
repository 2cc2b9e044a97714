"""Bugs planted in what GUARANTEES.md promises under "Looking ahead"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.delivery import dispatch
from engine.deploy import simulate, simulate_folder
from engine.store import meta
from tests.planted.planting import always, breaks, instead


@breaks(
    "A replay decides as the live engine did",
    "tests/integration/test_simulate.py::test_a_replay_decides_as_the_live_engine",
)
def replay_knows_no_caps() -> None:
    """A simulation asks the gate without the shop's caps."""

    def uncapped(real: Any) -> Any:
        def rehearse(opened: Any, at: Any, *rest: Any, **named: Any) -> Any:
            settings = replace(at.settings, policy=replace(at.settings.policy, caps=()))
            return real(opened, replace(at, settings=settings), *rest, **named)

        return rehearse

    instead(dispatch, "rehearse", uncapped)


@breaks(
    "A killed simulation leaves nothing for long",
    "tests/integration/test_simulate_folder.py::test_what_a_killed_simulation_left_goes_when_the_next_begins",
)
def folder_of_a_killed_simulation_stays() -> None:
    """Nobody looks whether a simulation has ended."""
    instead(simulate_folder, "_is_left_behind", always(False))


@breaks(
    "Plan and simulate touch nothing",
    "tests/integration/test_simulate.py::test_the_real_database_is_not_touched",
)
def simulation_notes_that_it_ran() -> None:
    """A simulation writes into the real database when it last ran."""

    def noting(real: Any) -> Any:
        def simulate(opened: Any, *rest: Any, **named: Any) -> Any:
            with opened.write() as connection:
                meta.put(connection, "simulated", "now")
            return real(opened, *rest, **named)

        return simulate

    instead(simulate, "simulate", noting)
