"""How the customers of a database stand at this moment, copied into a store of its own from which time can go on.

Comes in: the real database (only read), a scratch database, which customers. Goes out: the scratch database, holding what
decisions may ask about them. Promises that a message which somebody else holds at this moment is not sent again, and that
only mails which count for the present mode count for caps. From a SQLite file the rows never pass through Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, MetaData, Select, Table, case, insert, null, or_, select, true

from engine.recommend.supply import SUPPLY
from engine.store import meta
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.dialect import among
from engine.store.scratch import Lone
from engine.store.tables import (
    arrivals,
    cart_lines,
    carts,
    consent_state,
    consents,
    customer_ids,
    customer_scores,
    customers,
    enrollments,
    events,
    fact_inbox,
    flow_versions,
    flows,
    marks,
    messages,
    metadata,
    offer_codes,
    order_lines,
    orders,
    product_affinities,
    product_changes,
    product_prices,
    product_ranks,
    products,
    segment_members,
    sources,
    suppressions,
    timers,
)
from engine.store.tables import meta as meta_table

ROWS = 5_000
MAPPED = 1 << 30  # bytes of a file that is only read, which are looked at where they lie
_ATTACHED = "source"
_WHOLE = (
    flow_versions, flows, sources, marks, products, product_prices, product_ranks, product_affinities,
)  # fmt: skip
_OWN = (
    customer_ids, consents, consent_state, suppressions, orders, carts, events, timers, enrollments, segment_members,
    offer_codes, customer_scores,
)  # fmt: skip
# What of the installation's own facts holds in a copy: not its clock, not where it went live.
_KEPT = (meta.SECRET, "sources_stamp", "paused_all", "recommend", SUPPLY)
Copied = tuple[Table, Select[Any]]


@dataclass(frozen=True, slots=True)
class Slice:
    """The customers that one process takes: each belongs to exactly one part, whatever the database."""

    part: int = 0
    of: int = 1

    def has(self, reference: str) -> bool:
        """Return whether the customer of that name is in this part."""
        return self.of == 1 or crc32(reference.encode()) % self.of == self.part


def customers_of(connection: Connection, part: Slice) -> list[int]:
    """Return the ids of the customers in a part; erased ones are in none."""
    table = customers.c
    query = (
        select(table.id, table.external_id, table.email).where(table.erased_at.is_(None)).order_by(table.id)
    )
    return [
        identity
        for identity, external, email in connection.execute(query)
        if part.has(external or email or "")
    ]


def copy_state(source: Database, target: Database, part: Slice, *, sandbox: bool) -> int:
    """Copy how these customers stand, and everything that is nobody's; return how many customers that were."""
    with source.read() as connection:
        ids = customers_of(connection, part)
    copy_rows(source, target, partial(_wanted, ids=ids, sandbox=sandbox))
    return len(ids)


Queries = Callable[[Connection, Mapping[str, Table]], Iterable[Copied]]


def copy_rows(source: Database, target: Database, wanted: Queries) -> None:
    """Copy rows: `wanted` gives tables with the queries for their rows, from a connection and the tables to read."""
    if (file := file_of(source)) is None:
        with source.read() as connection:
            for table, query in wanted(connection, metadata.tables):
                carry(connection, target, table, query)
        return
    with attached(target, file) as connection:
        for table, query in wanted(connection, elsewhere()):
            names = [column.name for column in query.selected_columns]
            connection.execute(insert(table).from_select(names, query))


# ── what is copied ───────────────────────────────────────────────────────────────────────────────────────────────────


def _wanted(
    connection: Connection, read: Mapping[str, Table], ids: Sequence[int], *, sandbox: bool
) -> Iterator[Copied]:
    """Yield each table with the query for its rows; `read` says where the rows of each are read."""
    for table in _WHOLE:
        yield table, select(read[table.name])
    own_facts = read[meta_table.name]
    yield meta_table, select(own_facts).where(own_facts.c.name.in_(_KEPT))
    people = read[customers.name]
    yield customers, select(people).where(among(connection, people.c.id, ids))
    for table in _OWN:
        own = read[table.name]
        yield table, select(own).where(among(connection, own.c.customer_id, ids))
    for lines, of, key in ((order_lines, orders, "order_id"), (cart_lines, carts, "cart_id")):
        things, parts = read[of.name], read[lines.name]
        mine = select(things.c[key]).where(among(connection, things.c.customer_id, ids))
        yield lines, select(parts).where(parts.c[key].in_(mine))
    yield messages, _posted(connection, read[messages.name], ids, sandbox=sandbox)
    yield from _unread(connection, read, ids)
    codes = read[offer_codes.name]
    yield offer_codes, select(codes).where(codes.c.customer_id.is_(None))


def _posted(connection: Connection, table: Table, ids: Sequence[int], *, sandbox: bool) -> Select[Any]:
    """Return the messages as nobody holds them: one that may have left counts as gone."""
    states = {"claimed": "pending", "handing_over": "unknown"}
    anew = {
        "state": case(states, value=table.c.state, else_=table.c.state), "claimed_by": null(), "lease_until": null(),
        "sandbox": true(),
    }  # fmt: skip
    columns = [
        anew[column.name].label(column.name) if column.name in anew else column for column in table.columns
    ]
    mine = among(connection, table.c.customer_id, ids)
    return select(*columns).where(mine, table.c.sandbox.is_(sandbox))


def _unread(connection: Connection, read: Mapping[str, Table], ids: Sequence[int]) -> Iterator[Copied]:
    """Yield the facts that no pass has looked at yet, as far as they are about these customers or about nobody."""
    told = read[events.name]
    for table in (fact_inbox, arrivals):
        waiting = read[table.name]
        query = select(waiting).outerjoin(told, told.c.id == waiting.c.event_id)
        whose = or_(told.c.customer_id.is_(None), among(connection, told.c.customer_id, ids))
        yield table, query.where(whose).order_by(waiting.c.id)
    changes = read[product_changes.name]
    heard = (select(read[table.name].c.change_id) for table in (fact_inbox, arrivals))
    yield product_changes, select(changes).where(or_(*(changes.c.id.in_(each) for each in heard)))


# ── carrying ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def file_of(source: Database) -> str | None:
    """Return the file of a SQLite database; None for one in memory or on a server."""
    path = source.engine.url.database if source.is_sqlite else None
    return path if path and path != ":memory:" else None


@cache
def elsewhere() -> Mapping[str, Table]:
    """Return the tables as they are read in the attached database, by name."""
    there = MetaData(schema=_ATTACHED)
    return {table.name: table.to_metadata(there, schema=_ATTACHED) for table in metadata.tables.values()}


@contextmanager
def attached(target: Database, file: str) -> Iterator[Connection]:
    """Give a transaction of the target in which the real database can be read beside it."""
    if isinstance(target, Lone):
        target.settle()
    with target.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(f"ATTACH DATABASE ? AS {_ATTACHED}", (file,))
        driver.execute(f"PRAGMA {_ATTACHED}.mmap_size={MAPPED}")
        try:
            with connection.begin():
                yield connection
        finally:
            driver.execute(f"DETACH DATABASE {_ATTACHED}")


def carry(connection: Connection, target: Database, table: Table, query: Select[Any]) -> None:
    """Bring the rows of a query into a table of the target, some thousands at a time."""
    found = connection.execute(query, execution_options={"yield_per": ROWS}).mappings()
    for rows in found.partitions():
        with target.write() as writing:
            insert_rows(writing, table, [dict(row) for row in rows])
