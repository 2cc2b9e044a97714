"""Starting the test servers as processes, telling them what to do wrong, and reading what they took.

`start_smtp` and `start_sendgrid` are context managers for any test; the pytest fixtures built on them are in
tests/servers/fixtures.py.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.servers.certificates import Certificates

API_KEY = "SG.fake-key-of-the-tests.0123456789abcdef"
_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 60.0  # seconds
_numbers = count(1)


@dataclass(slots=True)
class RunningServer:
    """A test server that listens on 127.0.0.1:`port`; `taken` is what it took since `reset`."""

    port: int
    folder: Path
    process: subprocess.Popen[str]
    _seen: int = 0
    _run: int = 0

    @property
    def ledger(self) -> Path:
        """The file of JSON lines that the server appends to."""
        return self.folder / "ledger.jsonl"

    def script(self, phase: str, do: str, *, times: int = 1_000_000, **details: object) -> None:
        """From now on do something wrong in that phase, `times` times; see the server's own page for the words.

        With `skip` so many steps of that phase go well before.
        """
        wanted = {"number": next(_numbers), "phase": phase, "do": do, "times": times, **details}
        self._put("script.json", json.dumps(wanted))

    def behave(self) -> None:
        """Do nothing wrong from now on."""
        (self.folder / "script.json").unlink(missing_ok=True)

    def reset(self) -> None:
        """Do nothing wrong any more, and forget what was taken so far.

        What comes later over a connection of before is forgotten, too: a busy server may still read what a client has
        long given up on.
        """
        self.behave()
        self._knock()
        self._run += 1
        self._put("run", str(self._run))
        self._seen = len(self._lines())

    def taken(self) -> list[dict[str, Any]]:
        """Return what the server took since `reset`, oldest first."""
        return [entry for line in self._lines()[self._seen :] if self.is_new(entry := json.loads(line))]

    def is_new(self, entry: Mapping[str, Any]) -> bool:
        """Return whether a line of the ledger came over a connection that was opened since `reset`."""
        return bool(entry["run"] == self._run)

    def taken_in_the_end(self, count: int) -> list[dict[str, Any]]:
        """The same, once so many were taken: who gives up waiting for an answer may be quicker than the server."""
        until = time.monotonic() + _PATIENCE
        while len(self.taken()) < count and time.monotonic() < until:
            time.sleep(0.01)
        return self.taken()

    def wait_for_goodbye(self) -> None:
        """Return when the server has closed the connection over which it took the last mail (SendGrid)."""
        port, path = str(self.taken()[-1]["peer"][1]), self.folder / "goodbyes"
        until = time.monotonic() + _PATIENCE
        while not path.exists() or port not in path.read_text(encoding="ascii").split():
            assert time.monotonic() < until, "the server closes no connection"
            time.sleep(0.01)

    def _put(self, name: str, text: str) -> None:
        temporary = self.folder / f"{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.rename(self.folder / name)

    def _knock(self) -> None:
        """Return when the server has let in everybody who came before; with TLS from the start it only hangs up."""
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE) as connection,
        ):
            connection.sendall(b"HELP\r\n\r\n")
            connection.recv(1)

    def _lines(self) -> list[str]:
        text = self.ledger.read_text(encoding="ascii") if self.ledger.exists() else ""
        return [line for line in text.split("\n")[:-1] if line]


@contextmanager
def start_smtp(
    folder: Path,
    *,
    security: str = "none",
    certificates: Certificates | None = None,
    login: tuple[str, str] | None = None,
    smtputf8: bool = True,
) -> Iterator[RunningServer]:
    """Run the SMTP server of tests/servers/smtp_server.py."""
    arguments = ["--security", security, *_certificate_arguments(certificates)]
    if login:
        arguments += ["--user", login[0], "--password", login[1]]
    if not smtputf8:
        arguments.append("--no-smtputf8")
    with _running("tests.servers.smtp_server", folder, arguments) as server:
        yield server


@contextmanager
def start_sendgrid(
    folder: Path, *, certificates: Certificates | None = None, scopes: str = "mail.send"
) -> Iterator[RunningServer]:
    """Run the SendGrid of tests/servers/fake_sendgrid.py; its key is `API_KEY`."""
    arguments = ["--api-key", API_KEY, "--scopes", scopes, *_certificate_arguments(certificates)]
    with _running("tests.servers.fake_sendgrid", folder, arguments) as server:
        yield server


def _certificate_arguments(certificates: Certificates | None) -> list[str]:
    if certificates is None:
        return []
    return ["--certificate", str(certificates.certificate), "--key", str(certificates.key)]


@contextmanager
def _running(module: str, folder: Path, arguments: Sequence[str]) -> Iterator[RunningServer]:
    command = [sys.executable, "-m", module, "--folder", str(folder), *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"{module} ended before it listened (exit code {process.wait()})")
            yield RunningServer(json.loads(line)["port"], folder, process)
        finally:
            process.kill()
