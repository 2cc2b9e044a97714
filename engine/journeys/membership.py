"""Segment and schedule triggers: who comes to match a segment, and who is in it when the calendar says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

from sqlalchemy import Connection, bindparam, delete, select

from engine.audience.sql import MOST_KEYS, customers_matching, matching_among
from engine.calendar import at_wall, local
from engine.flows.conditions import Clause, InSegment
from engine.flows.cron import Cron
from engine.flows.model import ScheduleTrigger, SegmentTrigger
from engine.journeys.candidates import Candidate
from engine.journeys.round import Round
from engine.journeys.timers import set_timers
from engine.journeys.versions import LiveFlow
from engine.store.bulk import insert_rows
from engine.store.dialect import among, within
from engine.store.keys import KeyRange
from engine.store.marks import mark as note_mark
from engine.store.prepared import Prepared
from engine.store.tables import customers, marks, segment_members

Who = Sequence[int] | KeyRange
PLACED = "segment"  # the key of the timers of those who are placed
WIDEST = timedelta(hours=27)  # between the first and the last zone to see a wall time

_own = (segment_members.c.flow == bindparam("flow"), segment_members.c.trigger_no == bindparam("trigger_no"))
_known = select(segment_members.c.customer_id, segment_members.c.since).where(*_own)
_KNOWN_AMONG = Prepared(_known.where(within(segment_members.c.customer_id, "ids")))
_KNOWN_WITHIN = Prepared(
    _known.where(
        segment_members.c.customer_id >= bindparam("low"), segment_members.c.customer_id < bindparam("high")
    )
)
_MARKS = Prepared(select(marks.c.name, marks.c.at).where(within(marks.c.name, "names")))

# ── segments ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def segment_candidates(
    connection: Connection,
    live: LiveFlow,
    who: Who,
    at: Round,
    unnoted: Mapping[int, KeyRange] = MappingProxyType({}),
) -> list[Candidate]:
    """Compare memberships with what is known of them and return those who came in.

    Those who left are forgotten, so that they may come in again. `unnoted` holds by trigger the customers whose
    memberships an apply is still to note: nobody can say yet whether they came in.
    """
    found: list[Candidate] = []
    for number, trigger in enumerate(live.flow.triggers):
        if not isinstance(trigger, SegmentTrigger):
            continue
        here = who
        if number in unnoted and not isinstance(who, KeyRange):
            here = [each for each in who if each not in unnoted[number]]
        _, came = _compare(connection, live, number, trigger, here, at.now, at.shop_zone)
        payload = {"segment": trigger.segment}
        found += [
            Candidate(number, each, _occurrence(since), at.now, at.now, payload)
            for each, since in came.items()
        ]
    return found


def note_members(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: SegmentTrigger,
    keys: KeyRange,
    now: datetime,
    shop_zone: str,
    *,
    placing: bool,
) -> None:
    """Note who is in the segment already when a flow is applied: only those who come later enter.

    With `placing` those who are in it get a timer that is due, and enter by it; one membership lets in once.
    """
    known, came = _compare(connection, live, number, trigger, keys, now, shop_zone)
    if not placing:
        return
    standing = known | came
    rows = [
        {
            "flow": live.flow.name, "trigger_no": number, "customer_id": each, "key": PLACED, "armed_at": now, "due_at": now,
            "until": None, "occurrence": _occurrence(since), "event_id": None, "payload": {"segment": trigger.segment},
        }
        for each, since in standing.items()
    ]  # fmt: skip
    set_timers(connection, rows)


def _occurrence(since: datetime) -> str:
    return f"segment:{since.isoformat()}"


def _compare(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: SegmentTrigger,
    who: Who,
    now: datetime,
    shop_zone: str,
) -> tuple[dict[int, datetime], dict[int, datetime]]:
    """Bring what is known of memberships up to date; return who stays in and who came in, with since when."""
    table, own = segment_members.c, {"flow": live.flow.name, "trigger_no": number}
    inside = matching_among(
        connection, _member(trigger.segment), who, now=now, segments=live.flow.segments, shop_zone=shop_zone
    )
    if isinstance(who, KeyRange):
        high = MOST_KEYS if who.high is None else who.high
        rows_known = _KNOWN_WITHIN.rows(connection, **own, low=who.low, high=high)
    else:
        rows_known = _KNOWN_AMONG.rows(connection, **own, ids=list(who))
    known: dict[int, datetime] = dict(rows_known)
    gone, came = sorted(known.keys() - inside), sorted(inside - known.keys())
    if gone:
        these = (table.flow == live.flow.name, table.trigger_no == number)
        connection.execute(delete(segment_members).where(*these, among(connection, table.customer_id, gone)))
    if came:
        insert_rows(
            connection, segment_members, [{**own, "customer_id": each, "since": now} for each in came]
        )
    stays = {each: since for each, since in known.items() if each in inside}
    return stays, dict.fromkeys(came, now)


@lru_cache(maxsize=256)
def _member(segment: str) -> tuple[Clause]:
    """Return the clause of being in a segment, the same one each time: statements are kept by it."""
    return (Clause(InSegment(segment), f"segment: {segment}"),)


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=4096)
def next_slot(trigger: ScheduleTrigger, after: datetime, zone: str) -> datetime | None:
    """Return the first slot of the calendar after a moment on a zone's clock; None: there is none to come."""
    if trigger.once is not None:
        slot = at_wall(trigger.once.date(), trigger.once.time(), zone)
        return slot if slot > after else None
    cron = Cron.parse(trigger.cron or "")
    wall: datetime | None = local(after, zone).replace(tzinfo=None)
    while wall is not None and (wall := cron.next_after(wall)) is not None:
        slot = at_wall(wall.date(), wall.time(), zone)
        if slot > after:
            return slot
    return None


@dataclass(frozen=True, slots=True)
class _Schedule:
    """A schedule trigger of a flow, with the zones on whose clocks it runs by the names of the marks that remember them."""

    live: LiveFlow
    number: int
    trigger: ScheduleTrigger
    marks: Mapping[str, str]

    def next_slots(self, marked: Mapping[str, datetime]) -> dict[str, tuple[str, datetime]]:
        """Return the next slot in each zone that has one, with the name of its mark."""
        done = {mark: marked[mark] for mark in self.marks if mark in marked}
        # A zone that nobody lived in until now begins where the others stand, not where the flow was applied.
        since = max([self.live.applied_at, *(moment - WIDEST for moment in done.values())])
        slots = {
            zone: (mark, next_slot(self.trigger, done.get(mark, since), zone))
            for mark, zone in self.marks.items()
        }
        return {zone: (mark, slot) for zone, (mark, slot) in slots.items() if slot is not None}


def _schedules(connection: Connection, live: LiveFlow, at: Round) -> Iterator[_Schedule]:
    for number, trigger in enumerate(live.flow.triggers):
        if isinstance(trigger, ScheduleTrigger):
            zones = zones_of(connection, trigger, at.shop_zone)
            marks = {f"schedule:{live.flow.name}:{number}:{zone}": zone for zone in zones}
            yield _Schedule(live, number, trigger, marks)


def _marked(connection: Connection, schedules: Iterable[_Schedule]) -> dict[str, datetime]:
    return dict(_MARKS.rows(connection, names=[mark for each in schedules for mark in each.marks]))


def schedule_candidates(connection: Connection, live: LiveFlow, at: Round) -> Iterator[Candidate]:
    """Yield everyone in the segment for each slot that has come since the last look, and note how far we came."""
    for each in _schedules(connection, live, at):
        for zone, (mark, first) in each.next_slots(_marked(connection, [each])).items():
            slot: datetime | None = first
            while slot is not None and slot <= at.now:
                yield from _everyone(connection, live, each.number, each.trigger, zone, slot, at)
                note_mark(connection, mark, slot)
                slot = next_slot(each.trigger, slot, zone)


def slots_ahead(
    connection: Connection, live: LiveFlow, zone: str, at: Round
) -> Iterator[tuple[datetime, str | None]]:
    """Yield for each schedule of a flow its next slot for who lives in a zone, with the segment that it asks for."""
    for each in _schedules(connection, live, at):
        here = zone if each.trigger.clock == "customer" else at.shop_zone
        following = each.next_slots(_marked(connection, [each])).get(here)
        if following is not None:
            yield following[1], each.trigger.segment


def zones_of(connection: Connection, trigger: ScheduleTrigger, shop_zone: str) -> list[str]:
    """Return the zones on whose clocks a schedule runs: the shop's, or every customer's own."""
    if trigger.clock == "shop":
        return [shop_zone]
    return sorted({shop_zone, *_customer_zones(connection)})


def _customer_zones(connection: Connection) -> Iterator[str]:
    """Yield the zones of customers by hopping through the index, one probe a zone instead of one a customer."""
    zone = connection.scalar(
        select(customers.c.zone).where(customers.c.zone > "").order_by(customers.c.zone).limit(1)
    )
    while zone is not None:
        yield zone
        zone = connection.scalar(
            select(customers.c.zone).where(customers.c.zone > zone).order_by(customers.c.zone).limit(1)
        )


def _everyone(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: ScheduleTrigger,
    zone: str,
    slot: datetime,
    at: Round,
) -> Iterator[Candidate]:
    clauses = [Clause(InSegment(trigger.segment), trigger.segment)] if trigger.segment else []
    matching = customers_matching(
        clauses, now=at.now, segments=live.flow.segments, shop_zone=at.shop_zone, among=None
    )
    if trigger.clock == "customer":
        own = customers.c.zone == zone
        if zone == at.shop_zone:
            own = own | customers.c.zone.is_(None)
        matching = matching.where(customers.c.id.in_(select(customers.c.id).where(own)))
    matching = matching.where(customers.c.first_seen_at <= slot)
    # A once-only slot is one occurrence whatever the clock; a recurring one is named by its local time.
    stamp = local(slot, zone).replace(tzinfo=None).isoformat(timespec="minutes")
    for customer_id in list(connection.scalars(matching)):
        yield Candidate(number, customer_id, f"slot:{stamp}", slot, slot, {"slot": stamp})


def next_schedule(connection: Connection, live: Iterable[LiveFlow], at: Round) -> datetime | None:
    """Return the next slot of these flows' schedules: due where it has come, else where a virtual clock stops."""
    schedules = [schedule for each in live for schedule in _schedules(connection, each, at)]
    if not schedules:
        return None
    marked = _marked(connection, schedules)
    slots = [slot for each in schedules for _, slot in each.next_slots(marked).values()]
    return min(slots, default=None)
