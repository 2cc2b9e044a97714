"""Time triggers as rows: arming them when facts arrive, reading those that are due.

Every time-based trigger of a live flow is one row in `timers` per customer and key, with the moment at which it becomes
true; a newer fact with the same key replaces the moment, an older one (by its own time) never does. A tick at rest is
then one indexed look for each flow, whatever the number of customers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, select, tuple_

from engine.calendar import Duration, add
from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    EventTrigger,
    LapsedTrigger,
    ReplenishTrigger,
    Trigger,
)
from engine.insights.gaps import shop_median_gap_days, usual_gaps
from engine.journeys.candidates import ArrivedEvent, Candidate
from engine.journeys.moments import Due, date_due, next_anniversary
from engine.journeys.versions import LiveFlow
from engine.recommend.supply import Line, run_out_days
from engine.store.bulk import upsert_rows
from engine.store.dialect import among
from engine.store.tables import customers, events, orders, timers

CHUNK = 5_000
PLACED_BACK = timedelta(days=400)
CUSTOMER_EVENTS = frozenset({"customer_created", "customer_updated"})
Row = dict[str, Any]


# ── arming, when facts arrive ────────────────────────────────────────────────────────────────────────────────────────


def arm(
    connection: Connection, live: LiveFlow, batch: Sequence[ArrivedEvent], shop_zone: str, now: datetime
) -> None:
    """Set or move the timers of one flow for newly arrived facts, backfilled ones included."""
    for number, trigger in enumerate(live.flow.triggers):
        if isinstance(trigger, EventTrigger) and trigger.quiet_for is not None:
            _arm_quiet(connection, live, number, trigger, batch)
        elif isinstance(trigger, LapsedTrigger):
            relevant = [event for event in batch if event.name == trigger.event]
            _upsert(connection, _lapsed_rows(connection, live, number, trigger, relevant, now))
        elif isinstance(trigger, ReplenishTrigger):
            _arm_replenish(connection, live, number, trigger, batch, now)
        elif isinstance(trigger, AnniversaryTrigger | DateTrigger):
            touched = sorted({event.customer_id for event in batch if event.name in CUSTOMER_EVENTS})
            for part in _chunks(touched):
                _arm_dates(connection, live, number, trigger, part, shop_zone, now, known_before=False)


def _arm_quiet(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: EventTrigger,
    batch: Sequence[ArrivedEvent],
    since: datetime | None = None,
) -> None:
    """Set or move the timers of a quiet trigger; with `since`, for facts that were known before, only later moments."""
    assert trigger.quiet_for is not None
    emptied = [e for e in batch if trigger.event == "cart_updated" and e.name == "cart_emptied"]
    newest: dict[tuple[int, str], ArrivedEvent] = {}
    for event in batch:
        if event.name == trigger.event and not event.backfill:
            standing = newest.get((event.customer_id, event.group_key))
            if standing is None or event.occurred_at >= standing.occurred_at:
                newest[event.customer_id, event.group_key] = event
    rows = [
        _row(live, number, e, e.group_key, add(e.occurred_at, trigger.quiet_for, e.zone), f"e{e.id}")
        for e in newest.values()
    ]
    _upsert(connection, [row for row in rows if since is None or row["due_at"] > since])
    for event in emptied:
        connection.execute(
            delete(timers).where(
                timers.c.flow == live.flow.name,
                timers.c.trigger_no == number,
                timers.c.customer_id == event.customer_id,
                timers.c.key == event.group_key,
                timers.c.armed_at <= event.occurred_at,
            )
        )


def _lapsed_rows(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: LapsedTrigger,
    batch: Sequence[ArrivedEvent],
    now: datetime,
) -> list[Row]:
    newest: dict[int, ArrivedEvent] = {}
    for event in batch:
        if event.customer_id not in newest or event.occurred_at >= newest[event.customer_id].occurred_at:
            newest[event.customer_id] = event
    delays = _lapse_delays(connection, trigger, list(newest), now)
    rows = []
    for customer_id, event in newest.items():
        delay = delays.get(customer_id)
        if delay is None:
            continue
        due = max(event.occurred_at, add(event.occurred_at, delay, event.zone))
        if due > live.applied_at:
            rows.append(_row(live, number, event, "", due, f"e{event.id}"))
    return rows


def _lapse_delays(
    connection: Connection, trigger: LapsedTrigger, customer_ids: Sequence[int], now: datetime
) -> dict[int, Duration | None]:
    """Return how long after their last fact these customers count as lapsed; None: never."""
    if trigger.factor is None:
        return dict.fromkeys(customer_ids, trigger.after)
    own: dict[int, float] = {}
    for part in _chunks(customer_ids):
        own.update(usual_gaps(connection, trigger.event, part, now))
    fallback = trigger.otherwise
    if fallback is None and len(own) < len(customer_ids):
        median = shop_median_gap_days(connection, trigger.event, now)
        fallback = _bounded(trigger, float(trigger.factor) * median) if median is not None else None
    return {
        customer_id: _bounded(trigger, float(trigger.factor) * own[customer_id])
        if customer_id in own
        else fallback
        for customer_id in customer_ids
    }


def _bounded(trigger: LapsedTrigger, days: float) -> Duration:
    """Return a stretch of days as exact seconds within `at_least` and `at_most`."""
    delay = Duration(seconds=round(days * 86_400))
    if trigger.at_least is not None and delay.approximate < trigger.at_least.approximate:
        return trigger.at_least
    if trigger.at_most is not None and delay.approximate > trigger.at_most.approximate:
        return trigger.at_most
    return delay


def _arm_replenish(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: ReplenishTrigger,
    batch: Sequence[ArrivedEvent],
    now: datetime,
) -> None:
    bought = [(event, line) for event in batch if event.name == "order_placed" for line in _lines(event)]
    asked = [
        Line(e.customer_id, str(line["sku"]), float(line.get("quantity") or 1), e.occurred_at)
        for e, line in bought
    ]
    rows = []
    for (event, line), days in zip(bought, run_out_days(connection, asked), strict=True):
        if days is not None:
            rows.append(_replenish_row(live, number, trigger, event, line, days))
    for event in batch:
        if (
            event.name == "refill_answered"
            and event.sku
            and _number(event.properties.get("days")) is not None
        ):
            days = float(_number(event.properties.get("days")) or 0)
            rows.append(_replenish_row(live, number, trigger, event, {"sku": event.sku}, days))
    rows = [row for row in rows if row["due_at"] > live.applied_at]
    _upsert(connection, rows)
    cancelled = [event for event in batch if event.name == "order_cancelled" and event.order_id is not None]
    for event in cancelled:
        connection.execute(
            delete(timers).where(
                timers.c.flow == live.flow.name,
                timers.c.trigger_no == number,
                timers.c.customer_id == event.customer_id,
                timers.c.occurrence.startswith(f"{event.order_id}:", autoescape=True),
            )
        )
    if cancelled:
        _arm_replenish(connection, live, number, trigger, _bought_before(connection, cancelled), now)


def _bought_before(connection: Connection, cancelled: Sequence[ArrivedEvent]) -> list[ArrivedEvent]:
    """Return the newest purchase that still counts of each product in these cancelled orders, with that line alone."""
    skus = {(event.customer_id, str(line["sku"])) for event in cancelled for line in _lines(event)}
    ids = sorted({event.customer_id for event in cancelled})
    standing = select(orders.c.order_id).where(
        among(connection, orders.c.customer_id, ids), orders.c.cancelled_at.is_(None)
    )
    query = (
        event_rows()
        .where(
            among(connection, events.c.customer_id, ids),
            events.c.name == "order_placed",
            events.c.order_id.in_(standing),
        )
        .order_by(events.c.occurred_at, events.c.id)
    )
    newest: dict[tuple[int, str], tuple[ArrivedEvent, Mapping[str, Any]]] = {}
    for event in read_events(connection, query, "UTC"):
        for line in _lines(event):
            newest[event.customer_id, str(line["sku"])] = (event, line)
    found = [newest[key] for key in sorted(skus) if key in newest]
    return [event._replace(properties={**event.properties, "lines": [line]}) for event, line in found]


def _replenish_row(
    live: LiveFlow,
    number: int,
    trigger: ReplenishTrigger,
    event: ArrivedEvent,
    line: Mapping[str, Any],
    days: float,
) -> Row:
    out_at = event.occurred_at + timedelta(days=days)
    due = max(event.occurred_at, add(out_at, trigger.lead.negative, event.zone))
    sku = str(line["sku"])
    occurrence = f"{event.order_id}:{sku}" if event.name == "order_placed" else f"e{event.id}"
    payload = {
        "sku": sku,
        "quantity": line.get("quantity"),
        "run_out_at": out_at.isoformat(),
        "order_id": event.order_id,
    }
    return _row(live, number, event, f"sku:{sku}", due, occurrence, payload)


def _lines(event: ArrivedEvent) -> list[Mapping[str, Any]]:
    lines = event.properties.get("lines") or []
    return [line for line in lines if isinstance(line, dict) and line.get("sku")]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


# ── dates of customers ───────────────────────────────────────────────────────────────────────────────────────────────


def _arm_dates(
    connection: Connection,
    live: LiveFlow,
    number: int,
    trigger: AnniversaryTrigger | DateTrigger,
    customer_ids: Sequence[int],
    shop_zone: str,
    now: datetime,
    *,
    known_before: bool,
) -> None:
    """Bring the date timers of these customers in line with their records.

    `known_before` tells that the dates were known before the flow was applied: then only moments after that count.
    A date that became known just now may also be entered late, until the date itself is over.
    """
    standing = {
        row.customer_id: row.payload
        for row in connection.execute(
            select(timers.c.customer_id, timers.c.payload).where(
                timers.c.flow == live.flow.name,
                timers.c.trigger_no == number,
                timers.c.key == trigger.field,
                timers.c.customer_id.in_(customer_ids),
            )
        )
    }
    rows, gone = [], []
    for customer_id, zone, value in _date_values(connection, trigger.field, customer_ids, shop_zone):
        payload = {"value": str(value), "zone": zone}
        known = standing.get(customer_id)
        if known is not None and known.get("value") == payload["value"] and known.get("zone") == zone:
            continue
        same_value = known is not None and known.get("value") == payload["value"]
        due = (
            due_of(trigger, value, zone, now, late=not known_before and not same_value)
            if value is not None
            else None
        )
        if due is not None:
            rows.append(_date_row(live, number, trigger, customer_id, due, payload, now))
        elif known is not None:
            gone.append(customer_id)
    _upsert(connection, rows)
    if gone:
        connection.execute(_timers_of(delete(timers), live, number, gone))


def due_of(
    trigger: AnniversaryTrigger | DateTrigger, value: Any, zone: str, now: datetime, *, late: bool
) -> Due | None:
    """Return the next moment of a date trigger for a value, or None where there is none to come."""
    if isinstance(trigger, AnniversaryTrigger):
        return next_anniversary(trigger, value, zone, now, late=late)
    due = date_due(trigger, value, zone)
    return due if due is not None and (due.due_at > now or (late and due.until > now)) else None


def _date_values(
    connection: Connection, field: str, customer_ids: Sequence[int], shop_zone: str
) -> Iterator[tuple[int, str, Any]]:
    column = customers.c.get(field)
    chosen = customers.c.properties if column is None else column
    query = select(customers.c.id, customers.c.zone, chosen, customers.c.erased_at).where(
        customers.c.id.in_(customer_ids)
    )
    path = field.removeprefix("properties.").split(".")
    for customer_id, zone, value, erased_at in connection.execute(query):
        found = value if column is not None else dig(value, path)
        yield customer_id, zone or shop_zone, None if erased_at is not None else found


def dig(document: Any, path: Sequence[str]) -> Any:
    """Return the value at a path of keys inside nested mappings, or None."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _date_row(
    live: LiveFlow,
    number: int,
    trigger: AnniversaryTrigger | DateTrigger,
    customer_id: int,
    due: Due,
    payload: Row,
    now: datetime,
) -> Row:
    return {
        "flow": live.flow.name,
        "trigger_no": number,
        "customer_id": customer_id,
        "key": trigger.field,
        "armed_at": now,
        "due_at": max(due.due_at, now) if due.due_at < now else due.due_at,
        "until": due.until,
        "occurrence": due.occurrence,
        "event_id": None,
        "payload": payload | {"year": due.year, "years": due.years},
    }


# ── arming everyone, when a flow is applied ──────────────────────────────────────────────────────────────────────────


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
            _arm_dates(connection, live, number, trigger, part, shop_zone, now, known_before=True)
    elif isinstance(trigger, LapsedTrigger):
        for facts in _newest_facts(connection, trigger.event, shop_zone):
            _upsert(connection, _lapsed_rows(connection, live, number, trigger, facts, now))
    elif isinstance(trigger, ReplenishTrigger):
        names = ("order_placed", "order_cancelled", "refill_answered")
        for facts in _facts_since(connection, names, now - PLACED_BACK, shop_zone):
            _arm_replenish(connection, live, number, trigger, facts, now)
    elif isinstance(trigger, EventTrigger) and trigger.quiet_for is not None:
        since = live.applied_at - trigger.quiet_for.approximate - timedelta(days=3)
        for facts in _facts_since(connection, (trigger.event, "cart_emptied"), since, shop_zone):
            _arm_quiet(connection, live, number, trigger, facts, live.applied_at)


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


# ── reading events ───────────────────────────────────────────────────────────────────────────────────────────────────


def event_rows() -> Select[Any]:
    """Return the query that `read_events` understands: events with their customer's zone."""
    return select(
        events.c.id,
        events.c.customer_id,
        events.c.name,
        events.c.occurred_at,
        customers.c.zone,
        events.c.properties,
        events.c.order_id,
        events.c.cart_id,
        events.c.sku,
        events.c.backfill,
    ).join(customers, customers.c.id == events.c.customer_id)


def read_events(connection: Connection, query: Select[Any], shop_zone: str) -> list[ArrivedEvent]:
    """Run an `event_rows` query."""
    return [
        ArrivedEvent(which, customer_id, name, at, zone or shop_zone, properties or {}, *rest)
        for which, customer_id, name, at, zone, properties, *rest in connection.execute(query).all()
    ]


# ── firing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def fire(
    connection: Connection, live: LiveFlow, shop_zone: str, now: datetime, limit: int = CHUNK
) -> list[Candidate]:
    """Take the flow's timers that are due, re-arm yearly ones, and return their candidates in order of their moments."""
    query = (
        select(timers)
        .where(timers.c.flow == live.flow.name, timers.c.due_at <= now)
        .order_by(timers.c.due_at, timers.c.id)
        .limit(limit)
    )
    due = connection.execute(query).all()
    if not due:
        return []
    facts = _events_by_id(connection, [row.event_id for row in due if row.event_id is not None], shop_zone)
    overtaken = _overtaken(connection, live, due, facts)
    candidates: list[Candidate] = []
    spent: list[int] = []
    again: list[Row] = []
    for row in due:
        trigger = live.flow.triggers[row.trigger_no] if row.trigger_no < len(live.flow.triggers) else None
        if trigger is not None and row.key != GATHER and row.id not in overtaken:
            candidates.append(_candidate(row, facts.get(row.event_id), trigger))
        elif row.key == GATHER:
            candidates.append(_gathered(row))
        upcoming = (
            _next_year(live, row.trigger_no, trigger, row)
            if isinstance(trigger, AnniversaryTrigger)
            else None
        )
        if upcoming is None:
            spent.append(row.id)
        else:
            again.append(upcoming)
    if spent:
        connection.execute(
            delete(timers).where(timers.c.id == bindparam("gone")), [{"gone": each} for each in spent]
        )
    _upsert(connection, again)
    return candidates


def _next_year(live: LiveFlow, number: int, trigger: AnniversaryTrigger, row: Any) -> Row | None:
    zone = row.payload["zone"]
    moment = row.due_at
    while True:
        due = next_anniversary(trigger, row.payload["value"], zone, moment, late=False)
        if due is None or due.occurrence != row.occurrence:
            break
        moment = due.due_at
    payload = {"value": row.payload["value"], "zone": zone}
    return (
        None if due is None else _date_row(live, number, trigger, row.customer_id, due, payload, row.due_at)
    )


def _events_by_id(
    connection: Connection, ids: Iterable[int], shop_zone: str
) -> dict[int | None, ArrivedEvent]:
    found: dict[int | None, ArrivedEvent] = {}
    for part in _chunks(sorted(set(ids))):
        query = event_rows().where(events.c.id.in_(part))
        found.update((event.id, event) for event in read_events(connection, query, shop_zone))
    return found


def _overtaken(
    connection: Connection, live: LiveFlow, due: Sequence[Any], facts: Mapping[int | None, ArrivedEvent]
) -> set[int]:
    """Return the timers whose fact is not the newest after all: an older fact that was told late may have set one."""
    asked: dict[int, tuple[Any, ArrivedEvent, set[str]]] = {}
    for row in due:
        trigger = live.flow.triggers[row.trigger_no] if row.trigger_no < len(live.flow.triggers) else None
        event = facts.get(row.event_id)
        if event is None or row.key == GATHER:
            continue
        if isinstance(trigger, LapsedTrigger):
            asked[row.id] = (row, event, {trigger.event})
        elif isinstance(trigger, EventTrigger):
            emptied = {"cart_emptied"} if trigger.event == "cart_updated" else set()
            asked[row.id] = (row, event, {trigger.event} | emptied)
    if not asked:
        return set()
    newest: dict[tuple[int, str], datetime] = {}
    query = event_rows().where(
        among(connection, events.c.customer_id, sorted({row.customer_id for row, _, _ in asked.values()})),
        events.c.name.in_(sorted({name for _, _, names in asked.values() for name in names})),
        events.c.occurred_at > min(event.occurred_at for _, event, _ in asked.values()),
    )
    for other in read_events(connection, query, "UTC"):
        for key in {other.group_key if not other.backfill else "", ""}:
            known = newest.get((other.customer_id, f"{other.name}/{key}"))
            newest[other.customer_id, f"{other.name}/{key}"] = max(
                other.occurred_at, known or other.occurred_at
            )
    return {
        which
        for which, (row, event, names) in asked.items()
        if any(
            newest.get((row.customer_id, f"{name}/{row.key}"), event.occurred_at) > event.occurred_at
            for name in names
        )
    }


def _candidate(row: Any, event: ArrivedEvent | None, trigger_of: Trigger) -> Candidate:
    payload: Mapping[str, Any] = row.payload or {}
    if event is None:
        return Candidate(row.trigger_no, row.customer_id, row.occurrence, row.due_at, row.due_at, payload)
    trigger = {**event.properties, **payload}
    since = event.occurred_at if isinstance(trigger_of, EventTrigger) else row.due_at
    sku = payload.get("sku") or event.sku
    return Candidate(
        row.trigger_no, row.customer_id, row.occurrence, row.due_at, since, trigger, event.id, event.name,
        event.order_id, event.cart_id, sku,
    )  # fmt: skip


# ── gathering ────────────────────────────────────────────────────────────────────────────────────────────────────────

GATHER = "gather"


def gather(
    connection: Connection, live: LiveFlow, candidates: Sequence[Candidate], zones: Mapping[int, str]
) -> None:
    """Let further occurrences of a customer join the first: entry comes when the first one's time is over."""
    for number in sorted({candidate.trigger_no for candidate in candidates}):
        own = [candidate for candidate in candidates if candidate.trigger_no == number]
        length = live.flow.triggers[number].gather
        assert length is not None
        standing = _gathering(connection, live, number, [candidate.customer_id for candidate in own])
        rows: dict[int, Row] = {}
        for candidate in own:
            row = rows.get(candidate.customer_id) or standing.get(candidate.customer_id)
            if row is None:
                due = add(candidate.entered_at, length, zones[candidate.customer_id])
                row = _gather_row(live, candidate, due)
            row["payload"]["facts"].append(dict(candidate.trigger) | {"sku": candidate.sku})
            rows[candidate.customer_id] = row
        _upsert(connection, list(rows.values()))


def _gathering(
    connection: Connection, live: LiveFlow, number: int, customer_ids: Sequence[int]
) -> dict[int, Row]:
    query = select(timers).where(
        timers.c.flow == live.flow.name,
        timers.c.trigger_no == number,
        timers.c.key == GATHER,
        timers.c.customer_id.in_(sorted(set(customer_ids))),
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return {row["customer_id"]: {key: value for key, value in row.items() if key != "id"} for row in rows}


def _gather_row(live: LiveFlow, candidate: Candidate, due: datetime) -> Row:
    payload: Row = {
        "trigger": dict(candidate.trigger),
        "facts": [],
        "since": candidate.since_at.isoformat(),
        "event_name": candidate.event_name,
        "order_id": candidate.order_id,
        "cart_id": candidate.cart_id,
        "sku": candidate.sku,
    }
    return {
        "flow": live.flow.name,
        "trigger_no": candidate.trigger_no,
        "customer_id": candidate.customer_id,
        "key": GATHER,
        "armed_at": candidate.entered_at,
        "due_at": due,
        "until": None,
        "occurrence": candidate.occurrence,
        "event_id": candidate.event_id,
        "payload": payload,
    }


def _gathered(row: Any) -> Candidate:
    payload = row.payload
    return Candidate(
        row.trigger_no, row.customer_id, row.occurrence, row.due_at, datetime.fromisoformat(payload["since"]),
        payload["trigger"], row.event_id, payload["event_name"], payload["order_id"], payload["cart_id"], payload["sku"],
        tuple(payload["facts"]),
    )  # fmt: skip


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _row(
    live: LiveFlow,
    number: int,
    event: ArrivedEvent,
    key: str,
    due: datetime,
    occurrence: str,
    payload: Row | None = None,
) -> Row:
    return {
        "flow": live.flow.name,
        "trigger_no": number,
        "customer_id": event.customer_id,
        "key": key,
        "armed_at": event.occurred_at,
        "due_at": due,
        "until": None,
        "occurrence": occurrence,
        "event_id": event.id,
        "payload": payload,
    }


def _upsert(connection: Connection, rows: Sequence[Row]) -> None:
    """Write timers; one that was set by a later fact stays."""
    newest: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["flow"], row["trigger_no"], row["customer_id"], row["key"])
        if key not in newest or row["armed_at"] >= newest[key]["armed_at"]:
            newest[key] = row
    keys = ("flow", "trigger_no", "customer_id", "key")
    upsert_rows(connection, timers, list(newest.values()), keys=keys, newest_by="armed_at")


def _timers_of(statement: Any, live: LiveFlow, number: int, customer_ids: Sequence[int]) -> Any:
    return statement.where(
        and_(
            timers.c.flow == live.flow.name,
            timers.c.trigger_no == number,
            timers.c.key != GATHER,
            timers.c.customer_id.in_(customer_ids),
        )
    )


def _chunks(items: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
