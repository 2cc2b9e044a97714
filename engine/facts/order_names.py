"""One order, several names: a shop's webhooks call it 5123456789012, a table that lost this number calls it #1001.

Comes in: facts about orders, in their order. Goes out: the same facts under the name by which the order was first told. A
fact whose properties hold both the number and the name teaches them; from then on either finds the order. Promises: no
order counts twice because it was told by both, whichever came first; what was told as two orders stays two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from engine.facts.raised import Told
from engine.store.bulk import insert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import order_names, orders

NUMBER, NAME = "shopify_order_id", "name"  # properties of orders
_NAMES = Prepared(
    select(order_names.c.name, order_names.c.order_id).where(within(order_names.c.name, "names"))
)
_STORED = Prepared(select(orders.c.order_id).where(within(orders.c.order_id, "ids")))
About = tuple[int, Told, int | None]


def under_first_names(connection: Connection, told: Sequence[About]) -> Sequence[About]:
    """Return facts about orders under the names by which the orders are known; keep the names that they teach."""
    pairs = {index: pair for index, item, _ in told if (pair := _pair(item)) is not None}
    names = {item.fact.key for _, item, _ in told}.union(*pairs.values())
    known = known_names(connection, names)
    if not known and not pairs:
        return told
    stored = set(_STORED.column(connection, ids=sorted(set().union(*pairs.values())))) if pairs else set()
    taught: dict[str, str] = {}
    found: list[About] = []
    for index, item, customer_id in told:
        own = pairs.get(index, (item.fact.key,))
        first = _first(own, known, stored)
        for name in own:
            if name not in known:
                known[name] = first
                if name != first and name not in stored:
                    taught[name] = first
        found.append((index, _called(item, first), customer_id))
    insert_rows(
        connection, order_names, [{"name": name, "order_id": first} for name, first in taught.items()]
    )
    return found


def known_names(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    """Return, of those names that an order has beside its own, how the order is known."""
    wanted = sorted(names)
    return {row.name: row.order_id for row in _NAMES.rows(connection, names=wanted)} if wanted else {}


def _pair(item: Told) -> tuple[str, str] | None:
    """Return the name that a fact gives an order, and the other one that it tells, where it tells both."""
    properties, key = item.fact.properties, item.fact.key
    number, name = properties.get(NUMBER), properties.get(NAME)
    if (
        not isinstance(number, str)
        or not isinstance(name, str)
        or key not in (number, name)
        or number == name
    ):
        return None
    return key, name if key == number else number


def _first(own: Sequence[str], known: Mapping[str, str], stored: set[str]) -> str:
    """Return how the order is known: by a name that was taught, else as what it is stored, else as this fact says."""
    taught = next((known[name] for name in own if name in known), None)
    return taught or next((name for name in own if name in stored), own[0])


def _called(item: Told, order_id: str) -> Told:
    return item if item.fact.key == order_id else item._replace(fact=item.fact._replace(key=order_id))
