"""What tests of recommendations share."""

from __future__ import annotations

import pytest

from engine.store.database import Database
from tests.unit.recommend.shop import Shop


@pytest.fixture
def shop(database: Database) -> Shop:
    """Give an empty shop, on SQLite and on PostgreSQL."""
    return Shop(database)
