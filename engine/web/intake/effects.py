"""What a shop's webhook asks for beside facts: to forget a person, to merge two, to add a tag, to append a refund.

Comes in: effects as values, inside the webhook's write transaction. Goes out: rows that need what is stored already, and
what was done at once. Each is harmless when it is told again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from engine.facts import rights
from engine.facts.fact import Kind, iso
from engine.facts.finding import find_customer
from engine.facts.merging import merge_customers
from engine.facts.order_names import known_names
from engine.facts.people import lock_facts
from engine.store import meta
from engine.store.tables import customers, orders, products

INVENTORY_ITEM, LEVELS = "shopify_inventory_item_id", "shopify_levels"  # properties of products
PLACES, ENOUGH = "shopify_places", 20
Row = tuple[Kind, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Erase:
    """Forget everybody of these ids and addresses."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Mail nobody of this id any more: the shop deleted them."""

    name: str


@dataclass(frozen=True, slots=True)
class Merge:
    """One customer became another."""

    gone: str
    stays: str


@dataclass(frozen=True, slots=True)
class Tag:
    """Add and take away tags of a customer."""

    name: str
    at: datetime
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Append:
    """Add an entry, told apart by its `id`, to a list of an order: `refunds` or `shipments`."""

    order_id: str
    field: str
    entry: Mapping[str, Any]
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A product is not sold any more; `field` names the property that holds the shop's number of it."""

    field: str
    number: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Level:
    """How many of an inventory item lie at one place of the shop."""

    item: str
    place: str
    available: int
    at: datetime


Effect = Erase | Stop | Merge | Tag | Append | Withdraw | Level


def carry_out(connection: Connection, effects: Sequence[Effect], now: datetime) -> Iterator[Row]:
    """Do what is asked, and yield the rows that follow from what is stored."""
    for effect in effects:
        match effect:
            case Erase(names):
                for customer_id in {find_customer(connection, name) for name in names} - {None}:
                    rights.erase(connection, customer_id, now=now)  # type: ignore[arg-type]  # None is taken out
            case Stop(name):
                found = find_customer(connection, name)
                if found is not None:
                    rights.suppress(connection, found, now=now, scope="all", reason="deleted_in_shop")
            case Merge(gone, stays):
                _merge(connection, gone, stays, now)
            case Tag():
                yield from _tagged(connection, effect)
            case Append():
                yield "orders", _appended(connection, effect)
            case Withdraw():
                yield from _withdrawn(connection, effect)
            case Level():
                yield from levelled(connection, effect)


def _merge(connection: Connection, gone: str, stays: str, now: datetime) -> None:
    lock_facts(connection)
    one, other = find_customer(connection, gone), find_customer(connection, stays)
    if one is not None and other is not None and one != other:
        merge_customers(connection, [(one, other)], now)


def _tagged(connection: Connection, effect: Tag) -> Iterator[Row]:
    found = find_customer(connection, effect.name)
    wanted = select(customers.c.tags).where(customers.c.id == found)
    known = list(connection.scalar(wanted) or []) if found is not None else []
    tags = [tag for tag in dict.fromkeys((*known, *effect.added)) if tag not in effect.removed]
    yield "customers", {"external_id": effect.name, "updated_at": iso(effect.at), "tags": tags}


def _appended(connection: Connection, effect: Append) -> dict[str, Any]:
    order_id = known_names(connection, [effect.order_id]).get(effect.order_id, effect.order_id)
    wanted = select(orders.c[effect.field]).where(orders.c.order_id == order_id)
    known = list(connection.scalar(wanted) or [])
    # What a file told as a sum, without ids, is told better by the shop's own entries.
    others = [
        each
        for each in known
        if isinstance(each, Mapping) and each.get("id") not in (None, effect.entry.get("id"))
    ]
    return {**effect.row, "order_id": effect.order_id, effect.field: [*others, dict(effect.entry)]}


def _withdrawn(connection: Connection, effect: Withdraw) -> Iterator[Row]:
    number = products.c.properties[effect.field].as_string()
    for sku in connection.scalars(select(products.c.sku).where(number == effect.number)):
        yield "products", {"sku": sku, "updated_at": iso(effect.at), "available": False}


# ── stock ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def levelled(connection: Connection, effect: Level) -> Iterator[Row]:
    """Note the level at one place; the stock follows where the levels of all of the shop's places are known.

    Places are known by being told of, so the first `ENOUGH` levels only teach which there are: until then, and where a
    place's level is missing, `products/update` alone tells the stock, as it does for all places together.
    """
    seen = _places(connection, effect.place)
    item = products.c.properties[INVENTORY_ITEM].as_string()
    found = select(products.c.sku, products.c.stock, products.c.properties).where(item == effect.item)
    for sku, stock, properties in connection.execute(found).all():
        levels = {**(properties.get(LEVELS) or {}), effect.place: effect.available}
        row = {"sku": sku, "updated_at": iso(effect.at), "properties": {LEVELS: levels}}
        whole = stock is not None and sum(seen.values()) >= ENOUGH and seen.keys() <= levels.keys()
        yield "products", row | ({"stock": max(sum(levels.values()), 0)} if whole else {})


def _places(connection: Connection, place: str) -> dict[str, int]:
    """Count a level of a place; return how many were told of each, until enough is known."""
    seen: dict[str, int] = dict(meta.get(connection, PLACES) or {})
    if place not in seen or sum(seen.values()) < ENOUGH:
        seen[place] = seen.get(place, 0) + 1
        meta.put(connection, PLACES, seen)
    return seen
