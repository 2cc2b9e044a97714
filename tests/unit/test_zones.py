"""Every zone, every change of clocks from 2020 to 2037: wall times, quiet hours, months, anniversaries, week days.

What is right is found here by looking at each minute around a change, with nothing but `astimezone`, and held against
the engine's calendar. A share of the zones in CI, all of them with HOMING_TEST_SHARE=full (`make test-slow`).
"""

from __future__ import annotations

import os
import random
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import pytest

from engine.calendar import ALL_DAYS, Duration, QuietHours, add, at_wall, next_wall
from engine.flows.model import AnniversaryTrigger
from engine.journeys.moments import in_year, next_anniversary

FULL = os.environ.get("HOMING_TEST_SHARE") == "full"
SHARE, CHANGES_EACH = 60, 5
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
AROUND = timedelta(hours=52)
# Half hours, changes at midnight, in the middle of Ramadan, by two hours, and none.
ODD = (
    "Africa/Cairo", "Africa/Casablanca", "America/Asuncion", "America/Havana", "America/New_York", "America/Nuuk",
    "America/St_Johns", "Antarctica/Troll", "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu", "Asia/Tokyo",
    "Australia/Lord_Howe", "Europe/Berlin", "Europe/Dublin", "Pacific/Chatham",
)  # fmt: skip
NIGHTS = ("21:00-08:00", "00:30-02:30", "23:15-00:15", "01:00-05:00")


@dataclass(frozen=True)
class Change:
    """A change of clocks: in `zone`, the first minute `at` which the new time holds."""

    zone: str
    at: datetime

    @property
    def day(self) -> date:
        """The day on which it lies there."""
        return self.at.astimezone(ZoneInfo(self.zone)).date()


@dataclass(frozen=True)
class Minutes:
    """The minutes around a moment in a zone, as its clocks show them."""

    start: datetime
    walls: Sequence[datetime]

    def first(self, wall: datetime) -> datetime:
        """Return the first minute at which the clock shows this time, or a later one where it never does."""
        return self.start + next(number for number, each in enumerate(self.walls) if each >= wall) * MINUTE

    def wall(self, moment: datetime) -> datetime:
        """Return what the clock shows."""
        return self.walls[(moment - self.start) // MINUTE]


def changes(zone: str) -> Iterator[Change]:
    """Yield the changes of a zone's clocks, found by bisecting weeks."""
    tz = ZoneInfo(zone)
    moment = FIRST
    while moment < LAST:
        low, high = moment, moment + timedelta(days=7)
        before, after = low.astimezone(tz).utcoffset(), high.astimezone(tz).utcoffset()
        if before != after:
            while high - low > MINUTE:
                middle = low + ((high - low) // MINUTE // 2) * MINUTE
                low, high = (middle, high) if middle.astimezone(tz).utcoffset() == before else (low, middle)
            yield Change(zone, high)
        moment += timedelta(days=7)


def zones() -> list[str]:
    """Return the zones of this run."""
    every = sorted(name for name in available_timezones() if name not in ("localtime", "Factory"))
    if FULL:
        return every
    return sorted({*ODD, *random.Random(20261122).sample(every, SHARE)} & set(every))


@lru_cache
def all_changes() -> list[Change]:
    """Return the changes of this run: of several names for the same clocks only one is taken."""
    found, seen = [], set()
    for name in zones():
        own = list(changes(name))
        clocks = tuple((each.at, each.at.astimezone(ZoneInfo(name)).utcoffset()) for each in own)
        if clocks and clocks not in seen:
            seen.add(clocks)
            found += own if FULL else random.Random(name).sample(own, min(CHANGES_EACH, len(own)))
    return found


@lru_cache(maxsize=4096 if not FULL else 8)
def minutes(change: Change) -> Minutes:
    """Return the minutes around a change."""
    tz, start = ZoneInfo(change.zone), change.at - AROUND
    count = 2 * AROUND // MINUTE
    walls = [(start + number * MINUTE).astimezone(tz).replace(tzinfo=None) for number in range(count)]
    return Minutes(start, walls)


def clocks(change: Change) -> list[time]:
    """Return the times of day worth asking for: around the change, before and after it, and usual ones."""
    around = minutes(change)
    near = [around.wall(change.at + timedelta(minutes=m)) for m in (-121, -61, -30, -1, 0, 1, 29, 60, 121)]
    between = [around.wall(change.at - MINUTE) + timedelta(minutes=m) for m in (1, 15, 31, 59)]
    return sorted({*(each.time() for each in [*near, *between]), time(0, 0), time(8, 0), time(9, 0)})


@pytest.mark.parametrize("share", ["some" if not FULL else pytest.param("all", marks=pytest.mark.slow)])
class TestEveryChange:
    """What holds at every change of clocks."""

    def test_wall_times(self, share: str) -> None:
        """A time of day is the first minute at which the clock shows it; one that is left out, the end of the gap."""
        for change in all_changes():
            for clock in clocks(change):
                right = minutes(change).first(datetime.combine(change.day, clock))
                assert at_wall(change.day, clock, change.zone) == right, (change, clock)

    def test_week_days(self, share: str) -> None:
        """The next such week day at such a time is the first one that is not over, on either side of a change."""
        for change in all_changes():
            around = minutes(change)
            for clock in (time(0, 0), time(2, 30), time(8, 0)):
                fits = [
                    (day, around.first(datetime.combine(day, clock)))
                    for day in (change.day + timedelta(days=ahead) for ahead in (-1, 0, 1))
                ]
                for after in (
                    change.at - timedelta(hours=20),
                    change.at - MINUTE,
                    change.at,
                    change.at + MINUTE,
                ):
                    for day, moment in fits:
                        if moment >= after:
                            one = frozenset([day.weekday()])
                            assert next_wall(after, clock, one, change.zone) == moment, (change, after, day)
                    if any(moment >= after for _, moment in fits):
                        first = min(moment for _, moment in fits if moment >= after)
                        assert next_wall(after, clock, ALL_DAYS, change.zone) == first, (change, after, clock)

    def test_quiet_hours(self, share: str) -> None:
        """Who is quiet is told the first minute that is not, whether the clocks change before, in or after the night.

        Where they are put back into a night that has begun, it is not broken off for the minutes before it begins again.
        """
        for change in all_changes():
            around = minutes(change)
            for night in NIGHTS:
                quiet = QuietHours.parse(night)
                assert quiet is not None
                for offset in range(-14 * 60, 6 * 60, 47):
                    moment = change.at + offset * MINUTE
                    loud = moment
                    while is_in(around.wall(loud).time(), quiet):
                        loud += MINUTE
                    told = moment
                    while (until := quiet.ends(told, change.zone)) is not None:
                        assert told < until, (change, night, moment)
                        told = until
                    assert not is_in(around.wall(told).time(), quiet), (change, night, moment)
                    if told != loud:
                        assert told > loud, (change, night, moment)
                        assert around.wall(loud) < around.wall(loud - MINUTE), (change, night, moment)

    def test_months_and_days(self, share: str) -> None:
        """Months and days later it is the same time of day, on the last day where the month is too short."""
        for change in all_changes():
            for months, days in ((1, 0), (12, 0), (0, 1), (0, 14), (-6, 0)):
                start = shifted(change.day - timedelta(days=days), -months)
                target = shifted(start, months) + timedelta(days=days)
                for clock in (time(0, 30), time(2, 30), time(9, 0)):
                    moment = at_wall(start, clock, change.zone)
                    shown = moment.astimezone(ZoneInfo(change.zone))
                    right = at_wall(target, shown.time(), change.zone)
                    if abs(target - change.day) <= DAY:
                        right = minutes(change).first(datetime.combine(target, shown.time().replace(fold=0)))
                    told = add(moment, Duration(months, days), change.zone)
                    assert told == right, (change, months, days, clock)

    def test_anniversaries(self, share: str) -> None:
        """A birthday on the day of a change comes once that year, on that day, and once in each of the next."""
        for change in all_changes():
            birthday = change.day.replace(year=1984)
            for clock in (time(0, 0), time(2, 30), time(9, 0)):
                trigger = AnniversaryTrigger("birthday", at=clock)
                after = change.at - timedelta(days=200)
                for _ in range(3):
                    due = next_anniversary(trigger, birthday.isoformat(), change.zone, after, late=False)
                    assert due is not None
                    here = due.due_at.astimezone(ZoneInfo(change.zone))
                    assert here.date() == in_year(birthday.month, birthday.day, due.year), (change, clock)
                    assert here.time() >= clock
                    if due.year == change.day.year:
                        assert due.due_at == minutes(change).first(datetime.combine(change.day, clock)), (
                            change
                        )
                    assert due.due_at > after
                    after = due.due_at


def is_in(clock: time, quiet: QuietHours) -> bool:
    """Return whether a time of day is in the quiet hours, by going round the clock."""
    length = (minute_of(quiet.end) - minute_of(quiet.start)) % 1440
    return (minute_of(clock) - minute_of(quiet.start)) % 1440 < length


def minute_of(clock: time) -> int:
    """Return the minute of the day."""
    return clock.hour * 60 + clock.minute


def shifted(day: date, months: int) -> date:
    """Return the same day so many months on, or the last one of that month."""
    year, month = day.year, day.month
    for _ in range(abs(months)):
        month += 1 if months > 0 else -1
        if month in (0, 13):
            year, month = (year - 1, 12) if month == 0 else (year + 1, 1)
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def test_golden_tokyo_monday_eight() -> None:
    """Monday 08:00 in Tokyo is Sunday 23:00 UTC, all the year round."""
    monday = frozenset([0])
    found = [
        next_wall(datetime(2026, month, 1, tzinfo=UTC), time(8, 0), monday, "Asia/Tokyo")
        for month in (1, 4, 7, 11)
    ]
    assert found == [
        datetime(2026, 1, 4, 23, tzinfo=UTC),
        datetime(2026, 4, 5, 23, tzinfo=UTC),
        datetime(2026, 7, 5, 23, tzinfo=UTC),
        datetime(2026, 11, 1, 23, tzinfo=UTC),
    ]


def test_golden_new_york_nine_across_both_changes() -> None:
    """09:00 in New York is 14:00 UTC before 8 March 2026, 13:00 from then on, and 14:00 again from 1 November."""
    found, moment = [], datetime(2026, 3, 6, 20, tzinfo=UTC)
    for start in (moment, datetime(2026, 10, 30, 20, tzinfo=UTC)):
        moment = start
        for _ in range(3):
            moment = next_wall(moment + MINUTE, time(9, 0), ALL_DAYS, "America/New_York")
            found.append(moment)
    assert [f"{each:%m-%d %H:%M}" for each in found] == [
        "03-07 14:00", "03-08 13:00", "03-09 13:00", "10-31 13:00", "11-01 14:00", "11-02 14:00",
    ]  # fmt: skip


def test_a_day_that_was_left_out() -> None:
    """Samoa had no 30 December 2011: such a time is when the 31st begins; a birthday is kept on the 31st, and once."""
    apia = "Pacific/Apia"
    begins = datetime(2011, 12, 30, 10, tzinfo=UTC)
    assert at_wall(date(2011, 12, 30), time(9, 0), apia) == begins
    assert at_wall(date(2011, 12, 31), time(0, 0), apia) == begins
    trigger = AnniversaryTrigger("birthday", at=time(9, 0))
    due = next_anniversary(trigger, "1984-12-30", apia, datetime(2011, 6, 1, tzinfo=UTC), late=False)
    assert due is not None
    assert due.due_at == begins + timedelta(hours=9)
    following = next_anniversary(trigger, "1984-12-30", apia, due.due_at, late=False)
    assert following is not None
    assert (following.year, following.due_at) == (2012, datetime(2012, 12, 29, 19, tzinfo=UTC))


def test_the_end_of_months_and_of_february() -> None:
    """31 January and a month is the end of February; 29 February is kept on the 28th where there is none."""
    start = at_wall(date(2027, 1, 31), time(9, 0), "Europe/Berlin")
    assert add(start, Duration.parse("1mo"), "Europe/Berlin") == at_wall(
        date(2027, 2, 28), time(9, 0), "Europe/Berlin"
    )
    leap = at_wall(date(2028, 1, 31), time(9, 0), "Europe/Berlin")
    assert add(leap, Duration.parse("1mo"), "Europe/Berlin") == at_wall(
        date(2028, 2, 29), time(9, 0), "Europe/Berlin"
    )
    trigger, after, kept = AnniversaryTrigger("birthday", at=time(9, 0)), datetime(2026, 1, 1, tzinfo=UTC), []
    for _ in range(4):
        due = next_anniversary(trigger, "1984-02-29", "Asia/Tokyo", after, late=False)
        assert due is not None
        after = due.due_at
        kept.append(f"{due.due_at.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d}")
    assert kept == ["2026-02-28", "2027-02-28", "2028-02-29", "2029-02-28"]
