"""One order, two names: a file without the shop's own number has an order as `#1001`, a webhook as 5123456789012.

Comes in: what a webhook says, inside its transaction. Goes out: the same under the name by which the order is known here
already. An order that was first told by its number keeps it. Promises: no order counts twice because it was told by both,
and a refund that names the number alone finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from engine.facts.fact import Kind
from engine.store.dialect import among
from engine.store.tables import orders
from engine.web.intake.effects import Append, Effect

NUMBER = "shopify_order_id"
Row = tuple[Kind, dict[str, Any]]


def under_known_names(
    connection: Connection, rows: Sequence[Row], effects: Sequence[Effect]
) -> tuple[list[Row], list[Effect]]:
    """Return rows and effects of a webhook with orders under the names by which they are known."""
    told = {row["order_id"]: _name(row) for kind, row in rows if kind == "orders"}
    numbers = {*told, *(effect.order_id for effect in effects if isinstance(effect, Append))}
    if not numbers:
        return list(rows), list(effects)
    known = _known(connection, {*numbers, *(name for name in told.values() if name)})
    unknown = numbers - known
    names = {number: name for number in unknown if (name := told.get(number, "")) in known}
    names |= _by_number(connection, unknown - names.keys())
    return (
        [(kind, _renamed(row, names) if kind == "orders" else row) for kind, row in rows],
        [
            replace(each, order_id=names.get(each.order_id, each.order_id))
            if isinstance(each, Append)
            else each
            for each in effects
        ],
    )


def _name(row: Mapping[str, Any]) -> str:
    return str((row.get("properties") or {}).get("name") or "")


def _known(connection: Connection, names: Iterable[str]) -> set[str]:
    wanted = select(orders.c.order_id).where(among(connection, orders.c.order_id, sorted(names)))
    return set(connection.scalars(wanted))


def _by_number(connection: Connection, numbers: Iterable[str]) -> dict[str, str]:
    """Return by number what orders are called that a webhook told under a file's name; only such names are looked through."""
    wanted = sorted(numbers)
    if not wanted:
        return {}
    number = orders.c.properties[NUMBER].as_string()
    named = (orders.c.order_id >= "#") & (orders.c.order_id < "$")
    rows = connection.execute(select(number, orders.c.order_id).where(named, number.in_(wanted)))
    return {found: name for found, name in rows}


def _renamed(row: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    number = row["order_id"]
    if number not in names:
        return row
    properties = {**(row.get("properties") or {}), NUMBER: number}
    return {**row, "order_id": names[number], "properties": properties}
