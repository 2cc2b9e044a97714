"""What people say on our pages becomes facts, the way every other fact does.

Comes in: canonical rows, inside a write transaction. Goes out: the facts are projected, raise their events and wait in
the inbox for the next pass. A row that cannot be read raises UsageError and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from engine.errors import UsageError
from engine.facts.fact import BadRow, Fact, Kind
from engine.facts.fields import Reading
from engine.facts.ingest import take
from engine.facts.normalise import normalise
from engine.facts.profile import consent_standing
from engine.facts.rights import record_consent
from engine.settings import Settings


def tell(
    connection: Connection, settings: Settings, now: datetime, *rows: tuple[Kind, Mapping[str, Any]]
) -> None:
    """Take rows of any kind as facts received at `now`."""
    reading = Reading(settings.shop.timezone, now, frozenset(settings.topics))
    facts: list[Fact] = []
    for kind, row in rows:
        read = normalise(kind, row, reading)
        if isinstance(read, BadRow):
            raise UsageError(f"{read.column} {read.reason}".strip())
        facts += read
    take(connection, facts, settings=settings, now=now, virtual=False)


def withdraw(
    connection: Connection, customer_id: int, topic: str, *, now: datetime, source: str, wording: str
) -> None:
    """Record that a customer wants no more mail on a topic (or `all`); told again it changes nothing."""
    standing = consent_standing(connection, customer_id)
    if standing.get(topic) != "withdrawn":
        record_consent(connection, customer_id, topic, "withdrawn", now=now, source=source, wording=wording)
