"""Files that only one process works on at a time.

Comes in: a path. Goes out: whether it could be held; the hold ends with the block, or with the process.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(lock: Path) -> Iterator[bool]:
    """Hold a lock file until the block ends or this process dies; give whether it could be had."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
