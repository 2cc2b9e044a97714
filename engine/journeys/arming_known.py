"""Arming what is known: a newly applied flow gets its timers from the facts that are in the tables.

Comes in: a live flow. Goes out: rows of `timers` for every customer, set in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, tuple_

from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    EventTrigger,
    LapsedTrigger,
    ReplenishTrigger,
    Trigger,
)
from engine.journeys.arming import arm_quiet, arm_replenish, lapsed_rows
from engine.journeys.candidates import ArrivedEvent
from engine.journeys.dates import arm_dates
from engine.journeys.happenings import event_rows, read_events
from engine.journeys.timers import CHUNK, GATHER, set_timers
from engine.journeys.versions import LiveFlow
from engine.store.tables import customers, events, timers

PLACED_BACK = timedelta(days=400)


def arm_everyone(
    connection: Connection,
    live: LiveFlow,
    shop_zone: str,
    now: datetime,
    *,
    placing: bool = False,
    before: Sequence[Trigger] = (),
) -> None:
    """Set the timers of a newly applied flow from what is known; triggers that were the same `before` keep theirs.

    Moments before `now` are gone, unless past customers are to be placed where they would stand now.
    """
    name = live.flow.name
    connection.execute(
        delete(timers).where(timers.c.flow == name, timers.c.trigger_no >= len(live.flow.triggers))
    )
    live = replace(live, applied_at=now - PLACED_BACK if placing else now)
    for number, trigger in enumerate(live.flow.triggers):
        if not placing and number < len(before) and before[number] == trigger:
            continue
        standing = (timers.c.flow == name, timers.c.trigger_no == number, timers.c.key != GATHER)
        connection.execute(delete(timers).where(*standing))
        _arm_known(connection, live, number, trigger, shop_zone, now)


def _arm_known(
    connection: Connection, live: LiveFlow, number: int, trigger: Trigger, shop_zone: str, now: datetime
) -> None:
    """Set the timers of one trigger from everything that is known, for moments after `live.applied_at`."""
    if isinstance(trigger, AnniversaryTrigger | DateTrigger):
        for part in _all_customers(connection):
            arm_dates(connection, live, number, trigger, part, shop_zone, now, known_before=True)
    elif isinstance(trigger, LapsedTrigger):
        for facts in _newest_facts(connection, trigger.event, shop_zone):
            set_timers(connection, lapsed_rows(connection, live, number, trigger, facts, now))
    elif isinstance(trigger, ReplenishTrigger):
        names = ("order_placed", "order_cancelled", "refill_answered")
        for facts in _facts_since(connection, names, now - PLACED_BACK, shop_zone):
            arm_replenish(connection, live, number, trigger, facts, now)
    elif isinstance(trigger, EventTrigger) and trigger.quiet_for is not None:
        since = live.applied_at - trigger.quiet_for.approximate - timedelta(days=3)
        for facts in _facts_since(connection, (trigger.event, "cart_emptied"), since, shop_zone):
            arm_quiet(connection, live, number, trigger, facts, live.applied_at)


def _all_customers(connection: Connection) -> Iterator[list[int]]:
    last = 0
    while True:
        query = select(customers.c.id).where(customers.c.id > last).order_by(customers.c.id).limit(CHUNK)
        part = list(connection.scalars(query))
        if not part:
            return
        yield part
        last = part[-1]


def _newest_facts(connection: Connection, event: str, shop_zone: str) -> Iterator[list[ArrivedEvent]]:
    """Yield every customer's newest fact of that name, in chunks of customers."""
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
    for part in _all_customers(connection):
        query = event_rows().where(
            events.c.customer_id.between(part[0], part[-1]), events.c.name == event, ~newer_exists
        )
        yield read_events(connection, query, shop_zone)


def _facts_since(
    connection: Connection, names: Sequence[str], since: datetime, shop_zone: str
) -> Iterator[list[ArrivedEvent]]:
    for part in _all_customers(connection):
        query = (
            event_rows()
            .where(
                events.c.customer_id.between(part[0], part[-1]),
                events.c.name.in_(names),
                events.c.occurred_at > since,
            )
            .order_by(events.c.occurred_at, events.c.id)
        )
        found = read_events(connection, query, shop_zone)
        if found:
            yield found
