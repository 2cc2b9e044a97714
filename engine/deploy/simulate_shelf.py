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
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, event, or_, select, update

from engine.deploy.simulate_copy import MAPPED, ROWS, Copied, copy_rows, file_of
from engine.recommend.packed import history
from engine.recommend.rebuild import NAME, TASTES_LAST, rebuild
from engine.recommend.supply import SUPPLY
from engine.store import meta
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.scratch import scratch
from engine.store.tables import order_lines, orders, product_affinities, product_ranks, products
from engine.store.types import to_micros

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
    name = f"shelf-{number}.db"
    database = scratch(folder, name)
    try:
        _bring_sales(source, database, start - TASTES_LAST, moments[-1])
        with database.read() as connection:
            sales = history(connection, moments[-1])
        found = []
        for moment in moments:
            rebuild(database, moment, read=lambda _connection, now: sales.at(now))
            file = folder / f"shelf-{moment:%Y%m%dT%H%M%S}.jsonl"
            with database.read() as connection, file.open("w", encoding="utf-8") as lines:
                lines.writelines(json.dumps(line) + "\n" for line in _lines(connection, wanted))
            found.append(Shelf(moment, file))
        return found
    finally:
        database.close()
        (folder / name).unlink()  # tens of megabytes, beside the stores that are made next


def put_on(connection: Connection, shelf: Shelf) -> None:
    """Let the store recommend from these tables from now on."""
    for table in TABLES:
        connection.execute(delete(table))
    connection.execute(update(products).values(dict.fromkeys(LEARNED)))
    with shelf.file.open(encoding="utf-8") as lines:
        for line in lines:
            what, held = json.loads(line)
            _put(connection, what, held)


def _put(connection: Connection, what: str, held: Any) -> None:
    """Write down one line of a shelf's file: rows of a table, what was learned of products, or state."""
    if what == "state":
        for name, value in held.items():
            meta.put(connection, name, value)
    elif what == "learned":
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in LEARNED}
        told = [
            {"of": sku, **{f"new_{name}": each for name, each in zip(LEARNED, learned, strict=True)}}
            for sku, *learned in held
        ]
        connection.execute(update(products).where(products.c.sku == bindparam("of")).values(values), told)
    else:
        table = next(table for table in TABLES if table.name == what)
        names = table.c.keys()
        insert_rows(connection, table, [dict(zip(names, row, strict=True)) for row in held])


def _lines(connection: Connection, wanted: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield what a shelf holds as JSON knows it, each with its name, some thousands of rows at a time."""
    for table in TABLES:
        query = select(table).where(table.c.strategy.in_(sorted(wanted))).order_by(*table.primary_key)
        for rows in connection.execution_options(yield_per=ROWS).execute(query).partitions():
            yield table.name, [list(row) for row in rows]
    columns = [products.c[name] for name in LEARNED]
    learned = select(products.c.sku, *columns).where(or_(*(column.is_not(None) for column in columns)))
    if found := [list(row) for row in connection.execute(learned)]:
        yield "learned", found
    yield "state", {name: value for name in STATE if (value := meta.get(connection, name)) is not None}


def _bring_sales(source: Database, target: Database, since: datetime, until: datetime) -> None:
    """Bring the catalogue and the sales into a store of their own; a file of SQLite's is read where it lies instead."""
    file = file_of(source)

    def wanted(_connection: Connection, read: Mapping[str, Table]) -> Iterator[Copied]:
        yield products, select(read[products.name])
        if file is None:
            sold, parts = read[orders.name], read[order_lines.name]
            then = (sold.c.placed_at > since, sold.c.placed_at <= until)
            yield orders, select(sold).where(*then)
            yield order_lines, select(parts).join(sold, sold.c.order_id == parts.c.order_id).where(*then)

    copy_rows(source, target, wanted)
    if file is not None:
        event.listen(target.engine, "connect", partial(_see_sales, file, to_micros(since), to_micros(until)))
        target.engine.dispose()


def _see_sales(file: str, since: int, until: int, connection: Any, _record: Any) -> None:
    """Let a connection of SQLite's driver see the sales of another file as if they were its own."""
    connection.execute("ATTACH DATABASE ? AS sales", (file,))
    connection.execute(f"PRAGMA sales.mmap_size={MAPPED}")
    then = f"placed_at > {since} AND placed_at <= {until}"  # a view takes no parameters
    connection.execute(f"CREATE TEMP VIEW orders AS SELECT * FROM sales.orders WHERE {then}")  # noqa: S608 - numbers
    connection.execute("CREATE TEMP VIEW order_lines AS SELECT * FROM sales.order_lines")
