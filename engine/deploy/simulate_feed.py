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
from zlib import crc32

from sqlalchemy import Column, Connection, Text, cast, func, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from engine.facts.days import value_of
from engine.facts.fact import iso
from engine.outbox.own_facts import NAMES as OWN
from engine.store.bulk import insert_rows
from engine.store.database import Database, to_json
from engine.store.tables import (
    consents,
    customers,
    events,
    product_changes,
    product_prices,
    products,
    staged_facts,
    suppressions,
)
from engine.store.types import EPOCH, Instant

BEGINNING = datetime(1971, 1, 1, tzinfo=UTC)  # before anything that a shop records
MANY = 20  # facts received at one moment, from which they are a batch
LOADED = timedelta(days=7)  # what arrived later than this was loaded, not told
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
class Slice:
    """The customers that one process takes: each belongs to exactly one part, whatever the database."""

    part: int = 0
    of: int = 1

    def has(self, reference: str) -> bool:
        """Return whether the customer of that name is in this part."""
        return self.of == 1 or crc32(reference.encode()) % self.of == self.part


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


def stage_past(
    source: Database, target: Database, part: Slice, until: datetime, leave_out: frozenset[str] = frozenset()
) -> list[Suppressed]:
    """Stage everything that arrived by `until`, events in `leave_out` excepted; return the suppressions in order."""
    with source.read() as connection:
        people = _people(connection, part)
        staging = _Staging(target, until)
        staging.take(_catalogue(connection))
        batches = loaded_at(connection)
        staging.take(_profiles(connection, people, batches))
        staging.take(_consents(connection, people, batches))
        staging.take(_deeds(connection, people, leave_out, batches))
        staging.flush()
        return [each for each in _suppressed(connection, people) if each.at <= until]


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
    query = (
        select(table.arrived_at, func.min(table.occurred_at, type_=Instant()))
        .group_by(table.arrived_at)
        .having(func.count() > MANY)
    )
    return frozenset(at for at, oldest in connection.execute(query) if at - oldest > LOADED)


def _text(column: Column[Any], connection: Connection) -> ColumnElement[Any]:
    """Return a document as it is written down, unread."""
    return type_coerce(column, Text) if connection.dialect.name == "sqlite" else cast(column, Text)


def _rows(connection: Connection, query: Any) -> Iterator[Any]:
    yield from connection.execution_options(yield_per=ROWS).execute(query)


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


def _profiles(
    connection: Connection, people: Mapping[int, Known], batches: Collection[datetime]
) -> Iterator[tuple[datetime, str, Any]]:
    """Yield what was told about customers: as it was told, else as it stands."""
    told: set[int] = set()
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
        .where(table.name.in_(("customer_created", "customer_updated")))
        .order_by(table.occurred_at, table.id)
    )
    for customer_id, name, occurred, arrived, document, backfill in _rows(connection, query):
        known = people.get(customer_id)
        if known is None:
            continue
        payload = {key: value for key, value in (document or {}).items() if not key.startswith("consent")}
        moment = arrival(occurred, arrived, backfill=backfill, batches=batches)
        if name == "customer_created":
            told.add(customer_id)
            moment = min(moment, known.since)
        yield moment, "customers", payload
    rest = sorted(people.keys() - told)
    for start in range(0, len(rest), ROWS):
        chosen = customers.c.id.between(rest[start], rest[min(start + ROWS, len(rest)) - 1])
        for row in _rows(connection, select(customers).where(chosen).order_by(customers.c.id)):
            known = people.get(row.id)
            if known is not None and row.id not in told:
                yield known.since, "customers", _profile(row)


def _profile(row: Any) -> Row:
    columns = row._asdict()
    told = {name: value_of(name, columns) for name in _PROFILE}
    return {
        name: iso(value) if isinstance(value, datetime) else value
        for name, value in told.items()
        if value not in (None, "")
    }


def _consents(
    connection: Connection, people: Mapping[int, Known], batches: Collection[datetime]
) -> Iterator[tuple[datetime, str, Any]]:
    for row in _rows(connection, select(consents).order_by(consents.c.received_at, consents.c.id)):
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
            moment = arrival(row.at, row.received_at, batches=batches)
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
    leave_out: frozenset[str],
    batches: Collection[datetime],
) -> Iterator[tuple[datetime, str, Any]]:
    """Yield what customers did, as it was told; what was raised by an order or a cart tells that order or cart."""
    table = events.c
    names = (*OWN, *_ELSEWHERE, "customer_created", "customer_updated", *sorted(leave_out))
    query = (
        select(
            table.customer_id, table.key, table.name, table.occurred_at, table.arrived_at, table.backfill,
            _text(table.properties, connection).label("told"),
        )
        .where(table.name.not_in(names))
        .order_by(table.occurred_at, table.id)
    )  # fmt: skip
    for customer_id, key, name, occurred, arrived, backfill, told in _rows(connection, query):
        known = people.get(customer_id)
        if known is None:
            continue
        kind, payload = _deed(key, name, occurred, told, known)
        yield arrival(occurred, arrived, backfill=backfill, batches=batches), kind, payload


def _deed(key: str, name: str, occurred: datetime, told: str | None, known: Known) -> tuple[str, Any]:
    if key.startswith("order:"):
        if name == "order_placed" and told and any(f'"{word}"' in told for word in _TOLD_LATER):
            return "orders", _as_placed(told)
        return "orders", _with_customer(told, known)
    if key.startswith("cart:"):
        return "carts", _with_customer(told, known)
    if told and '"event"' in told and '"customer"' in told and '"at"' in told:
        return "events", told
    return "events", {
        **_document(told), "customer": known.reference, "event": name, "at": iso(occurred), "id": key.removeprefix("event:"),
    }  # fmt: skip


def _with_customer(told: str | None, known: Known) -> Any:
    if told and '"customer"' in told:
        return told
    return {**_document(told), "customer": known.reference}


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
