"""A stage for the sentences of the language."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.database import Database
from tests.contracts.language.plays import Plays
from tests.scenarios.world import World, world


@pytest.fixture
def shop(tmp_path: Path) -> Plays:
    """Give an empty project with a few letters, two offers and two topics."""
    return Plays(tmp_path / "shop")


@pytest.fixture
def here(sqlite_database: Database, tmp_path: Path) -> Iterator[World]:
    """Give a world of several customers on SQLite in memory."""
    with world(tmp_path / "shop", sqlite_database) as made:
        yield made
