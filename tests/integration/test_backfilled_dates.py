"""`apply --backfill` and days of customers that are announced already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.deploy.simulate import quiet_engine
from engine.facts.ingest import ingest_rows
from engine.runtime.ticking import drive
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import messages
from tests.integration.small_shop import SETTINGS, TEMPLATE

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
FLOW = """flow: soon
topic: reminders
max_lateness: 7d
trigger: {anniversary: birthday, offset: -7d, at: "09:00"}
steps: [{send: note}]
"""


@pytest.mark.parametrize("backfill", [False, True])
def test_only_backfill_takes_an_announced_birthday(
    tmp_path: Path, database: Database, *, backfill: bool
) -> None:
    """Four days before a birthday, its moment of seven days before counts with `--backfill` and not without."""
    for folder in ("flows", "templates"):
        (tmp_path / folder).mkdir()
    policy = "[policy]\nquiet_hours = ''\ncaps = []\n"
    (tmp_path / "homing.toml").write_text(SETTINGS + policy, encoding="utf-8")
    (tmp_path / "templates" / "note.mjml").write_text(TEMPLATE, encoding="utf-8")
    (tmp_path / "flows" / "soon.yaml").write_text(FLOW, encoding="utf-8")
    settings = settings_module.load(tmp_path)
    with database.write() as connection:
        meta.set_virtual_now(connection, NOW)
    ann = {"external_id": "ann", "email": "ann@example.test", "birthday": "1990-03-06", "consent": "all"}
    ingest_rows(database, "customers", [ann], settings=settings, now=NOW, virtual=True)
    apply(database, settings, now=NOW, who="ann", backfill=backfill)
    drive(quiet_engine(settings, database), NOW, NOW + timedelta(days=6), nights=False)
    with database.read() as connection:
        states = list(connection.scalars(select(messages.c.state)))
    assert states == (["accepted"] if backfill else [])
