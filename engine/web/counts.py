"""What this process counted since it began, for `/metrics`: counters, and how long things took in steps of time.

Each process of `--workers` counts for itself; its lines carry its number, so that series of several are told apart.
"""

from __future__ import annotations

import multiprocessing
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from threading import Lock

STEPS = (1, 10, 60, 600, 3_600, 21_600, 86_400)  # seconds
LAG = "homing_webhook_lag_seconds"  # from what happened, by the sender's word, to our taking it
_Key = tuple[str, tuple[tuple[str, str], ...]]


class Counts:
    """Named counters and histograms with labels; safe for threads. `always` are labels of every line."""

    def __init__(self, **always: str) -> None:
        self._always = always
        self._counts: Counter[_Key] = Counter()
        self._seconds: dict[_Key, tuple[list[int], float]] = {}
        self._lock = Lock()

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        """Count something."""
        with self._lock:
            self._counts[self._key(name, labels)] += count

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Count how long something took; less than nothing counts as nothing."""
        seconds, key = max(seconds, 0.0), self._key(name, labels)
        with self._lock:
            numbers, total = self._seconds.get(key, ([0] * (len(STEPS) + 1), 0.0))
            numbers[bisect_left(STEPS, seconds)] += 1
            self._seconds[key] = (numbers, total + seconds)

    def lines(self) -> Iterator[str]:
        """Yield everything as Prometheus reads it."""
        with self._lock:
            standing = sorted(self._counts.items())
            seconds = sorted((key, (list(numbers), total)) for key, (numbers, total) in self._seconds.items())
        seen = ""
        for (name, labels), count in standing:
            if name != seen:
                yield f"# TYPE {name} counter"
                seen = name
            yield f"{name}{_braced(labels)} {count}"
        for (name, labels), (numbers, total) in seconds:
            if name != seen:
                yield f"# TYPE {name} histogram"
                seen = name
            sofar = 0
            for step, number in zip((*STEPS, "+Inf"), numbers, strict=True):
                sofar += number
                yield f"{name}_bucket{_braced((*labels, ('le', str(step))))} {sofar}"
            yield f"{name}_sum{_braced(labels)} {total:.3f}"
            yield f"{name}_count{_braced(labels)} {sofar}"

    def _key(self, name: str, labels: dict[str, str]) -> _Key:
        return name, tuple(sorted({**labels, **self._always}.items()))


def own_labels() -> dict[str, str]:
    """Return the labels of this process: its number where it is one of several."""
    several = multiprocessing.parent_process() is not None
    return {"process": str(os.getpid())} if several else {}


def _braced(labels: tuple[tuple[str, str], ...]) -> str:
    told = ",".join(f'{key}="{_plain(value)}"' for key, value in labels)
    return f"{{{told}}}" if told else ""


def _plain(value: str) -> str:
    return value.replace("\\", "").replace('"', "").replace("\n", " ")
