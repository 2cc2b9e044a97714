"""What killed simulations leave in the folder for temporary files is removed, and nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine.deploy.simulate_folder import LOCK, PREFIX, own_folder, remove_left_behind, used_too

HOLDS = """
import sys
from engine.deploy.simulate_folder import own_folder
with own_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let temporary folders be made in a folder of the test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def _holding() -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", HOLDS]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    return program, Path(program.stdout.readline().strip())


def test_what_a_killed_simulation_left_goes_when_the_next_begins(temporary: Path) -> None:
    """The folder of a running simulation stays, that of a killed one is removed by the next, that of others never."""
    program, left = _holding()
    stranger = temporary / f"{PREFIX}of-somebody"
    stranger.mkdir()
    with own_folder() as own:
        assert left.is_dir()
        assert sorted(temporary.iterdir()) == sorted((left, own, stranger))
    program.send_signal(signal.SIGKILL)
    program.communicate()
    assert left.is_dir()
    with own_folder() as own:
        assert sorted(temporary.iterdir()) == sorted((own, stranger))
    assert list(temporary.iterdir()) == [stranger]


def test_a_folder_stays_while_any_process_of_it_works(temporary: Path) -> None:
    """Where the first process was killed and another still works in the folder, it is not taken from under it."""
    program, left = _holding()
    with used_too(left):
        program.send_signal(signal.SIGKILL)
        program.communicate()
        assert remove_left_behind() == 0
        assert (left / LOCK).is_file()
    assert remove_left_behind() == 1
    assert not list(temporary.iterdir())


def test_a_link_is_not_followed(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What only looks like a folder of ours, a link elsewhere, is left alone."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / LOCK).touch()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    assert remove_left_behind() == 0
    assert (elsewhere / LOCK).is_file()
