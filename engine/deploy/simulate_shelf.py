"""What would have been recommended at each time of a simulation: the nightly tables, made anew every eight weeks.

Comes in: the catalogue and everybody's sales, only read. Goes out: a file with the tables for each of some moments, which
every part of a simulation loads when its clock gets there. Made once from all customers, so that what one part of them is
shown does not depend on how they were parted.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, or_, select, update

from engine.deploy.simulate_copy import Copied, copy_rows
from engine.recommend.rebuild import NAME, TASTES_LAST, rebuild
from engine.recommend.supply import SUPPLY
from engine.store import meta
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.scratch import scratch
from engine.store.tables import order_lines, orders, product_affinities, product_ranks, products

EVERY = timedelta(days=56)
LEARNED = ("learned_days", "learned_repeats")
STATE = (NAME, SUPPLY)
TABLES = (product_ranks, product_affinities)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The recommendation tables from a moment on: ranks, affinities, learned days of supply, in a file."""

    since: datetime
    file: Path


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
            file = folder / f"shelf-{moment:%Y%m%dT%H%M%S}.json"
            with database.read() as connection:
                file.write_text(json.dumps(_read(connection, wanted)), encoding="utf-8")
            found.append(Shelf(moment, file))
        return found
    finally:
        database.close()


def put_on(connection: Connection, shelf: Shelf) -> None:
    """Let the store recommend from these tables from now on."""
    told = json.loads(shelf.file.read_text(encoding="utf-8"))
    for table in TABLES:
        connection.execute(delete(table))
        names, rows = told[table.name]
        insert_rows(connection, table, [dict(zip(names, row, strict=True)) for row in rows])
    connection.execute(update(products).values(dict.fromkeys(LEARNED)))
    if told["learned"]:
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in LEARNED}
        given = [
            {"of": sku, **{f"new_{name}": each for name, each in zip(LEARNED, learned, strict=True)}}
            for sku, *learned in told["learned"]
        ]
        connection.execute(update(products).where(products.c.sku == bindparam("of")).values(values), given)
    for name, value in told["state"].items():
        meta.put(connection, name, value)


def _read(connection: Connection, wanted: Collection[str]) -> dict[str, Any]:
    """Return what a shelf holds, as JSON knows it: of each table the names of the columns and the rows."""
    columns = [products.c[name] for name in LEARNED]
    learned = select(products.c.sku, *columns).where(or_(*(column.is_not(None) for column in columns)))
    return {
        **{table.name: _rows_of(connection, table, wanted) for table in TABLES},
        "learned": [list(row) for row in connection.execute(learned)],
        "state": {name: value for name in STATE if (value := meta.get(connection, name)) is not None},
    }


def _rows_of(
    connection: Connection, table: Table, wanted: Collection[str]
) -> tuple[list[str], list[list[Any]]]:
    query = select(table).where(table.c.strategy.in_(sorted(wanted))).order_by(*table.primary_key)
    return list(table.c.keys()), [list(row) for row in connection.execute(query)]


def _copy_sales(source: Database, target: Database, since: datetime, until: datetime) -> None:
    def wanted(_connection: Connection, read: Mapping[str, Table]) -> Iterator[Copied]:
        sold, parts = read[orders.name], read[order_lines.name]
        then = (sold.c.placed_at > since, sold.c.placed_at <= until)
        yield products, select(read[products.name])
        yield orders, select(sold).where(*then)
        yield order_lines, select(parts).join(sold, sold.c.order_id == parts.c.order_id).where(*then)

    copy_rows(source, target, wanted)
