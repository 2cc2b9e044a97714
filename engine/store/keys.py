"""Ranges of customers by their keys: how work is cut into slices that do not meet.

A range is half-open, and the last one of a cut has no end, so that customers who come later belong to one as well. A
slice only says where to look: who works on the same rows at once is still held apart by locks and claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Customers from `low` up to but not including `high`; without `high` all that follow."""

    low: int
    high: int | None = None

    def holds(self, column: Any) -> ColumnElement[bool]:
        """Return the condition that a column of customers' keys lies in the range."""
        if self.high is None:
            return and_(column >= self.low)
        return and_(column >= self.low, column < self.high)

    def __contains__(self, key: int) -> bool:
        return self.low <= key and (self.high is None or key < self.high)


def cut(least: int, greatest: int, parts: int) -> list[KeyRange]:
    """Cut the keys between two into so many ranges of like size; together they hold every key there is.

    >>> cut(1, 100, 3)
    [KeyRange(low=0, high=35), KeyRange(low=35, high=69), KeyRange(low=69, high=None)]
    """
    width = max(1, -(-(greatest - least + 1) // parts))
    bounds = [least + width * number for number in range(1, parts)]
    return [KeyRange(low, high) for low, high in zip([0, *bounds], [*bounds, None], strict=True)]
