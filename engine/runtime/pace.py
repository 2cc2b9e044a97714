"""The pace at which mails leave by a real provider: `[delivery] rate`, shared by the threads of this program.

A rate goes in; `wait` returns when that many mails may leave, or when the program is to end. Several daemons share the
rate: each takes its part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event, Lock

from engine.clock import machine_seconds
from engine.delivery.dispatch import CLAIM
from engine.delivery.rate import Bucket, Rate

CLAIM_SECONDS = (
    2.0  # what is claimed at once leaves within this time, so that the gate judges at nearly the present
)


class Pace:
    """A token bucket for threads."""

    def __init__(
        self, rate: Rate, stop: Event | None = None, seconds: Callable[[], float] = machine_seconds
    ) -> None:
        self._whole, self._stop, self._seconds = rate, stop or Event(), seconds
        self._lock = Lock()
        self._bucket = Bucket.full(rate, seconds())

    def wait(self, count: int) -> None:
        """Return when `count` mails may leave; at once where there are none, or the program is to end."""
        while count > 0 and not self._stop.is_set():
            with self._lock:
                now = self._seconds()
                granted, self._bucket = self._bucket.take(count, now)
                count -= granted
                pause = self._bucket.seconds_until(count, now) if count else 0.0
            if count:
                self._stop.wait(min(max(pause, 0.001), 1.0))

    def share(self, among: int) -> None:
        """Take one part of the rate where so many programs send."""
        part = replace(self._whole, seconds=self._whole.seconds * max(1, among))
        with self._lock:
            if part != self._bucket.rate:
                self._bucket = Bucket(part, min(self._bucket.tokens, part.burst), self._bucket.at)

    @property
    def most_claimed(self) -> int:
        """How many messages a worker claims at once."""
        return max(1, min(CLAIM, int(self._whole.per_second * CLAIM_SECONDS)))
