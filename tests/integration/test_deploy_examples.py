"""The files of examples/deploy can be read by what they are for, and run commands that exist."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cli import main
from engine.settings import SECTIONS

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "deploy"
UNITS = sorted((FOLDER / "systemd").iterdir())
SECRETS = {"HOMING_INSTALLATION", "HOMING_SMTP_PASSWORD"}


def compose() -> dict[str, Any]:
    """Return the compose file."""
    read: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    return read


def hold(arguments: list[str]) -> None:
    """Let the program itself read these arguments, without running them."""
    command = main.get_command(click.Context(main), arguments[0])
    assert command is not None
    if isinstance(command, click.Group):
        command, arguments = command.commands[arguments[1]], arguments[1:]
    command.make_context(arguments[0], list(arguments[1:]))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_run_commands_that_exist(path: Path) -> None:
    """Each systemd unit has its sections, starts a command with options that it knows, and gives it time to end."""
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text(encoding="utf-8"))
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/homing")
    hold(arguments)
    assert float(unit["Service"]["TimeoutStopSec"]) > 10
    assert unit["Service"]["KillSignal"] == "SIGTERM"


def test_the_compose_file_is_whole() -> None:
    """Its services run commands that exist, depend on services and use volumes that are there."""
    read = compose()
    assert set(read["services"]) == {"db", "broker", "leader", "worker", "web"}
    for service in read["services"].values():
        assert set(service.get("depends_on", {})) <= set(read["services"])
        for volume in service.get("volumes", []):
            source = volume.rpartition(":")[0]
            assert source.startswith(("$", ".", "/")) or source in read["volumes"]
        if "build" in service:
            hold(service["command"])
            assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_the_environment_is_one_that_is_read() -> None:
    """Each HOMING_ variable overrides a setting or is read by name, and what compose needs stands in env.example."""
    known = {
        f"HOMING_{section}_{key}".upper() for section, keys in SECTIONS.items() for key in keys
    } | SECRETS
    example = (FOLDER / "env.example").read_text(encoding="utf-8")
    written = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"HOMING_[A-Z_]+", example + written)) <= known
    assert set(re.findall(r"\$\{([A-Z_]+)", written)) <= set(
        re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    )


def test_the_image_is_made_of_what_is_there() -> None:
    """The Dockerfile installs extras that the package has, and starts `homing`."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    project = (FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.search(r"/source\[([a-z,]+)\]", text)
    assert extras is not None
    assert all(f"\n{extra} = [" in project for extra in extras[1].split(","))
    assert 'ENTRYPOINT ["homing"]' in text
    instructions = {line.split()[0] for line in re.sub(r"\\\n", " ", text).splitlines() if line[:1].isalpha()}
    assert instructions <= {
        "FROM",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "WORKDIR",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }


def test_readme_names_every_file() -> None:
    """Nothing lies in the folder that its page does not tell of."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.name not in ("README.md", ".env")]
    assert all(path.name in readme for path in files)
