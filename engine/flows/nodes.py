"""The tree that definitions are read from: scalars, lists and tables that remember where they stand.

Comes in: YAML (through `engine.flows.yaml_source`) or stored plain data (`from_plain`, without positions). Goes out:
one shape that the parsers read, so that a file and a stored definition mean the same. Promises: numbers are int or
Decimal, never float; keys are text and stand once; `plain` gives data that JSON can hold without loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine.diagnostics import Span

NOWHERE = Span()
Value = str | int | Decimal | bool | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: text, a number, true or false, or nothing."""

    value: Value
    span: Span = NOWHERE
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    span: Span = NOWHERE

    def __iter__(self) -> Iterator[Node]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a table with its value."""

    key: str
    key_span: Span
    value: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with text keys, in order of writing."""

    entries: tuple[Entry, ...]
    span: Span = NOWHERE

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: object) -> bool:
        return any(entry.key == key for entry in self.entries)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, in order of writing."""
        return tuple(entry.key for entry in self.entries)

    def entry(self, key: str) -> Entry | None:
        """Return the entry of that key, or None."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def get(self, key: str) -> Node | None:
        """Return the value under that key, or None."""
        entry = self.entry(key)
        return entry.value if entry else None

    def key_span(self, key: str) -> Span:
        """Return where the key stands, else where the table begins."""
        entry = self.entry(key)
        return entry.key_span if entry else self.span

    def without(self, *keys: str) -> Table:
        """Return the same table without some keys."""
        return Table(tuple(entry for entry in self.entries if entry.key not in keys), self.span)


Node = Scalar | Items | Table


def is_nothing(node: Node | None) -> bool:
    """Return whether there is no value: no node, or an empty one."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def neat_number(number: Decimal) -> int | Decimal:
    """Return the number in its one form: whole numbers as int, others without trailing zeros.

    >>> neat_number(Decimal("4.50")), neat_number(Decimal("1e2"))
    (Decimal('4.5'), 100)
    """
    if number == number.to_integral_value():
        return int(number)
    return Decimal(format(number.normalize(), "f"))


def plain(node: Node) -> Any:
    """Return the node as plain data for JSON: Decimals become floats of the same digits."""
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return float(node.value) if isinstance(node.value, Decimal) else node.value


def exact(node: Node) -> Any:
    """Return the node as Python values, with numbers exact (int or Decimal)."""
    if isinstance(node, Table):
        return {entry.key: exact(entry.value) for entry in node.entries}
    if isinstance(node, Items):
        return [exact(item) for item in node.items]
    return node.value


def from_plain(data: Any, span: Span = NOWHERE) -> Node:
    """Return plain data (as stored in JSON) as a tree; every node carries `span`, by default no place at all."""
    if isinstance(data, Mapping):
        return Table(
            tuple(Entry(str(key), span, from_plain(value, span)) for key, value in data.items()), span
        )
    if isinstance(data, list | tuple):
        return Items(tuple(from_plain(item, span) for item in data), span)
    if isinstance(data, float):
        return Scalar(neat_number(Decimal(repr(data))), span)
    if isinstance(data, Decimal):
        return Scalar(neat_number(data), span)
    return Scalar(
        data if data is None or isinstance(data, str | int) else str(data), span, isinstance(data, str)
    )
