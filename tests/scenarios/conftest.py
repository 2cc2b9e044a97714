"""Worlds for tests of the whole engine: `here` on SQLite, `anywhere` on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.database import Database
from tests.scenarios.world import World, world


@pytest.fixture
def here(sqlite_database: Database, tmp_path: Path) -> Iterator[World]:
    """Give a world on SQLite in memory."""
    with world(tmp_path / "shop", sqlite_database) as made:
        yield made


@pytest.fixture
def anywhere(database: Database, tmp_path: Path) -> Iterator[World]:
    """Give a world on SQLite and on PostgreSQL."""
    with world(tmp_path / "shop", database) as made:
        yield made
