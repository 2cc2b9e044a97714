"""What was known when a replay begins, written as it is kept: no fact is read and folded anew that was folded once.

Comes in: the real database (only read), a scratch database, which customers, the start. Goes out: the scratch database with
everybody and everything of whom all was known by then, and `Known`: who and what that is. What became of something later,
or what is not kept as it was told, is left to `engine.deploy.simulate_feed`, fact by fact. Promises the rows that the facts
would have been folded into.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Table,
    and_,
    case,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.sql.elements import ColumnElement

from engine.deploy.simulate_copy import Copied, copy_rows
from engine.facts.consents import fold
from engine.facts.people import PROFILE_EVENTS
from engine.facts.project import NO_ACTIVITY
from engine.facts.totals import count_orders
from engine.outbox.own_facts import NAMES as OWN
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.dialect import among
from engine.store.tables import (
    cart_lines,
    carts,
    consents,
    customer_ids,
    customers,
    events,
    order_lines,
    orders,
)
from engine.store.types import Instant

LOADED = timedelta(days=7)  # what arrived later than this was loaded, not told
CHUNK = 5_000
TOLD = ("customer_created", "customer_updated")
CONSENTS = ("consent_granted", "consent_withdrawn")
NOT_TOLD = ("customer_suppressed", "customer_erased")
# Projected from what is copied, or the engine's own.
_REBUILT = frozenset(
    {"orders", "spent", "first_order_at", "last_order_at", "average_gap_days", "usual_gap_days", "last_activity_at",
     "quarantined_at", "erased_at"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moments:
    """When recorded facts arrive again, and from when on they are fed one by one."""

    start: datetime
    batches: Collection[datetime]  # at which history was loaded
    unheard: Collection[str] = ()  # events that no flow hears of: mails ask for them with their moment
    leave_out: Collection[str] = ()  # events that nobody asks for

    def arrival(self, connection: Connection, table: Any) -> ColumnElement[datetime]:
        """Return `engine.deploy.simulate_feed.arrival` of an event as an expression."""
        occurred, arrived = table.c.occurred_at, table.c.arrived_at
        told_later = [arrived.in_(sorted(self.batches))] if self.batches else []
        loaded = or_(table.c.backfill, *told_later, arrived_late(connection, table))
        return type_coerce(case((or_(loaded, occurred > arrived), occurred), else_=arrived), Instant())


def arrived_late(connection: Connection, table: Any) -> ColumnElement[bool]:
    """Return whether an event was received so long after it happened that it was loaded, not told."""
    occurred, arrived = table.c.occurred_at, table.c.arrived_at
    if connection.dialect.name == "sqlite":
        number = type_coerce(arrived, BigInteger) - type_coerce(occurred, BigInteger)
        return number > LOADED // timedelta(microseconds=1)
    late: ColumnElement[bool] = arrived - occurred > literal(LOADED)
    return late


def scanned(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a number's column for a test that goes through the table in its order, as most rows are taken: no index helps."""
    return column + 0


def write_profiles(target: Database, profiles: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `customers`."""
    for rows in _chunks(profiles):
        with target.write() as connection:
            insert_rows(connection, customers, rows)


def write_known(source: Database, target: Database, people: Collection[int], moments: Moments) -> None:
    """Write what these people had done when it begins, and what of it is asked for by its moment alone."""
    ids = sorted(people)

    def wanted(connection: Connection, read: Mapping[str, Table]) -> Iterable[Copied]:
        named = read[customer_ids.name]
        yield customer_ids, select(named).where(among(connection, named.c.customer_id, ids))
        for table, lines, key, name in (
            (orders, order_lines, "order_id", "order:"), (carts, cart_lines, "cart_id", "cart:"),
        ):  # fmt: skip
            things, parts = read[table.name], read[lines.name]
            mine = (
                among(connection, things.c.customer_id, ids),
                _settled(connection, read, things.c[key], name, moments),
            )
            yield table, select(things).where(*mine)
            yield lines, select(parts).join(things, things.c[key] == parts.c[key]).where(*mine)
        told = read[events.name]
        again = moments.arrival(connection, told)
        anew: Mapping[str, ColumnElement[Any]] = {"arrived_at": again, "backfill": literal(False)}
        columns = [anew.get(column.name, column).label(column.name) for column in told.columns]
        yield events, select(*columns).where(
            among(connection, scanned(told.c.customer_id), ids), is_known(connection, read, told, moments)
        ).order_by(told.c.id)  # fmt: skip

    copy_rows(source, target, wanted)


def is_known(
    connection: Connection, read: Mapping[str, Table], told: Table, moments: Moments
) -> ColumnElement[bool]:
    """Return whether an event is written with what is known at the start, instead of being fed."""
    by_then = moments.arrival(connection, told) <= moments.start
    of_order, of_cart = (_begins(connection, told.c.key, name) for name in ("order:", "cart:"))
    plain = and_(not_(of_order), not_(of_cart), told.c.name.not_in(sorted(PROFILE_EVENTS)))
    later = and_(
        told.c.name.in_(sorted(moments.unheard)),
        moments.arrival(connection, told) == told.c.occurred_at,
        plain,
    )
    return and_(
        told.c.name.not_in((*OWN, *NOT_TOLD, *sorted(moments.leave_out))),
        or_(
            and_(
                by_then,
                or_(
                    plain,
                    and_(of_order, _settled(connection, read, told.c.order_id, "order:", moments)),
                    and_(of_cart, _settled(connection, read, told.c.cart_id, "cart:", moments)),
                ),
            ),
            later,
        ),
    )


def _begins(connection: Connection, column: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    """Return whether a text begins with a word; spelled so that SQLite finds such texts by an index, too."""
    if connection.dialect.name == "sqlite":
        return column.op("GLOB", is_comparison=True)(literal_column(f"'{word}*'"))
    return column.like(f"{word}%")


def _settled(
    connection: Connection, read: Mapping[str, Table], key: ColumnElement[Any], name: str, moments: Moments
) -> ColumnElement[bool]:
    """Return whether everything that was told of an order or a cart had arrived by the start, and there was something."""
    told = read[events.name].alias("of")
    things = read[orders.name if name == "order:" else carts.name].alias("thing")
    which = "order_id" if name == "order:" else "cart_id"
    own = told.c[which]
    mine = and_(_begins(connection, told.c.key, name), own.is_not(None))
    arrival = moments.arrival(connection, told)
    later = select(own).where(mine, arrival > moments.start)
    before = select(own).where(mine, arrival <= moments.start)
    told_since = select(things.c[which]).where(things.c.updated_at > moments.start)
    return and_(key.in_(before), key.not_in(later), key.not_in(told_since))


def known_profile(row: Any, document: Mapping[str, Any] | None, first_seen: datetime) -> dict[str, Any]:
    """Return the row of a customer as known at the start: `document` is all that was ever told, None where nothing is kept.

    What flows set on their own is no fact, and left out.
    """
    known = {name: value for name, value in row._asdict().items() if name not in _REBUILT}
    known["first_seen_at"] = first_seen
    if document is not None:
        known |= {"properties": document.get("properties"), "tags": document.get("tags")}
    return known


def write_consents(target: Database, ledger: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the ledger, and the states that they add up to."""
    for rows in _chunks(ledger):
        with target.write() as connection:
            insert_rows(connection, consents, rows)
            fold(connection, rows)


def add_up(target: Database, people: Collection[int], currency: str, start: datetime) -> None:
    """Reckon what orders and events add up to for these people."""
    for ids in _chunks(sorted(people)):
        with target.write() as connection:
            count_orders(connection, ids, currency)
    seen = (
        select(func.max(events.c.occurred_at))
        .where(
            events.c.customer_id == customers.c.id, events.c.name.not_in(sorted(NO_ACTIVITY)), events.c.arrived_at <= start
        )
        .scalar_subquery()
    )  # fmt: skip
    with target.write() as connection:
        connection.execute(customers.update().values(last_activity_at=seen))


def _chunks(rows: Iterable[Any]) -> Iterable[list[Any]]:
    part: list[Any] = []
    for row in rows:
        part.append(row)
        if len(part) >= CHUNK:
            yield part
            part = []
    if part:
        yield part
