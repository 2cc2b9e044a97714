"""docs/rules.md is what `homing explain --markdown` prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def alone(*command: str) -> str:
    """Return what a command prints in a process of its own, which imports no more than it needs."""
    program = [sys.executable, "-c", "from cli import main; main()", *command]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_of_rules_is_up_to_date() -> None:
    """Every rule with its page, as the program tells it: `homing explain --markdown > docs/rules.md` makes it."""
    told = alone("explain", "--markdown")
    assert (ROOT / "docs/rules.md").read_text(encoding="utf-8") == told, (
        "run: homing explain --markdown > docs/rules.md"
    )


def test_the_list_names_every_code() -> None:
    """`homing explain` alone lists each code with its first line."""
    lines = alone("explain").splitlines()
    page = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    assert len(lines) > 100
    assert [line for line in lines if f"### {line.split()[0]} " not in page] == []


def test_every_code_is_explained() -> None:
    """Each code of the page has its own explanation, those of `doctor` and `live` included."""
    told = alone("explain", "D501")
    assert told.startswith("D501 paused")
    assert {code for code in ("C204", "D402", "P201", "S101", "T101") if not alone("explain", code)} == set()
