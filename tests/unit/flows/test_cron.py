"""Calendar patterns."""

from __future__ import annotations

from datetime import datetime

import pytest

from engine.flows.cron import Cron


@pytest.mark.parametrize(
    ("pattern", "after", "expected"),
    [
        ("0 9 * * *", "2026-01-01 08:00", "2026-01-01 09:00"),
        ("0 9 * * *", "2026-01-01 09:00", "2026-01-02 09:00"),
        ("*/15 9-10 * * mon-fri", "2026-01-02 10:50", "2026-01-05 09:00"),
        ("30 8 1 jan,jul *", "2026-01-02 00:00", "2026-07-01 08:30"),
        ("0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00"),
        ("0 9 13 * 5", "2026-01-01 00:00", "2026-01-02 09:00"),
        ("0 9 * * 7", "2026-01-01 00:00", "2026-01-04 09:00"),
        ("0 9 * * 0", "2026-01-01 00:00", "2026-01-04 09:00"),
        ("5/20 0 * * *", "2026-01-01 00:06", "2026-01-01 00:25"),
    ],
)
def test_patterns_fire_as_in_cron(pattern: str, after: str, expected: str) -> None:
    """The next firing is strictly after the moment, on the wall clock."""
    assert Cron.parse(pattern).next_after(datetime.fromisoformat(after)) == datetime.fromisoformat(expected)


def test_a_day_that_never_comes_never_fires() -> None:
    """30 February is read, and never comes."""
    assert Cron.parse("0 9 30 2 *").next_after(datetime.fromisoformat("2026-01-01")) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "0 9 * *",
        "60 9 * * *",
        "0 9 * * someday",
        "0 9-8 * * *",
        "*/0 * * * *",
        "@daily",
        "a b c d e",
        "0 9 ² * *",
    ],
)
def test_what_is_no_pattern_is_said(pattern: str) -> None:
    """A pattern that cannot be read raises ValueError with a sentence."""
    with pytest.raises(ValueError, match=r"fields|is no"):
        Cron.parse(pattern)
