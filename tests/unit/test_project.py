"""A new project is whole, readable by the settings, and never written over something."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from cli import main
from engine.errors import OutsideError, UsageError
from engine.project import init_project
from engine.settings import load


def test_a_new_project_holds_what_a_shop_needs(tmp_path: Path) -> None:
    """Settings without findings, flows, templates, scenarios, a CI example, and an ignore file."""
    written = init_project(tmp_path / "shops" / "tea")
    folders = {path.parts[0] for path in written}
    assert folders == {"homing.toml", "flows", "templates", "tests", ".gitignore", ".github"}
    assert all((tmp_path / "shops" / "tea" / path).is_file() for path in written)
    assert load(tmp_path / "shops" / "tea", {}).findings == ()


def test_the_ci_example_is_yaml_that_validates_and_tests_the_project(tmp_path: Path) -> None:
    """The example runs `homing validate` and `homing test`, and asks for no more rights than reading."""
    init_project(tmp_path)
    workflow = yaml.safe_load((tmp_path / ".github/workflows/homing.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    runs = [step["run"] for step in workflow["jobs"]["flows"]["steps"] if "run" in step]
    assert [run.split()[:2] for run in runs[1:]] == [["homing", "validate"], ["homing", "test"]]
    for run in runs[1:]:
        arguments = run.split()[1:]
        command = main.get_command(click.Context(main), arguments[0])
        assert command is not None
        assert command.make_context(arguments[0], arguments[1:]).params


def test_a_project_is_never_overwritten(tmp_path: Path) -> None:
    """A second `init` refuses and leaves every file as it was."""
    init_project(tmp_path)
    (tmp_path / "homing.toml").write_text("mine")
    with pytest.raises(UsageError, match="already"):
        init_project(tmp_path)
    assert (tmp_path / "homing.toml").read_text() == "mine"


def test_one_file_in_the_way_stops_all_of_it(tmp_path: Path) -> None:
    """Where any file of the project exists, none is written."""
    (tmp_path / ".gitignore").write_text("mine")
    with pytest.raises(UsageError, match="overwritten"):
        init_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]


def test_a_folder_that_cannot_be_made_is_a_plain_sentence(tmp_path: Path) -> None:
    """A file where a folder is needed gives an error of the outside world, or of usage."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        init_project(tmp_path / "file")
    with pytest.raises(OutsideError, match="could not be written"):
        init_project(tmp_path / "file" / "below")
