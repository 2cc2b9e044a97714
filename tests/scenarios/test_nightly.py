"""The night's work: each part of it fails for itself, is told, and is tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from engine.insights.scores import rebuild_scores
from engine.runtime import nightly
from engine.runtime.status import status
from engine.runtime.ticking import tick
from engine.store.marks import NIGHT, marked
from tests.scenarios.world import START, World

LOYAL = "flow: hello\ntopic: reminders\ntrigger: {segment: idle}\nsteps: [{send: letter}]\n"
SCORED = "flow: risky\ntopic: reminders\ntrigger: {event: said_hello}\nenter_if: [{customer: {churn_risk: {gt: 0.5}}}]\nsteps: [{send: letter}]\n"


@pytest.fixture
def asleep(here: World) -> World:
    """Give a world whose segment is compared by night, with a flow that asks for scores."""
    here.write("flows/segments.yaml", "idle: [{did_not: app_opened, within: 2d}]\n")
    here.flow(LOYAL)
    here.flow(SCORED)
    here.customer()
    here.event("app_opened")
    here.apply()
    return here


def told(here: World) -> dict[str, Any]:
    """Return what `status` tells of the night."""
    with here.database.read() as connection:
        found: dict[str, Any] = status(connection, here.now, sandbox=True)["nightly"]
    return found


def test_a_part_that_fails_stops_no_other(asleep: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that cannot be reckoned leave segments compared and the night done; `status` says what failed and why."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(nightly, "rebuild_scores", broken)
    asleep.go_on(days=3)
    assert asleep.steps() == ["letter"]
    found = told(asleep)
    assert found["last"] is not None
    (failed,) = found["failed"]
    assert failed["part"] == "scores"
    assert "bug of ours" in failed["reason"]
    assert failed["tries"] > 1
    assert failed["again_at"] > asleep.now - timedelta(days=1)


def test_what_failed_is_tried_again_and_then_forgotten(
    asleep: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour later the part that failed is done again, alone, and `status` is silent once it succeeds."""
    runs: dict[str, list[Any]] = {"scores": [], "recommendations": []}

    def shaky(database: Any, now: Any) -> Any:
        runs["scores"].append(now)
        if len(runs["scores"]) == 1:
            raise ValueError
        return rebuild_scores(database, now)

    monkeypatch.setattr(nightly, "rebuild_scores", shaky)
    monkeypatch.setattr(nightly, "rebuild", lambda _database, now: runs["recommendations"].append(now))
    asleep.go_to(START + timedelta(hours=23))
    assert len(runs["scores"]) == 2
    first, second = runs["scores"]
    assert second - first == timedelta(hours=1)
    assert runs["recommendations"] == [first]
    assert told(asleep)["failed"] == []
    assert told(asleep)["last"] == first


def test_a_database_that_is_away_ends_the_night(asleep: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database refuses is nobody's failure: the night is not done, and the next beat begins it anew."""

    def away(*_: Any) -> None:
        raise OperationalError("SELECT 1", None, ConnectionError("gone"))

    monkeypatch.setattr(nightly, "rebuild_scores", away)
    with asleep.database.read() as connection:
        before = marked(connection, NIGHT)
    late = asleep.now + timedelta(days=1)
    with pytest.raises(OperationalError):
        tick(asleep.engine(), late)
    assert told(asleep) == {"last": before, "failed": []}
    monkeypatch.undo()
    tick(asleep.engine(), late)
    assert told(asleep) == {"last": late, "failed": []}
