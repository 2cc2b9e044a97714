"""A copy of the whole database in one file, while everything goes on.

Comes in: an open database and a path that does not exist. Goes out: the file. Promises: it holds one state of the
database (SQLite's own backup, or `pg_dump`), is readable by its owner only, and bears its name only when it is whole.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from engine.errors import OutsideError, UsageError
from engine.store.database import Database, outside

SUFFIXES = {"sqlite": ".db", "postgresql": ".dump"}


def suffix(database: Database) -> str:
    """Return the ending of a backup's name: `.db` is a database itself, `.dump` is for `pg_restore`."""
    return SUFFIXES[database.engine.dialect.name]


def backup(database: Database, target: Path) -> int:
    """Write a backup to `target`, making its folder, and return its size in bytes.

    Raise UsageError where the file exists, OutsideError where it cannot be written or `pg_dump` is missing or fails.
    """
    if target.exists():
        raise UsageError(f"{target} exists already; a backup overwrites nothing")
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        (_sqlite if database.is_sqlite else _postgres)(database, partial)
        flush(partial)
        partial.rename(target)
        return target.stat().st_size
    except OSError as error:
        raise OutsideError(f"the backup cannot be written: {error.strerror}: {error.filename}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sqlite(database: Database, target: Path) -> None:
    try:
        with database.engine.connect() as connection, closing(sqlite3.connect(target)) as copy:
            raw: Any = connection.connection.dbapi_connection
            # In one step: a backup in several begins anew whenever somebody writes in between.
            raw.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode=DELETE")
            damage = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    except DBAPIError as error:
        raise outside(error) from error
    except sqlite3.Error as error:
        raise OutsideError(f"the backup failed: {error}") from error
    if damage != "ok":
        raise OutsideError(f"the copy is damaged, and so may be the database: {damage}")


def _postgres(database: Database, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise OutsideError(
            "a backup of PostgreSQL is made by pg_dump, which is not on this machine "
            "(Debian: apt-get install postgresql-client); nothing was written"
        )
    url = database.engine.url.set(drivername="postgresql")
    # The password travels in the environment: a command line can be read by everybody on the machine.
    environ = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    plain = url.set(password=None).render_as_string(hide_password=False)
    command = [program, "--format=custom", "--no-password", f"--file={target}", f"--dbname={plain}"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        said = next(iter(done.stderr.strip().splitlines()), "no reason given").removeprefix("pg_dump: ")
        raise OutsideError(f"pg_dump failed: {said}")


def flush(path: Path) -> None:
    """Write a file, or a folder's list of files, to the disk for good."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
