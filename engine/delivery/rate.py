"""How many mails may leave in a stretch of time: a pure token bucket.

The setting ("20/s") comes in, a `Rate` goes out; a `Bucket` is a value that says how many mails may go now and how
long to wait for more. The time is an argument: seconds of any steady clock. Over any T seconds no more than
`rate.burst + T × rate.per_second` mails are granted.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from engine.errors import UsageError

_RATE = re.compile(r"\s*(\d{1,9})\s*(?:/|per)\s*(\d{1,6})?\s*(s|m|h|d)\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` mails in every `seconds` seconds."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        """The mails that one second brings."""
        return self.count / self.seconds

    @property
    def burst(self) -> float:
        """The mails that may leave at once after a rest: what one second brings, and at least one.

        A day's allowance saved up over a quiet night must not leave in one gulp: mailbox providers punish that.
        """
        return max(1.0, self.per_second)


def parse_rate(text: str) -> Rate:
    """Return the rate that a setting such as "20/s", "600/m", "5000/h" or "100 per 10s" means.

    Raises UsageError for anything else and for a rate of nothing.

    >>> parse_rate("20/s")
    Rate(count=20, seconds=1)
    """
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) == 0 or (match[2] and int(match[2]) == 0):
        raise UsageError(f'a rate reads like "20/s", "600/m" or "5000/h", not "{text}"')
    return Rate(int(match[1]), int(match[2] or 1) * _SECONDS[match[3].lower()])


@dataclass(frozen=True, slots=True)
class Bucket:
    """The allowance as it stood at `at` (seconds of a steady clock)."""

    rate: Rate
    tokens: float
    at: float

    @classmethod
    def full(cls, rate: Rate, now: float) -> Bucket:
        """Return a bucket that has rested."""
        return cls(rate, rate.burst, now)

    def _filled(self, now: float) -> Bucket:
        # A clock that steps back (another machine's, a suspended laptop) gives nothing and takes nothing.
        elapsed = max(0.0, now - self.at)
        tokens = min(self.rate.burst, self.tokens + elapsed * self.rate.per_second)
        return replace(self, tokens=tokens, at=max(now, self.at))

    def take(self, wanted: int, now: float) -> tuple[int, Bucket]:
        """Return how many of `wanted` mails may go at `now` (0 to `wanted`), and the bucket after them."""
        filled = self._filled(now)
        # The nudge forgives the rounding of sums such as 0.1 + 0.2, which would cost a whole mail.
        granted = max(0, min(wanted, math.floor(filled.tokens + 1e-9)))
        return granted, replace(filled, tokens=max(0.0, filled.tokens - granted))

    def seconds_until(self, wanted: int, now: float) -> float:
        """Return the seconds from `now` until `wanted` mails (or a full burst, if that is fewer) may go."""
        missing = min(float(wanted), math.floor(self.rate.burst)) - self._filled(now).tokens
        return max(0.0, missing / self.rate.per_second)
