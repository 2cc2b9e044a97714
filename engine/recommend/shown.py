"""A product as a block shows it: what is read of it, whether it can be sold, what its variants share.

Comes in: rows of the catalogue. Goes out: plain fields, with `tags` (a list) and `margin` (a share of the price) found in
the properties, for the shop's own rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from engine.store.tables import products

COLUMNS = (
    products.c.sku, products.c.title, products.c.category, products.c.brand, products.c.price, products.c.currency,
    products.c.url, products.c.image_url, products.c.stock, products.c.available, products.c.days_of_supply,
    products.c.variant_group.label("group"), products.c.properties, products.c.learned_repeats,
    products.c.first_seen_at, products.c.updated_at,
)  # fmt: skip


FIRST_LOADING = timedelta(days=7)


def arrived(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without `began`, when the catalogue was begun; `first_seen_at` is None for what came with its beginning.

    Since when the shop had those, nobody has told: a mail must not call them new.
    """
    if row["first_seen_at"] - row.pop("began") <= FIRST_LOADING:
        row["first_seen_at"] = None
    return row


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `COLUMNS` as the fields that tests and templates see."""
    product: dict[str, Any] = dict(row)
    properties = product["properties"] or {}
    product["tags"] = tags(properties.get("tags"))
    product["margin"] = margin(product["price"], properties)
    product["in_stock"] = in_stock(product)
    return product


def tags(told: Any) -> list[str]:
    """Return tags as a list, however a file told them.

    >>> tags("sale, gift"), tags(["new"]), tags(None)
    (['sale', 'gift'], ['new'], [])
    """
    if isinstance(told, str):
        return [tag for part in told.split(",") if (tag := part.strip())]
    return [str(tag) for tag in told] if isinstance(told, list) else []


def margin(price: Any, properties: Mapping[str, Any]) -> Decimal | None:
    """Return the share of the price that stays with the shop: as told, else what `cost` leaves; None where unknown.

    >>> margin(Decimal(20), {"cost": "15"}), margin(Decimal(20), {"margin": 0.4}), margin(Decimal(20), {})
    (Decimal('0.25'), Decimal('0.4'), None)
    """
    told = _number(properties.get("margin"))
    cost = _number(properties.get("cost"))
    if told is not None or cost is None or price is None or price <= 0:
        return told
    return (Decimal(price) - cost) / Decimal(price)


def _number(told: Any) -> Decimal | None:
    if isinstance(told, bool) or not isinstance(told, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(told))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def in_stock(product: Mapping[str, Any]) -> bool:
    """Return whether a product can be had; stock that is not tracked is no obstacle."""
    stock = product["stock"]
    return product["available"] is not False and (stock is None or stock > 0)


def sellable(product: Mapping[str, Any]) -> bool:
    """Return whether a mail may show a product: it can be had, and has an image and a price."""
    priced = product["price"] is not None and product["price"] > 0
    return in_stock(product) and bool(product["image_url"]) and priced


def article(product: Mapping[str, Any]) -> str:
    """Return what variants of one article share."""
    return f"group {product['group']}" if product["group"] else f"sku {product['sku']}"


def category(product: Mapping[str, Any]) -> str | None:
    """Return the category, or None for a product without one."""
    return product["category"] or None
