"""What a test server is told to do wrong, and where it writes down what it took.

A test writes a small JSON file; the server, a process of its own, reads it anew at every step. The ledger is a file of
JSON lines that is only ever appended to, by the system, before the server answers: it survives the death of the client
and of the server. It does not wait for the disk, which beside others may take longer than a provider may for its answer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock
from typing import Any


class Script:
    """The server's side of the script file: gives each misbehaviour as often as it was asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._number = 0
        self._left = 0
        self._skip = 0

    def take(self, phase: str) -> dict[str, Any] | None:
        """Return what to do wrong in this phase of the conversation, or None."""
        try:
            wanted: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        with self._lock:
            if wanted["number"] != self._number:
                self._number, self._left = wanted["number"], wanted["times"]
                self._skip = wanted.get("skip", 0)
            if wanted["phase"] != phase or self._left <= 0:
                return None
            if self._skip > 0:
                self._skip -= 1
                return None
            self._left -= 1
            return wanted


class Ledger:
    """The server's side of the ledger: appends whole lines that outlive this process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line, at once and whole."""
        os.write(self._descriptor, json.dumps(entry).encode("ascii") + b"\n")


class Runs:
    """The server's side of the file that numbers the runs of a test: the first is 0."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> int:
        """Return the number of the run that goes on now."""
        try:
            return int(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0
