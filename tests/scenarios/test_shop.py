"""Every scenario file of the test shop and of the starter flows passes: one test for each scenario."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from engine import settings as settings_module
from engine.deploy.happened import percent_of
from engine.deploy.playbill import coverage_of, verdict_text
from engine.deploy.scenarios import Performance, Verdict, play
from engine.deploy.stage import Theatre
from engine.diagnostics import Finding
from engine.flows.scenario import Scenario, load_scenarios
from engine.flows.scenario_check import check_folder
from engine.flows.scenario_clock import zone_of

SHOP = Path(__file__).parent / "shop"
STARTER = Path(__file__).parents[2]
PLAYED: dict[Path, list[Verdict]] = {SHOP: [], STARTER: []}


@lru_cache
def theatre(root: Path) -> Theatre:
    """Return the project of a folder, loaded once."""
    return Theatre.of(root, settings_module.load(root, {}))


def scenarios() -> Iterator[object]:
    """Yield every scenario of both projects."""
    for root in (SHOP, STARTER):
        findings: list[Finding] = []
        for scenario in load_scenarios(root, findings):
            yield pytest.param(root, scenario, id=f"{scenario.flow}: {scenario.name}")
        assert findings == []


@pytest.mark.parametrize(("root", "scenario"), list(scenarios()))
def test_scenario(root: Path, scenario: Scenario) -> None:
    """What the scenario expects is what happens."""
    verdict = play(theatre(root), scenario)
    PLAYED[root].append(verdict)
    assert verdict.passed, "\n" + verdict_text(verdict, zone_of(scenario, "Europe/Berlin"))


@pytest.mark.parametrize("root", [SHOP, STARTER], ids=["test shop", "starter flows"])
def test_scenarios_reach_everything(root: Path) -> None:
    """Together the scenarios reach every step and every arm of every flow (asked for when all of them ran)."""
    loaded = load_scenarios(root, [])
    verdicts = (
        PLAYED[root] if len(PLAYED[root]) == len(loaded) else [play(theatre(root), each) for each in loaded]
    )
    found = coverage_of(Performance(tuple(verdicts), theatre(root).project.definitions.flows))
    missing = [f"{flow}: {place}" for flow, each in found.items() for place in each.missing]
    assert (percent_of(list(found.values())), missing) == (100.0, [])


@pytest.mark.parametrize("root", [SHOP, STARTER], ids=["test shop", "starter flows"])
def test_scenarios_name_what_there_is(root: Path) -> None:
    """No scenario names a flow, step or arm that does not exist."""
    project = theatre(root).project
    assert check_folder(root, project.definitions, project.settings) == []
