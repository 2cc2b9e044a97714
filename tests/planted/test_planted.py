"""The planted bugs that every run plays, and that GUARANTEES.md says of all of them what is so; `make test-plants` plays all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted.catalogue import PLANTS
from tests.planted.planting import Plant
from tests.planted.playing import play

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "GUARANTEES.md").read_text(encoding="utf-8")
QUICK = (
    "copy-in-the-same-folder-is-live",
    "brake-lets-twice-as-many-through",
    "line-break-ends-a-header",
    "newest-event-decides",
)
"""One a section of the promises, each caught within seconds."""


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str) -> None:
    """The test that holds the promise fails by its own assertion."""
    verdict = play(PLANTS[name])
    assert verdict.caught, verdict.words


def test_what_passes_is_not_caught() -> None:
    """Who plays would say so, if a test did not notice its bug, or failed for another reason than an assertion of its own."""
    harmless = "tests/unit/runtime/test_leader.py::test_the_dead_are_forgotten_after_a_day"
    missed = play(Plant("sleeper-leads-on", "", (harmless,), PLANTS["sleeper-leads-on"].patch))
    assert not missed.caught
    assert missed.words == "all tests passed"
    assert not play(
        Plant("sleeper-leads-on", "", (f"{harmless}_or_two",), PLANTS["sleeper-leads-on"].patch)
    ).caught


@pytest.mark.parametrize("plant", PLANTS.values(), ids=lambda plant: plant.name)
def test_a_plant_stands_beside_its_promise(plant: Plant) -> None:
    """The promise stands on the page in these words, with the tests that must catch the bug; the last table names it."""
    (promise,) = [
        part for part in re.split(r"\n(?=- |\n|## )", PAGE) if part.startswith(f"- **{plant.promise}")
    ]
    for test in plant.tests:
        assert f"`{test.partition('[')[0]}`" in promise
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and f"`{plant.name}`" in line]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [plant.promise]


def test_the_page_names_no_bug_that_is_not_planted() -> None:
    """Each name in the last table is a plant."""
    table = PAGE.partition("`tests/planted/plants`")[2].partition("\n\n| ")[2].partition("\n\n")[0]
    named = "\n".join(row.split(" | ")[1] for row in table.splitlines())  # a promise may quote a word, too
    assert set(re.findall(r"`([\w-]+)`", named)) == set(PLANTS)


def test_the_tests_of_the_plants_are_collected() -> None:
    """Pytest finds each of them under its name."""
    tests = sorted({test for plant in PLANTS.values() for test in plant.tests})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    found = done.stdout.splitlines()
    assert [test for test in tests if not any(each.startswith(test) for each in found)] == []
