"""What every test may ask for: a fresh, migrated database, on SQLite and on PostgreSQL.

A test that takes `database` runs once on each. The PostgreSQL server is started by the first test that needs it and
serves the whole run; each test gets a copy of one migrated database. A server that cannot be had is an error, here as
in CI: a test that did not run has promised nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from engine.store.database import Database, connect
from engine.store.migrate import upgrade
from tests.servers.postgres import Postgres, postgres_server

# A slow machine is no failure. The checks of a change look at the same examples each time, so that none fails by chance;
# with the full share, which is asked for to find what nobody thought of, they roam.
settings.register_profile(
    "roaming", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("checks", settings.get_profile("roaming"), derandomize=True)
_ROAMS = os.environ.get("HOMING_TEST_SHARE") == "full" and not os.environ.get("CI")
settings.load_profile("roaming" if _ROAMS else "checks")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give the run's PostgreSQL server."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> Iterator[str]:
    """Give the name of a migrated database that is only ever copied."""
    name = postgres.create_database()
    migrated = connect(postgres.url(name))
    upgrade(migrated)
    migrated.close()
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the path of a migrated SQLite file that is only ever copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrated = connect(f"sqlite:///{path}")
    upgrade(migrated)
    migrated.close()
    return path


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """Give the URL of a fresh, migrated PostgreSQL database."""
    name = postgres.create_database(postgres_template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Give the URL of a fresh, migrated SQLite file."""
    path = tmp_path / "homing.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh, migrated database, on SQLite and on PostgreSQL: for tests that start programs."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Give a fresh, migrated database, on SQLite and on PostgreSQL."""
    opened = connect(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database() -> Iterator[Database]:
    """Give a fresh, migrated SQLite database in memory (1 ms; one connection, so one transaction at a time)."""
    opened = connect("sqlite://")
    upgrade(opened)
    yield opened
    opened.close()
