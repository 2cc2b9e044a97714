"""The prepared state that every run of the crash suite starts from, and how it is put back.

`SqliteStage` copies a file, `PostgresStage` copies rows; `url` is the same for each run, so that one engine with
everything compiled can be forked again and again.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Protocol

import psycopg
from sqlalchemy import make_url

from engine.store.tables import metadata


class Stage(Protocol):
    """A database that can be put back to what it was when it was kept."""

    @property
    def url(self) -> str:
        """Where the runs find it."""
        ...

    def keep(self) -> None:
        """Remember the database as it is now; nobody may be connected."""
        ...

    def restore(self) -> None:
        """Put it back, whoever is connected."""
        ...

    def close(self) -> None:
        """Let go of what was kept."""
        ...


class SqliteStage:
    """A file, and its copy."""

    def __init__(self, path: Path) -> None:
        self._path, self._kept = path, path.with_suffix(".kept")
        self.url = f"sqlite:///{path}"

    def keep(self) -> None:
        """Copy the file."""
        shutil.copyfile(self._path, self._kept)

    def restore(self) -> None:
        """Copy it back, without what a killed process left beside it."""
        for ending in ("-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        shutil.copyfile(self._kept, self._path)

    def close(self) -> None:
        """Leave the files to their folder."""


class PostgresStage:
    """A database whose rows are kept in a schema of their own: copying rows is cheaper than making databases."""

    def __init__(self, url: str) -> None:
        self.url = url
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(plain, autocommit=True)
        self._back = ""

    def keep(self) -> None:
        """Copy the rows."""
        names = [table.name for table in metadata.sorted_tables]
        copies = "".join(f'CREATE TABLE kept."{name}" AS TABLE public."{name}";' for name in names)
        self._execute("CREATE SCHEMA kept;" + copies)
        numbers = self._connection.execute(
            "SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences"
        ).fetchall()
        self._back = "BEGIN;" + "".join(
            [
                *(f'DELETE FROM public."{name}";' for name in reversed(names)),
                *(f'INSERT INTO public."{name}" SELECT * FROM kept."{name}";' for name in names),
                *(
                    f"SELECT setval('{name}', {max(last, 1)}, {str(last > 0).lower()});"
                    for name, last in numbers
                ),
                "COMMIT;",
            ]
        )

    def restore(self) -> None:
        """Copy them back, once nobody else is connected."""
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        self._execute(f"SELECT pg_terminate_backend(pid) {others} AND backend_type = 'client backend'")
        query = f"SELECT count(*) {others} AND backend_type = 'client backend'"
        while (self._connection.execute(query.encode()).fetchone() or (0,))[0]:
            time.sleep(0.002)
        self._execute(self._back)

    def close(self) -> None:
        """Drop the copies."""
        self._execute("DROP SCHEMA kept CASCADE")
        self._connection.close()

    def _execute(self, statement: str) -> None:
        self._connection.execute(statement.encode())


def stage_at(url: str) -> Stage:
    """Return the stage for a database."""
    parsed = make_url(url)
    return (
        SqliteStage(Path(parsed.database or ""))
        if parsed.get_backend_name() == "sqlite"
        else PostgresStage(url)
    )
