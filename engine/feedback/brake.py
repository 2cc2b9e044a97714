"""The complaint brake: too many readers call mails spam, so marketing stops until somebody has looked.

Mailbox providers want fewer than 0.1 % and forgive nothing over 0.3 % (Gmail, Yahoo). Counted over seven days against what
was delivered. Below `FEW` complaints nobody can tell a trend from one cross reader, and nothing stops.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from engine.store.tables import delivery_events, flow_versions, flows

log = logging.getLogger("homing.feedback")
WINDOW = timedelta(days=7)
WARNS, STOPS = 0.001, 0.003
FEW = 3


@dataclass(frozen=True, slots=True)
class Complaints:
    """How many mails were delivered and called spam within the window."""

    delivered: int
    complained: int

    @property
    def rate(self) -> float:
        """The share, 0 where nothing was delivered."""
        return self.complained / max(self.delivered, self.complained) if self.complained else 0.0

    @property
    def stops(self) -> bool:
        """Whether marketing has to stop."""
        return self.complained >= FEW and self.rate >= STOPS

    @property
    def warns(self) -> bool:
        """Whether somebody should look."""
        return self.complained >= FEW and self.rate >= WARNS


def complaints(connection: Connection, now: datetime) -> Complaints:
    """Return how things stand."""
    table = delivery_events.c
    recent = select(table.kind, func.count()).where(
        table.at > now - WINDOW, table.at <= now, table.kind.in_(("delivered", "complained"))
    )
    counts = {kind: count for kind, count in connection.execute(recent.group_by(table.kind))}
    return Complaints(counts.get("delivered", 0), counts.get("complained", 0))


def look(connection: Connection, now: datetime) -> Complaints:
    """Freeze every marketing flow where too many complain; return how things stand."""
    found = complaints(connection, now)
    told = {"complaints": found.complained, "delivered": found.delivered}
    if found.stops:
        reason = f"{found.complained} of {found.delivered} readers in 7 days called mails spam ({found.rate:.2%}; 0.3% stops)"
        for name in _marketing(connection):
            connection.execute(
                update(flows)
                .where(flows.c.flow == name, flows.c.frozen_at.is_(None))
                .values(frozen_at=now, frozen_reason=reason)
            )
        log.error("marketing is stopped: too many complaints", extra={"told": told})
    elif found.warns:
        log.warning("complaints are rising", extra={"told": told})
    return found


def _marketing(connection: Connection) -> list[str]:
    joined = flows.join(flow_versions, flow_versions.c.hash == flows.c.version)
    rows = connection.execute(
        select(flows.c.flow, flow_versions.c.definition).select_from(joined).where(flows.c.active)
    )
    return [name for name, definition in rows if (definition or {}).get("kind", "marketing") == "marketing"]
