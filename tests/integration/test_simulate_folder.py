"""What killed simulations leave in the folder for temporary files is removed, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from engine.deploy.simulate_folder import LOCK, PREFIX, own_folder, remove_left_behind, used_too

ROOT = Path(__file__).resolve().parents[2]
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


# A hundred years of nights, of which nobody sees the end.
LASTS = """
import sys
from datetime import timedelta
from multiprocessing import active_children
from pathlib import Path
from engine.deploy.simulate import Stretch, simulate
from engine.store.database import connect
from tests.integration.small_shop import NOW, make_project, play_of, tell
root, database = Path(sys.argv[1]), connect(sys.argv[2])
settings = make_project(root)
(root / "flows/segments.yaml").write_text("loyal: [{customer: {orders: {gte: 2}}}]")
loyal = "flow: loyal\\ntopic: offers\\nre_entry: never\\ntrigger: {segment: loyal}\\nexit_when: [{did: order_cancelled}]\\n"
(root / "flows/loyal.yaml").write_text(loyal + "steps: [{send: note}]")
tell(database, settings, NOW)
def progress(moment, mails, share):
    if share > 0:
        print(*(child.pid for child in active_children()), flush=True)
simulate(database, play_of(settings), Stretch(NOW, NOW + timedelta(days=36_500), replay=False), processes=2, progress=progress)
"""


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


def test_the_processes_of_a_killed_simulation_end(
    sqlite_url: str, tmp_path_factory: pytest.TempPathFactory, temporary: Path
) -> None:
    """Nobody waits for their parts any more: they end by themselves, and what they left is removed."""
    command = [sys.executable, "-c", LASTS, str(tmp_path_factory.mktemp("shop")), sqlite_url]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    parts = [int(each) for each in program.stdout.readline().split()]
    assert len(parts) == 2
    program.kill()
    program.wait()
    program.stdout.close()  # which its processes hold, too: nobody waits for its end
    until = time.monotonic() + 60
    while (there := [each for each in parts if _works(each)]) and time.monotonic() < until:
        time.sleep(0.1)
    for each in there:
        os.kill(each, signal.SIGKILL)
    assert there == []
    assert remove_left_behind() == 1


def _works(number: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        told = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return told.rpartition(")")[2].split()[0] != "Z"
