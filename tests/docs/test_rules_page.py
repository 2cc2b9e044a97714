"""docs/rules.md is what `homing explain --markdown` prints."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_rules_is_up_to_date() -> None:
    """Every rule with its page, as the program tells it: `homing explain --markdown > docs/rules.md` makes it."""
    told = CliRunner().invoke(main, ["explain", "--markdown"]).output
    assert (ROOT / "docs/rules.md").read_text(encoding="utf-8") == told, (
        "run: homing explain --markdown > docs/rules.md"
    )


def test_the_list_names_every_code() -> None:
    """`homing explain` alone lists each code with its first line."""
    lines = CliRunner().invoke(main, ["explain"]).output.splitlines()
    page = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    assert len(lines) > 100
    assert [line for line in lines if f"### {line.split()[0]} " not in page] == []
