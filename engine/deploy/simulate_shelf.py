"""What would have been recommended at each time of a simulation: the nightly tables, made anew every eight weeks.

Comes in: the catalogue and everybody's sales, only read. Goes out: the tables as values, for each of some moments, which
every part of a simulation loads when its clock gets there. Made once from all customers, so that what one part of them is
shown does not depend on how they were parted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, insert, or_, select, update

from engine.deploy.simulate_copy import Copied, copy_rows
from engine.recommend.rebuild import NAME, TASTES_LAST, rebuild
from engine.recommend.supply import SUPPLY
from engine.store import meta
from engine.store.database import Database
from engine.store.scratch import scratch
from engine.store.tables import order_lines, orders, product_affinities, product_ranks, products

EVERY = timedelta(days=56)
LEARNED = ("learned_days", "learned_repeats")
STATE = (NAME, SUPPLY)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The recommendation tables from a moment on: ranks, affinities, learned days of supply."""

    since: datetime
    ranks: Sequence[Mapping[str, Any]]
    affinities: Sequence[Mapping[str, Any]]
    learned: Sequence[Mapping[str, Any]]
    state: Mapping[str, Any]


def shelves(
    source: Database,
    start: datetime,
    end: datetime,
    wanted: Collection[str],
    folder: Path,
    share: tuple[int, int] = (0, 1),
) -> list[Shelf]:
    """Return the tables as they would have stood at `start` and every eight weeks until `end`, of these strategies.

    `share` takes one of so many parts of the moments: the tables of each are the same whoever makes them.
    """
    number, of = share
    moments = [start + EVERY * step for step in range(-(-(end - start) // EVERY))][number::of]
    if not moments:
        return []
    database = scratch(folder, f"shelf-{number}.db")
    try:
        _copy_sales(source, database, start - TASTES_LAST, moments[-1])
        found = []
        for moment in moments:
            rebuild(database, moment)
            with database.read() as connection:
                found.append(_read(connection, moment, wanted))
        return found
    finally:
        database.close()


def put_on(connection: Connection, shelf: Shelf) -> None:
    """Let the store recommend from these tables from now on."""
    for table, rows in ((product_ranks, shelf.ranks), (product_affinities, shelf.affinities)):
        connection.execute(delete(table))
        if rows:
            connection.execute(insert(table), list(rows))
    connection.execute(update(products).values(dict.fromkeys(LEARNED)))
    if shelf.learned:
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in LEARNED}
        told = [{"of": row["sku"], **{f"new_{name}": row[name] for name in LEARNED}} for row in shelf.learned]
        connection.execute(update(products).where(products.c.sku == bindparam("of")).values(values), told)
    for name, value in shelf.state.items():
        meta.put(connection, name, value)


def _read(connection: Connection, moment: datetime, wanted: Collection[str]) -> Shelf:
    ranks, affinities = (_rows_of(connection, table, wanted) for table in (product_ranks, product_affinities))
    columns = [products.c[name] for name in LEARNED]
    learned = select(products.c.sku, *columns).where(or_(*(column.is_not(None) for column in columns)))
    state = {name: value for name in STATE if (value := meta.get(connection, name)) is not None}
    return Shelf(
        moment, ranks, affinities, [dict(row) for row in connection.execute(learned).mappings()], state
    )


def _rows_of(connection: Connection, table: Table, wanted: Collection[str]) -> list[dict[str, Any]]:
    query = select(table).where(table.c.strategy.in_(sorted(wanted))).order_by(*table.primary_key)
    return [dict(row) for row in connection.execute(query).mappings()]


def _copy_sales(source: Database, target: Database, since: datetime, until: datetime) -> None:
    def wanted(_connection: Connection, read: Mapping[str, Table]) -> Iterator[Copied]:
        sold, parts = read[orders.name], read[order_lines.name]
        then = (sold.c.placed_at > since, sold.c.placed_at <= until)
        yield products, select(read[products.name])
        yield orders, select(sold).where(*then)
        yield order_lines, select(parts).join(sold, sold.c.order_id == parts.c.order_id).where(*then)

    copy_rows(source, target, wanted)
