"""What a row of the journal holds: its own decision, and the wait that began with it."""

from __future__ import annotations

from datetime import UTC, datetime

from engine.journeys.journal import decisions, entry, then_waits

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_wait_is_read_behind_the_decision_that_it_stands_with() -> None:
    """A wait written into the row of another decision is read as a decision of its own, and the other one as it was."""
    row = entry(
        NOW, "winback", 7, "due", enrollment_id=3, message_id=5, step="first", detail={"template": "a"}
    )
    then_waits(row, "wait-1", {"until": "2026-06-04T12:00:00+00:00", "next": "second"})
    due, wait = decisions([(11, *row.values())])
    assert (due.decision, due.message_id, due.step, due.detail) == ("due", 5, "first", {"template": "a"})
    assert (wait.decision, wait.message_id, wait.step, wait.reason) == ("waiting", None, "wait-1", None)
    assert wait.detail == {"until": "2026-06-04T12:00:00+00:00", "next": "second"}
    assert (wait.id, wait.at, wait.flow, wait.customer_id, wait.enrollment_id) == (11, NOW, "winback", 7, 3)


def test_what_rows_share_is_not_written_into() -> None:
    """A document that many entries share stays as it is where one of them goes on to wait."""
    shared = {"version": "v1"}
    row = entry(NOW, "winback", 7, "entered", enrollment_id=3, detail=shared)
    then_waits(row, "wait-1", {"until": "2026-06-04T12:00:00+00:00"})
    assert shared == {"version": "v1"}
    assert [each.detail for each in decisions([(1, *row.values())])] == [
        {"version": "v1"},
        {"until": "2026-06-04T12:00:00+00:00"},
    ]
