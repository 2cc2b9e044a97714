"""How long work takes the processor, told so that it can be held against a limit on any machine, however busy."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

_USUAL = 0.02  # seconds that `_known_work` takes where the limits of tests were set, and nobody else worked
_TRIES = 4


def usual_seconds(work: Callable[[], object], enough: float) -> float:
    """Return the processor's seconds that some work takes, as the machine would have on which the limits were set.

    A slower machine, and others on the same cores, which share their caches and units, lengthen it: by as much as they
    lengthen work that is known, which is done before and after. The least of several times counts; one below `enough` ends
    it. The work must be able to be done again.
    """
    least = _once(work)
    for _ in range(_TRIES - 1):
        if least < enough:
            break
        least = min(least, _once(work))
    return least


def _once(work: Callable[[], object]) -> float:
    before = _seconds(_known_work)
    spent = _seconds(work)
    return spent / max(1.0, before / _USUAL, _seconds(_known_work) / _USUAL)


def _seconds(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began


def _known_work() -> None:
    """Make and sort texts and numbers, as reading files does."""
    texts = {f"{number:x}": number * number for number in range(50_000)}
    sorted(texts, key=texts.__getitem__, reverse=True)
