"""Product triggers: a change of the catalogue meets the customers who showed interest in the product.

Comes in: changes of the catalogue that a tick looks at for the first time. Goes out: one candidate for each interested
customer. A price drop is measured against the price when that customer saw the product, not against yesterday's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, literal, select, union_all

from engine.calendar import subtract
from engine.flows.model import ProductTrigger
from engine.journeys.candidates import Candidate
from engine.store.dialect import among, within
from engine.store.prepared import Prepared
from engine.store.tables import cart_lines, carts, events, product_changes, product_prices

EVENTS = {"wishlist": "wishlist_added", "viewed": "product_viewed"}
Interest = dict[tuple[str, int], datetime]
_CHANGES = Prepared(
    select(
        *(product_changes.c[name] for name in ("id", "sku", "change", "at", "old_price", "new_price")),
        product_changes.c.new_stock,
        product_changes.c.old_stock,
    )
    .where(within(product_changes.c.id, "ids"))
    .order_by(product_changes.c.at, product_changes.c.id)
)


@dataclass(frozen=True, slots=True)
class CatalogueChange:
    """One change of one product."""

    id: int
    sku: str
    change: str
    at: datetime
    old_price: Decimal | None
    new_price: Decimal | None
    new_stock: int | None
    old_stock: int | None = None


def read_changes(connection: Connection, ids: Sequence[int]) -> list[CatalogueChange]:
    """Return the changes of these ids, in order of their time."""
    return [CatalogueChange(*row) for row in _CHANGES.rows(connection, ids=ids)] if ids else []


def product_candidates(
    connection: Connection,
    trigger: ProductTrigger,
    number: int,
    changes: Sequence[CatalogueChange],
    shop_zone: str,
) -> Iterator[Candidate]:
    """Yield a candidate for each customer with an interest in a product that changed as the trigger asks."""
    fitting = [change for change in changes if change.change == trigger.change and _fits(trigger, change)]
    if not fitting:
        return
    skus = sorted({change.sku for change in fitting})
    since = subtract(min(change.at for change in fitting), trigger.within, shop_zone)
    interest = _interest(connection, trigger, skus, since)
    prices = _prices(connection, skus) if trigger.change == "price_drop" else {}
    for change in fitting:
        earliest = subtract(change.at, trigger.within, shop_zone)
        for (sku, customer_id), seen_at in interest.items():
            if sku == change.sku and earliest <= seen_at <= change.at:
                seen_price = _price_at(prices.get(sku, ()), seen_at) or change.old_price
                if trigger.change == "price_drop" and not _dropped(trigger, change, seen_price):
                    continue
                yield _candidate(change, number, customer_id, seen_price)


def _fits(trigger: ProductTrigger, change: CatalogueChange) -> bool:
    """Return whether a change is one that the trigger asks for: low stock is told when it falls below, not on and on."""
    if trigger.change != "low_stock" or change.new_stock is None:
        return True
    below = 5 if trigger.below is None else trigger.below
    return change.new_stock < below and (change.old_stock is None or change.old_stock >= below)


def _dropped(trigger: ProductTrigger, change: CatalogueChange, seen: Decimal | None) -> bool:
    if seen is None or change.new_price is None or seen <= 0:
        return False
    return change.new_price < seen and (seen - change.new_price) / seen >= trigger.by


def _candidate(
    change: CatalogueChange, number: int, customer_id: int, seen_price: Decimal | None
) -> Candidate:
    trigger: dict[str, Any] = {"sku": change.sku, "change": change.change, "stock": change.new_stock}
    if change.new_price is not None:
        trigger |= {"price": change.new_price, "old_price": change.old_price, "seen_price": seen_price}
    occurrence = f"{change.sku}:{change.id}"
    return Candidate(number, customer_id, occurrence, change.at, change.at, trigger, sku=change.sku)


def _interest(
    connection: Connection, trigger: ProductTrigger, skus: Sequence[str], since: datetime
) -> Interest:
    """Return when each customer last showed interest in each product; what was taken off a wish list is none."""
    names = [EVENTS[kind] for kind in trigger.interest if kind in EVENTS]
    if trigger.change == "back_in_stock":
        names.append("stock_alert_requested")
    parts = []
    told = (*names, "wishlist_removed")
    parts.append(
        select(events.c.sku, events.c.customer_id, events.c.name, events.c.occurred_at).where(
            among(connection, events.c.sku, skus), events.c.name.in_(told), events.c.occurred_at >= since
        )
    )
    if "cart" in trigger.interest:
        parts.append(_in_carts(connection, skus, since))
    found: dict[tuple[str, int, str], datetime] = {}
    for sku, customer_id, name, moment in connection.execute(union_all(*parts)):
        key = (sku, customer_id, name)
        found[key] = max(moment, found.get(key, moment))
    interest: Interest = {}
    for (sku, customer_id, name), moment in found.items():
        removed = found.get((sku, customer_id, "wishlist_removed"))
        gone = name == "wishlist_added" and removed is not None and removed > moment
        if name != "wishlist_removed" and not gone:
            interest[sku, customer_id] = max(moment, interest.get((sku, customer_id), moment))
    return interest


def _in_carts(connection: Connection, skus: Sequence[str], since: datetime) -> Any:
    return (
        select(cart_lines.c.sku, carts.c.customer_id, literal("cart"), carts.c.updated_at)
        .join(carts, carts.c.cart_id == cart_lines.c.cart_id)
        .where(
            among(connection, cart_lines.c.sku, skus),
            carts.c.updated_at >= since,
            carts.c.customer_id.is_not(None),
        )
    )


def _prices(connection: Connection, skus: Sequence[str]) -> Mapping[str, Sequence[Row[Any]]]:
    query = (
        select(product_prices)
        .where(among(connection, product_prices.c.sku, skus))
        .order_by(product_prices.c.sku, product_prices.c.since)
    )
    found: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.sku, []).append(row)
    return found


def _price_at(history: Sequence[Row[Any]], moment: datetime) -> Decimal | None:
    known = [row.price for row in history if row.since <= moment]
    return known[-1] if known else None
