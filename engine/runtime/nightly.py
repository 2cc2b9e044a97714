"""Nightly work, at 03:00 on the shop's clock: recommendation tables, scores, segments of everyone, tidying up.

Each part is skipped where nothing needs it, and fails for itself: the others are done, `status` tells it, and it is tried
again after an hour, then ever more seldom until the next night. What the database refuses (a lost connection, a full disk)
ends the night, which the next beat begins anew. `due_at` tells a virtual clock when to stop for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from functools import partial
from typing import Protocol

from sqlalchemy import Connection, bindparam, delete, func, select
from sqlalchemy.exc import InterfaceError, OperationalError

from engine.calendar import ALL_DAYS, next_wall
from engine.clock import sleep
from engine.errors import place, sentence_of
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
from engine.runtime.setting_aside import set_customer_aside
from engine.runtime.setting_up import PAUSE, set_up
from engine.runtime.work import heeding, one_router
from engine.store import meta
from engine.store.database import Database
from engine.store.keys import KeyRange
from engine.store.marks import NIGHT, mark, marked
from engine.store.prepared import Prepared
from engine.store.sifting import sift
from engine.store.tables import customers, journal
from engine.store.types import Instant


class HasFlow(Protocol):
    """Something that holds a flow, live or not."""

    @property
    def flow(self) -> Flow:
        """The flow."""
        ...


log = logging.getLogger("homing.nightly")
AT = time(3, 0)
AGAIN = timedelta(hours=1)  # after a part failed; twice as long after each further time
FAILED = "nightly_failed"  # in meta: the parts of the last night that are still to be done
JOURNAL_DAYS = 400
PART = 2_000  # customers' memberships compared in one transaction
SCORES = ("rfm", "spent_percentile", "churn_risk", "predicted_value")

_FORGET = Prepared(delete(journal).where(journal.c.at < bindparam("before", type_=Instant())))
_NEWEST = Prepared(select(func.max(customers.c.id)))

Part = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Failure:
    """A part of the night that failed: why, how often, and when it is tried again."""

    reason: str
    tries: int
    again_at: datetime


def due_at(database: Database, shop_zone: str, since: datetime) -> datetime:
    """Return the next night's moment after the last one that was done (or after `since`), or that of a further try."""
    with database.read() as connection:
        done = marked(connection, NIGHT) or since
        failed = failures(connection)
    night = _night_after(done, shop_zone)
    return min((night, *(failure.again_at for failure in failed.values())))


def failures(connection: Connection) -> dict[str, Failure]:
    """Return the parts of the last night that failed and are still to be done, by name."""
    told: Mapping[str, Mapping[str, str | int]] = meta.get(connection, FAILED, {})
    return {
        part: Failure(str(each["reason"]), int(each["tries"]), datetime.fromisoformat(str(each["again_at"])))
        for part, each in told.items()
    }


def run_nightly(engine: Engine, now: datetime, *, tables: bool = True) -> int:
    """Do the night's work as of `now`; return how many customers entered by segments.

    Where a night is done but for parts that failed, these alone are done. Without `tables` those of the recommendations are
    left as they stand.
    """
    with engine.database.read() as connection:
        live = heeding(live_flows(connection, paused_all=rails.paused_all(connection)), engine.settings)
        done, failed = marked(connection, NIGHT), failures(connection)
    parts = _parts(engine, live.values(), now, tables=tables)
    again = bool(failed) and done is not None and now < _night_after(done, engine.settings.shop.timezone)
    if again:
        parts = {part: work for part, work in parts.items() if part in failed}
    entered = 0
    left: dict[str, Failure] = {}
    for part, work in parts.items():
        try:
            done_now = work()
            entered += done_now if isinstance(done_now, int) else 0
        except (
            OperationalError,
            InterfaceError,
        ):  # the database: nobody's fault in here, and soon tried again
            raise
        except Exception as error:  # noqa: BLE001 - one part's failure must not stop the others
            log.error("nightly work failed: %s: %s at %s", part, type(error).__name__, place(error))
            tries = failed[part].tries + 1 if part in failed else 1
            left[part] = Failure(
                sentence_of(error), tries, now + min(AGAIN * 2 ** (tries - 1), timedelta(days=1))
            )
    with engine.database.write() as connection:
        _note(connection, left)
        if not again:
            mark(connection, NIGHT, now)
    return entered


def _parts(engine: Engine, live: Collection[LiveFlow], now: datetime, *, tables: bool) -> dict[str, Part]:
    """Return what there is to do, by name, in its order; that of the segments returns how many entered."""
    found: dict[str, Part] = {}
    if tables:
        found["recommendations"] = partial(rebuild, engine.database, now)
    if asks_for_scores(live):
        found["scores"] = partial(rebuild_scores, engine.database, now)
    found["segments"] = partial(_compare_segments, engine, live, now)
    found["journal"] = partial(_forget_decisions, engine.database, now)
    return found


def _forget_decisions(database: Database, now: datetime) -> None:
    with database.write() as connection:
        _FORGET.run(connection, before=now - timedelta(days=JOURNAL_DAYS))


def _night_after(done: datetime, shop_zone: str) -> datetime:
    return next_wall(done + timedelta(minutes=1), AT, ALL_DAYS, shop_zone)


def _note(connection: Connection, left: Mapping[str, Failure]) -> None:
    """Note the parts that are still to be done."""
    if left:
        told = {part: {**asdict(each), "again_at": each.again_at.isoformat()} for part, each in left.items()}
        meta.put(connection, FAILED, told)
    else:
        meta.drop(connection, FAILED)


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
        most = _NEWEST.first(connection)[0] or 0
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
