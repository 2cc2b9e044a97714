"""What would have been recommended at each time of a simulation: the nightly tables, made anew every four weeks.

Comes in: the catalogue and everybody's sales, only read. Goes out: the tables as values, for each of some moments, which
every part of a simulation loads when its clock gets there. Made once from all customers, so that what one part of them is
shown does not depend on how they were parted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from engine.recommend.rebuild import TASTES_LAST, rebuild
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.scratch import scratch
from engine.store.tables import order_lines, orders, product_affinities, product_ranks, products

EVERY = timedelta(days=28)
ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Shelf:
    """The recommendation tables from a moment on: ranks, affinities, learned days of supply."""

    since: datetime
    ranks: Sequence[Mapping[str, Any]]
    affinities: Sequence[Mapping[str, Any]]
    learned: Mapping[str, float]


def shelves(source: Database, start: datetime, end: datetime, folder: Path) -> list[Shelf]:
    """Return the tables as they would have stood at `start` and every four weeks until `end`."""
    database = scratch(folder, "shelf.db")
    try:
        _copy_sales(source, database, start - TASTES_LAST, end)
        found = []
        moment = start
        while moment < end:
            rebuild(database, moment, force=True)
            with database.read() as connection:
                found.append(_read(connection, moment))
            moment += EVERY
        return found
    finally:
        database.close()


def put_on(connection: Connection, shelf: Shelf) -> None:
    """Let the store recommend from these tables from now on."""
    for table, rows in ((product_ranks, shelf.ranks), (product_affinities, shelf.affinities)):
        connection.execute(delete(table))
        if rows:
            connection.execute(insert(table), list(rows))
    connection.execute(update(products).values(learned_days=None))
    if shelf.learned:
        set_days = (
            update(products).where(products.c.sku == bindparam("of")).values(learned_days=bindparam("days"))
        )
        connection.execute(set_days, [{"of": sku, "days": days} for sku, days in shelf.learned.items()])


def _read(connection: Connection, moment: datetime) -> Shelf:
    ranks = [dict(row) for row in connection.execute(select(product_ranks)).mappings()]
    affinities = [dict(row) for row in connection.execute(select(product_affinities)).mappings()]
    table = products.c
    learned = select(table.sku, table.learned_days).where(table.learned_days.is_not(None))
    return Shelf(moment, ranks, affinities, {sku: days for sku, days in connection.execute(learned)})


def _copy_sales(source: Database, target: Database, since: datetime, until: datetime) -> None:
    bought = select(orders).where(orders.c.placed_at > since, orders.c.placed_at <= until)
    lines = select(order_lines).where(order_lines.c.order_id.in_(bought.with_only_columns(orders.c.order_id)))
    for table, query in ((products, select(products)), (orders, bought), (order_lines, lines)):
        for rows in _chunks(source, query):
            _write(target, table, rows)


def _chunks(source: Database, query: Any) -> Iterator[list[dict[str, Any]]]:
    with source.read() as connection:
        found = connection.execution_options(yield_per=ROWS).execute(query)
        for part in found.mappings().partitions(ROWS):
            yield [dict(row) for row in part]


def _write(target: Database, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    with target.write() as connection:
        insert_rows(connection, table, rows)
