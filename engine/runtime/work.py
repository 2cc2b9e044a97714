"""What a pass knows when it begins: the moment, the live flows, what was applied beside them, and what is due when.

Comes in: a connection, the settings and the moment. Goes out: `Work`, read in three statements whatever the number of
customers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, func, select

from engine.journeys.membership import next_schedule
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow, live_flows
from engine.render.library import TemplateLibrary
from engine.runtime import rails
from engine.runtime.agenda import Agenda, read_agenda
from engine.runtime.applied import STAMP, applied_sources
from engine.settings import Settings
from engine.store import meta

ARMING = "arming"  # the triggers whose timers are still to be set: see engine.runtime.setting_up


@dataclass(frozen=True, slots=True)
class Work:
    """What a pass knows when it begins."""

    at: Round
    live: Mapping[str, LiveFlow]
    closed: tuple[str, ...]
    library: TemplateLibrary
    secret: bytes
    agenda: Agenda
    arming: frozenset[str]  # flows whose timers are still being set: none of them fires
    slot_at: datetime | None  # the next slot of an open flow that goes by the calendar

    @property
    def slot_due(self) -> bool:
        """Whether a slot of a schedule has come."""
        return self.slot_at is not None and self.slot_at <= self.at.now

    @property
    def following(self) -> datetime | None:
        """The next moment at which something is due, apart from unread facts."""
        moments = [each for each in (self.agenda.next_at, self.slot_at) if each is not None]
        return min(moments, default=None)

    def at_moment(self, now: datetime) -> Work:
        """Return the same at another moment, for where nobody has written anything since."""
        return replace(self, at=replace(self.at, now=now))


def look(connection: Connection, settings: Settings, now: datetime) -> Work:
    """Return what there is to do at `now`, in three statements; where a flow goes by the calendar, in one more."""
    known = meta.several(connection, (meta.SECRET, meta.LINK_SECRETS, rails.PAUSED_ALL, STAMP, ARMING))
    live = heeding(live_flows(connection, paused_all=known.get(rails.PAUSED_ALL) is not None), settings)
    applied = applied_sources(connection, known.get(STAMP))
    at = Round(now, settings, listened_names(live.values()), applied.offers)
    closed = tuple(name for name, each in live.items() if each.stopped)
    arming = frozenset(each["flow"] for each in known.get(ARMING, ()))
    opened = {name: each for name, each in live.items() if each.open}
    agenda = read_agenda(connection, list(opened), closed, arming)
    slot_at = next_schedule(connection, opened.values(), at)
    return Work(at, live, closed, applied.library, meta.signing_secret(known), agenda, arming, slot_at)


def held_back(live: Mapping[str, LiveFlow], settings: Settings) -> dict[str, list[str]]:
    """Return the flows that cannot tell who is excluded, with the segments of `[policy] exclude` that they do not know."""
    wanted = settings.policy.exclude
    found = {
        name: [each for each in wanted if each not in live_flow.flow.segments]
        for name, live_flow in live.items()
        if wanted and live_flow.active and live_flow.flow.kind == "marketing"
    }
    return {name: missing for name, missing in found.items() if missing}


def exclusion_sentence(missing: Sequence[str]) -> str:
    """Return why a flow waits that does not know these excluded segments."""
    return f"[policy] exclude names {' and '.join(missing)}, which is not applied; run `homing apply`"


def heeding(live: dict[str, LiveFlow], settings: Settings) -> dict[str, LiveFlow]:
    """Return the flows with those at rest that cannot tell who is excluded: facts wait until `homing apply`."""
    held = held_back(live, settings)
    return (
        {name: replace(each, paused=True) if name in held else each for name, each in live.items()}
        if held
        else live
    )


def listened_names(live: Iterable[LiveFlow]) -> frozenset[str]:
    """Return the names of events that a live flow enters, leaves, waits or succeeds by."""
    return frozenset(name for each in live for name in each.program.names)


def one_router(connection: Connection) -> None:
    """On PostgreSQL only one pass at a time takes facts in; on SQLite the writer's lock does that."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(0x484F4D49)))
