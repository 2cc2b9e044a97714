"""What the shoppers of a batch did: bought, viewed, wished for, left in the cart, as far as it is known at a moment.

Comes in: customer ids. Goes out: a `Shopper` each. Promises one statement for each kind of behaviour, whatever the number
of customers, and that nothing later than the moment is seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum

from sqlalchemy import Connection, bindparam, func, or_, select

from engine.recommend.sales import counts
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import cart_lines, carts, events, order_lines, orders
from engine.store.types import Instant

INTEREST_LASTS = timedelta(days=90)  # views and carts older than this say nothing
HABIT_HALVES = timedelta(days=180)  # a purchase this long ago weighs half in a habit
_INTERESTS = ("product_viewed", "wishlist_added", "wishlist_removed")

_NOW = bindparam("now", type_=Instant(), required=True)
_NEWEST = func.max(events.c.occurred_at)
_PURCHASES = Prepared(
    select(orders.c.customer_id, order_lines.c.sku, orders.c.placed_at)
    .join_from(orders, order_lines, order_lines.c.order_id == orders.c.order_id)
    .where(within(orders.c.customer_id, "ids"), counts(_NOW))
)
_DEEDS = Prepared(
    select(events.c.customer_id, events.c.name, events.c.sku, _NEWEST.label("at"))
    .where(
        within(events.c.customer_id, "ids"),
        events.c.name.in_(_INTERESTS),
        events.c.occurred_at <= _NOW,
        or_(events.c.name != "product_viewed", events.c.occurred_at > bindparam("since", type_=Instant())),
        events.c.sku.is_not(None),
    )
    .group_by(events.c.customer_id, events.c.name, events.c.sku)
    .order_by(_NEWEST.desc(), events.c.sku)
)
_LEFT = Prepared(
    select(carts.c.customer_id, cart_lines.c.sku)
    .join_from(carts, cart_lines, cart_lines.c.cart_id == carts.c.cart_id)
    .where(
        within(carts.c.customer_id, "ids"),
        carts.c.updated_at <= _NOW,
        carts.c.updated_at > bindparam("since", type_=Instant()),
    )
    .order_by(carts.c.updated_at.desc(), carts.c.cart_id, cart_lines.c.line_no)
)


@dataclass(slots=True)
class Shopper:
    """One customer's own products: `bought` by how strong the habit is, the others newest first, once `met`."""

    bought: dict[str, float] = field(default_factory=dict)
    viewed: list[str] = field(default_factory=list)
    wished: list[str] = field(default_factory=list)
    carted: list[str] = field(default_factory=list)
    met: bool = False


def shoppers(connection: Connection, customer_ids: Sequence[int], now: datetime) -> dict[int, Shopper]:
    """Return what each customer bought up to `now`; customers who did nothing have empty ones."""
    found = {customer_id: Shopper() for customer_id in customer_ids}
    _read_purchases(connection, sorted(found), now, found)
    return found


def meet(
    connection: Connection, customer_ids: Sequence[int], now: datetime, found: dict[int, Shopper]
) -> None:
    """Read what some of the found customers viewed, wished for and left in the cart up to `now`."""
    _read_interests(connection, customer_ids, now, found)
    _read_carts(connection, customer_ids, now, found)
    for customer_id in customer_ids:
        found[customer_id].met = True


def _read_purchases(
    connection: Connection, ids: Sequence[int], now: datetime, found: dict[int, Shopper]
) -> None:
    purchases: defaultdict[tuple[int, str], set[datetime]] = defaultdict(set)
    for customer_id, sku, placed_at in _PURCHASES.rows(connection, ids=ids, now=now):
        purchases[customer_id, sku].add(placed_at)
    for (customer_id, sku), moments in purchases.items():
        found[customer_id].bought[sku] = fsum(0.5 ** ((now - moment) / HABIT_HALVES) for moment in moments)


def _read_interests(
    connection: Connection, ids: Sequence[int], now: datetime, found: dict[int, Shopper]
) -> None:
    removed: defaultdict[tuple[int, str], datetime | None] = defaultdict(lambda: None)
    rows = _DEEDS.rows(connection, ids=ids, now=now, since=now - INTEREST_LASTS)
    for customer_id, name, sku, at in rows:
        if name == "wishlist_removed":
            removed[customer_id, sku] = at
    for customer_id, name, sku, at in rows:
        gone = removed[customer_id, sku]
        if name == "product_viewed":
            found[customer_id].viewed.append(sku)
        elif name == "wishlist_added" and (gone is None or gone < at):
            found[customer_id].wished.append(sku)


def _read_carts(connection: Connection, ids: Sequence[int], now: datetime, found: dict[int, Shopper]) -> None:
    for customer_id, sku in _LEFT.rows(connection, ids=ids, now=now, since=now - INTEREST_LASTS):
        own = found[customer_id].carted
        if sku not in own:
            own.append(sku)
