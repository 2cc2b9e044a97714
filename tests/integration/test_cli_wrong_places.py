"""Databases, ports and files that cannot be had: each command ends with a plain sentence and the right exit code."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.exc import OperationalError

from cli import main
from engine.store import migrate
from engine.store.database import connect, outside
from tests.integration.living_shop import ROOT, make_project

PASSWORD = "hunter2secret"
Homing = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def homing(tmp_path: Path) -> Homing:
    """Give a way to run `homing` in a small project, with another database where one is named."""
    make_project(tmp_path)

    def run(*words: str, database: str = "") -> subprocess.CompletedProcess[str]:
        extra = {"HOMING_DATABASE_URL": database} if database else {}
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words, "--project", str(tmp_path)],
            cwd=ROOT, env={**os.environ, **extra}, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        told = done.stdout + done.stderr
        assert "Traceback" not in told
        assert "bug of ours" not in told
        assert PASSWORD not in told
        return done

    return run


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://x:{PASSWORD}@host:abc/shop",
        f"postgresql://x:12@{PASSWORD}:@h/d",
        f"mysql://x:{PASSWORD}@h/d",
        PASSWORD,
    ],
)
def test_a_url_of_no_database_is_wrong_usage(homing: Homing, url: str) -> None:
    """A database URL that is not understood ends with 2, and nothing of it is repeated: it may hold a password."""
    done = homing("status", database=url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: ")


def test_the_database_of_another_program_is_left_alone(homing: Homing, tmp_path: Path) -> None:
    """Pointed at the shop's own database every command refuses by name, `doctor` says what to do, nothing is written."""
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs, theirs:
        theirs.execute("CREATE TABLE customers (id integer)")
    url = f"sqlite:///{path}"
    said = "its tables customers are not ours"
    for words in (["status"], ["run"], ["db", "upgrade"]):
        done = homing(*words, database=url)
        assert (done.returncode, said in done.stderr, "trying again" in done.stderr) == (3, True, False), (
            words
        )
    checked = homing("db", "check", database=url)
    assert (checked.returncode, said in checked.stdout) == (1, True)
    assert homing("db", "backup", database=url).returncode == 2
    found = json.loads(homing("doctor", "--json", database=url).stdout)["findings"]
    assert [each["help"] for each in found if each["code"] == "D401"] == ["give Homing a database of its own"]
    with closing(sqlite3.connect(path)) as theirs:
        assert theirs.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [
            ("customers",)
        ]


def test_the_doctor_advises_by_which_program_is_older(homing: Homing, tmp_path: Path) -> None:
    """For a database of a newer Homing the help is that version, not an upgrade that cannot be."""
    path = tmp_path / "newer.db"
    opened = connect(f"sqlite:///{path}")
    migrate.upgrade(opened)
    opened.close()
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    found = json.loads(homing("doctor", "--json", database=f"sqlite:///{path}").stdout)["findings"]
    assert [each["help"].split(",")[0] for each in found if each["code"] == "D401"] == [
        "install that version"
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "attempt to write a readonly database",
            "its file, or the folder of it, may not be written by this user",
        ),
        ("no schema has been selected to create in\nLINE 1", "this user may not make tables in it"),
        ("disk I/O error", "disk I/O error"),
    ],
)
def test_rights_that_are_missing_are_told_in_plain_words(said: str, told: str) -> None:
    """What drivers say of missing rights names what to mend; the rest is told as the driver says it."""
    error = OperationalError("SELECT 1", {}, sqlite3.OperationalError(said))
    assert str(outside(error)) == f"the database failed: {told}"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken(homing: Homing, workers: str) -> None:
    """`serve` says which address cannot be had, in one line, and ends with 3."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = homing("serve", "--port", str(port), "--workers", workers)
    assert done.returncode == 3
    assert done.stderr == (
        f"error: 127.0.0.1:{port} cannot be had: Address already in use; choose others by --host and --port\n"
    )


def test_a_host_that_is_none(homing: Homing) -> None:
    """`serve` on a host that nobody knows says so."""
    done = homing("serve", "--host", "no-such-host.invalid", "--port", "0")
    assert (done.returncode, "is no address of this machine" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    ("name", "header", "form"),
    [
        ("customers.csv", "First Name,Email,Accepts Email Marketing", "shopify"),
        ("orders.csv", "Name,Email,Lineitem sku", "shopify"),
        ("profiles.csv", "Email,Klaviyo ID,First Name", "klaviyo"),
    ],
)
def test_an_export_of_others_is_known_by_its_columns(
    homing: Homing, tmp_path: Path, name: str, header: str, form: str
) -> None:
    """An export that is read without `--format` is refused with the option that it needs."""
    path = tmp_path / name
    path.write_text(f"{header}\na,b,c\n", encoding="utf-8")
    done = homing("ingest", str(path))
    assert (done.returncode, done.stderr.endswith(f"add --format {form}\n")) == (2, True), done.stderr


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without the right to read it is a failure outside (3), as one that is not there."""
    make_project(tmp_path)
    path = tmp_path / "customers.csv"
    path.write_text("email\nann@example.test\n", encoding="utf-8")
    plain_open = Path.open

    def refused(self: Path, *arguments: Any, **more: Any) -> Any:
        if self.name == path.name:
            raise PermissionError(13, "Permission denied", str(self))
        return plain_open(self, *arguments, **more)

    # Root, as whom tests may run, may read everything: what the system says is said for it.
    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(os, "access", lambda file, mode: Path(file).name != path.name)
    done = CliRunner().invoke(main, ["ingest", str(path), "--project", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (3, f"error: {path} cannot be read: Permission denied\n")
