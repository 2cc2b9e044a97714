"""The table of facts: what each kind holds, what it raises, and what becomes of repeated, late and contradicting rows."""

from __future__ import annotations

import pytest

from engine.facts.ingest import ingest_rows
from engine.store.tables import customers
from tests.scenarios.world import World


@pytest.mark.parametrize("never", ["9999-12-31", "9999-12-31T23:59:59Z", "2999-01-01", "0000-00-00"])
def test_points_that_never_expire(here: World, never: str) -> None:
    """A date beyond every calendar says never: the row is taken, an older date goes, and no mail counts from it."""
    here.flow("flow: f\ntopic: reminders\ntrigger: {date: points_expire_at}\nsteps: [{send: letter}]\n")
    here.apply()
    here.customer(points_expire_at="2026-04-01", updated_at="2026-02-01T00:00:00Z")
    here.customer(points_expire_at=never, updated_at="2026-02-02T00:00:00Z")
    assert here.rows_of(customers.c.points_expire_at) == [None]
    here.go_on(days=60)
    assert here.sent == []


def test_a_date_that_cannot_be_is_still_told(here: World) -> None:
    """A slip of the hand is set aside with its reason."""
    row = {"external_id": "ann", "points_expire_at": "1026-04-01"}
    report = ingest_rows(here.database, "customers", [row], settings=here.settings, now=here.now)
    assert [bad.column for bad in report.bad_rows] == ["points_expire_at"]
