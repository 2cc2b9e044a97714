"""Arming what is known: a newly applied flow gets from the tables what it has to know of every customer.

Comes in: a live flow and which of its triggers are new. Goes out, part by part: rows of `timers`; for segment triggers,
who is a member; with `--backfill`, the past facts that it is to meet. What is left to do is a value that can be kept
between transactions. Facts that arrive meanwhile set their own timers, which stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, and_, delete, func, insert, literal, or_, select, tuple_

from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    EventTrigger,
    Flow,
    LapsedTrigger,
    ReplenishTrigger,
    SegmentTrigger,
    Trigger,
)
from engine.journeys.arming import arm_quiet, arm_replenish, lapsed_rows
from engine.journeys.candidates import ArrivedEvent
from engine.journeys.dates import arm_dates
from engine.journeys.happenings import event_rows, read_events
from engine.journeys.membership import note_members
from engine.journeys.timers import GATHER, set_timers
from engine.journeys.versions import LiveFlow
from engine.store.keys import KeyRange
from engine.store.tables import arrivals, customers, events, timers

PLACED_BACK = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class ToArm:
    """What is to be set for the customers after `after`, up to `last`; `event` is the newest known.

    `what`: the timers of one trigger, the members of one segment trigger, or the past facts of all event triggers. Moments
    before `at` are gone, unless past customers are to be placed where they would stand now (`placing`).
    """

    flow: str
    number: int
    at: datetime
    placing: bool
    after: int
    last: int
    event: int
    what: Literal["timers", "members", "facts"] = "timers"

    @property
    def keys(self) -> KeyRange:
        """The customers who are still to come."""
        return KeyRange(self.after + 1, self.last + 1)

    def stored(self) -> dict[str, Any]:
        """Return it as a document."""
        names = ("flow", "number", "placing", "after", "last", "event", "what")
        return {name: getattr(self, name) for name in names} | {"at": self.at.isoformat()}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> ToArm:
        """Return what `stored` told."""
        return cls(**{**document, "at": datetime.fromisoformat(document["at"])})


def to_arm(
    connection: Connection, live: LiveFlow, now: datetime, *, placing: bool, before: Sequence[Trigger]
) -> list[ToArm]:
    """Return what has to be set for a newly applied flow; triggers that were the same `before` keep their timers."""
    last = connection.scalar(select(func.max(customers.c.id))) or 0
    event = connection.scalar(select(func.max(events.c.id))) or 0
    triggers = live.flow.triggers
    numbers = [
        number
        for number, trigger in enumerate(triggers)
        if (placing or number >= len(before) or before[number] != trigger)
        and (_sets_timers(trigger) or number in _standing(connection, live.flow.name, number))
    ]
    numbers += _standing(connection, live.flow.name, len(triggers))
    basis = ToArm(live.flow.name, 0, now, placing, 0, last, event)
    todo = [replace(basis, number=number) for number in numbers]
    for number, trigger in enumerate(triggers):
        if isinstance(
            trigger, SegmentTrigger
        ):  # what its segment means may be new, whatever the trigger says
            todo.append(replace(basis, number=number, what="members"))
    return [*todo, replace(basis, what="facts")] if placing and _names(live.flow) else todo


def _names(flow: Flow) -> list[str]:
    """Return the events by which customers enter at once."""
    return sorted({t.event for t in flow.triggers if isinstance(t, EventTrigger) and t.quiet_for is None})


def _sets_timers(trigger: Trigger) -> bool:
    if isinstance(trigger, EventTrigger):
        return trigger.quiet_for is not None
    return isinstance(trigger, AnniversaryTrigger | DateTrigger | LapsedTrigger | ReplenishTrigger)


def _standing(connection: Connection, flow: str, since: int) -> list[int]:
    """Return the numbers from `since` on of triggers that have timers, one probe of the index for each."""
    found: list[int] = []
    while True:
        least = select(func.min(timers.c.trigger_no)).where(
            timers.c.flow == flow, timers.c.trigger_no >= (found[-1] + 1 if found else since)
        )
        number = connection.scalar(least)
        if number is None:
            return found
        found.append(number)


def arm_part(connection: Connection, live: LiveFlow, todo: ToArm, shop_zone: str, most: int) -> ToArm | None:
    """Do what is to be done for at most `most` further customers; return what is left, None where nothing is."""
    inside = todo.keys.holds(customers.c.id)
    part = list(connection.scalars(select(customers.c.id).where(inside).order_by(customers.c.id).limit(most)))
    full = len(part) == most
    upto = part[-1] if full else todo.last
    own = replace(todo, last=upto)
    known = live.flow.triggers[todo.number] if todo.number < len(live.flow.triggers) else None
    if todo.what == "members":
        if isinstance(known, SegmentTrigger):
            note_members(
                connection, live, todo.number, known, own.keys, todo.at, shop_zone, placing=todo.placing
            )
    elif todo.what == "facts":
        _place_past(connection, live.flow, own)
    else:
        _forget(connection, todo, upto, everything=known is None)
        if known is not None and part:
            live = replace(live, applied_at=todo.at - PLACED_BACK if todo.placing else todo.at)
            _arm_known(connection, live, todo.number, known, part, shop_zone, todo.at)
    return replace(todo, after=upto) if full else None


def _place_past(connection: Connection, flow: Flow, todo: ToArm) -> None:
    """Let the flow meet the facts that its event triggers would have taken, oldest first; late mails are skipped."""
    past = (
        select(literal(flow.name), events.c.id)
        .where(
            todo.keys.holds(events.c.customer_id),
            events.c.name.in_(_names(flow)),
            events.c.occurred_at > todo.at - PLACED_BACK,
            events.c.id <= todo.event,
            events.c.backfill.is_(False),
        )
        .order_by(events.c.occurred_at, events.c.id)
    )
    connection.execute(insert(arrivals).from_select(["flow", "event_id"], past))


def _forget(connection: Connection, todo: ToArm, upto: int, *, everything: bool) -> None:
    """Take the timers away that stood there when the flow was applied; those of newer facts stay, and what is gathered."""
    of = [
        # Found by the customers' key: SQLite would rather read all timers of the flow for every part.
        func.coalesce(timers.c.flow, "") == todo.flow,
        timers.c.trigger_no == todo.number,
        timers.c.customer_id > todo.after,
        timers.c.customer_id <= upto,
    ]
    if not everything:
        dated = and_(timers.c.event_id.is_(None), timers.c.armed_at <= todo.at)
        of += [timers.c.key != GATHER, or_(timers.c.event_id <= todo.event, dated)]
    connection.execute(delete(timers).where(*of))


def _arm_known(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: Trigger,
    part: Sequence[int],
    shop_zone: str,
    now: datetime,
) -> None:
    """Set the timers of one trigger from everything that is known, for moments after `live.applied_at`."""
    if isinstance(trigger, AnniversaryTrigger | DateTrigger):
        placing = live.applied_at < now  # then a birthday that is announced already, but not over, counts
        arm_dates(connection, live, number, trigger, part, shop_zone, now, known_before=not placing)
    elif isinstance(trigger, LapsedTrigger):
        facts = _newest_facts(connection, trigger.event, part, shop_zone)
        set_timers(connection, lapsed_rows(connection, live, number, trigger, facts, now))
    elif isinstance(trigger, ReplenishTrigger):
        names = ("order_placed", "order_cancelled", "refill_answered")
        facts = _facts_since(connection, names, now - PLACED_BACK, part, shop_zone)
        arm_replenish(connection, live, number, trigger, facts, now)
    elif isinstance(trigger, EventTrigger) and trigger.quiet_for is not None:
        since = live.applied_at - trigger.quiet_for.approximate - timedelta(days=3)
        facts = _facts_since(connection, (trigger.event, "cart_emptied"), since, part, shop_zone)
        arm_quiet(connection, live, number, trigger, facts, live.applied_at)


def _newest_facts(
    connection: Connection, event: str, part: Sequence[int], shop_zone: str
) -> list[ArrivedEvent]:
    """Return the newest fact of that name of each of these customers, who lie side by side."""
    later = events.alias("later")
    newer_exists = (
        select(later.c.id)
        .where(
            later.c.customer_id == events.c.customer_id,
            later.c.name == event,
            tuple_(later.c.occurred_at, later.c.id) > tuple_(events.c.occurred_at, events.c.id),
        )
        .exists()
    )
    query = event_rows().where(
        events.c.customer_id.between(part[0], part[-1]), events.c.name == event, ~newer_exists
    )
    return read_events(connection, query, shop_zone)


def _facts_since(
    connection: Connection, names: Sequence[str], since: datetime, part: Sequence[int], shop_zone: str
) -> list[ArrivedEvent]:
    query = (
        event_rows()
        .where(
            events.c.customer_id.between(part[0], part[-1]),
            events.c.name.in_(names),
            events.c.occurred_at > since,
        )
        .order_by(events.c.occurred_at, events.c.id)
    )
    return read_events(connection, query, shop_zone)
