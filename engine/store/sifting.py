"""Sifting: of a batch that fails, those are found that fail alone, and the others are done.

Comes in: items (facts, candidates, newcomers, messages) and what is to be done with them. Goes out: what was done, and the items
that fail alone, each with its error. What the database itself refuses and an error with a sentence of its own (the brake too)
concern more than one item and go up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from engine.errors import HomingError
from engine.store.prepared import undoing

MOST = 10  # failing alone, in one batch or still set aside; beyond that it is not the items
T = TypeVar("T")
R = TypeVar("R")
Failed = tuple[T, Exception]


def sift(
    connection: Connection, items: Sequence[T], attempt: Callable[[Sequence[T]], R]
) -> tuple[list[R], list[Failed[T]]]:
    """Do something for all items; where that fails, halve them until those stand alone that fail.

    Raise the error itself where more than ten items fail alone: then it is not the items.
    """
    done: list[R] = []
    failed: list[Failed[T]] = []
    waiting = [items] if items else []
    while waiting:
        some = waiting.pop()
        try:
            done.append(undoing(connection, partial(attempt, some)))
        except (OperationalError, HomingError):
            raise
        except Exception as error:
            if len(some) > 1:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]  # the earlier ones are done first
                continue
            failed.append((some[0], error))
            if len(failed) > MOST:
                raise
    return done, failed
