"""Products learned from events: what a page says of a product, where no catalogue does.

Comes in: calls. Goes out: rows of products that are not known, or that are known from events only and look different now
on their own page. A catalogue that was told always knows better: nothing of it is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Connection, select

from engine.facts.fact import iso
from engine.facts.normalise import event_name
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import products
from engine.web.intake.calls import Call

SOURCE = "events"
_NAMES = {
    "name": "title",
    "category": "category",
    "brand": "brand",
    "price": "price",
    "url": "url",
    "image_url": "image_url",
}
_OWN_PAGE = "product_viewed"
_COMPARED = (products.c[name] for name in ("sku", "properties", *dict.fromkeys(_NAMES.values())))
_KNOWN = Prepared(select(*_COMPARED).where(within(products.c.sku, "skus")))


def rows_of(connection: Connection, calls: Sequence[Call]) -> Iterator[dict[str, Any]]:
    """Yield a row for each product that is new, or that its own page shows changed."""
    told: dict[str, tuple[Call, Mapping[str, Any], bool]] = {}
    for call in calls:
        if call.type == "track" and isinstance(properties := call.content.get("properties"), Mapping):
            own_page = event_name(str(call.content["event"])) == _OWN_PAGE
            for item in _items(properties):
                sku = item.get("sku") or item.get("product_id")
                if isinstance(sku, str | int) and not isinstance(sku, bool) and item.get("name"):
                    told[str(sku)[:255]] = (call, item, own_page)
    if not told:
        return
    known = {row["sku"]: row for row in _KNOWN.dicts(connection, skus=sorted(told))}
    for sku, (call, item, own_page) in told.items():
        row = _row(sku, call, item)
        before = known.get(sku)
        if before is None or (own_page and _is_ours(before) and _differs(before, row)):
            yield row


def _items(properties: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    listed = properties.get("products")
    for item in [properties, *(listed if isinstance(listed, list) else ())]:
        if isinstance(item, Mapping):
            yield item


def _row(sku: str, call: Call, item: Mapping[str, Any]) -> dict[str, Any]:
    properties = call.content["properties"]
    row = {ours: item[theirs] for theirs, ours in _NAMES.items() if item.get(theirs) not in (None, "")}
    currency = item.get("currency") or properties.get("currency")
    group = item.get("product_id") if item.get("sku") and item.get("product_id") != item.get("sku") else None
    row |= {"currency": currency} if currency else {}
    row |= {"group": str(group)} if isinstance(group, str | int) else {}
    return row | {"sku": sku, "updated_at": iso(call.at), "properties": {"learned_from": SOURCE}}


def _is_ours(row: Mapping[str, Any]) -> bool:
    return (row["properties"] or {}).get("learned_from") == SOURCE


def _differs(before: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    for name in _NAMES.values():
        if name not in row:
            continue
        if name == "price":
            try:
                same = before["price"] == Decimal(str(row["price"]))
            except InvalidOperation:
                same = True
        else:
            same = before[name] == row[name]
        if not same:
            return True
    return False
