"""Calendar arithmetic on customers' own clocks: durations, wall-clock times, zones.

Comes in: aware UTC datetimes, IANA zone names, durations as marketers write them (`30min`, `4h`, `30d`, `2w`, `6mo`,
`1y`). Goes out: aware UTC datetimes. Promises: minutes and hours are exact time; days and longer keep the time of day
on the given zone's clock; months are clipped to their end; a wall time that does not exist moves to the next valid
minute, one that exists twice is the first.
"""

from __future__ import annotations

import logging
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DURATION = re.compile(r"(-?)(\d{1,6}(?:\.\d{1,3})?)\s*(s|sec|min|h|d|w|mo|y)")
_UNITS = {
    "s": "seconds",
    "sec": "seconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "w": "weeks",
    "mo": "months",
    "y": "years",
}
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
log = logging.getLogger("homing.calendar")
ALL_DAYS = frozenset(range(7))
NEVER, BEFORE_ALL = datetime(9000, 1, 1, tzinfo=UTC), datetime(1000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Duration:
    """A stretch of time as people say it: calendar months, calendar days and exact seconds.

    >>> Duration.parse("2w")
    Duration(months=0, days=14, seconds=0)
    """

    months: int = 0
    days: int = 0
    seconds: int = 0

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read `30min`, `4h`, `30d`, `2w`, `6mo`, `1y`, also negative; raise ValueError with a plain sentence."""
        match = _DURATION.fullmatch(str(text).strip())
        if match is None:
            raise ValueError(f'"{text}" is not a duration such as 30min, 4h, 30d, 2w, 6mo or 1y')
        sign, number, unit = match.groups()
        amount = float(number) * (-1 if sign else 1)
        if unit in ("s", "sec", "min", "h"):
            return cls(seconds=round(amount * {"s": 1, "sec": 1, "min": 60, "h": 3600}[unit]))
        if amount != int(amount):
            raise ValueError(f'"{text}": days and longer are whole numbers')
        whole = int(amount)
        if unit == "d":
            return cls(days=whole)
        if unit == "w":
            return cls(days=7 * whole)
        return cls(months=whole * (12 if unit == "y" else 1))

    @classmethod
    def of_days(cls, days: float) -> Duration:
        """Return a stretch of days that may be broken: whole days keep the time of day, what is left is exact.

        >>> Duration.of_days(10.5)
        Duration(months=0, days=10, seconds=43200)
        """
        whole = int(days)
        return cls(days=whole, seconds=round((days - whole) * 86_400))

    @property
    def negative(self) -> Duration:
        """The same stretch in the other direction."""
        return Duration(-self.months, -self.days, -self.seconds)

    @property
    def approximate(self) -> timedelta:
        """The usual length, with months of 30.4375 days: for estimates and ordering, not for deciding."""
        return timedelta(days=self.days + 30.4375 * self.months, seconds=self.seconds)

    @property
    def approximate_days(self) -> float:
        """The usual length in days, also of a stretch that no `timedelta` can hold."""
        return self.days + 30.4375 * self.months + self.seconds / 86_400

    @property
    def is_exact(self) -> bool:
        """Whether no calendar unit is in it."""
        return not self.months and not self.days

    def __str__(self) -> str:
        if self.months:
            return f"{self.months // 12}y" if self.months % 12 == 0 else f"{self.months}mo"
        if self.days:
            return f"{self.days}d"
        if self.seconds and self.seconds % 3600 == 0:
            return f"{self.seconds // 3600}h"
        return f"{self.seconds // 60}min" if self.seconds % 60 == 0 else f"{self.seconds}s"


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return the IANA zone; raise ValueError where there is no such zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'"{name}" is not an IANA time zone') from error


def is_zone(name: object) -> bool:
    """Return whether `name` is a zone that this machine knows."""
    if not isinstance(name, str) or not name:
        return False
    try:
        zone(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def clocks_of(name: str) -> ZoneInfo:
    """Return the zone; UTC, with a log line, for one that this machine does not know.

    What is told is checked, so this meets zones that another machine knew, or that a newer list of zones brought: one
    customer's must not stop a batch.
    """
    try:
        return zone(name)
    except ValueError:
        log.warning(
            "this machine does not know the time zone %s: UTC is used; update the package tzdata", name
        )
        return ZoneInfo("UTC")


def at_wall(day: date, clock: time, zone_name: str) -> datetime:
    """Return the UTC moment of a wall-clock time on a day; in a gap the next valid minute, in a fold the first.

    >>> at_wall(date(2026, 3, 29), time(2, 30), "Europe/Berlin").isoformat()
    '2026-03-29T01:00:00+00:00'
    """
    if clock.tzinfo is not None or clock.fold:
        clock = clock.replace(tzinfo=None, fold=0)
    steady = _steady_offset(day, zone_name)
    if steady is not None:
        return datetime.combine(day, clock, UTC) - steady
    return _at_wall_of(datetime.combine(day, clock, clocks_of(zone_name)))


@lru_cache(maxsize=32_768)
def _steady_offset(day: date, zone_name: str) -> timedelta | None:
    """Return how far the zone's clock is from UTC on a day; None where that changes on the day or just beside it.

    Most moments fall on the few days about now: a batch asks for them thousands of times.
    """
    if not 1 < day.toordinal() < date.max.toordinal():
        return None
    noon = datetime.combine(day, time(12), clocks_of(zone_name))
    beside = [noon + timedelta(hours=hours) for hours in range(-18, 19, 3)]
    offsets = {moment.replace(fold=fold).utcoffset() for moment in beside for fold in (0, 1)}
    return offsets.pop() if len(offsets) == 1 else None


def _at_wall_of(local: datetime) -> datetime:
    """Return the UTC moment of a time on its zone's clock, taken as the first of two."""
    first, second = local.utcoffset(), local.replace(fold=1).utcoffset()
    assert first is not None
    assert second is not None
    if first >= second:  # smaller before than after: the clock was put forward over this time
        return local.replace(tzinfo=UTC) - first
    return _end_of_gap(local)


def _end_of_gap(local: datetime) -> datetime:
    """Return the first moment after the gap in which `local` lies (bisected to the second)."""
    tz = local.tzinfo
    low = local.replace(fold=1).astimezone(UTC) - timedelta(hours=26)
    high = local.replace(fold=0).astimezone(UTC) + timedelta(hours=26)
    wanted = local.replace(tzinfo=None)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(tz).replace(tzinfo=None) >= wanted:
            high = middle
        else:
            low = middle
    return high.replace(microsecond=0)


def local(moment: datetime, zone_name: str) -> datetime:
    """Return the moment on that zone's clock (aware)."""
    return moment.astimezone(clocks_of(zone_name))


def add(moment: datetime, duration: Duration, zone_name: str) -> datetime:
    """Return `moment` plus `duration`: calendar parts on the zone's clock, then exact seconds.

    What leaves the calendar stops at the year 9000, or 1000 where it goes back: that is never, and holds up nobody.
    """
    try:
        return _add(moment, duration, zone_name)
    except (OverflowError, ValueError):
        return NEVER if duration.approximate_days > 0 else BEFORE_ALL


def _add(moment: datetime, duration: Duration, zone_name: str) -> datetime:
    days = duration.days
    if days or duration.months:
        here = local(moment, zone_name)
        if duration.months:
            days += (add_months(here.date(), duration.months) - here.date()).days
        if days:
            there = here + timedelta(days)
            steady = _steady_offset(there.date(), zone_name)
            moment = _at_wall_of(there) if steady is None else there.replace(tzinfo=UTC) - steady
    return moment + timedelta(0, duration.seconds) if duration.seconds else moment


def subtract(moment: datetime, duration: Duration, zone_name: str) -> datetime:
    """Return `moment` minus `duration`."""
    return add(moment, duration.negative, zone_name)


def add_months(day: date, months: int) -> date:
    """Return the day that many months on, clipped to the month's end.

    >>> add_months(date(2026, 1, 31), 1)
    datetime.date(2026, 2, 28)
    """
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def parse_clock(text: object) -> time:
    """Read a wall-clock time such as `09:00`; raise ValueError with a plain sentence."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(text).strip())
    if match is None:
        raise ValueError(f'"{text}" is not a time of day such as 09:00')
    return time(int(match[1]), int(match[2]))


def next_wall(after: datetime, clock: time, days: frozenset[int], zone_name: str) -> datetime:
    """Return the first moment not before `after` at which it is `clock` on one of the week days (Monday is 0)."""
    day = local(after, zone_name).date()
    for ahead in range(-1, 16):
        candidate = day + timedelta(days=ahead)
        if candidate.weekday() in days:
            moment = at_wall(candidate, clock, zone_name)
            if moment >= after:
                return moment
    raise ValueError("no week day is allowed")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A nightly stretch on the customer's own clock in which nothing is sent; it may cross midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> QuietHours | None:
        """Read `21:00-08:00`; an empty text means none; raise ValueError with a plain sentence."""
        if not text.strip():
            return None
        parts = text.split("-")
        if len(parts) != 2:
            raise ValueError(f'"{text}" is not a stretch of hours such as 21:00-08:00')
        start, end = parse_clock(parts[0]), parse_clock(parts[1])
        return None if start == end else cls(start, end)

    def ends(self, moment: datetime, zone_name: str) -> datetime | None:
        """Return when the quiet stretch that holds `moment` is over, or None where it is not quiet."""
        here = local(moment, zone_name)
        clock = here.time()
        quiet = (
            self.start <= clock < self.end
            if self.start < self.end
            else clock >= self.start or clock < self.end
        )
        if not quiet:
            return None
        day = here.date()
        if self.start > self.end and clock >= self.start:
            day += timedelta(days=1)
        until = at_wall(day, self.end, zone_name)
        return until if until > moment else moment + timedelta(minutes=1)


# Countries that keep one time zone on their whole territory that matters for mail (ISO 3166 → IANA).
ONE_ZONE_COUNTRIES: dict[str, str] = {
    line.split()[0]: line.split()[1]
    for line in """
    AT Europe/Vienna|BE Europe/Brussels|BG Europe/Sofia|CH Europe/Zurich|CZ Europe/Prague|DE Europe/Berlin|DK Europe/Copenhagen
    EE Europe/Tallinn|FI Europe/Helsinki|FR Europe/Paris|GB Europe/London|GR Europe/Athens|HR Europe/Zagreb|HU Europe/Budapest
    IE Europe/Dublin|IS Atlantic/Reykjavik|IT Europe/Rome|LI Europe/Vaduz|LT Europe/Vilnius|LU Europe/Luxembourg|LV Europe/Riga
    MC Europe/Monaco|MT Europe/Malta|NL Europe/Amsterdam|NO Europe/Oslo|PL Europe/Warsaw|RO Europe/Bucharest|RS Europe/Belgrade
    SE Europe/Stockholm|SI Europe/Ljubljana|SK Europe/Bratislava|TR Europe/Istanbul|CY Asia/Nicosia|MK Europe/Skopje|AL Europe/Tirane
    BA Europe/Sarajevo|ME Europe/Podgorica|MD Europe/Chisinau|BY Europe/Minsk|JP Asia/Tokyo|TW Asia/Taipei|KR Asia/Seoul
    HK Asia/Hong_Kong|MO Asia/Macau|SG Asia/Singapore|MY Asia/Kuala_Lumpur|TH Asia/Bangkok|VN Asia/Ho_Chi_Minh|PH Asia/Manila
    IN Asia/Kolkata|LK Asia/Colombo|NP Asia/Kathmandu|BD Asia/Dhaka|PK Asia/Karachi|KH Asia/Phnom_Penh|LA Asia/Vientiane
    MM Asia/Yangon|BN Asia/Brunei|IL Asia/Jerusalem|AE Asia/Dubai|SA Asia/Riyadh|QA Asia/Qatar|KW Asia/Kuwait|BH Asia/Bahrain
    OM Asia/Muscat|JO Asia/Amman|LB Asia/Beirut|IQ Asia/Baghdad|IR Asia/Tehran|GE Asia/Tbilisi|AM Asia/Yerevan|AZ Asia/Baku
    EG Africa/Cairo|MA Africa/Casablanca|DZ Africa/Algiers|TN Africa/Tunis|ZA Africa/Johannesburg|NG Africa/Lagos|KE Africa/Nairobi
    GH Africa/Accra|ET Africa/Addis_Ababa|TZ Africa/Dar_es_Salaam|UG Africa/Kampala|SN Africa/Dakar|CI Africa/Abidjan
    CO America/Bogota|PE America/Lima|VE America/Caracas|UY America/Montevideo|PY America/Asuncion|BO America/La_Paz
    CR America/Costa_Rica|PA America/Panama|GT America/Guatemala|SV America/El_Salvador|HN America/Tegucigalpa|NI America/Managua
    DO America/Santo_Domingo|CU America/Havana|JM America/Jamaica|TT America/Port_of_Spain|PR America/Puerto_Rico
    """.replace("\n", "|").split("|")
    if line.strip()
}
