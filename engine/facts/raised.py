"""The events that facts raise, and how they are written: each once, by its key, with an inbox row for the next tick.

Comes in: `Raised` values of one chunk. An event whose key is known raises nothing; where its fact was told anew
(`refresh`), its row takes the newest content. Inbox rows are written while any flow is applied, for backfilled facts
too: the tick feeds those to timers and exits and never to event triggers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from engine.facts.fact import Fact, iso
from engine.facts.people import next_ids
from engine.store.bulk import insert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import events, fact_inbox, flows

_ACTIVE = Prepared(select(flows.c.flow).where(flows.c.active).limit(1))
_KEPT = Prepared(
    select(events.c.key, events.c.customer_id, events.c.occurred_at, events.c.properties).where(
        within(events.c.key, "keys")
    )
)


class Told(NamedTuple):
    """A fact as it arrived: its own time (never later than the receipt) and the time of receipt."""

    fact: Fact
    at: datetime
    received: datetime


class Raised(NamedTuple):
    """One event; `place` is that of its fact in the chunk.

    `clocked`: its fact tells no moment that has come, so it happened when it was first received.
    """

    place: int
    key: str
    customer_id: int
    name: str
    occurred_at: datetime
    arrived_at: datetime
    properties: Mapping[str, Any]
    value: Decimal | None = None
    order_id: str | None = None
    cart_id: str | None = None
    sku: str | None = None
    backfill: bool = False
    refresh: bool = False
    clocked: bool = False


def flows_are_applied(connection: Connection) -> bool:
    """Return whether any flow is active: only then does anybody read the inbox."""
    return _ACTIVE.first(connection) is not None


def as_first_received(connection: Connection, raised: Sequence[Raised]) -> list[Raised]:
    """Return the events; those whose moment is that of their receipt keep the first one where they were told before."""
    keys = [event.key for event in raised if event.clocked]
    if not keys:
        return list(raised)
    known = {row.key: row for row in _KEPT.rows(connection, keys=keys)}
    return [
        _at_moment(event, known[event.key].occurred_at) if event.clocked and event.key in known else event
        for event in raised
    ]


def _at_moment(event: Raised, moment: datetime) -> Raised:
    moment = min(moment, event.occurred_at)
    return event._replace(occurred_at=moment, properties={**event.properties, "at": iso(moment)})


def write_events(connection: Connection, raised: Sequence[Raised]) -> dict[str, str]:
    """Write the events of a chunk; return by key whether each was `new`, `unchanged` or `stale`."""
    if not raised:
        return {}
    wanted: dict[str, Raised] = {}
    for event in sorted(raised, key=_place):
        first = wanted.get(event.key)
        if first is None:
            wanted[event.key] = event
        elif event.refresh:
            wanted[event.key] = event._replace(arrived_at=first.arrived_at, place=first.place)
    known = {row.key: row for row in _KEPT.rows(connection, keys=wanted)}
    outcomes = {event.key: _outcome(event, known.get(event.key)) for event in wanted.values()}
    new = [event for event in wanted.values() if event.key not in known]
    ids = next_ids(connection, events, len(new))
    if new:
        insert_rows(
            connection, events, [{"id": id_, **_columns(event)} for id_, event in zip(ids, new, strict=True)]
        )
        if flows_are_applied(connection):
            insert_rows(connection, fact_inbox, [{"event_id": id_} for id_ in ids])
    told_anew = [
        _refreshed(event) for event in wanted.values() if event.key in known and outcomes[event.key] == "new"
    ]
    _REFRESH.run_each(connection, told_anew)
    return outcomes


def _place(event: Raised) -> int:
    return event.place


def _outcome(event: Raised, stored: Any) -> str:
    """Return `new` where the event must be written: it is not known, or it was told anew and not older."""
    if stored is None:
        return "new"
    if not event.refresh or (
        stored.customer_id == event.customer_id and stored.properties == event.properties
    ):
        return "unchanged"
    projected = event.key.startswith("order:")  # made from the whole order, which knows better what is newer
    return "new" if projected or event.occurred_at >= stored.occurred_at else "stale"


_COLUMNS = Raised._fields[1:12]  # from `key` to `backfill`, as a row of `events` calls them


def _columns(event: Raised) -> dict[str, Any]:
    return dict(zip(_COLUMNS, event[1:12], strict=True))


_REFRESHED = ("customer_id", "occurred_at", "value", "order_id", "cart_id", "sku", "properties")
_REFRESH = Prepared(
    update(events)
    .where(events.c.key == bindparam("known"))
    .values({name: bindparam(name) for name in _REFRESHED})
)


def _refreshed(event: Raised) -> dict[str, Any]:
    columns = _columns(event)
    return {"known": event.key, **{name: columns[name] for name in _REFRESHED}}
