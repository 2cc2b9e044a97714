"""How often somebody may ask: a count for each key in a stretch of time, kept in this process.

Comes in: a key (an address of the network, a hash of an email) and the machine's seconds. Goes out: how long to wait, 0
where it may go on. Memory is bounded: the oldest keys are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock


class Pressure:
    """At most `count` per key in `seconds`; remembers `most` keys."""

    def __init__(self, count: float, seconds: float, most: int = 10_000) -> None:
        self.count, self.seconds, self.most = count, seconds, most
        self._level: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, key: str, now: float, weight: float = 1.0) -> float:
        """Count one asking and return 0, or return the seconds to wait, uncounted.

        >>> pressure = Pressure(2, 10.0)
        >>> [pressure.wait("a", 0.0), pressure.wait("a", 0.0), pressure.wait("a", 0.0), pressure.wait("b", 0.0)]
        [0.0, 0.0, 5.0, 0.0]
        """
        with self._lock:
            level, at = self._level.pop(key, (0.0, now))
            level, over = leaked(level, now - at, self.count, self.seconds, weight)
            if over <= 0:
                level += weight
            self._level[key] = (level, now)
            while len(self._level) > self.most:
                self._level.popitem(last=False)
        return max(0.0, over * self.seconds / self.count)

    def lift(self, key: str, now: float, level: float) -> None:
        """Know a key to be at a level at least: what others counted.

        >>> pressure = Pressure(2, 10.0)
        >>> pressure.lift("a", 0.0, 2.0)
        >>> pressure.wait("a", 0.0)
        5.0
        """
        with self._lock:
            before, at = self._level.pop(key, (0.0, now))
            before, _ = leaked(before, now - at, self.count, self.seconds)
            self._level[key] = (max(before, level), now)


def leaked(
    level: float, elapsed: float, count: float, seconds: float, weight: float = 1.0
) -> tuple[float, float]:
    """Return a level after some seconds, and by how much one more asking would be over; an empty one takes any."""
    level = max(0.0, level - max(elapsed, 0.0) * count / seconds)
    return level, 0.0 if level == 0.0 else level + weight - count
