"""The same work on many things by several processes, or by one that goes ahead, with the results in their order.

Comes in: a function and things, or things that take work to make. Goes out: what is made of each. Promises: the result
does not depend on how many processes there are; where forking is not safe (other threads, other systems) or not worth
it, this process does all; none outlives the one that started it, even where that is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any, TypeVar

from engine.errors import OutsideError

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


def ahead(things: Iterable[T], *, waiting: int = 64) -> Iterator[T]:
    """Return the things, made by a process of its own while this one does something else, or works on those that it has.

    That process begins at once; it is a copy of this one, at most `waiting` things ahead of it. What making them raises is
    raised here.
    """
    if processors() < 2 or not _can_fork():
        return iter(things)
    context = multiprocessing.get_context("fork")
    made: Any = context.Queue(waiting)
    maker = context.Process(target=_make, args=(things, made), daemon=True)
    maker.start()
    return _taken(made, maker)


def _taken(made: Any, maker: Any) -> Iterator[Any]:
    try:
        while True:
            thing, error, more = _next(made, maker)
            if error is not None:
                raise error
            if not more:
                return
            yield thing
    finally:
        maker.kill()
        maker.join()
        made.close()


def _make(things: Iterable[Any], made: Any) -> None:
    _calm()
    try:
        for thing in things:
            made.put((thing, None, True))
    except Exception as error:  # noqa: BLE001 - whatever it was, it is the parent's
        made.put((None, error, False))
    else:
        made.put((None, None, False))
    made.close()
    made.join_thread()


def _next(made: Any, maker: Any) -> tuple[Any, Exception | None, bool]:
    while True:
        alive = maker.is_alive()
        try:
            found: tuple[Any, Exception | None, bool] = made.get(timeout=1.0 if alive else 0.0)
        except queue.Empty:
            if not alive:
                raise OutsideError("the process that reads ahead was ended from outside") from None
        else:
            return found


_ours: list[Callable[[int], Any]] = []


def _one(number: int) -> Any:
    return _ours[-1](number)


def _calm() -> None:
    """Leave Ctrl-C to the parent, which ends its copies; where it is killed and cannot, end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Wait until the parent is gone, then end at once: a full queue that nobody reads would be waited for for ever."""
    wait([sentinel])
    os._exit(1)


def _can_fork() -> bool:
    return (
        sys.platform != "darwin"
        and "fork" in multiprocessing.get_all_start_methods()
        and threading.active_count() == 1
    )
