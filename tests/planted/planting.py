"""What a planted bug is: a patch of the engine's real functions, beside the promise it breaks and the tests that must catch it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug by name: the promise that it breaks, the tests of which one must fail, and the patch that plants it.

    `promise` is what stands in bold in GUARANTEES.md, and the tests stand beside it there. They are played on SQLite, where
    nobody waits for a server, unless the bug shows with PostgreSQL (or what needs it) only.
    """

    name: str
    promise: str
    tests: tuple[str, ...]
    patch: Callable[[], None]
    postgresql: bool = False


PLANTS: dict[str, Plant] = {}


def breaks(
    promise: str, *tests: str, postgresql: bool = False
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Return what makes a plant of a patch, named as the function is."""

    def named(patch: Callable[[], None]) -> Callable[[], None]:
        name = patch.__name__.replace("_", "-")
        assert name not in PLANTS, f"two bugs are named {name}"
        PLANTS[name] = Plant(name, promise, tests, patch, postgresql)
        return patch

    return named


def instead(place: Any, name: str, make: Callable[[Any], Any], *, there_alone: bool = False) -> None:
    """Put what `make` makes of the real thing in its place, there and wherever the engine has it by name already."""
    real = getattr(place, name)
    other = make(real)
    setattr(place, name, other)
    if there_alone or not isinstance(place, ModuleType) or not callable(real):
        return
    for module in [module for key, module in sys.modules.items() if key.startswith("engine.")]:
        for alias in [alias for alias, value in vars(module).items() if value is real]:
            setattr(module, alias, other)


def always(value: Any) -> Callable[[Any], Any]:
    """Return what makes a function that gives the same whatever it is asked."""
    return lambda _real: lambda *_, **__: value
