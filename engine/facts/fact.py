"""Facts as frozen values: one row of what we were told, checked and in canonical names.

`engine.facts.normalise` makes them from rows, `engine.facts.project` folds them into the tables. A fact knows its own
time (`at`, None: the time of receipt) and its `document`: the whole fact in JSON's types, times in one normal form.
A row that cannot be used becomes a `BadRow` that says which column and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

Kind = Literal["customers", "products", "orders", "carts", "events", "consents"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order or a cart; `price` is of one piece, `plain` the line as it stands in documents."""

    sku: str
    quantity: Decimal = Decimal(1)
    price: Decimal | None = None
    plain: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain: dict[str, Any] = {"sku": self.sku, "quantity": plain_number(self.quantity)}
        if self.price is not None:
            plain["price"] = plain_number(self.price)
        object.__setattr__(self, "plain", plain)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without what dataclasses do for each field of each."""
        return Line, (self.sku, self.quantity, self.price)


class Fact(NamedTuple):
    """One fact: what it is about (`key`, `customer`), when it happened (`at`), what it tells (`fields`, `lines`).

    A field that is missing was not told; one that is None was told to be nothing. `lines` is None where not told.
    `content` is the text of all that was told: the same for the same row. On a virtual clock the fact arrives at
    `arrives`, where that is later than its own time.
    """

    kind: Kind
    key: str
    customer: str
    at: datetime | None
    fields: Mapping[str, Any]
    properties: Mapping[str, Any]
    lines: tuple[Line, ...] | None
    document: dict[str, Any]
    content: str
    backfill: bool = False
    number: int = 0
    arrives: datetime | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row set aside: its number in the file (1-based, the header not counted), the column, a plain reason, and itself.

    `raw` is the row as it came (one entry for each line of an order that was given in several, of which `line` is the
    bad one); `columns` are those of its table, where it does not have as many cells.
    """

    number: int
    column: str
    reason: str
    raw: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    line: int = 0
    columns: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One row as a reader gives it; `raw` and `numbers` are the rows of the file that it was made from."""

    number: int
    values: Mapping[str, Any]
    kind: Kind | None = None
    raw: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    numbers: tuple[int, ...] = ()


@lru_cache(maxsize=4_096)
def iso(moment: datetime) -> str:
    """Return the one normal form of a moment in documents: UTC, seconds, a fraction only where there is one.

    >>> iso(datetime(2026, 3, 1, 9, 30, tzinfo=UTC))
    '2026-03-01T09:30:00Z'
    """
    there = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return there.replace(tzinfo=None).isoformat() + "Z"


def short_hash(words: str) -> str:
    """Return a short name for a text: 16 letters, the same for the same text."""
    return hashlib.blake2b(words.encode(), digest_size=8).hexdigest()


def plain_number(value: Decimal) -> int | float:
    """Return a Decimal as JSON's number, whole ones without a fraction.

    >>> plain_number(Decimal("12.50")), plain_number(Decimal("3.00"))
    (12.5, 3)
    """
    whole = int(value)
    return whole if whole == value else float(value)


def plain_lines(lines: tuple[Line, ...]) -> list[Mapping[str, Any]]:
    """Return lines as they stand in a document; a price that is not known is left out."""
    return [line.plain for line in lines]
