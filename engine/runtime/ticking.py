"""Ticks: one pass at the present moment, or a virtual clock driven from moment to moment.

`tick` is for cron and the daemon; `drive` moves the virtual clock of a database to every moment at which something
arrives or is due, so that sixty days pass in seconds and each mail carries the moment at which it would have gone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from engine.facts.ingest import next_arrival
from engine.journeys.membership import next_schedule
from engine.journeys.round import Round
from engine.journeys.versions import live_flows
from engine.runtime import nightly, rails
from engine.runtime.passes import Engine, PassReport, run_pass
from engine.store import meta
from engine.store.tables import enrollments, messages, timers

Progress = Callable[[datetime, PassReport], None]


def tick(engine: Engine, now: datetime) -> PassReport:
    """Do everything that is new or due, the night's work included where its time has come."""
    report = PassReport()
    if nightly.due_at(engine.database, engine.settings.shop.timezone, now - timedelta(days=1)) <= now:
        report.entered += nightly.run_nightly(engine, now)
    report.add(run_pass(engine, now))
    return report


def drive(
    engine: Engine,
    start: datetime,
    until: datetime,
    *,
    every: timedelta | None = None,
    progress: Progress | None = None,
) -> PassReport:
    """Move the virtual clock from `start` to `until`, stopping wherever something arrives or is due."""
    total = PassReport()
    moment = start
    night = nightly.due_at(engine.database, engine.settings.shop.timezone, start)
    while True:
        with engine.database.write() as connection:
            meta.set_virtual_now(connection, moment)
        if night <= moment:
            total.entered += nightly.run_nightly(engine, moment)
            night = nightly.due_at(engine.database, engine.settings.shop.timezone, moment)
        total.add(run_pass(engine, moment))
        if progress is not None:
            progress(moment, total)
        if moment >= until:
            return total
        following = _next_moment(engine, moment)
        stops = [until, night, *([following] if following is not None else []), *([moment + every] if every else [])]
        moment = max(min(stops), moment + timedelta(microseconds=1))


def _next_moment(engine: Engine, now: datetime) -> datetime | None:
    """Return the next moment at which a fact arrives or something of an open flow is due."""
    with engine.database.read() as connection:
        live = live_flows(connection, paused_all=rails.paused_all(connection))
        at = Round(now, engine.settings)
        moments = [next_arrival(connection), *_due_moments(connection, [n for n, each in live.items() if not each.open])]
        for name, each in live.items():
            if each.open:
                due = select(func.min(timers.c.due_at)).where(timers.c.flow == name)
                moments += [connection.scalar(due), next_schedule(connection, each, at)]
    return min((moment for moment in moments if moment is not None), default=None)


def _due_moments(connection: Connection, closed: list[str]) -> list[datetime | None]:
    inside = select(enrollments.c.next_at).where(enrollments.c.state.in_(("active", "waiting")))
    waiting = select(messages.c.try_at).where(messages.c.state == "pending")
    if closed:
        inside = inside.where(enrollments.c.flow.not_in(closed))
        waiting = waiting.where(messages.c.flow.not_in(closed))
    inside = inside.where(enrollments.c.next_at.is_not(None)).order_by(enrollments.c.next_at, enrollments.c.id).limit(1)
    waiting = waiting.order_by(messages.c.try_at, messages.c.id).limit(1)
    return [connection.scalar(inside), connection.scalar(waiting)]
