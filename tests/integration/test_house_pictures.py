"""The pictures of docs/house.md are taken by the same run that looks at the pages: of a small demo, as its script takes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.web]


def test_the_pictures_of_the_docs_can_be_taken(tmp_path: Path) -> None:
    """Every picture that the page on the house shows is taken anew, by a real browser, with something on it."""
    demo, folder = tmp_path / "demo", tmp_path / "pictures"
    folder.mkdir()
    small = ["--days", "25", "--customers", "150", "--now", "2026-03-02T08:00:00Z", "-q"]
    for command in (
        ["-m", "cli", "demo", str(demo), *small],
        ["docs/pictures/house.py", str(demo), str(folder)],
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    taken = {path.name: path.stat().st_size for path in folder.glob("*.png")}
    shown = re.findall(
        r"pictures/(house-[a-z-]+\.png)", (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    )
    assert sorted(taken) == sorted(shown)
    assert min(taken.values()) > 20_000
