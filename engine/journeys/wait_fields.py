"""Waits until a date in what an enrollment is about: its trigger, an answer, the order, the cart or the product.

Comes in: walkers, and the field that each of them waits for. Goes out: their people, who then know that moment. Dates of
the customer's own and of offers are read with the people themselves (`engine.journeys.people`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Table, select

from engine.audience.meaning import trigger_id
from engine.journeys.dates import dig
from engine.journeys.moments import as_moment
from engine.journeys.references import names_of
from engine.journeys.walker import Walker
from engine.store.dialect import among
from engine.store.tables import carts, orders, products

_TABLES: Mapping[str, tuple[Table, str]] = {
    "order": (orders, "order_id"),
    "cart": (carts, "cart_id"),
    "product": (products, "sku"),
}
SCOPES = ("trigger", "answer", *_TABLES)


def is_about(path: str) -> bool:
    """Return whether a wait's field belongs to what the enrollment is about, and not to the customer or an offer."""
    head, _, rest = path.partition(".")
    return bool(rest) and head in SCOPES


def look_up(connection: Connection, waiting: Sequence[tuple[Walker, str]]) -> None:
    """Let each walker's person know the moment in the field that it waits for; one statement for each table."""
    if not waiting:
        return
    rows = {head: _rows(connection, head, waiting) for head in _TABLES}
    for walker, path in waiting:
        head, _, rest = path.partition(".")
        if head in _TABLES:
            row = rows[head].get(trigger_id(walker, _TABLES[head][1]) or "")
            value = _value(row, rest) if row is not None else None
        else:
            value = dig(names_of(walker.context), path.split("."))
        moment = as_moment(value, walker.person.zone)
        walker.known_person = replace(walker.person, moments={**walker.person.moments, path: moment})


def _rows(
    connection: Connection, head: str, waiting: Sequence[tuple[Walker, str]]
) -> dict[str, Mapping[str, Any]]:
    table, key = _TABLES[head]
    ids = {trigger_id(walker, key) for walker, path in waiting if path.startswith(f"{head}.")}
    wanted = sorted(each for each in ids if each is not None)
    if not wanted:
        return {}
    query = select(table).where(among(connection, table.c[key], wanted))
    return {row[key]: dict(row) for row in connection.execute(query).mappings()}


def _value(row: Mapping[str, Any], path: str) -> Any:
    keys = path.split(".")
    return dig(row, keys) if keys[0] in row else dig(row.get("properties"), keys)
