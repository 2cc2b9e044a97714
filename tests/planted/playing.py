"""Playing a plant: the tests that it names run with it in a process of their own, and one of them must fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.planted.planting import Plant
from tests.planted.witness import SEEN

ROOT = Path(__file__).resolve().parents[2]
START = Path(__file__).with_name("start")
LONGEST = 300  # seconds; who hangs has not said what is wrong
PATIENCE = 40  # seconds that a test waits for what no bug lets come


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a plant was caught: by which test's assertion, in its first words; else why it was not."""

    caught: bool
    words: str


def play(plant: Plant) -> Verdict:
    """Run the tests of a plant with the bug: caught is what lets one of them fail by its own assertion."""
    code, seen = _run(plant.tests, plant.name, plant.postgresql)
    if seen and seen[0]["by_assertion"]:
        return Verdict(True, f"{seen[0]['test']}: {seen[0]['words']}")
    if seen:
        return Verdict(False, f"failed, but by no assertion of its own: {seen[0]['words']}")
    return Verdict(False, "all tests passed" if code == 0 else f"pytest ended with {code}")


def without_any(plants: Iterable[Plant]) -> Verdict:
    """Run the tests of these plants without any bug; `caught` says that one of them fails all the same."""
    plants = list(plants)
    for postgresql in (False, True):
        tests = [test for plant in plants if plant.postgresql == postgresql for test in plant.tests]
        code, seen = _run(tests, None, postgresql) if tests else (0, [])
        if code:
            words = "; ".join(f"{each['test']}: {each['words']}" for each in seen)
            return Verdict(True, words or f"pytest ended with {code}")
    return Verdict(False, "all tests passed")


def _run(tests: Iterable[str], plant: str | None, postgresql: bool) -> tuple[int, list[dict[str, str]]]:
    """Return what pytest ended with, and what the witness saw."""
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "seen"
        seen.touch()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environ |= {SEEN: str(seen), "PYTHONPATH": os.pathsep.join((str(START), str(ROOT)))}
        # The same patience with a bug and without: else a slow machine would look like one.
        environ |= {"HOMING_TEST_PATIENCE": str(PATIENCE)} | ({"HOMING_PLANT": plant} if plant else {})
        # What a bug is planted in was imported before pytest could look at it, packages of its own plugins among it.
        options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tests.planted.witness"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", f"--basetemp={folder}/tests"]
        options += [] if postgresql else ["-m", "not postgresql"]
        command = [sys.executable, "-m", "pytest", *options, *sorted(set(tests))]
        longest = LONGEST if plant else None
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environ, capture_output=True, timeout=longest, check=False
            )
        except subprocess.TimeoutExpired:
            return -1, []
        return done.returncode, [json.loads(line) for line in seen.read_text(encoding="utf-8").splitlines()]
