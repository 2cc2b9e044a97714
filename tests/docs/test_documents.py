"""The documents are true: their commands run, what they name exists, and what exists is named."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import cli
from engine.settings import SECTIONS
from tests.docs.console import Reader, commands

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
TOP_LEVEL = (
    "engine",
    "flows",
    "templates",
    "tests",
    "alembic",
    "docs",
    "examples",
    "benchmarks",
    ".ci",
    ".github",
)
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w.*-]+(/[\w.*{},-]+)*/?")
ENDINGS = (".py", ".md", ".toml", ".yaml", ".mjml", ".txt")


def named_paths(document: str) -> set[str]:
    """Return what stands between backticks and looks like a path of this repository."""
    words = {word for code in CODE.findall(document) for word in code.split() if FILE.fullmatch(word)}
    return {
        word
        for word in words
        if (word.split("/")[0] in TOP_LEVEL and "/" in word) or (word.endswith(ENDINGS) and "/" not in word)
    }


def is_there(path: str) -> bool:
    """Whether a path or pattern names something in the repository; a bare file name may be anywhere in the engine."""
    if "/" in path:
        return any(ROOT.glob(path.rstrip("/")))
    return (ROOT / path).exists() or any((ROOT / "engine").rglob(path))


def all_commands(group: click.Group, prefix: str = "homing") -> dict[str, click.Command]:
    """Return every command of the command line by what one types."""
    found: dict[str, click.Command] = {}
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found[f"{prefix} {name}"] = command
        if isinstance(command, click.Group):
            found |= all_commands(command, f"{prefix} {name}")
    return found


def program() -> click.Group:
    """Return the click group behind `homing`."""
    groups = [
        value
        for value in vars(cli).values()
        if isinstance(value, click.Group) and value.name in ("homing", "main", "cli")
    ]
    assert groups, "cli.py has no click group named homing, main or cli"
    return groups[0]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_commands_of_a_document_run(guide: Path, tmp_path: Path) -> None:
    """Whoever types a document from top to bottom sees what it says."""
    reader = Reader(tmp_path)
    for command in commands(guide.read_text(encoding="utf-8")):
        reader.run(command)


def test_the_readme_has_commands_to_run() -> None:
    """The tour is a tour: at least ten commands are run."""
    assert len(list(commands((ROOT / "README.md").read_text(encoding="utf-8")))) >= 10


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_the_paths_that_a_document_names_exist(name: str) -> None:
    """No page describes files that are gone."""
    paths = named_paths((ROOT / name).read_text(encoding="utf-8"))
    assert sorted(path for path in paths if not is_there(path)) == []


def test_the_architecture_names_every_package() -> None:
    """No package of the engine is left out of the page that explains them."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in (ROOT / "engine").glob("*/__init__.py")}
    assert sorted(package for package in packages if f"engine/{package}" not in page) == []


def test_every_command_is_documented() -> None:
    """Each command says what it does (`--help`), and stands in the README or in docs/."""
    text = "\n".join(guide.read_text(encoding="utf-8") for guide in GUIDES)
    found = all_commands(program())
    assert [
        typed for typed, command in found.items() if not command.hidden and not (command.help or "").strip()
    ] == []
    assert [typed for typed, command in found.items() if not command.hidden and typed not in text] == []


def test_every_setting_stands_in_the_commented_settings() -> None:
    """`homing.toml`, which `homing init` copies, shows each section and key, commented out or not."""
    settings = (ROOT / "homing.toml").read_text(encoding="utf-8")
    sections = set(re.findall(r"^(?:# )?\[(\w+)", settings, re.MULTILINE))
    assert set(SECTIONS) <= sections
    missing = [
        f"[{section}] {key}"
        for section, keys in SECTIONS.items()
        for key in keys
        if not re.search(rf"^(# )?{key} =|\[{section}\.{key}\]", settings, re.MULTILINE)
    ]
    assert missing == []
