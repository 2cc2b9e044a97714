"""The brake on mails as dispatch meets it: asked after each claim, pulled where a flow is about to mail far too many.

Comes in: the flows of a claim, inside its transaction. Goes out: those that are stopped, with the reason. To count is to
walk over what a flow sent in a day and what waits, so a flow that may mail very many is not counted anew for each claim:
a count holds for a while in proportion to what it cost, in which more may fall due than it knew of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from engine.clock import machine_seconds
from engine.runtime import rails
from engine.runtime.work import Work
from engine.store.database import Database

log = logging.getLogger("homing.pass")

EXACT = 5_000  # a flow of which no more are due or in hands is counted for each claim, however slow the machine is
HOLDS = 20  # times what it took


@dataclass(frozen=True, slots=True)
class Counts:
    """Until when, in machine seconds, the last count of each flow holds; of one program, whatever its threads."""

    until: dict[tuple[str, int | None], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendBrake:
    """The brake for one dispatch, with the flows as they stood when its pass began."""

    database: Database
    work: Work
    counts: Counts
    seconds: Callable[[], float] = machine_seconds

    def stopped(self, connection: Connection, flows: Collection[str]) -> Mapping[str, str]:
        """Return which of these flows are about to mail far more people than usual, and why."""
        live, begin = self.work.live, self.seconds()
        keys = {name: (name, live[name].allowance) for name in flows if name in live}
        asked = {name: live[name] for name, key in keys.items() if self.counts.until.get(key, begin) <= begin}
        if not asked:
            return {}
        due = rails.due_to_send(connection, asked, self.work.at)
        found = rails.brake_on_sends(connection, asked, due, self.work.at)
        took = self.seconds() - begin
        for name in asked:
            self.counts.until.pop(keys[name], None)
            if due.get(name, 0) > EXACT and name not in found:
                self.counts.until[keys[name]] = begin + (HOLDS + 1) * took
        return found

    def pull(self, stopped: Mapping[str, str]) -> None:
        """Freeze flows, and shout."""
        with self.database.write() as connection:
            for flow, reason in stopped.items():
                rails.freeze(connection, flow, reason, self.work.at.now)
        for flow, reason in stopped.items():
            log.error("flow %s is frozen: it %s", flow, reason)
