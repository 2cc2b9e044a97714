"""The wheel, installed where the repository is not: everything that a new project needs travels inside it.

The environment is fresh but for the libraries, which it borrows from the one that runs the tests, so that nothing is
downloaded. The repository is nowhere on its path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., str]

# What a newcomer types in an empty folder, one after the other.
FIRST_MINUTES = (
    ("validate",),
    ("doctor",),
    ("db", "upgrade"),
    ("db", "check"),
    ("apply", "--yes"),
    ("tick",),
    ("preview", "cart-recovery", "--sample", "--out", "mails"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the repository as it stands; give its path."""
    folder = tmp_path_factory.mktemp("dist")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder,
        ROOT,
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return next(folder.glob("homing-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a fresh environment; give the folder with its programs."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    programs = folder / "bin"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        programs / "python",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    done = subprocess.run(
        pip,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # A path file inside a borrowed folder is not followed, so this checkout's editable install stays out.
    site_packages = next((folder / "lib").glob("python*/site-packages"))
    (site_packages / "borrowed.pth").write_text(
        sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n"
    )
    return programs


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Give a function that runs an installed program in an empty folder and returns what it printed."""
    environment = {"PATH": f"{installed}{os.pathsep}{os.defpath}", "HOME": str(tmp_path), "PYTHONUTF8": "1"}

    def run(program: str, *arguments: str, folder: str = ".") -> str:
        command = [str(installed / program), *arguments]
        done = subprocess.run(
            command,
            cwd=tmp_path / folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    return run


def test_the_installed_program_is_the_wheels(run: Run, installed: Path) -> None:
    """Nothing is imported from the repository, and the bundled files lie inside the package."""
    where = run(
        "python",
        "-c",
        "import cli, engine.bundled as b; print(cli.__file__, b.bundled('flows'), b.bundled('alembic'))",
    )
    assert all(path.startswith(str(installed.parent)) for path in where.split())
    assert str(ROOT) not in where


def test_a_project_can_be_started_in_an_empty_folder(run: Run, tmp_path: Path) -> None:
    """`homing init shop && cd shop && homing …` works with the wheel alone."""
    run("homing", "init", "shop")
    for arguments in FIRST_MINUTES:
        run("homing", *arguments, folder="shop")
    flows = {flow["flow"] for flow in json.loads(run("homing", "status", "--json", folder="shop"))["flows"]}
    named_alike = {path.stem for path in (tmp_path / "shop" / "flows").glob("*.yaml")} - {
        "segments",
        "offers",
    }
    assert flows == named_alike
    assert (tmp_path / "shop" / "mails" / "index.html").exists()


def test_the_wheel_holds_what_the_repository_holds(run: Run, tmp_path: Path) -> None:
    """Settings, flows, templates and scenarios of a new project are the repository's own, byte for byte."""
    run("homing", "init", "shop")
    for folder in ("flows", "templates", "tests/flows"):
        ours = {
            path.relative_to(ROOT): path.read_bytes() for path in (ROOT / folder).rglob("*") if path.is_file()
        }
        theirs = {
            path.relative_to(tmp_path / "shop"): path.read_bytes()
            for path in (tmp_path / "shop" / folder).rglob("*")
            if path.is_file()
        }
        assert theirs == ours
    assert (tmp_path / "shop" / "homing.toml").read_bytes() == (ROOT / "homing.toml").read_bytes()
