"""The same work on many things by several processes, with the results in their order.

Comes in: a function and things. Goes out: what it makes of each. Promises: the result does not depend on how many
processes there are; where forking is not safe (other threads, other systems) or not worth it, this process does all.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def mapped(
    function: Callable[[T], R], things: Sequence[T], workers: int = 1, *, chunk: int = 4, worth_it: int = 24
) -> Iterator[R]:
    """Yield what `function` makes of each thing, in their order, on up to `workers` processes.

    Each process is a copy of this one, so that what was prepared before is there; results are pickled. Fewer than
    `worth_it` things are done here.
    """
    if workers < 2 or len(things) < worth_it or not _can_fork():
        yield from map(function, things)
        return
    _ours.append(lambda number: function(things[number]))  # the copies find it in their memory
    try:
        with multiprocessing.get_context("fork").Pool(workers, _calm) as pool:
            yield from pool.imap(_one, range(len(things)), chunk)
    finally:
        _ours.pop()


_ours: list[Callable[[int], Any]] = []


def _one(number: int) -> Any:
    return _ours[-1](number)


def _calm() -> None:
    """Leave Ctrl-C to the parent, which ends its copies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _can_fork() -> bool:
    return (
        sys.platform != "darwin"
        and "fork" in multiprocessing.get_all_start_methods()
        and threading.active_count() == 1
    )
