"""The one place that reads the clock.

Everything else takes the time as an argument. `SystemClock` is the machine's; `VirtualClock` stands where it was put
and only ever moves forward, so that a virtual database can be driven through months in seconds.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

FARTHEST = timedelta(minutes=10)  # no lease lasts as long


class Clock(Protocol):
    """Tells the time that decisions are made at (aware, UTC)."""

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""
        return datetime.now(UTC)


class VirtualClock:
    """A clock that stands still until it is moved, and never goes back."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """Return the virtual moment."""
        return self._now

    def advance_to(self, moment: datetime) -> datetime:
        """Move forward to `moment`, or stay where that would be backward; return where the clock stands."""
        self._now = max(self._now, moment.astimezone(UTC))
        return self._now


def machine_seconds() -> float:
    """Return monotonic machine seconds, for leases, rate limits and measuring: never for decisions."""
    return time.monotonic()


def machine_now() -> datetime:
    """Return the machine's wall time in UTC whatever clock decisions use: for leases that other processes read."""
    return datetime.now(UTC)


def has_ended(until: datetime, now: datetime) -> bool:
    """Return whether a lease is over: it has ended, or ends so far ahead that the clock that gave it was wrong.

    >>> now = datetime(2026, 3, 1, tzinfo=UTC)
    >>> has_ended(now, now), has_ended(now + timedelta(seconds=60), now), has_ended(now + timedelta(days=1), now)
    (True, False, True)
    """
    return not now < until <= now + FARTHEST


def sleep(seconds: float) -> None:
    """Let that much machine time pass."""
    time.sleep(seconds)
