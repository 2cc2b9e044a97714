"""Many scenarios on several processors: each process has a stage of its own, and the verdicts come back in order.

Comes in: a theatre and scenarios. Goes out: what `play` makes of each. Promises: the result does not depend on how many
processes there are; where forking is not safe (other threads, other systems), all are played in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from engine.deploy.stage import Theatre
from engine.flows.scenario import Scenario

WORTH_IT = 24  # below this, starting processes costs more than it saves
CHUNK = 4

T = TypeVar("T")
Play = Callable[[Theatre, Scenario], T]


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def play_all(theatre: Theatre, scenarios: Sequence[Scenario], play: Play[T], workers: int = 1) -> Iterator[T]:
    """Yield what `play` makes of each scenario, in their order, on up to `workers` processes."""
    if workers < 2 or len(scenarios) < WORTH_IT or not _can_fork():
        yield from (play(theatre, scenario) for scenario in scenarios)
        return
    theatre.prepare()
    _ours.clear()
    _ours.append(
        lambda number: play(theatre, scenarios[number])
    )  # children find it in their copy of this memory
    with multiprocessing.get_context("fork").Pool(workers, _calm) as pool:
        yield from pool.imap(_play_one, range(len(scenarios)), CHUNK)
    _ours.clear()


_ours: list[Callable[[int], Any]] = []


def _play_one(number: int) -> Any:
    return _ours[0](number)


def _calm() -> None:
    """Leave Ctrl-C to the parent, which ends the children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _can_fork() -> bool:
    return (
        sys.platform != "darwin"
        and "fork" in multiprocessing.get_all_start_methods()
        and threading.active_count() == 1
    )
