"""Calendar patterns of schedule triggers: five fields as in cron, on a wall clock.

Comes in: `minute hour day-of-month month day-of-week` with `*`, lists, ranges, steps and names (`mon`, `jan`). Goes out:
the naive local moments at which it fires. As in cron, where both days are restricted either of them is enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_PART = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d{1,4}))?")
_HORIZON_DAYS = 8 * 366  # 29 February comes at least once in it, across a century too


@dataclass(frozen=True, slots=True)
class Cron:
    """One pattern; `weekdays` counts Monday as 0; `either_day` is cron's rule for two restricted days."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool = False

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read five fields; raise ValueError with a plain sentence."""
        parts = text.lower().split()
        if len(parts) != 5:
            raise ValueError(
                f'"{text}" has {len(parts)} fields; a schedule has five: minute hour day month weekday'
            )
        values = [_field(part, *spec) for part, spec in zip(parts, _FIELDS, strict=True)]
        return cls(
            tuple(sorted(values[0])), tuple(sorted(values[1])), values[2], values[3],
            frozenset((day - 1) % 7 for day in values[4]), not parts[2].startswith("*") and not parts[4].startswith("*"),
        )  # fmt: skip

    def fires_on(self, day: date) -> bool:
        """Return whether it fires on that day at all."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.weekday() in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first firing strictly after a naive local moment, or None where it never fires again.

        >>> Cron.parse("0 9 1 * *").next_after(datetime(2026, 1, 1, 9, 0))
        datetime.datetime(2026, 2, 1, 9, 0)
        """
        day = moment.date()
        for ahead in range(_HORIZON_DAYS):
            candidate = day + timedelta(days=ahead)
            if not self.fires_on(candidate):
                continue
            for hour in self.hours:
                for minute in self.minutes:
                    at = datetime.combine(candidate, time(hour, minute))
                    if at > moment:
                        return at
        return None


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f'"{part}" is no {name}')
        first, last, step = match.groups()
        if first == "*" and last is None:
            start, end = low, high
        else:
            start = _number(first, name, low, high, names)
            end = _number(last, name, low, high, names) if last else high if step else start
        if end < start or (step is not None and int(step) == 0):
            raise ValueError(f'"{part}" is no {name}: it runs backward or stands still')
        found.update(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    value = names.get(text, int(text) if text.isascii() and text.isdigit() else -1)
    if not low <= value <= high:
        raise ValueError(f'"{text}" is no {name} ({low}–{high})')
    return value
