"""What this process counted since it began, for `/metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from threading import Lock


class Counts:
    """Named counters with labels; safe for threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._lock = Lock()

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        """Count something."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += count

    def lines(self) -> Iterator[str]:
        """Yield the counters as Prometheus reads them."""
        with self._lock:
            standing = sorted(self._counts.items())
        seen = ""
        for (name, labels), count in standing:
            if name != seen:
                yield f"# TYPE {name} counter"
                seen = name
            told = ",".join(f'{key}="{value}"' for key, value in labels)
            yield f"{name}{{{told}}} {count}" if told else f"{name} {count}"
