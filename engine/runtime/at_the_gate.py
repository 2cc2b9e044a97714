"""How caps and quiet hours stood when a mail was decided on, and what became of it at the provider.

Comes in: one customer's ledger. Goes out: plain data for `why`. The counts are looked up again as of the decision, from
mails that were handed over before it; what the provider told stands as it came.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from engine.calendar import add, local
from engine.flows.model import Flow
from engine.journeys.round import Round
from engine.outbox.ledger import COUNTED
from engine.settings import Cap
from engine.store.dialect import among
from engine.store.tables import attempts, customers, delivery_events, messages

CLIPPED = timedelta(
    days=4
)  # months end on their last day, so that a later mail's month may end a little sooner
KEPT_BACK = ("dropped", "deferred")
DECIDED = ("sent", "dropped", "deferred", "failed", "unknown", "retry")


@dataclass(frozen=True, slots=True)
class Gate:
    """One customer's clock and counted mails, read once for a story."""

    zone: str
    handed: Sequence[datetime]
    at: Round

    @classmethod
    def of(cls, connection: Connection, customer_id: int, at: Round) -> Gate:
        """Read what the gate counts for a customer."""
        table = messages.c
        query = select(table.counted_at).where(
            table.customer_id == customer_id, table.counted_at.is_not(None), table.state.in_(COUNTED),
            table.kind == "marketing", table.sandbox.is_(at.sandbox),
        )  # fmt: skip
        zone = connection.scalar(select(customers.c.zone).where(customers.c.id == customer_id))
        return cls(zone or at.shop_zone, sorted(connection.scalars(query)), at)

    def stood(
        self, flow: Flow, decision: str, moment: datetime, kept: Sequence[str] | None = None
    ) -> dict[str, Any] | None:
        """Return how hours and caps stood at a decision about a mail; None where neither was asked.

        `kept` are the caps that were in force, where the journal has them; else they are those of the settings now.
        """
        if decision not in DECIDED or flow.kind != "marketing":
            return None
        quiet = self.at.rules(flow).quiet_hours
        return {
            "local_time": local(moment, self.zone).isoformat(timespec="minutes"),
            "zone": self.zone,
            "quiet_hours": f"{quiet.start:%H:%M}-{quiet.end:%H:%M}" if quiet is not None else None,
            "quiet": quiet is not None and quiet.ends(moment, self.zone) is not None,
            "caps": [
                self._cap(cap, moment, decision)
                for cap in (self.at.caps(flow) if kept is None else map(Cap.parse, kept))
            ],
            "caps_of": "now" if kept is None else "then",
            "recomputed": True,
        }

    def _cap(self, cap: Cap, moment: datetime, decision: str) -> dict[str, Any]:
        ends: list[datetime] = []
        # What was handed over at the very moment at which a mail was kept back went before it, and took the room.
        before = (bisect_right if decision in KEPT_BACK else bisect_left)(self.handed, moment)
        for at in reversed(self.handed[:before]):
            end = add(at, cap.per, self.zone)
            if moment - end > CLIPPED:  # and so it is with all that went before it
                break
            ends += [end] if end > moment else []
        ends.sort()
        room_at = ends[len(ends) - cap.count] if cap.count and len(ends) >= cap.count else None
        return {"cap": str(cap), "used": len(ends), "of": cap.count, "room_at": room_at}


def fates(connection: Connection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return for each message its attempts and what the provider told of it, in order of time."""
    found: dict[int, dict[str, Any]] = defaultdict(lambda: {"attempts": [], "events": []})
    if not ids:
        return found
    tried, told = attempts.c, delivery_events.c
    query = select(tried.message_id, tried.at, tried.outcome, tried.detail).where(
        among(connection, tried.message_id, ids)
    )
    for message_id, at, outcome, detail in connection.execute(query.order_by(tried.id)):
        found[message_id]["attempts"].append({"at": at, "outcome": outcome, "detail": detail})
    events = select(told.message_id, told.kind, told.at, told.machine).where(
        among(connection, told.message_id, ids)
    )
    for message_id, kind, at, machine in connection.execute(events.order_by(told.at, told.id)):
        found[message_id]["events"].append({"event": kind, "at": at, "machine": machine})
    return found
