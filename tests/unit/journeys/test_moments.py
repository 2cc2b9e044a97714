"""Anniversaries, dates and wall clocks: what holds for every date, zone and moment."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.calendar import Duration, add, at_wall, local, next_wall
from engine.flows.model import AnniversaryTrigger, DateTrigger
from engine.journeys.moments import as_moment, date_due, in_year, next_anniversary, read_date, yearly

ZONES = st.sampled_from(
    [
        "Europe/Berlin",
        "America/New_York",
        "Asia/Tokyo",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "UTC",
    ]
)
MOMENTS = st.integers(0, 50 * 365 * 86_400).map(
    lambda seconds: datetime(2010, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0, tzinfo=None))
BIRTHDAYS = st.dates(date(1920, 1, 1), date(2009, 12, 31))


@given(MOMENTS, CLOCKS, st.sets(st.integers(0, 6), min_size=1).map(frozenset), ZONES)
def test_the_next_wall_time_is_the_first_that_fits(
    after: datetime, clock: time, days: frozenset[int], zone: str
) -> None:
    """It is not before the moment, on an allowed day, at that time (or the end of a gap), and none before it fits."""
    found = next_wall(after, clock, days, zone)
    here = local(found, zone)
    assert found >= after
    assert here.weekday() in days or here.time() < clock  # the end of a gap that spans midnight
    assert here.time().replace(second=0) >= clock or here.date() > local(after, zone).date()
    assert found - after <= timedelta(days=8, hours=3)
    assert next_wall(found, clock, days, zone) == found


@given(BIRTHDAYS, MOMENTS, ZONES, CLOCKS)
def test_an_anniversary_comes_once_a_year(birthday: date, after: datetime, zone: str, clock: time) -> None:
    """The next one lies ahead within 366 days and a bit, on that day or on 28 February for the 29th."""
    trigger = AnniversaryTrigger("birthday", at=clock)
    due = next_anniversary(trigger, birthday.isoformat(), zone, after, late=False)
    assert due is not None
    assert after < due.due_at <= after + timedelta(days=368)
    assert due.due_at == at_wall(in_year(birthday.month, birthday.day, due.year), clock, zone)
    assert due.years == due.year - birthday.year
    following = next_anniversary(trigger, birthday.isoformat(), zone, due.due_at, late=False)
    assert following is not None
    assert following.year == due.year + 1


@given(BIRTHDAYS, MOMENTS, ZONES, st.integers(-60, 30))
def test_a_late_known_date_is_due_only_until_it_is_over(
    birthday: date, after: datetime, zone: str, days: int
) -> None:
    """With `late`, one that is due already is found exactly as long as its day (or its moment) is not over."""
    trigger = AnniversaryTrigger("birthday", offset=Duration(days=days), at=time(9))
    due = next_anniversary(trigger, birthday.isoformat(), zone, after, late=True)
    assert due is not None
    assert due.until > after
    strict = next_anniversary(trigger, birthday.isoformat(), zone, after, late=False)
    assert strict is not None
    assert due.due_at <= strict.due_at


def test_29_february_is_kept_on_the_28th() -> None:
    """In a common year; in a leap year it is itself."""
    assert [in_year(2, 29, year) for year in (2027, 2028, 2100)] == [
        date(2027, 2, 28),
        date(2028, 2, 29),
        date(2100, 2, 28),
    ]


def test_the_first_day_is_no_anniversary() -> None:
    """A membership that begins today comes round in a year."""
    due = next_anniversary(
        AnniversaryTrigger("created_at"),
        "2026-05-20T10:00:00Z",
        "UTC",
        datetime(2026, 5, 1, tzinfo=UTC),
        late=True,
    )
    assert due is not None
    assert (due.year, due.years) == (2027, 1)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("1990-05-20", date(1990, 5, 20)), ("05-20", (5, 20)), ("--02-29", (2, 29)), ("02-30", None), ("", None), (None, None),
        ("soon", None), ("1990-13-01", None), (12, None), ("2026-03-02T10:00:00+01:00", datetime.fromisoformat("2026-03-02T10:00:00+01:00")),
    ],
)  # fmt: skip
def test_dates_are_read_as_people_write_them(value: object, read: object) -> None:
    """With a year, without one, with a time; what is no date is none."""
    assert read_date(value, "UTC") == read


def test_a_bare_date_is_its_midnight_there() -> None:
    """On the customer's own clock; a birthday is its month and day."""
    assert as_moment("2026-06-30", "Asia/Tokyo") == datetime(2026, 6, 29, 15, tzinfo=UTC)
    assert as_moment("06-30", "Asia/Tokyo") is None
    assert yearly("1992-02-29", "UTC") == (2, 29)


@given(st.dates(date(2020, 1, 1), date(2050, 1, 1)), ZONES, st.integers(-400, 400), CLOCKS)
def test_an_offset_of_days_keeps_the_time_of_day(day: date, zone: str, days: int, clock: time) -> None:
    """A date trigger with an offset is due that many calendar days away, at its own time of day."""
    due = date_due(DateTrigger("x", Duration(days=days), clock), day.isoformat(), zone)
    assert due is not None
    assert due.due_at == at_wall(day + timedelta(days=days), clock, zone)
    assert due.occurrence == f"date:{day.isoformat()}"


@given(MOMENTS, ZONES, st.integers(0, 40))
def test_days_keep_the_time_of_day_across_clock_changes(moment: datetime, zone: str, days: int) -> None:
    """A wait of days ends at the same time of day, or at the first minute after a gap."""
    here, there = local(moment, zone), local(add(moment, Duration(days=days), zone), zone)
    assert there.date() == here.date() + timedelta(days=days) or there.time() < here.time()
    assert there.time() >= here.time().replace(microsecond=0) or there.date() > here.date() + timedelta(
        days=days
    )


@pytest.mark.parametrize(
    "never", ["9999-12-31", "0001-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_a_year_that_means_never_is_no_date(never: str) -> None:
    """What programs write for "never" is missing, and no moment at the end of the calendar."""
    assert read_date(never, "Pacific/Kiritimati") is None


@pytest.mark.parametrize("stretch", ["999999y", "999999mo", "999999d"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
def test_a_stretch_beyond_the_calendar_never_ends(stretch: str, zone: str) -> None:
    """Nothing overflows: a moment that no calendar reaches is one that never comes, or one before everything."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for length in (Duration.parse(stretch), Duration.of_days(1e15)):
        assert add(start, length, zone) > datetime(4000, 1, 1, tzinfo=UTC)
        assert add(start, length.negative, zone) < datetime(2000, 1, 1, tzinfo=UTC)
