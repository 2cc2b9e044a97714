"""Each promise of GUARANTEES.md names what holds it, and that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "GUARANTEES.md").read_text(encoding="utf-8")
PROMISED = PAGE.partition("## What is not promised")[0]
NAMED = re.compile(r"`(tests/[\w/.-]+?)(?:::(\w+))?`")


def promises() -> list[str]:
    """Return the promises, each with its lines."""
    return [part for part in re.split(r"\n(?=- \*\*|## )", PROMISED) if part.startswith("- **")]


def test_every_promise_is_held_by_something() -> None:
    """No promise stands alone."""
    assert len(promises()) >= 15
    assert [promise for promise in promises() if not NAMED.search(promise)] == []


def test_what_holds_a_promise_is_there() -> None:
    """Every test that is named exists under its name, and every scenario file too."""
    missing = [
        f"{path}::{name}"
        for path, name in NAMED.findall(PAGE)
        if not (ROOT / path).exists()
        or (name and f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert missing == []
