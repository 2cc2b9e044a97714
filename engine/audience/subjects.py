"""Whom a condition is asked about: one enrollment-like context for one customer.

Entering, advancing, the gate and `why` all turn their rows into subjects and hand them to `engine.audience` in batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from engine.flows.conditions import Clause


class Subject(NamedTuple):
    """One customer with the trigger that conditions may refer to.

    `entered_at` bounds `since: entry`; `since_at` bounds facts in exits, goals and waits; `event_id` is the triggering
    fact, which never counts itself; `trigger` is that fact as it was (canonical names plus `order_number`, `years`);
    `answers` maps a wait's `as` to the fact that ended it.
    """

    customer_id: int
    entered_at: datetime
    since_at: datetime
    event_id: int | None = None
    order_id: str | None = None
    cart_id: str | None = None
    sku: str | None = None
    trigger: Mapping[str, Any] = {}
    answers: Mapping[str, Any] = {}


class About(Protocol):
    """What a condition is asked about: a `Subject`, or what knows the same of itself and is asked for it one by one."""

    @property
    def customer_id(self) -> int: ...  # noqa: D102 - see `Subject`

    @property
    def entered_at(self) -> datetime: ...  # noqa: D102

    @property
    def since_at(self) -> datetime: ...  # noqa: D102

    @property
    def event_id(self) -> int | None: ...  # noqa: D102

    @property
    def order_id(self) -> str | None: ...  # noqa: D102

    @property
    def cart_id(self) -> str | None: ...  # noqa: D102

    @property
    def sku(self) -> str | None: ...  # noqa: D102

    @property
    def trigger(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def answers(self) -> Mapping[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Ask:
    """A clause in its place: in `exit_when`, `goal` and waits `did` counts only facts after the entry unless bounded."""

    clause: Clause
    after_entry: bool = False
    _hash: int = field(init=False, repr=False, compare=False)  # looked up thousands of times in a pass

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.clause.text, self.after_entry)))

    def __hash__(self) -> int:
        return self._hash


class Told(dict[Ask, bool]):
    """Asks with their truth, which many subjects share; what is looked for in it again is remembered."""

    __slots__ = ("_among", "_first")

    def __init__(self, asks: Sequence[Ask], truths: Iterable[bool]) -> None:
        super().__init__(zip(asks, truths, strict=True))
        self._among: Sequence[Ask] = ()
        self._first: Ask | None = None

    def first_of(self, asks: Sequence[Ask]) -> Ask | None:
        """Return the first of these asks that holds."""
        if self._among is not asks:
            self._among, self._first = asks, first_true(self, asks)
        return self._first


def first_true(truth: Mapping[Ask, bool], asks: Iterable[Ask]) -> Ask | None:
    """Return the first of these asks that holds; one that was not asked does not."""
    return next((ask for ask in asks if truth.get(ask, False)), None)


def told(asks: Sequence[Ask], rows: Iterable[tuple[bool, ...]]) -> Iterator[Mapping[Ask, bool]]:
    """Yield each row of truths by its asks; equal rows share one mapping, which nobody may change."""
    known: dict[tuple[bool, ...], Mapping[Ask, bool]] = {}
    for row in rows:
        found = known.get(row)
        if found is None:
            found = known[row] = Told(asks, row)
        yield found


@dataclass(frozen=True, slots=True)
class ClauseTruth:
    """What one clause was found to be for one customer: the value found, in words, and the parts of a nested clause."""

    clause: str
    holds: bool
    found: str
    parts: tuple[ClauseTruth, ...] = ()
