"""When a date of a customer's comes round: pure arithmetic for `anniversary` and `date` triggers and field waits.

Comes in: a date or moment as stored, a zone, offset and time of day. Goes out: when it is due, until when the chance
lasts, and what makes the occurrence unique. 29 February is kept on 28 February in other years.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from engine.calendar import Duration, add, at_wall, local
from engine.flows.model import AnniversaryTrigger, DateTrigger


@dataclass(frozen=True, slots=True)
class Due:
    """One moment of a date trigger; `until` is the last moment at which entering still makes sense."""

    due_at: datetime
    until: datetime
    occurrence: str
    year: int
    years: int | None


_YEARS = range(1000, 3000)
_MONTH_DAY = re.compile(r"(?:--)?(\d{2})-(\d{2})")


def read_date(value: Any, zone: str) -> date | datetime | tuple[int, int] | None:
    """Return a stored value as a datetime, a date or (month, day) without a year; None where it is no date.

    Neither is one of a year before 1000 or after 2999: programs write 9999-12-31 for never.
    """
    found = _read(value, zone)
    return found if found is None or isinstance(found, tuple) or found.year in _YEARS else None


def _read(value: Any, zone: str) -> date | datetime | tuple[int, int] | None:
    if isinstance(value, datetime):
        return value
    text = str(value).strip() if value is not None else ""
    without_year = _MONTH_DAY.fullmatch(text)
    try:
        if without_year:
            month, day = int(without_year[1]), int(without_year[2])
            date(2024, month, day)
            return month, day
        if len(text) == 10:
            return date.fromisoformat(text)
        if len(text) > 10:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else at_wall(moment.date(), moment.time(), zone)
    except (ValueError, OverflowError):
        return None
    return None


def as_moment(value: Any, zone: str) -> datetime | None:
    """Return a stored date or moment as a moment: a bare date is its midnight on the zone's clock."""
    found = read_date(value, zone)
    if isinstance(found, datetime):
        return found.astimezone(UTC)
    return at_wall(found, time(0, 0), zone) if isinstance(found, date) else None


def yearly(value: Any, zone: str) -> tuple[int, int] | None:
    """Return the (month, day) of a stored date that comes round each year, such as a birthday."""
    found = read_date(value, zone)
    return found if found is None or isinstance(found, tuple) else (found.month, found.day)


def in_year(month: int, day: int, year: int) -> date:
    """Return the day that an anniversary is kept on in a year."""
    try:
        return date(year, month, day)
    except ValueError:
        return date(year, 2, 28)


def next_anniversary(
    trigger: AnniversaryTrigger, value: Any, zone: str, after: datetime, *, late: bool
) -> Due | None:
    """Return the first anniversary due after a moment; with `late` also one that is due already but not yet over."""
    found = read_date(value, zone)
    if found is None:
        return None
    born: int | None = None
    if isinstance(found, tuple):
        month, day = found
    else:
        here = local(found, zone).date() if isinstance(found, datetime) else found
        month, day, born = here.month, here.day, here.year
    this_year = local(after, zone).year
    for year in range(this_year - 1, this_year + 4):
        kept = in_year(month, day, year)
        due, until = _kept_on(kept, trigger.offset, trigger.at, zone)
        is_first_day = born is not None and year <= born
        if not is_first_day and (due > after or (late and until > after)):
            return Due(due, until, f"year:{year}", year, year - born if born is not None else None)
    return None


@lru_cache(maxsize=16_384)
def _kept_on(kept: date, offset: Duration, clock: time, zone: str) -> tuple[datetime, datetime]:
    """Return when an anniversary is due that is kept on a day, and when it is over: many customers share a day."""
    due = _due_on(kept, offset, clock, zone)
    return due, max(due, at_wall(kept + timedelta(days=1), time(0, 0), zone))


def date_due(trigger: DateTrigger, value: Any, zone: str) -> Due | None:
    """Return when a `date` trigger is due for this value."""
    found = read_date(value, zone)
    if found is None or isinstance(found, tuple):
        return None
    if isinstance(found, datetime):
        here = local(found, zone)
        day, clock = here.date(), trigger.at or here.time()
    else:
        day, clock = found, trigger.at or time(0, 0)
    due = _due_on(day, trigger.offset, clock, zone)
    until = max(due, at_wall(day + timedelta(days=1), time(0, 0), zone))
    return Due(due, until, f"date:{day.isoformat()}", day.year, None)


def _due_on(day: date, offset: Duration, clock: time, zone: str) -> datetime:
    """Return the moment `offset` away from a day at a time of day: calendar parts first, then exact ones."""
    calendar_part = Duration(offset.months, offset.days)
    noon = at_wall(day, time(12, 0), zone)
    shifted = local(add(noon, calendar_part, zone), zone).date()
    return at_wall(shifted, clock, zone) + timedelta(seconds=offset.seconds)
