"""Things made ahead by a process of its own are the same things, in their order, with the same errors."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from engine import processes
from engine.errors import OutsideError, UsageError
from engine.processes import ahead


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "processors", lambda: 2)
    monkeypatch.setattr(processes, "_can_fork", lambda: True)


def _numbered(many: int) -> Iterator[tuple[int, int]]:
    for number in range(many):
        yield number, os.getpid()


def test_order_and_another_process() -> None:
    """What is made ahead comes in its order, and was made elsewhere."""
    found = list(ahead(_numbered(500), waiting=3))
    assert [number for number, _ in found] == list(range(500))
    assert {maker for _, maker in found}.isdisjoint({os.getpid()})


def test_an_error_is_raised_where_it_is_used() -> None:
    """An error of the making comes after the things that were made before it."""

    def things() -> Iterator[int]:
        yield 1
        raise UsageError("this file has no header")

    found = ahead(things())
    assert next(found) == 1
    with pytest.raises(UsageError, match="no header"):
        next(found)


def test_a_maker_that_is_killed_is_told() -> None:
    """A process that was ended from outside is an error, and not the end of the things."""

    def things() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)
        yield 2

    with pytest.raises(OutsideError, match="ended from outside"):
        list(ahead(things()))


def test_whoever_stops_early_leaves_nobody_behind() -> None:
    """A process that is ahead ends with the one that asked for its things."""
    found = ahead(_numbered(100_000), waiting=2)
    _, maker = next(found)
    found.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(maker, 0)
