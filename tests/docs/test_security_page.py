"""docs/security.md: every line of its table has a test that is there, or a reason."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_TABLE = re.compile(r"^## ASVS, level 1\n(.*?)\n## ", re.DOTALL | re.MULTILINE)


def lines() -> list[tuple[str, str]]:
    """Return each line of the table: what is required, and the test or the reason."""
    table = _TABLE.search((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))
    assert table is not None
    rows = [line.strip("| ").split(" | ") for line in table[1].splitlines() if line.startswith("| ")]
    return [(row[0], row[-1]) for row in rows[2:]]


@lru_cache(maxsize=1)
def every_test() -> str:
    """Return the text of all tests."""
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize(("requirement", "proof"), lines(), ids=lambda text: text[:40])
def test_every_line_has_a_test_or_a_reason(requirement: str, proof: str) -> None:
    """What a line names is there: files of tests, their functions, or a folder; everything else begins with `reason:`."""
    if proof.startswith("reason: "):
        return
    files = re.findall(r"`(test_\w+\.py)`", proof)
    functions = re.findall(r"`(test_\w+)`", proof)
    folders = re.findall(r"tests/[\w/]+", proof)
    assert files or folders, requirement
    for name in files:
        assert list((ROOT / "tests").rglob(name)), f"{requirement}: {name}"
    for name in functions:
        assert f"def {name}(" in every_test(), f"{requirement}: {name}"
    for name in folders:
        assert (ROOT / name).exists(), f"{requirement}: {name}"
