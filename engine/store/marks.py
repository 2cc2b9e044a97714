"""Marks: the moment up to which something was done, by name, so that whoever comes next begins there.

Comes in: a name and a moment. Goes out: the moment that was noted last, or None. The nights and the ticks have theirs
here; a segment's schedule keeps one under a name of its own.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from engine.store.bulk import upsert_rows
from engine.store.prepared import Prepared
from engine.store.tables import marks

TICK = "tick"
NIGHT = "nightly"

_AT = Prepared(select(marks.c.at).where(marks.c.name == bindparam("name")))


def marked(connection: Connection, name: str) -> datetime | None:
    """Return the moment that was noted last under a name."""
    row = _AT.first(connection, name=name)
    return None if row is None else row.at


def mark(connection: Connection, name: str, at: datetime) -> None:
    """Note a moment under a name."""
    upsert_rows(connection, marks, [{"name": name, "at": at}])
