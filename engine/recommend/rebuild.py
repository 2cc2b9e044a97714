"""Rebuilds the tables that recommendations are served from: ranks, affinities, learned days of supply.

Comes in: a database and the moment up to which facts are known. Goes out: the tables `product_ranks` and
`product_affinities`, what `products` learned of repeats, the mark `recommend`, and a report. Promises that nothing later than the
moment is used; that sales are read once for all tables, and only the last weeks' for ranks alone; that a night without new orders or products costs one small read; that what is heavy (co-purchase, tastes,
repeats) is done again only when orders have grown by 2 % or a week has passed; and that rows which did not change are not
written, in transactions of a few hundred products, so that other writers get their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, or_, select, update

from engine.recommend.packed import PackedSales, packed_sales
from engine.recommend.popularity import WINDOW, Ranked, rank, sold
from engine.recommend.repeats import repeats
from engine.recommend.sales import chunks, presentable
from engine.recommend.similar import articles, similar
from engine.recommend.supply import SUPPLY, middle_days
from engine.recommend.tastes import LATELY, LATEST, bought_by_the_same, collections
from engine.recommend.together import Baskets, bought_together
from engine.store import meta
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.dialect import among, upsert
from engine.store.tables import marks, orders, product_affinities, product_ranks, products

NAME = "recommend"  # of the mark, and of the remembered state in `meta`
EARLIER = "recommend_earlier"  # in `meta`: how many orders of each product lie before those that the next nights read
TASTES_LAST = timedelta(days=730)  # older orders say nothing about what goes together
GROWTH = 0.02  # share of new orders after which co-purchase is counted again
WEEK = timedelta(days=7)
CHUNK = 200  # products written in one transaction
Reader = Callable[[Connection, datetime], PackedSales]
SHAPE = 2  # grows when tables are built otherwise than before, so that the next night builds them anew


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did: rows that stand in the tables now, by strategy; `skipped` where nothing was new."""

    skipped: bool
    rows: Mapping[str, int]
    learned: int  # products with learned days of supply
    written: int  # rows written, because they changed


@dataclass(frozen=True, slots=True)
class _Known:
    """The sales that were read, and of those before them the orders of each product; what the next night is to know of them."""

    sales: PackedSales
    earlier: Mapping[str, int] = field(default_factory=dict)
    to_remember: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """Which parts are to be done, and the state to remember once they are."""

    ranks: bool
    similar: bool
    deep: bool
    state: Mapping[str, Any]


def rebuild(
    database: Database, now: datetime, *, force: bool = False, read: Reader = packed_sales
) -> RebuildReport:
    """Bring the recommendation tables up to what is known at `now`; `force` does everything again.

    `read` gives all sales that count at a moment: who rebuilds at many has read them once.
    """
    with database.read() as connection:
        work = _work(connection, now, force=force)
        known = _read(connection, now, read, whole=work.deep) if work.ranks or work.deep else None
    written = 0
    if known and work.ranks:
        written += _rebuild_ranks(database, known, now)
    if work.similar:
        with database.read() as connection:
            catalogue = articles(connection)
        written += _write_affinities(database, "similar", similar(catalogue))
    if known and work.deep:
        written += _rebuild_together(database, known.sales, now)
        written += _rebuild_tastes(database, known.sales, now)
        written += _rebuild_repeats(database, known.sales)
    with database.write() as connection:
        meta.put(connection, NAME, dict(work.state))
        if known and known.to_remember:
            meta.put(connection, EARLIER, dict(known.to_remember))
        upsert(connection, marks, [{"name": NAME, "at": now}], update=["at"])
    with database.read() as connection:
        return _report(connection, written, skipped=not (work.ranks or work.similar or work.deep))


def _work(connection: Connection, now: datetime, *, force: bool) -> _Work:
    known = meta.get(connection, NAME, {})
    if known.get("shape") != SHAPE:
        known = {}
    sales = connection.execute(
        select(func.count(), func.count(orders.c.cancelled_at), func.max(orders.c.updated_at)).where(
            orders.c.placed_at <= now
        )
    ).one()
    catalogue = connection.execute(
        select(func.count(), func.max(products.c.updated_at)).select_from(products)
    ).one()
    sales_sign = [sales[0], sales[1], sales[2].isoformat() if sales[2] else None]
    catalogue_sign = [catalogue[0], catalogue[1].isoformat() if catalogue[1] else None]
    shelf = catalogue[0]
    new_products = force or known.get("products") != catalogue_sign
    aged = known.get("at") is None or now - datetime.fromisoformat(known["at"]) >= WEEK
    new_sales = force or aged or known.get("orders") != sales_sign
    deep_age = now - datetime.fromisoformat(known["deep_at"]) if known.get("deep_at") else None
    grown = abs(sales[0] - known.get("deep_orders", 0)) > GROWTH * known.get("deep_orders", 0)
    # Likeness hangs on titles, categories and prices: new articles at once, the rest weekly.
    alike_age = now - datetime.fromisoformat(known["alike_at"]) if known.get("alike_at") else None
    alike = force or (
        new_products and (known.get("shelf") != shelf or alike_age is None or alike_age >= WEEK)
    )
    deep = force or ((new_sales or new_products) and (grown or deep_age is None or deep_age >= WEEK))
    state = {
        "shape": SHAPE,
        "orders": sales_sign,
        "products": catalogue_sign,
        "shelf": shelf,
        "alike_at": now.isoformat() if alike else known.get("alike_at"),
        "at": now.isoformat() if new_sales or new_products else known["at"],
        "deep_orders": sales[0] if deep else known.get("deep_orders", 0),
        "deep_at": now.isoformat() if deep else known.get("deep_at"),
    }
    return _Work(ranks=new_sales or new_products, similar=alike, deep=deep, state=state)


def _read(connection: Connection, now: datetime, read: Reader, *, whole: bool) -> _Known:
    """Read the sales; only those of the last weeks where how often each product was ordered before is still known."""
    told = {} if whole else meta.get(connection, EARLIER, {})
    if told:
        until = datetime.fromisoformat(told["until"])
        if until <= now - WINDOW and _sign(connection, now, until) == told["sign"]:
            return _Known(packed_sales(connection, now, until), told["orders"])
    sales, until = read(connection, now), now - WINDOW
    earlier = sales.counted(0, sales.after(until))
    sign = _sign(connection, now, until)
    return _Known(sales, to_remember={"until": until.isoformat(), "sign": sign, "orders": earlier})


def _sign(connection: Connection, now: datetime, until: datetime) -> list[Any]:
    """Return what changes where an order placed by `until` comes, goes or is changed: how many there are, cancelled ones, the last change."""
    cancelled = func.count(case((orders.c.cancelled_at <= now, 1)))
    count, undone, changed = connection.execute(
        select(func.count(), cancelled, func.max(orders.c.updated_at)).where(orders.c.placed_at <= until)
    ).one()
    return [count, undone, changed.isoformat() if changed else None]


def _rebuild_ranks(database: Database, known: _Known, now: datetime) -> int:
    with database.read() as connection:
        ranks = rank(sold(connection, known.sales, now, known.earlier))
        stored = _stored_ranks(connection)
    changed = {key: ranked for key, ranked in ranks.items() if stored.get(key) != ranked}
    gone = [key for key in stored if key not in ranks]
    for keys in chunks([*changed, *gone], CHUNK):
        with database.write() as connection:
            match = (product_ranks.c.strategy == bindparam("of")) & (
                product_ranks.c.scope == bindparam("within")
            )
            connection.execute(
                delete(product_ranks).where(match), [{"of": of, "within": within} for of, within in keys]
            )
            rows = [
                {"strategy": key[0], "scope": key[1], "rank": place, "sku": item.sku, "score": item.score}
                for key in keys
                for place, item in enumerate(changed.get(key, ()), 1)
            ]
            insert_rows(connection, product_ranks, rows)
    return sum(len(ranked) for ranked in changed.values())


def _stored_ranks(connection: Connection) -> dict[tuple[str, str], list[Ranked]]:
    columns = (product_ranks.c.strategy, product_ranks.c.scope, product_ranks.c.sku, product_ranks.c.score)
    rows = connection.execute(
        select(*columns).order_by(product_ranks.c.strategy, product_ranks.c.scope, product_ranks.c.rank)
    )
    return {
        key: [Ranked(sku, score) for _, _, sku, score in group]
        for key, group in groupby(rows, key=itemgetter(0, 1))
    }


def _rebuild_together(database: Database, sales: PackedSales, now: datetime) -> int:
    with database.read() as connection:
        skus = _shown_skus(connection)
    number = {sku: place for place, sku in enumerate(skus)}
    baskets = Baskets(sales.baskets(number, sales.after(now - TASTES_LAST)), len(skus))
    return _write_affinities(database, "bought_together", bought_together(baskets, skus))


def _shown_skus(connection: Connection) -> list[str]:
    """Return what can be shown, in the order of Python's text, which decides among equals; databases have orders of their own."""
    return sorted(connection.execute(select(products.c.sku).where(presentable())).scalars())


def _rebuild_tastes(database: Database, sales: PackedSales, now: datetime) -> int:
    with database.read() as connection:
        skus = _shown_skus(connection)
    number = {sku: place for place, sku in enumerate(skus)}
    first = sales.after(now - TASTES_LAST)
    counted, newer = sales.counted(first), sales.counted(sales.after(now - LATELY))
    lately, ever = [newer.get(sku, 0) for sku in skus], [counted.get(sku, 0) for sku in skus]
    customers = Baskets(collections(sales, number, first), len(skus), LATEST)
    return _write_affinities(database, "for_you", bought_by_the_same(customers, skus, lately, ever))


def _write_affinities(database: Database, strategy: str, found: Iterable[tuple[str, list[Ranked]]]) -> int:
    """Replace what a strategy says of each product, where it changed, and forget products of which it says nothing."""
    written, kept = 0, set[str]()
    for chunk in chunks(found, CHUNK):
        wanted = dict(chunk)
        kept.update(wanted)
        with database.read() as connection:
            stored = _stored_affinities(connection, strategy, list(wanted))
        changed = {sku: ranked for sku, ranked in wanted.items() if stored.get(sku) != ranked}
        if changed:
            with database.write() as connection:
                written += _replace_affinities(connection, strategy, changed)
    with database.read() as connection:
        owners = connection.execute(
            select(product_affinities.c.sku).where(product_affinities.c.strategy == strategy).distinct()
        )
        gone = sorted(set(owners.scalars()) - kept)
    for skus in chunks(gone, CHUNK):
        with database.write() as connection:
            _replace_affinities(connection, strategy, {sku: [] for sku in skus})
    return written


def _stored_affinities(connection: Connection, strategy: str, skus: Sequence[str]) -> dict[str, list[Ranked]]:
    table = product_affinities
    statement = select(table.c.sku, table.c.other, table.c.score).where(
        table.c.strategy == strategy, among(connection, table.c.sku, skus)
    )
    rows = connection.execute(statement.order_by(table.c.sku, table.c.rank))
    return {
        sku: [Ranked(other, score) for _, other, score in group]
        for sku, group in groupby(rows, key=itemgetter(0))
    }


def _replace_affinities(connection: Connection, strategy: str, wanted: Mapping[str, Sequence[Ranked]]) -> int:
    table = product_affinities
    connection.execute(
        delete(table).where(table.c.strategy == strategy, among(connection, table.c.sku, list(wanted)))
    )
    rows = [
        {"strategy": strategy, "sku": sku, "rank": place, "other": item.sku, "score": item.score}
        for sku, ranked in wanted.items()
        for place, item in enumerate(ranked, 1)
    ]
    insert_rows(connection, table, rows)
    return len(rows)


def _rebuild_repeats(database: Database, sales: PackedSales) -> int:
    table = products.c
    with database.read() as connection:
        found = repeats(sales, set(connection.execute(select(table.sku)).scalars()))
        statement = select(table.sku, table.learned_days, table.learned_repeats).where(
            or_(table.learned_days.is_not(None), table.learned_repeats.is_not(None))
        )
        stored = {row.sku: (row.learned_days, row.learned_repeats) for row in connection.execute(statement)}
    learned = {
        sku: (found.days.get(sku), found.orders.get(sku)) for sku in {*found.days, *found.orders, *stored}
    }
    changed = sorted((sku, *both) for sku, both in learned.items() if stored.get(sku, (None, None)) != both)
    values: dict[str, Any] = {"learned_days": bindparam("days"), "learned_repeats": bindparam("often")}
    statement_of = update(products).where(table.sku == bindparam("of")).values(values)
    for items in chunks(changed, CHUNK):
        with database.write() as connection:
            connection.execute(
                statement_of, [{"of": sku, "days": days, "often": often} for sku, days, often in items]
            )
    with database.write() as connection:
        middles = middle_days(connection)
        meta.put(connection, SUPPLY, {"exponent": round(found.exponent, 6), "categories": middles})
    return len(changed)


def _report(connection: Connection, written: int, *, skipped: bool) -> RebuildReport:
    rows: dict[str, int] = {}
    for table in (product_ranks, product_affinities):
        counted = select(table.c.strategy, func.count()).group_by(table.c.strategy).order_by(table.c.strategy)
        rows.update({row[0]: row[1] for row in connection.execute(counted)})
    learned = connection.execute(
        select(func.count()).where(products.c.learned_days.is_not(None))
    ).scalar_one()
    return RebuildReport(skipped, rows, learned, written)
