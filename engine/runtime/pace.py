"""The pace at which mails leave by a real provider, shared by the threads of this program.

`[delivery] rate` and `[delivery.domains]` go in. `wait` returns when that many mails may leave, or when the program is to end; `delay` tells how long a mail to a
domain has to wait, without waiting: others go meanwhile. Several daemons share the rates: each takes its part of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Event, Lock

from engine.clock import machine_seconds
from engine.delivery.dispatch import CLAIM
from engine.delivery.rate import Bucket, Rate, parse_rate
from engine.settings import Delivery

CLAIM_SECONDS = (
    2.0  # what is claimed at once leaves within this time, so that the gate judges at nearly the present
)


class Pace:
    """A token bucket for threads."""

    def __init__(
        self,
        rate: Rate,
        stop: Event | None = None,
        seconds: Callable[[], float] = machine_seconds,
        domains: Mapping[str, Rate] | None = None,
    ) -> None:
        self._whole, self._stop, self._seconds = rate, stop or Event(), seconds
        self._domains = dict(domains or {})
        self._lock = Lock()
        self._bucket = Bucket.full(rate, seconds())
        self._of_domain = {domain: Bucket.full(each, seconds()) for domain, each in self._domains.items()}

    @classmethod
    def of(cls, delivery: Delivery, stop: Event | None = None) -> Pace:
        """Return the pace that the settings ask for; raise UsageError for a rate that is none."""
        domains = {domain: parse_rate(rate) for domain, rate in delivery.domains.items()}
        return cls(parse_rate(delivery.rate), stop, domains=domains)

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

    def delay(self, domain: str, behind: int) -> float:
        """Return 0.0 where a mail to this domain may leave now, and count it; else the seconds until it should be tried.

        `behind` is how many others to the domain wait before it.
        """
        if domain not in self._of_domain:
            return 0.0
        with self._lock:
            now, bucket = self._seconds(), self._of_domain[domain]
            granted, bucket = bucket.take(0 if behind else 1, now)
            self._of_domain[domain] = bucket
            return 0.0 if granted else bucket.seconds_until(1, now) + behind / bucket.rate.per_second

    def share(self, among: int) -> None:
        """Take one part of each rate where so many programs send."""
        with self._lock:
            self._bucket = _part(self._whole, among, self._bucket)
            for domain, rate in self._domains.items():
                self._of_domain[domain] = _part(rate, among, self._of_domain[domain])

    @property
    def most_claimed(self) -> int:
        """How many messages a worker claims at once."""
        return max(1, min(CLAIM, int(self._whole.per_second * CLAIM_SECONDS)))


def _part(whole: Rate, among: int, bucket: Bucket) -> Bucket:
    part = replace(whole, seconds=whole.seconds * max(1, among))
    return bucket if part == bucket.rate else Bucket(part, min(bucket.tokens, part.burst), bucket.at)
