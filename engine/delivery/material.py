"""What a batch of mails is made of, read by a fixed number of statements whatever its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, select

from engine.delivery.claim import Claimed
from engine.delivery.slots import blocks_of, picks_for, requests_of, trigger_skus
from engine.flows.model import Offer
from engine.journeys.round import Round
from engine.recommend.block import Pick
from engine.render.library import TemplateLibrary
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import cart_lines, carts, customer_scores, customers, order_lines, orders, products


@dataclass(frozen=True, slots=True)
class Material:
    """What a batch of mails is made of, by id."""

    customers: Mapping[int, Mapping[str, Any]]
    scores: Mapping[int, Mapping[str, Any]]
    carts: Mapping[str, Mapping[str, Any]]
    orders: Mapping[str, Mapping[str, Any]]
    products: Mapping[str, Mapping[str, Any]]
    picks: Mapping[tuple[int, str], Sequence[Pick]]


def read_material(
    connection: Connection, messages: Sequence[Claimed], at: Round, library: TemplateLibrary
) -> Material:
    """Read everything that these mails may show, in a fixed number of statements."""
    ids = sorted({message.customer_id for message in messages})
    people = by_id(connection, customers, "id", ids)
    scores = by_id(connection, customer_scores, "customer_id", ids)
    found_carts = _with_lines(
        connection,
        carts,
        cart_lines,
        "cart_id",
        {m.enrollment.cart_id for m in messages if m.enrollment.cart_id},
    )
    found_orders = _with_lines(
        connection,
        orders,
        order_lines,
        "order_id",
        {m.enrollment.order_id for m in messages if m.enrollment.order_id},
    )
    skus = {
        str(line["sku"])
        for thing in (*found_carts.values(), *found_orders.values())
        for line in thing["lines"]
    }
    for message in messages:
        skus |= {*trigger_skus(message), *given_skus(message, at.offers)}
    catalogue = by_id(connection, products, "sku", sorted(skus))
    blocks = blocks_of(messages, people, at, library)
    picks = picks_for(connection, list(requests_of(messages, blocks, found_carts, found_orders)), at)
    return Material(people, scores, found_carts, found_orders, catalogue, picks)


def by_id(connection: Connection, table: Table, key: str, ids: Sequence[Any]) -> dict[Any, Mapping[str, Any]]:
    """Return whole rows of a table by their key, for ids or names in order."""
    if not ids:
        return {}
    return {row[key]: row for row in _rows_by(table, key).dicts(connection, ids=ids)}


@lru_cache(maxsize=32)
def _rows_by(table: Table, key: str, *order: str) -> Prepared:
    query = select(table).where(within(table.c[key], "ids"))
    return Prepared(query.order_by(*(table.c[name] for name in order)))


def _with_lines(
    connection: Connection, table: Table, line_table: Table, key: str, ids: set[str]
) -> Mapping[Any, Mapping[str, Any]]:
    things: dict[Any, dict[str, Any]] = {
        name: {**row, "lines": []} for name, row in by_id(connection, table, key, sorted(ids)).items()
    }
    if things:
        lines = _rows_by(line_table, key, key, "line_no")
        for row in lines.dicts(connection, ids=sorted(things)):
            things[row[key]]["lines"].append(row)
    return things


def given_skus(message: Claimed, offers: Mapping[str, Offer]) -> tuple[str, ...]:
    """Return the product that the message's offer gives, where it gives one."""
    told = message.content.get("offer")
    offer = offers.get(told["name"]) if told else None
    return (offer.value,) if offer is not None and offer.gives in ("gift", "buy_one_get_one") else ()
