"""Nightly work, at 03:00 on the shop's clock: recommendation tables, scores, segments of everyone, tidying up.

Each piece is skipped where nothing needs it. `due_at` tells a virtual clock when to stop for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Protocol

from sqlalchemy import Connection, delete, func, select

from engine.calendar import ALL_DAYS, next_wall
from engine.clock import sleep
from engine.flows.conditions import Of, walk
from engine.flows.load import flow_clauses
from engine.flows.model import Flow, SegmentTrigger
from engine.insights.scores import rebuild_scores
from engine.journeys.enter import Newcomer
from engine.journeys.known import Known
from engine.journeys.membership import segment_candidates
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow, live_flows
from engine.recommend.rebuild import rebuild
from engine.runtime import rails
from engine.runtime.guarding import guarded
from engine.runtime.intake import admit_all, enter_apart
from engine.runtime.passes import Engine
from engine.runtime.poison import begin_all
from engine.runtime.setting_up import PAUSE, set_up
from engine.runtime.sifting import set_customer_aside, sift
from engine.runtime.work import heeding, one_router
from engine.store.database import Database
from engine.store.keys import KeyRange
from engine.store.marks import NIGHT, mark, marked
from engine.store.tables import customers, journal


class HasFlow(Protocol):
    """Something that holds a flow, live or not."""

    @property
    def flow(self) -> Flow:
        """The flow."""
        ...


AT = time(3, 0)
JOURNAL_DAYS = 400
PART = 2_000  # customers' memberships compared in one transaction
SCORES = ("rfm", "spent_percentile", "churn_risk", "predicted_value")


def due_at(database: Database, shop_zone: str, since: datetime) -> datetime:
    """Return the next night's moment after the last one that was done (or after `since`)."""
    with database.read() as connection:
        done = marked(connection, NIGHT) or since
    return next_wall(done + timedelta(minutes=1), AT, ALL_DAYS, shop_zone)


def run_nightly(engine: Engine, now: datetime, *, tables: bool = True) -> int:
    """Do the night's work as of `now`; return how many customers entered by segments.

    Without `tables` those of the recommendations are left as they stand.
    """
    if tables:
        rebuild(engine.database, now)
    with engine.database.read() as connection:
        live = heeding(live_flows(connection, paused_all=rails.paused_all(connection)), engine.settings)
    if asks_for_scores(live.values()):
        rebuild_scores(engine.database, now)
    entered = _compare_segments(engine, live.values(), now)
    with engine.database.write() as connection:
        connection.execute(delete(journal).where(journal.c.at < now - timedelta(days=JOURNAL_DAYS)))
        mark(connection, NIGHT, now)
    return entered


def has_segments(live: Iterable[LiveFlow]) -> bool:
    """Return whether a live flow waits for customers to come into a segment."""
    return any(isinstance(trigger, SegmentTrigger) for each in live for trigger in each.flow.triggers)


def asks_for_scores(live: Iterable[HasFlow]) -> bool:
    """Return whether a live flow asks for a score of customers."""
    return any(
        isinstance(part, Of) and part.scope == "customer" and test.path.split(".")[0] in SCORES
        for each in live
        for clause in flow_clauses(each.flow)
        for part in walk(clause.condition)
        for test in (part.fields if isinstance(part, Of) else ())
    )


def _compare_segments(engine: Engine, live: Iterable[LiveFlow], now: datetime) -> int:
    """Compare everyone's segment memberships, one flow at a time and some customers in each transaction."""
    entered = 0
    at = Round(now, engine.settings)
    with engine.database.read() as connection:
        most = connection.scalar(select(func.max(customers.c.id))) or 0
    waiting = [each for each in live if each.open and has_segments([each])]
    if waiting:
        set_up(engine.database, at.shop_zone)  # an apply may have been killed before it noted everybody
    for each in waiting:
        for low in range(0, most + 1, PART):
            with engine.database.write() as connection:
                one_router(connection)
                entered += _compare_part(connection, each, KeyRange(low, low + PART), at)
            if low + PART <= most:
                sleep(PAUSE)
    return entered


def _compare_part(connection: Connection, live: LiveFlow, keys: KeyRange, at: Round) -> int:
    known = Known(connection, at, [live.flow])

    def apart() -> list[Newcomer]:
        everyone = connection.scalars(select(customers.c.id).where(keys.holds(customers.c.id))).all()
        came, unclear = sift(
            connection, everyone, lambda some: segment_candidates(connection, live, some, at)
        )
        for customer_id, error in unclear:
            set_customer_aside(connection, live.flow.name, customer_id, error, at.now)
        return enter_apart(connection, live, [each for some in came for each in some], at, known)

    def step() -> list[Newcomer]:
        return admit_all(connection, live, segment_candidates(connection, live, keys, at), at, known)

    return begin_all(connection, guarded(connection, live, step, at, apart) or [], at)
