"""Planted bugs: each breaks one promise of the engine by a patch, so that the simulation can show that it would notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

BUGS: dict[str, Callable[[], AbstractContextManager[object]]] = {}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a bug while the block runs; None plants nothing."""
    if name is None:
        yield
        return
    with BUGS[name]():
        yield
