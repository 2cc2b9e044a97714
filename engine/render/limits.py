"""Bounds on what one mail may cost: steps, output, time.

The sandbox keeps templates from reaching the machine, not from keeping it busy. A `Budget` belongs to one rendering;
the environment charges it for each pass through a loop, each call and each piece of output, and `TooMuch` ends a
rendering that goes beyond. Time is the processor's, for this thread, counted when the clock's has run out: a busy or
sleeping machine stops no mail.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from time import thread_time
from typing import Any, Protocol

from engine.clock import machine_seconds
from engine.render.errors import RenderError, TooMuch

MAX_STEPS = 50_000
MAX_OUTPUT = 1_000_000
MAX_TEXT = 65_536
MAX_ITEMS = 1_000
MAX_SECONDS = 2.0
_MAX_EXPONENT = 64
_MAX_BITS = 4_096


class Takes(Protocol):
    """Takes a value that a template writes, and gives what is written in its place."""

    def take(self, value: Any) -> str:
        """Return what stands for the value."""
        ...

    def emit(self, value: Any) -> str:
        """Return what stands for whatever an output gives: markup, nothing, or a value."""
        ...


class Budget:
    """What is left for one rendering: steps, characters of output, seconds of processor time.

    It reaches every piece of output, so it also carries the `tokens` that take the values' places while a structure is
    asked for (see `engine.render.structures`).
    """

    __slots__ = ("_allowed", "_busy_until", "_output", "_steps", "_until", "_used", "_wall", "tokens")

    def __init__(
        self,
        wall: Callable[[], float] = machine_seconds,
        used: Callable[[], float] = thread_time,
        allowed: float = MAX_SECONDS,
    ) -> None:
        self.tokens: Takes | None = None
        self._wall, self._used, self._allowed = wall, used, allowed
        self._until = wall() + allowed
        self._busy_until: float | None = None
        self._steps = self._output = 0

    def charge(self, characters: int = 0) -> None:
        """Take one step and some output off the budget; raise TooMuch where nothing is left."""
        self._steps += 1
        self._output += characters
        if self._steps > MAX_STEPS:
            raise TooMuch(f"the template takes more than {MAX_STEPS:,} steps; its loops run too often")
        if self._output > MAX_OUTPUT:
            raise TooMuch(f"the template writes more than {MAX_OUTPUT:,} characters")
        if not self._steps & 31 and self._wall() > self._until:
            self._look_closer()

    def _look_closer(self) -> None:
        """Count the processor's time from the moment when the clock's has run out: asking for it takes long itself."""
        used = self._used()
        if self._busy_until is None:
            self._busy_until = used + self._allowed
        elif used > self._busy_until:
            raise TooMuch("the template takes longer than two seconds")


def bounded_range(*limits: int) -> range:
    """Return `range(...)`, refusing more than 1,000 numbers."""
    numbers = range(*limits)
    first_beyond = numbers[MAX_ITEMS : MAX_ITEMS + 1]
    if first_beyond:
        raise TooMuch(f"range() gives at most {MAX_ITEMS:,} numbers in a template")
    return numbers


def bounded_text(text: str) -> str:
    """Return the text, refusing more than 65,536 characters."""
    if len(text) > MAX_TEXT:
        raise TooMuch(f"a text in the template grows beyond {MAX_TEXT:,} characters")
    return text


def bounded_items(value: object) -> object:
    """Return the value, refusing collections of more than 1,000 items (texts: 65,536 characters)."""
    if isinstance(value, str):
        return bounded_text(value)
    if isinstance(value, (list, tuple, dict, set, frozenset)) and len(value) > MAX_ITEMS:
        raise TooMuch(f"a list in the template grows beyond {MAX_ITEMS:,} items")
    return value


def check_operation(operator: str, left: object, right: object) -> None:
    """Refuse an operation whose result would be huge, before it is worked out."""
    if operator == "*":
        _check_repeat(left, right)
        _check_repeat(right, left)
        if (
            isinstance(left, int)
            and isinstance(right, int)
            and left.bit_length() + right.bit_length() > _MAX_BITS
        ):
            raise TooMuch("a number in the template grows too large")
    elif operator == "**":
        _check_power(left, right)
    elif operator == "%" and isinstance(left, (str, bytes)):
        raise RenderError(
            "% does not format text in a template; write the text and {{ values }} side by side"
        )
    elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        _check_size(left, len(left) + len(right))


def _check_repeat(value: object, times: object) -> None:
    if isinstance(value, (str, bytes, list, tuple)) and isinstance(times, int):
        _check_size(value, len(value) * times)


def _check_size(value: object, size: int) -> None:
    if isinstance(value, (str, bytes)):
        if size > MAX_TEXT:
            raise TooMuch(f"a text in the template grows beyond {MAX_TEXT:,} characters")
    elif size > MAX_ITEMS:
        raise TooMuch(f"a list in the template grows beyond {MAX_ITEMS:,} items")


def _check_power(left: object, right: object) -> None:
    exponent = float(right) if isinstance(right, (int, float, Decimal)) else _MAX_EXPONENT + 1.0
    if abs(exponent) > _MAX_EXPONENT:
        raise TooMuch(f"a template raises numbers to the power of {_MAX_EXPONENT} at most")
    if isinstance(left, int) and left.bit_length() > _MAX_BITS // _MAX_EXPONENT:
        raise TooMuch("a number in the template grows too large")
