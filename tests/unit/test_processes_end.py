"""Processes that help another one: none of them outlives it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AHEAD = """
import itertools, os, time
from engine import processes
processes.processors = lambda: 2
things = processes.ahead(({"pid": os.getpid(), "number": n} for n in itertools.count()), waiting=4)
print(next(things)["pid"], flush=True)
time.sleep(600)
"""


def test_a_process_that_reads_ahead_ends_with_a_killed_parent() -> None:
    """Where a command is killed (`kill -9`, no memory), its reader is gone a moment later, though its queue was full."""
    with subprocess.Popen(
        [sys.executable, "-c", AHEAD], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        reader = int(parent.stdout.readline())
        assert reader != parent.pid
        assert _lives(reader)
        parent.kill()
        parent.wait()
        until = time.monotonic() + 60
        while _lives(reader) and time.monotonic() < until:
            time.sleep(0.02)
        assert not _lives(reader)


def _lives(pid: int) -> bool:
    """Return whether a process is there and no zombie, which only waits to be asked about."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(told.stdout.strip()) and not told.stdout.strip().startswith("Z")
