"""Marks: the moment up to which something was done, by name, so that whoever comes next begins there.

Comes in: a name and a moment. Goes out: the moment that was noted last, or None. The nights and the ticks have theirs
here; a segment's schedule keeps one under a name of its own.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from engine.store.dialect import upsert
from engine.store.tables import marks

TICK = "tick"
NIGHT = "nightly"


def marked(connection: Connection, name: str) -> datetime | None:
    """Return the moment that was noted last under a name."""
    at: datetime | None = connection.scalar(select(marks.c.at).where(marks.c.name == name))
    return at


def mark(connection: Connection, name: str, at: datetime) -> None:
    """Note a moment under a name."""
    upsert(connection, marks, [{"name": name, "at": at}], update=["at"])
