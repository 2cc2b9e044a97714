"""Other people's exports in canonical names: Shopify's and Klaviyo's CSV files, Segment's calls as JSON Lines.

Comes in: rows as such a file has them. Goes out: canonical rows, several where one row tells several facts (an order
that was placed, shipped and cancelled). What has no counterpart here becomes properties, or is left out where it only
repeats what Homing counts itself. Formats as of 2026: see FORMATS in docs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from engine.errors import UsageError
from engine.facts.fact import BadRow, Kind, Row
from engine.facts.normalise import EVENT_NAMES, event_name
from engine.facts.order_names import NAME, NUMBER

_Values = Mapping[str, Any]
YES = frozenset({"yes", "true", "1", "subscribed", "subscribe"})
NO = frozenset({"unsubscribed", "unsubscribe"})


def translate(
    format_name: str, kind: Kind, rows: Iterable[Row | BadRow], shop_url: str = ""
) -> Iterator[Row | BadRow]:
    """Yield the rows of a foreign format in canonical names; raise UsageError for a kind that the format does not have."""
    if format_name == "segment":
        made: Callable[[Row], Iterable[tuple[Kind, _Values]]] = _segment
    elif format_name == "klaviyo" and kind == "customers":
        made = _klaviyo
    elif format_name == "shopify" and kind == "customers":
        made = _shopify_customer
    elif format_name == "shopify" and kind == "orders":
        yield from _each(_by_order(rows), _shopify_order)
        return
    elif format_name == "shopify" and kind == "products":
        made = _ShopifyProducts(shop_url)
    else:
        raise UsageError(f"{format_name} exports of {kind} are not known; use csv with --map")
    yield from _each(rows, made)


def _each(
    rows: Iterable[Row | BadRow], made: Callable[[Row], Iterable[tuple[Kind, _Values]]]
) -> Iterator[Row | BadRow]:
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        for kind, values in made(row):
            yield replace(
                row,
                kind=kind,
                values={name: value for name, value in values.items() if value not in ("", None)},
            )


def _moment(told: Any) -> str:
    """Return a time as these exports write it in ISO 8601: `2026-03-01 10:30:00 -0500`, `… UTC`."""
    return re.sub(r"\s+UTC$", "Z", re.sub(r"\s+([-+]\d{2}):?(\d{2})$", r"\1:\2", str(told or "").strip()))


# ── Shopify ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shopify_customer(row: Row) -> Iterator[tuple[Kind, _Values]]:
    told = row.values
    address, number = told.get("Email", ""), str(told.get("Customer ID", "")).lstrip("'")
    accepts = str(told.get("Accepts Email Marketing") or told.get("Accepts Marketing") or "").lower()
    yield (
        "customers",
        {
            "external_id": number,
            "email": address,
            "first_name": told.get("First Name"),
            "last_name": told.get("Last Name"),
            "country": told.get("Default Address Country Code")
            or told.get("Country Code")
            or told.get("Country"),
            "tags": told.get("Tags"),
            "phone": str(told.get("Phone") or told.get("Default Address Phone") or "").lstrip("'"),
            "city": told.get("Default Address City") or told.get("City"),
            "consent": "all" if accepts in YES else "",
            "consent_source": "Shopify export" if accepts in YES else "",
        },
    )


def _by_order(rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
    """Put the rows of one order together: they follow each other, and the first has what the others leave out."""
    group: list[Row] = []
    for row in rows:
        if isinstance(row, BadRow):
            yield row
        elif group and row.values.get("Name") == group[0].values.get("Name"):
            group.append(row)
        else:
            if group:
                yield _joined(group)
            group = [row]
    if group:
        yield _joined(group)


def _joined(group: list[Row]) -> Row:
    values: dict[str, Any] = {}
    for row in group:
        values |= {name: cell for name, cell in row.values.items() if cell != "" and name not in values}
    values["lines"] = [
        {
            "sku": row.values.get("Lineitem sku") or row.values.get("Lineitem name"),
            "quantity": row.values.get("Lineitem quantity"),
            "price": row.values.get("Lineitem price"),
        }
        for row in group
        if row.values.get("Lineitem name") or row.values.get("Lineitem sku")
    ]
    raw = tuple(line for row in group for line in row.raw)
    return Row(group[0].number, values, "orders", raw, tuple(row.number for row in group))


def _shopify_order(row: Row) -> Iterator[tuple[Kind, _Values]]:
    told = row.values
    # Webhooks name an order by its number; the export has it as `Id`, unless a spreadsheet has rounded it (5.1E+12).
    number, name = str(told.get("Id") or "").strip().lstrip("'"), told.get("Name", "")
    order_id = number if number.isdecimal() and number.isascii() else name
    created = _moment(told.get("Created at"))
    refund = told.get("Refunded Amount") or "0"
    yield (
        "orders",
        {
            "order_id": order_id,
            "customer": told.get("Email"),
            "placed_at": created,
            "status": "placed",
            "status_at": created,
            "currency": told.get("Currency"),
            "total": told.get("Total"),
            "discount": told.get("Discount Amount"),
            "coupon": told.get("Discount Code"),
            "lines": told.get("lines"),
            "shipping_method": told.get("Shipping Method"),
            NAME: name,
            NUMBER: order_id if order_id != name else "",
        },
    )
    moments = {
        "paid": told.get("Paid at"),
        "shipped": told.get("Fulfilled at"),
        "cancelled": told.get("Cancelled at"),
    }
    for status, moment in moments.items():
        if moment:
            yield "orders", {"order_id": order_id, "status": status, "status_at": _moment(moment)}
    if refund.strip("0.") or str(told.get("Financial Status", "")).lower() == "refunded":
        # The export does not say when: not before the last thing that it dates.
        latest = max([_moment(moment) for moment in moments.values() if moment], default=created)
        amount = {"refunds": [{"amount": refund}]} if refund.strip("0.") else {}
        yield "orders", {"order_id": order_id, "status": "refunded", "status_at": latest, **amount}


class _ShopifyProducts:
    """Reads one row a variant; the product's own columns stand on its first row only, further images have no variant."""

    def __init__(self, shop_url: str) -> None:
        self.shop_url = shop_url.rstrip("/")
        self.product: dict[str, Any] = {}

    def __call__(self, row: Row) -> Iterator[tuple[Kind, _Values]]:
        told = row.values
        handle = told.get("Handle") or told.get("URL handle") or self.product.get("handle", "")
        if handle != self.product.get("handle"):
            self.product = {"handle": handle}
        self.product |= {name: cell for name, cell in told.items() if cell != "" and name not in self.product}
        product = self.product
        price = told.get("Variant Price") or told.get("Price")
        if not price:
            return
        tracked = told.get("Variant Inventory Tracker") or told.get("Inventory tracker")
        stock = str(told.get("Variant Inventory Qty") or told.get("Inventory quantity") or "").strip()
        status = str(product.get("Status") or "active").lower()
        yield (
            "products",
            {
                "sku": told.get("Variant SKU") or told.get("SKU") or handle,
                "title": product.get("Title"),
                "category": product.get("Type")
                or str(product.get("Product Category") or "").rpartition(" > ")[2],
                "brand": product.get("Vendor"),
                "price": price,
                "stock": ("0" if stock.startswith("-") else stock) if tracked else "",
                "available": "true" if status == "active" else "false",
                "image_url": told.get("Variant Image")
                or product.get("Image Src")
                or product.get("Product image URL"),
                "url": f"{self.shop_url}/products/{handle}" if self.shop_url and handle else "",
                "group": handle,
            },
        )


# ── Klaviyo ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_KLAVIYO = {
    "External ID": "external_id",
    "Email": "email",
    "First Name": "first_name",
    "Last Name": "last_name",
    "Country": "country",
    "Locale": "locale",
    "Timezone": "timezone",
    "Birthday": "birthday",
}
_KLAVIYO_TIMES = {"Profile Created On": "created_at", "Date Added": "created_at", "Updated": "updated_at"}
_KLAVIYO_CONSENT = ("Email Marketing Consent", "Email Marketing Consent Timestamp")


def _klaviyo(row: Row) -> Iterator[tuple[Kind, _Values]]:
    told = row.values
    values: dict[str, Any] = {}
    for name, cell in told.items():
        if name in _KLAVIYO:
            values[_KLAVIYO[name]] = cell
        elif name in _KLAVIYO_TIMES:
            values.setdefault(_KLAVIYO_TIMES[name], _moment(cell))
        elif name not in _KLAVIYO_CONSENT:
            values[re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")] = cell
    yield "customers", values
    consent = str(told.get(_KLAVIYO_CONSENT[0], "")).strip().lower()
    if consent in YES | NO:
        yield (
            "consents",
            {
                "customer": values.get("external_id") or told.get("Email"),
                "topic": "all",
                "state": "granted" if consent in YES else "withdrawn",
                "at": _moment(told.get(_KLAVIYO_CONSENT[1])),
                "source": "Klaviyo export",
            },
        )


# ── Segment ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_TRAITS = {
    "email": "email",
    "firstName": "first_name",
    "first_name": "first_name",
    "lastName": "last_name",
    "last_name": "last_name",
    "createdAt": "created_at",
    "created_at": "created_at",
    "birthday": "birthday",
    "locale": "locale",
    "timezone": "timezone",
    "country": "country",
}
_SEGMENT_ORDERS = {"order_placed": "placed", "order_refunded": "refunded", "order_cancelled": "cancelled"}


def _segment(row: Row) -> Iterator[tuple[Kind, _Values]]:
    batch = row.values.get("batch")
    calls = batch if isinstance(batch, list) else [row.values]
    for call in calls:
        if isinstance(call, Mapping):
            yield from segment_call(call)


def segment_call(call: Mapping[str, Any]) -> Iterator[tuple[Kind, dict[str, Any]]]:
    """Yield the canonical rows of one Segment call; a call that names nobody (anonymous) gives none."""
    context = _mapping(call.get("context"))
    traits = {**_mapping(context.get("traits")), **_mapping(call.get("traits"))}
    customer = call.get("userId") or traits.get("email")
    if not customer:
        return
    at = call.get("timestamp") or call.get("originalTimestamp") or call.get("sentAt")
    kind = call.get("type")
    if kind == "identify":
        yield "customers", _identified(call, traits, context, at)
    elif kind == "track":
        yield _tracked(call, str(customer), at)
    elif kind in ("page", "screen"):
        properties = _mapping(call.get("properties"))
        name = {"page": call["name"]} if call.get("name") else {}
        yield (
            "events",
            {
                **properties,
                **name,
                "id": call.get("messageId"),
                "event": f"{kind}_viewed",
                "customer": customer,
                "at": at,
            },
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _identified(call: _Values, traits: _Values, context: _Values, at: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"external_id": call.get("userId"), "updated_at": at}
    values |= {"locale": context.get("locale"), "timezone": context.get("timezone")}
    values["country"] = _mapping(traits.get("address")).get("country")
    known = {_TRAITS[name]: value for name, value in traits.items() if name in _TRAITS and value is not None}
    others = {
        name: value for name, value in traits.items() if name not in _TRAITS and name not in ("id", "address")
    }
    return {**values, **known, "properties": others} if others else {**values, **known}


def _tracked(call: _Values, customer: str, at: Any) -> tuple[Kind, dict[str, Any]]:
    properties = dict(_mapping(call.get("properties")))
    name = event_name(str(call.get("event") or ""))
    name = EVENT_NAMES.get(name, name)
    products = properties.pop("products", None)
    lines = (
        [_line(item) for item in products if isinstance(item, Mapping)]
        if isinstance(products, list)
        else None
    )
    told = {} if lines is None else {"lines": lines}
    if name in _SEGMENT_ORDERS and properties.get("order_id"):
        return "orders", _ordered(properties, _SEGMENT_ORDERS[name], customer, at) | told
    if name == "cart_viewed" and properties.get("cart_id") and lines is not None:
        return "carts", {
            "cart_id": properties["cart_id"],
            "customer": customer,
            "updated_at": at,
            "lines": lines,
        }
    if name == "checkout_started" and "checkout_id" not in properties and "order_id" in properties:
        properties["checkout_id"] = properties.pop("order_id")
    if "sku" not in properties and properties.get("product_id"):
        properties["sku"] = properties["product_id"]
    return "events", {
        **properties,
        **told,
        "id": call.get("messageId"),
        "event": name,
        "customer": customer,
        "at": at,
    }


def _ordered(properties: dict[str, Any], status: str, customer: str, at: Any) -> dict[str, Any]:
    kept = ("order_id", "currency", "coupon", "discount")
    row = {name: properties.get(name) for name in kept} | {
        "customer": customer,
        "status": status,
        "status_at": at,
    }
    total = properties.get("total", properties.get("revenue", properties.get("value")))
    if status == "placed":
        return row | {"placed_at": at, "total": total}
    if status == "refunded" and total is not None:
        return row | {"refunds": [{"amount": total}]}
    return row


def _line(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sku": item.get("sku") or item.get("product_id"),
        "quantity": item.get("quantity"),
        "price": item.get("price"),
    }
