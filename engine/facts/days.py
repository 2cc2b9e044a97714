"""Days that a customer's record was told without a time: they float, until somebody's clock reads them.

Comes in: a field of a customer such as `points_expire_at`, told as `2026-05-20`. Goes out: that day for whoever is on time
by the customer's clock, and its midnight on the shop's clock for conditions, which read every date alone so. The column
of a field holds the moment; the day stands beside it, in the column that `DAY_COLUMNS` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from sqlalchemy import Column

from engine.calendar import at_wall
from engine.store.tables import customers

DAY_COLUMNS: Mapping[str, str] = {"created_at": "created_on", "points_expire_at": "points_expire_on"}


@dataclass(frozen=True, slots=True)
class Day:
    """A date that was told alone; `midnight` is when it begins on the shop's clock, in UTC."""

    date: date
    midnight: datetime


def moment_of(told: Day | datetime | None) -> datetime | None:
    """Return the moment that a field stands for on the shop's clock."""
    return told.midnight if isinstance(told, Day) else told


def columns_of(name: str, told: Day | datetime | None) -> dict[str, Any]:
    """Return the two columns of a field that may be told as a day alone."""
    day = told.date.isoformat() if isinstance(told, Day) else None
    return {name: moment_of(told), DAY_COLUMNS[name]: day}


def told_of(name: str, row: Any) -> Day | datetime | None:
    """Return a field of a customer's row as it was told: a day alone, or a moment."""
    moment, day = getattr(row, name), getattr(row, DAY_COLUMNS[name])
    return moment if day is None else Day(date.fromisoformat(day), moment)


def column_of(name: str) -> Column[Any] | None:
    """Return the column of a customer's field, or None for a property, be it called like a column of days."""
    return None if name in DAY_COLUMNS.values() else customers.c.get(name)


def value_of(name: str, row: Mapping[str, Any]) -> Any:
    """Return a column's value, as a day's text (`2026-05-20`) where it was told as a day alone."""
    day = row[DAY_COLUMNS[name]] if name in DAY_COLUMNS else None
    return row[name] if day is None else day


def on_clock(row: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """Return a customer's row without the columns of days: each day is its midnight on that zone's clock."""
    told = {name: row[day] for name, day in DAY_COLUMNS.items() if row.get(day) is not None}
    own = {name: value for name, value in row.items() if name not in DAY_COLUMNS.values()}
    return own | {name: at_wall(date.fromisoformat(day), time(0), zone) for name, day in told.items()}
