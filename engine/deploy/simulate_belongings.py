"""Whose order, whose cart: what customers are taken to mean where they follow what somebody else did.

Comes in: the real database (only read), customers at moments. Goes out: for each order and cart that the other one had
already, which of the follower's own it stands for. Promises that nobody is told of an order or cart from before the start
that the customer does not have: an older one becomes one's own in the same standing, the newest first, or nothing at all.
What the other one began only afterwards is begun anew, and is none of this module's business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from engine.facts.orders import MOMENTS
from engine.store.dialect import among
from engine.store.tables import events, orders

ROWS = 10_000
FILLED, EMPTIED = CART_FACTS = ("cart_updated", "cart_emptied")
EMPTY, FULL, BOUGHT = range(3)
Stand = tuple[int, datetime]  # a customer at a moment
Own = dict[
    str, str | None
]  # somebody else's thing → one's own in the same standing, None where there is none


@dataclass(frozen=True, slots=True)
class Belongings:
    """Each customer's orders and carts with how they stood, newest first.

    An order stands by a bit for each status that it had come to; a cart is EMPTY, FULL, or was BOUGHT since it was told.
    """

    orders: Mapping[Stand, Mapping[str, int]]
    carts: Mapping[Stand, Mapping[str, int]]

    def own_orders(self, model: Stand, follower: Stand, named: Collection[str]) -> Own:
        """Return for each named order that the model had which of the follower's it stands for."""
        return _alike(self.orders.get(model, {}), self.orders.get(follower, {}), named)

    def own_carts(self, model: Stand, follower: Stand, named: Collection[str]) -> Own:
        """Return for each named cart that the model had which of the follower's it stands for."""
        return _alike(self.carts.get(model, {}), self.carts.get(follower, {}), named)


def _alike(theirs: Mapping[str, int], own: Mapping[str, int], named: Collection[str]) -> Own:
    free = dict(own)
    found: Own = {}
    for name, standing in theirs.items():
        if name in named:
            mine = next((each for each, stands in free.items() if stands == standing), None)
            found[name] = mine
            free.pop(mine or "", None)
    return found


def read_belongings(connection: Connection, asked: Collection[Stand]) -> Belongings:
    """Return what these customers had at these moments."""
    moments: dict[int, list[datetime]] = defaultdict(list)
    for customer_id, moment in asked:
        moments[customer_id].append(moment)
    found, bought = _orders(connection, moments)
    return Belongings(found, _carts(connection, moments, bought))


def _orders(
    connection: Connection, moments: Mapping[int, Sequence[datetime]]
) -> tuple[Mapping[Stand, Mapping[str, int]], Mapping[Stand, Mapping[str, datetime]]]:
    """Return the orders with what they had come to, and the carts that they were made of, with the last such moment."""
    table = orders.c
    reached = [table[f"{status}_at"] for status in MOMENTS]
    query = select(table.customer_id, table.order_id, table.placed_at, table.properties, *reached)
    rows = connection.execute(query.where(among(connection, table.customer_id, moments))).all()
    found: dict[Stand, dict[str, int]] = defaultdict(dict)
    bought: dict[Stand, dict[str, datetime]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: (row.placed_at, row.order_id), reverse=True):
        for moment in moments[row.customer_id]:
            if row.placed_at <= moment:
                stand = row.customer_id, moment
                bits = (1 << bit for bit, at in enumerate(row[4:]) if at is not None and at <= moment)
                found[stand][row.order_id] = sum(bits)
                bought[stand].setdefault(str((row.properties or {}).get("cart_id")), row.placed_at)
    return found, bought


def _carts(
    connection: Connection,
    moments: Mapping[int, Sequence[datetime]],
    bought: Mapping[Stand, Mapping[str, datetime]],
) -> Mapping[Stand, Mapping[str, int]]:
    """Return the carts with how they were told last."""
    table = events.c
    query = select(table.customer_id, table.cart_id, table.occurred_at, table.key, table.name).where(
        among(connection, table.customer_id, moments), table.name.in_(CART_FACTS), table.cart_id.is_not(None)
    )
    last: dict[Stand, dict[str, tuple[datetime, str, str]]] = defaultdict(dict)
    for customer_id, cart_id, *told in connection.execution_options(yield_per=ROWS).execute(query):
        for moment in moments[customer_id]:
            if told[0] <= moment:
                carts = last[customer_id, moment]
                carts[cart_id] = max(carts.get(cart_id, tuple(told)), tuple(told))
    return {
        stand: {
            cart_id: _standing(*carts[cart_id], bought.get(stand, {}).get(cart_id))
            for cart_id in sorted(carts, key=carts.__getitem__, reverse=True)
        }
        for stand, carts in last.items()
    }


def _standing(at: datetime, _key: str, name: str, bought_at: datetime | None) -> int:
    if name == EMPTIED:
        return EMPTY
    return BOUGHT if bought_at is not None and bought_at >= at else FULL
