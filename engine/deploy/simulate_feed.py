"""The recorded past of a database, staged again in the order in which it arrived, in a store of its own.

Comes in: the real database (only read), a scratch database, which customers. Goes out: `staged_facts` of the scratch
database and the suppressions to come. Promises that nothing the engine itself raised is told again, that nothing is known
before its time, and the same staged rows whichever database they were recorded in.

A fact arrives when it was recorded to have arrived. History that was loaded (backfilled, received more than a week after
it happened, or in one batch with such facts) arrives when it happened. A profile that was loaded without a time of its own is known just
before the customer's first deed. A product is known from the beginning, at its earliest known price and stock; what it
holds now of everything else is all that was kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Text, and_, cast, false, func, not_, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from engine.deploy.simulate_copy import Slice
from engine.deploy.simulate_known import (
    LOADED,
    TOLD,
    Moments,
    arrived_late,
    is_known,
    known_profile,
    scanned,
    write_consents,
    write_known,
    write_profiles,
)
from engine.facts.days import value_of
from engine.facts.fact import iso
from engine.facts.people import PROFILE_EVENTS
from engine.outbox.own_facts import NAMES as OWN
from engine.store.bulk import insert_rows
from engine.store.database import Database, to_json
from engine.store.dialect import among
from engine.store.tables import (
    consents,
    customers,
    events,
    metadata,
    product_changes,
    product_prices,
    products,
    staged_facts,
    suppressions,
)
from engine.store.types import EPOCH

BEGINNING = datetime(1971, 1, 1, tzinfo=UTC)  # before anything that a shop records
MANY = 20  # facts received at one moment, from which they are a batch
JUST_BEFORE = timedelta(microseconds=1)
CHUNK = 5_000
ROWS = 10_000
_PROFILE = (
    "external_id", "email", "first_name", "last_name", "locale", "timezone", "country", "birthday", "created_at", "tags",
    "points", "points_expire_at", "tier", "referral_code", "referral_url", "subscription_status", "properties",
)  # fmt: skip
_PRODUCT = (
    "title", "category", "brand", "currency", "url", "image_url", "available", "days_of_supply", "variant_group", "properties",
)  # fmt: skip
_ELSEWHERE = ("customer_suppressed", "customer_erased", "consent_granted", "consent_withdrawn")
_TOLD_LATER = ("refunds", "returns", "shipments")


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A suppression that was recorded, to be repeated at its time."""

    at: datetime
    customer: str
    scope: str


@dataclass(frozen=True, slots=True)
class Known:
    """Who a customer is called, and since when there is anything to know."""

    reference: str
    since: datetime
    first_seen: datetime


Row = dict[str, Any]
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Coming:
    """What a replay meets that is no fact: suppressions in order, and when the catalogue changes."""

    suppressed: Sequence[Suppressed] = ()
    catalogue: Sequence[datetime] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """Events that nobody asks for (`leave_out`), and those that no flow hears of, which mails ask for with their moment."""

    leave_out: frozenset[str] = frozenset()
    unheard: frozenset[str] = frozenset()


def tell_past(
    source: Database, target: Database, part: Slice, start: datetime, until: datetime, asked: Asked
) -> tuple[Coming, set[int]]:
    """Write what was known at `start` and stage what arrived until `until`; return what else comes.

    What cannot be written as it stands is staged from its beginning. The second result are the customers whose orders
    are to be added up once that has arrived.
    """
    with source.read() as connection:
        people = _people(connection, part)
        moments = Moments(start, loaded_at(connection), asked.unheard, asked.leave_out)
        staging = _Staging(target, until)
        changes = list(_catalogue(connection))
        staging.take(changes)
        once = _told_once(connection)
        known: dict[int, Row | None] = {}  # with the whole of what was told, where that is kept
        staging.take(_profiles(connection, people, moments, once, known))
        write_profiles(target, _known_profiles(connection, people, known))
        ledger: list[Row] = []
        staging.take(_consents(connection, people, moments, known, ledger))
        write_consents(target, ledger)
    write_known(source, target, known, moments)
    with source.read() as connection:
        staging.take(_deeds(connection, people, known, moments))
        staging.flush()
        suppressed = [each for each in _suppressed(connection, people) if each.at <= until]
    return Coming(suppressed, sorted({at for at, _, _ in changes if start < at <= until})), set(known)


class _Staging:
    """Rows on their way into `staged_facts`."""

    def __init__(self, target: Database, until: datetime) -> None:
        self._target, self._until = target, until
        self._rows: list[Row] = []

    def take(self, rows: Iterable[tuple[datetime, str, Any]]) -> None:
        for arrives_at, kind, payload in rows:
            if arrives_at <= self._until:
                self._rows.append(
                    {"arrives_at": arrives_at, "kind": kind, "payload": payload, "backfill": False}
                )
                if len(self._rows) >= CHUNK:
                    self.flush()

    def flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            with self._target.write() as connection:
                _insert(connection, rows)


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert rows whose payloads may be written down already."""
    written = [row for row in rows if isinstance(row["payload"], str)]
    plain = [row for row in rows if not isinstance(row["payload"], str)]
    insert_rows(connection, staged_facts, plain)
    if written:
        told = [((row["arrives_at"] - EPOCH) // JUST_BEFORE, row["kind"], row["payload"]) for row in written]
        connection.exec_driver_sql(
            "INSERT INTO staged_facts (arrives_at, kind, payload, backfill) VALUES (?, ?, ?, 0)", told
        )


def arrival(
    occurred: datetime, arrived: datetime, *, backfill: bool = False, batches: Collection[datetime] = ()
) -> datetime:
    """Return when a recorded fact arrives again; `batches` are the moments at which history was loaded.

    >>> from datetime import UTC
    >>> arrival(datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)).year
    2025
    """
    loaded = backfill or arrived in batches or arrived - occurred > LOADED
    return occurred if loaded else max(occurred, arrived)


def loaded_at(connection: Connection) -> frozenset[datetime]:
    """Return the moments at which many facts were received at once, some of them more than a week old."""
    table = events.c
    late = select(table.arrived_at).where(arrived_late(connection, events))
    query = select(table.arrived_at).where(table.arrived_at.in_(late))
    return frozenset(connection.scalars(query.group_by(table.arrived_at).having(func.count() > MANY)))


def _text(column: Column[Any], connection: Connection) -> ColumnElement[Any]:
    """Return a document as it is written down, unread."""
    return type_coerce(column, Text) if connection.dialect.name == "sqlite" else cast(column, Text)


def _rows(connection: Connection, query: Any) -> Iterator[Any]:
    for rows in connection.execution_options(yield_per=ROWS).execute(query).partitions():
        yield from rows


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _people(connection: Connection, part: Slice) -> dict[int, Known]:
    table = customers.c
    query = select(
        table.id, table.external_id, table.email, table.created_at, table.first_order_at, table.last_activity_at,
        table.first_seen_at,
    ).where(table.erased_at.is_(None))  # fmt: skip
    found = {}
    for identity, external_id, email, *moments, first_seen in _rows(connection, query.order_by(table.id)):
        reference = external_id or email
        if reference and part.has(reference):
            since = min([moment for moment in moments if moment is not None] + [first_seen])
            found[identity] = Known(reference, since - JUST_BEFORE, first_seen)
    return found


def _told_once(connection: Connection) -> frozenset[int]:
    """Return the customers about whom a single fact was told, and whose profile no event has changed."""
    table = events.c
    tellings = select(table.customer_id).where(table.name.in_((*TOLD, *sorted(PROFILE_EVENTS))))
    query = tellings.group_by(table.customer_id).having(func.count() == 1, func.min(table.name).in_(TOLD))
    return frozenset(connection.scalars(query))


def _profiles(
    connection: Connection,
    people: Mapping[int, Known],
    moments: Moments,
    once: Collection[int],
    known: dict[int, Row | None],
) -> Iterator[tuple[datetime, str, Any]]:
    """Yield what was told about customers: as it was told, else as it stands; `known` gets those known at the start."""
    told: set[int] = set()
    for customer_id, name, occurred, arrived, document, backfill in _tellings(connection):
        person = people.get(customer_id)
        if person is None:
            continue
        moment = arrival(occurred, arrived, backfill=backfill, batches=moments.batches)
        told.add(customer_id)
        if name == "customer_created":
            moment = min(moment, person.since)
        payload = {key: value for key, value in (document or {}).items() if not key.startswith("consent")}
        if customer_id in once and moment <= moments.start:
            known[customer_id] = payload
        else:
            yield moment, "customers", payload
    changed = set(
        connection.scalars(select(events.c.customer_id).where(events.c.name.in_(sorted(PROFILE_EVENTS))))
    )
    for row, person in _rest(connection, people, told):
        if person.since <= moments.start and row.id not in changed:
            known[row.id] = None
        else:
            yield person.since, "customers", _profile(row)


def _tellings(connection: Connection) -> Iterator[Any]:
    table = events.c
    query = (
        select(
            table.customer_id,
            table.name,
            table.occurred_at,
            table.arrived_at,
            table.properties,
            table.backfill,
        )
        .where(table.name.in_(TOLD))
        .order_by(table.occurred_at, table.id)
    )
    return iter(_rows(connection, query))


def _rest(
    connection: Connection, people: Mapping[int, Known], left_out: Collection[int]
) -> Iterator[tuple[Any, Known]]:
    """Yield the rows of these people, those of `left_out` excepted."""
    rest = sorted(people.keys() - set(left_out))
    for start in range(0, len(rest), ROWS):
        chosen = customers.c.id.between(rest[start], rest[min(start + ROWS, len(rest)) - 1])
        for row in _rows(connection, select(customers).where(chosen).order_by(customers.c.id)):
            if row.id in people and row.id not in left_out:
                yield row, people[row.id]


def _known_profiles(
    connection: Connection, people: Mapping[int, Known], known: Mapping[int, Row | None]
) -> Iterator[Row]:
    for row, person in _rest(connection, people, people.keys() - known.keys()):
        yield known_profile(row, known[row.id], person.since)


def _profile(row: Any) -> Row:
    columns = row._asdict()
    told = {name: value_of(name, columns) for name in _PROFILE}
    return {
        name: iso(value) if isinstance(value, datetime) else value
        for name, value in told.items()
        if value not in (None, "")
    }


def _consents(
    connection: Connection,
    people: Mapping[int, Known],
    moments: Moments,
    settled: Collection[int],
    ledger: list[Row],
) -> Iterator[tuple[datetime, str, Any]]:
    """Yield what was told about consent; `ledger` gets what `settled` customers had said by the start."""
    query = select(consents).where(among(connection, consents.c.customer_id, sorted(people)))
    for row in _rows(connection, query.order_by(consents.c.received_at, consents.c.id)):
        known = people.get(row.customer_id)
        if known is None:
            continue
        payload = {"customer": known.reference, "topic": row.topic, "state": row.state, "basis": row.basis}
        if row.source:
            payload["source"] = row.source
        if row.at is None:
            loaded = row.received_at <= known.first_seen + timedelta(days=1)
            moment = min(known.since, row.received_at) if loaded else row.received_at
        else:
            payload["at"] = iso(row.at)
            moment = arrival(row.at, row.received_at, batches=moments.batches)
        if moment <= moments.start and row.customer_id in settled:
            columns = {name: value for name, value in row._asdict().items() if name != "id"}
            ledger.append({**columns, "received_at": moment})
        else:
            yield moment, "consents", payload


def _suppressed(connection: Connection, people: Mapping[int, Known]) -> list[Suppressed]:
    table = suppressions.c
    query = select(table.at, table.customer_id, table.scope).order_by(table.at, table.id)
    return [
        Suppressed(at, people[customer_id].reference, scope)
        for at, customer_id, scope in connection.execute(query)
        if customer_id in people
    ]


# ── deeds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deeds(
    connection: Connection,
    people: Mapping[int, Known],
    settled: Collection[int],
    moments: Moments,
) -> Iterator[tuple[datetime, str, Any]]:
    """Yield what customers did, as it was told; what was raised by an order or a cart tells that order or cart."""
    table = events.c
    names = (*OWN, *_ELSEWHERE, *TOLD, *sorted(moments.leave_out))
    known = is_known(connection, metadata.tables, events, moments)
    owner = scanned(table.customer_id)
    written = func.coalesce(and_(among(connection, owner, sorted(settled)), known), false())
    query = (
        select(
            table.customer_id, table.key, table.name, table.occurred_at, table.arrived_at, table.backfill,
            _text(table.properties, connection).label("told"),
        )
        .where(among(connection, owner, sorted(people)), table.name.not_in(names), not_(written))
        .order_by(table.occurred_at, table.id)
    )  # fmt: skip
    for customer_id, key, name, occurred, arrived, backfill, told in _rows(connection, query):
        person = people.get(customer_id)
        if person is None:
            continue
        kind, payload = _deed(key, name, occurred, told, person)
        yield arrival(occurred, arrived, backfill=backfill, batches=moments.batches), kind, payload


def _deed(key: str, name: str, occurred: datetime, told: str | None, known: Known) -> tuple[str, Any]:
    if key.startswith("order:"):
        if name == "order_placed" and told and any(f'"{word}"' in told for word in _TOLD_LATER):
            return "orders", _with_customer(to_json(_as_placed(told)), known)
        return "orders", _with_customer(told, known)
    if key.startswith("cart:"):
        return "carts", _with_customer(told, known)
    if told and '"event"' in told and '"customer"' in told and '"at"' in told:
        return "events", told
    more = {
        "customer": known.reference, "event": name, "at": iso(occurred), "id": key.removeprefix("event:"),
    }  # fmt: skip
    return "events", _with(told, more)


def _with_customer(told: str | None, known: Known) -> Any:
    if told and '"customer"' in told:
        return told
    return _with(told, {"customer": known.reference})


def _with(told: str | None, more: Row) -> str:
    """Return a document as it is written down, with more that is told; of two tellings the last one counts.

    >>> _with('{"total":1}', {"customer": "c1"}), _with(None, {"customer": "c1"})
    ('{"total":1,"customer":"c1"}', '{"customer":"c1"}')
    """
    inside = (told or "{}").strip()[1:-1].rstrip()
    return f"{{{inside}{',' if inside else ''}{to_json(more)[1:]}"


def _as_placed(told: str) -> Row:
    """Return an order as it was when it was placed, before anything became of it."""
    return {name: value for name, value in _document(told).items() if name not in _TOLD_LATER}


def _document(told: str | None) -> Row:
    found: Row = _DECODER.decode(told) if told else {}
    return found


# ── what belongs to nobody ───────────────────────────────────────────────────────────────────────────────────────────


def _catalogue(connection: Connection) -> Iterator[tuple[datetime, str, Any]]:
    """Yield the products as they were at first, then their prices and stocks as they changed."""
    prices: dict[str, list[tuple[datetime, Any]]] = {}
    table = product_prices.c
    for sku, since, price in _rows(
        connection, select(table.sku, table.since, table.price).order_by(table.sku, table.since)
    ):
        prices.setdefault(sku, []).append((since, price))
    stocks: dict[str, list[tuple[datetime, Any, Any]]] = {}
    changes = product_changes.c
    query = select(changes.sku, changes.at, changes.old_stock, changes.new_stock).order_by(
        changes.at, changes.id
    )
    for sku, at, old, new in _rows(connection, query):
        if old is not None or new is not None:
            stocks.setdefault(sku, []).append((at, old, new))
    first = connection.scalar(select(func.min(products.c.first_seen_at))) or EPOCH
    for row in _rows(connection, select(products).order_by(products.c.sku)):
        own_prices, own_stocks = prices.get(row.sku, []), stocks.get(row.sku, [])
        told: Row = {name: getattr(row, name) for name in _PRODUCT if getattr(row, name) is not None}
        price = own_prices[0][1] if own_prices else row.price
        stock = own_stocks[0][1] if own_stocks else row.stock
        told |= {"sku": row.sku, "updated_at": iso(BEGINNING)}
        told |= {"price": price} if price is not None else {}
        told |= {"stock": stock} if stock is not None else {}
        # What came with the first loading was there before; what came later is new then.
        yield (
            BEGINNING if row.first_seen_at - first <= LOADED else row.first_seen_at,
            "products",
            _plain(told),
        )
        for since, later in own_prices[1:]:
            yield since, "products", _plain({"sku": row.sku, "price": later, "updated_at": iso(since)})
        for at, _, new in own_stocks:
            if new is not None:
                yield at, "products", {"sku": row.sku, "stock": new, "updated_at": iso(at)}


def _plain(told: Row) -> Row:
    found: Row = _DECODER.decode(to_json(told))
    return found
