"""How many scenarios a second `homing test` plays: those of the starter flows, on one processor.

Comes in: this checkout. Goes out: one printed line. Loading the project and building the first database count.
"""

from __future__ import annotations

import time
from pathlib import Path

from engine import settings as settings_module
from engine.deploy.scenarios import play
from engine.deploy.stage import Theatre
from engine.flows.scenario import load_scenarios

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3


def measure_scenarios() -> None:
    """Play the starter flows' scenarios and print how many went by in a second of this process's CPU."""
    start = time.process_time()
    theatre = Theatre.of(ROOT, settings_module.load(ROOT, {}))
    loaded = load_scenarios(ROOT, [])
    verdicts = [play(theatre, each) for _ in range(ROUNDS) for each in loaded]
    took = time.process_time() - start
    theatre.close()
    passed = sum(verdict.passed for verdict in verdicts)
    print(
        f"scenarios: {len(loaded)} of the six starter flows, {ROUNDS} times: {len(verdicts) / took:,.0f} a second of CPU "
        f"({passed} of {len(verdicts)} passed)",
        flush=True,
    )
