"""Rebuilds the tables that recommendations are served from: ranks, affinities, learned days of supply.

Comes in: a database and the moment up to which facts are known. Goes out: the tables `product_ranks` and
`product_affinities`, what `products` learned of repeats, the mark `recommend`, and a report. Promises that nothing later than the
moment is used; that a night without new orders or products costs one small read; that what is heavy (co-purchase, tastes,
repeats) is done again only when orders have grown by 2 % or a week has passed; and that rows which did not change are not
written, in transactions of a few hundred products, so that other writers get their turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    case,
    delete,
    distinct,
    func,
    insert,
    or_,
    select,
    update,
)

from engine.recommend.popularity import Ranked, rank, sold
from engine.recommend.repeats import repeats
from engine.recommend.sales import chunks, counts, presentable, stream
from engine.recommend.similar import articles, similar
from engine.recommend.supply import SUPPLY, middle_days
from engine.recommend.tastes import LATELY, LATEST, bought_by_the_same
from engine.recommend.together import Baskets, bought_together
from engine.store import meta
from engine.store.database import Database
from engine.store.dialect import among, upsert
from engine.store.tables import marks, order_lines, orders, product_affinities, product_ranks, products

NAME = "recommend"  # of the mark, and of the remembered state in `meta`
TASTES_LAST = timedelta(days=730)  # older orders say nothing about what goes together
GROWTH = 0.02  # share of new orders after which co-purchase is counted again
WEEK = timedelta(days=7)
CHUNK = 200  # products written in one transaction
SHAPE = 2  # grows when tables are built otherwise than before, so that the next night builds them anew


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did: rows that stand in the tables now, by strategy; `skipped` where nothing was new."""

    skipped: bool
    rows: Mapping[str, int]
    learned: int  # products with learned days of supply
    written: int  # rows written, because they changed


@dataclass(frozen=True, slots=True)
class _Work:
    """Which parts are to be done, and the state to remember once they are."""

    ranks: bool
    similar: bool
    deep: bool
    state: Mapping[str, Any]


def rebuild(database: Database, now: datetime, *, force: bool = False) -> RebuildReport:
    """Bring the recommendation tables up to what is known at `now`; `force` does everything again."""
    with database.read() as connection:
        work = _work(connection, now, force=force)
    written = 0
    if work.ranks:
        written += _rebuild_ranks(database, now)
    if work.similar:
        with database.read() as connection:
            catalogue = articles(connection)
        written += _write_affinities(database, "similar", similar(catalogue))
    if work.deep:
        written += _rebuild_together(database, now)
        written += _rebuild_tastes(database, now)
        written += _rebuild_repeats(database, now)
    with database.write() as connection:
        meta.put(connection, NAME, dict(work.state))
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


def _rebuild_ranks(database: Database, now: datetime) -> int:
    with database.read() as connection:
        ranks = rank(sold(connection, now))
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
            if rows:
                connection.execute(insert(product_ranks), rows)
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


def _rebuild_together(database: Database, now: datetime) -> int:
    with database.read() as connection:
        skus = _shown_skus(connection)
        baskets = Baskets(_baskets(connection, now, skus), len(skus))
    return _write_affinities(database, "bought_together", bought_together(baskets, skus))


def _shown_skus(connection: Connection) -> list[str]:
    statement = select(products.c.sku).where(presentable()).order_by(products.c.sku)
    return list(connection.execute(statement).scalars())


def _baskets(connection: Connection, now: datetime, skus: Sequence[str]) -> Iterator[list[int]]:
    number = {sku: place for place, sku in enumerate(skus)}
    statement = (
        select(order_lines.c.order_id, order_lines.c.sku)
        .join_from(order_lines, orders, orders.c.order_id == order_lines.c.order_id)
        .where(counts(now), orders.c.placed_at > now - TASTES_LAST)
        .order_by(order_lines.c.order_id)
    )
    for _, rows in groupby(stream(connection, statement), key=itemgetter(0)):
        basket = sorted({number[sku] for _, sku in rows if sku in number})
        if basket:
            yield basket


def _rebuild_tastes(database: Database, now: datetime) -> int:
    with database.read() as connection:
        skus = _shown_skus(connection)
        number = {sku: place for place, sku in enumerate(skus)}
        lately, ever = [0] * len(skus), [0] * len(skus)
        for sku, late, all_of in connection.execute(_orders_by_product(now)):
            if sku in number:
                lately[number[sku]], ever[number[sku]] = late, all_of
        customers = Baskets(_collections(connection, now, number), len(skus), LATEST)
    return _write_affinities(database, "for_you", bought_by_the_same(customers, skus, lately, ever))


def _orders_by_product(now: datetime) -> Select[Any]:
    late = case((orders.c.placed_at > now - LATELY, orders.c.order_id))
    return (
        select(order_lines.c.sku, func.count(distinct(late)), func.count(distinct(orders.c.order_id)))
        .join_from(order_lines, orders, orders.c.order_id == order_lines.c.order_id)
        .where(counts(now), orders.c.placed_at > now - TASTES_LAST)
        .group_by(order_lines.c.sku)
    )


def _collections(connection: Connection, now: datetime, number: Mapping[str, int]) -> Iterator[list[int]]:
    """Yield what each customer bought, at most their latest products."""
    newest = func.max(orders.c.placed_at)
    statement = (
        select(orders.c.customer_id, order_lines.c.sku)
        .join_from(order_lines, orders, orders.c.order_id == order_lines.c.order_id)
        .where(counts(now), orders.c.placed_at > now - TASTES_LAST, orders.c.customer_id.is_not(None))
        .group_by(orders.c.customer_id, order_lines.c.sku)
        .order_by(orders.c.customer_id, newest.desc(), order_lines.c.sku)
    )
    for _, rows in groupby(stream(connection, statement), key=itemgetter(0)):
        known = (number[sku] for _, sku in rows if sku in number)
        collection = sorted(islice(known, LATEST))
        if len(collection) > 1:
            yield collection


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
    if rows:
        connection.execute(insert(table), rows)
    return len(rows)


def _rebuild_repeats(database: Database, now: datetime) -> int:
    table = products.c
    with database.read() as connection:
        found = repeats(connection, now)
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
