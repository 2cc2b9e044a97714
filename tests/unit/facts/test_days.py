"""Days that float until somebody's clock reads them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from engine.facts.days import Day, on_clock
from engine.facts.fact import BadRow, Fact
from engine.facts.fields import Reading
from engine.facts.normalise import normalise

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 5, 19, 22, tzinfo=UTC)  # on the shop's clock, in Berlin


def read(row: dict[str, Any]) -> Fact:
    """Return the one fact of a customer's row, in a shop in Berlin."""
    facts = normalise("customers", row, Reading("Europe/Berlin", NOW))
    assert not isinstance(facts, BadRow)
    return facts[0]


@pytest.mark.parametrize("told", ["2026-05-20", " 2026-05-20 ", "20260520", date(2026, 5, 20)])
def test_a_date_alone_is_a_day(told: Any) -> None:
    """A date without a time is read as a day and stands as one in the fact's document, however it is written."""
    fact = read({"external_id": "c1", "points_expire_at": told})
    assert fact.fields["points_expire_at"] == Day(date(2026, 5, 20), MIDNIGHT)
    assert fact.document["points_expire_at"] == "2026-05-20"


@pytest.mark.parametrize(
    "told", ["2026-05-20T00:00", "2026-05-20 00:00:00", "2026-05-20T00:00+02:00", MIDNIGHT]
)
def test_a_time_is_a_moment(told: Any) -> None:
    """A time, be it midnight, is a moment: without an offset on the shop's clock."""
    fact = read({"external_id": "c1", "points_expire_at": told})
    assert fact.fields["points_expire_at"] == MIDNIGHT
    assert fact.document["points_expire_at"] == "2026-05-19T22:00:00Z"


def test_a_mail_shows_the_day_of_its_reader() -> None:
    """In a mail a day begins at its midnight on the customer's clock, so it is written as that day."""
    row = {
        "points_expire_at": MIDNIGHT,
        "points_expire_on": "2026-05-20",
        "created_at": NOW,
        "created_on": None,
    }
    seen = on_clock(row, "America/New_York")
    assert seen == {"points_expire_at": datetime(2026, 5, 20, 4, tzinfo=UTC), "created_at": NOW}
