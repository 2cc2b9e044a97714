"""Shopify's webhooks in canonical rows, API versions 2024-10 to 2026-07.

Comes in: a topic, its payload, and when it was triggered. Goes out: rows, effects, and a note where somebody has to look.
Traps: ids are larger than 2^53 and stay text; `carts/*` know no customer and are joined with `checkouts/*` by the cart's
token; from 2025-01 a customer's consent and tags come as topics of their own, partly in camelCase with `gid://` ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from engine.facts.fact import iso
from engine.facts.order_names import NAME, NUMBER
from engine.web.intake.effects import (
    INVENTORY_ITEM,
    Append,
    Effect,
    Erase,
    Level,
    Merge,
    Row,
    Stop,
    Tag,
    Withdraw,
)

PRODUCT_ID = "shopify_product_id"
_CONSENTS = {
    "subscribed": "granted",
    "unsubscribed": "withdrawn",
    "redacted": "withdrawn",
    "pending": "pending",
}
_Body = Mapping[str, Any]


@dataclass(slots=True)
class Told:
    """What a webhook says: rows and effects; `note` is for the shop's people; `known` is False for topics we leave alone."""

    rows: list[Row] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    note: str = ""
    known: bool = True


def read(topic: str, body: _Body, triggered: datetime, shop_url: str) -> Told:
    """Return what a webhook says; raise KeyError, TypeError or ValueError where it lacks what its topic always has."""
    told = Told()
    reader = _READERS.get(topic)
    if reader is None:
        told.known = False
    elif topic.startswith("products/"):
        _product(told, body, triggered, shop_url)
    else:
        reader(told, body, triggered)
    return told


def number(value: Any) -> str:
    """Return an id as text: of a number, or of a `gid://shopify/Customer/1`.

    >>> number(820982911946154508), number("gid://shopify/Customer/1?x=2")
    ('820982911946154508', '1')
    """
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError("an id is missing")
    return str(value).rpartition("/")[2].partition("?")[0]


# ── customers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _customer(told: Told, body: _Body, triggered: datetime) -> None:
    told.rows.append(("customers", _person(body, body.get("updated_at") or iso(triggered))))
    consent = body.get("email_marketing_consent")
    if isinstance(consent, Mapping):
        _consented(told, number(body["id"]), consent, triggered)


def _person(body: _Body, at: str) -> dict[str, Any]:
    address = body.get("default_address") or {}
    tags = body.get("tags")
    row = {
        "external_id": number(body["id"]), "email": body.get("email"), "first_name": body.get("first_name"),
        "last_name": body.get("last_name"), "country": address.get("country_code"), "created_at": body.get("created_at"),
        "updated_at": at, "locale": body.get("locale"),
        "tags": [tag.strip() for tag in tags.split(",") if tag.strip()] if isinstance(tags, str) else None,
    }  # fmt: skip
    return _filled(row)


def _consented(told: Told, customer: str, consent: _Body, triggered: datetime) -> None:
    state = _CONSENTS.get(str(consent.get("state")).lower())
    if state is not None:
        at = consent.get("consent_updated_at") or iso(triggered)
        told.rows.append(
            (
                "consents",
                {"customer": customer, "topic": "all", "state": state, "at": at, "source": "Shopify"},
            )
        )


def _email_consent(told: Told, body: _Body, triggered: datetime) -> None:
    customer = number(body["customer_id"])
    if body.get("email_address"):
        told.rows.append(
            (
                "customers",
                {"external_id": customer, "email": body["email_address"], "updated_at": iso(triggered)},
            )
        )
    _consented(told, customer, body["email_marketing_consent"], triggered)


def _tags_added(told: Told, body: _Body, triggered: datetime) -> None:
    at = _moment(body.get("occurredAt")) or triggered
    told.effects.append(Tag(number(body["customerId"]), at, added=tuple(map(str, body["tags"]))))


def _tags_removed(told: Told, body: _Body, triggered: datetime) -> None:
    at = _moment(body.get("occurredAt")) or triggered
    told.effects.append(Tag(number(body["customerId"]), at, removed=tuple(map(str, body["tags"]))))


def _deleted(told: Told, body: _Body, _triggered: datetime) -> None:
    told.effects.append(Stop(number(body["id"])))


def _redact(told: Told, body: _Body, _triggered: datetime) -> None:
    person = body["customer"]
    names = [number(person["id"])] if person.get("id") else []
    told.effects.append(Erase((*names, *([person["email"]] if person.get("email") else []))))


def _data_request(told: Told, body: _Body, _triggered: datetime) -> None:
    told.note = f"a person asks for their data: homing customer export {number(body['customer']['id'])}"


def _merged(told: Told, body: _Body, _triggered: datetime) -> None:
    if str(body.get("status")).lower() == "completed":
        gone, stays = (
            body["admin_graphql_api_customer_deleted_id"],
            body["admin_graphql_api_customer_kept_id"],
        )
        told.effects.append(Merge(number(gone), number(stays)))


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _order(told: Told, body: _Body, triggered: datetime) -> None:
    placed = body.get("processed_at") or body.get("created_at") or iso(triggered)
    updated = body.get("updated_at") or placed
    customer = _buyer(told, body, updated)
    order_id = number(body["id"])
    codes = [each.get("code") for each in body.get("discount_codes") or ()]
    fulfilled = [_shipment(each) for each in body.get("fulfillments") or ()]
    row = {
        "order_id": order_id, "customer": customer, "placed_at": placed, "status": _status(body), "status_at": updated,
        "currency": body.get("currency"), "total": body.get("total_price"), "discount": body.get("total_discounts"),
        "coupon": [code for code in codes if code] or None, "lines": [_line(line) for line in body.get("line_items") or ()],
        "shipments": fulfilled or None, "refunds": [_refund(each) for each in body.get("refunds") or ()] or None,
        "properties": _filled({NAME: body.get("name"), NUMBER: order_id, "order_status_url": body.get("order_status_url")}),
    }  # fmt: skip
    told.rows.append(("orders", _filled(row)))
    if body.get("cancelled_at"):
        told.rows.append(
            ("orders", {"order_id": order_id, "status": "cancelled", "status_at": body["cancelled_at"]})
        )
    if body.get("cart_token"):
        told.rows.append(("carts", {"cart_id": str(body["cart_token"]), "updated_at": placed, "lines": []}))


def _new_order(told: Told, body: _Body, triggered: datetime) -> None:
    _order(told, body, triggered)
    customer = next((row.get("customer") for kind, row in told.rows if kind == "orders"), None)
    if body.get("buyer_accepts_marketing") is True and customer:
        at = body.get("processed_at") or body.get("created_at") or iso(triggered)
        told.rows.append(
            (
                "consents",
                {
                    "customer": customer,
                    "topic": "all",
                    "state": "granted",
                    "at": at,
                    "source": "Shopify checkout",
                },
            )
        )


def _buyer(told: Told, body: _Body, at: str) -> str | None:
    """Tell who bought, and return how facts name them."""
    person = body.get("customer")
    address = body.get("email") or body.get("contact_email")
    if isinstance(person, Mapping) and person.get("id"):
        row = _person(person, person.get("updated_at") or at)
        row.setdefault("locale", body.get("customer_locale"))
        told.rows.append(("customers", _filled(row)))
        return number(person["id"])
    return str(address) if address else None


def _status(body: _Body) -> str:
    if body.get("cancelled_at"):
        return "cancelled"
    if body.get("financial_status") == "refunded":
        return "refunded"
    if body.get("fulfillment_status") == "fulfilled":
        return "shipped"
    return "paid" if body.get("financial_status") == "paid" else "placed"


def _line(line: _Body) -> dict[str, Any]:
    sku = line.get("sku") or line.get("variant_id") or line.get("product_id") or line.get("title")
    return _filled({"sku": str(sku), "quantity": line.get("quantity"), "price": line.get("price")})


def _shipment(body: _Body) -> dict[str, Any]:
    urls = body.get("tracking_urls") or []
    return _filled(
        {
            "id": number(body["id"]), "carrier": body.get("tracking_company"),
            "tracking_url": body.get("tracking_url") or (urls[0] if urls else None),
            "skus": [_line(line)["sku"] for line in body.get("line_items") or ()],
        }
    )  # fmt: skip


def _fulfillment(told: Told, body: _Body, triggered: datetime) -> None:
    if str(body.get("status")) in ("cancelled", "error", "failure"):
        return
    delivered = body.get("shipment_status") == "delivered"
    at = (body.get("updated_at") if delivered else body.get("created_at")) or iso(triggered)
    row = {"status": "delivered" if delivered else "shipped", "status_at": at}
    told.effects.append(Append(number(body["order_id"]), "shipments", _shipment(body), row))


def _refund(body: _Body) -> dict[str, Any]:
    """Return a refund: what was paid back, else what its lines were worth."""
    paid = [each.get("amount") for each in body.get("transactions") or () if each.get("kind") == "refund" and each.get("status") == "success"]  # fmt: skip
    lines = [each.get("subtotal") for each in body.get("refund_line_items") or ()]
    return {"id": number(body["id"]), "amount": str(sum(map(_amount, paid or lines), Decimal(0)))}


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)
    return amount if amount.is_finite() and amount > 0 else Decimal(0)


def _refunded(told: Told, body: _Body, triggered: datetime) -> None:
    at = body.get("processed_at") or body.get("created_at") or iso(triggered)
    told.effects.append(
        Append(number(body["order_id"]), "refunds", _refund(body), {"status": "refunded", "status_at": at})
    )


# ── carts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cart(told: Told, body: _Body, triggered: datetime) -> None:
    row = {
        "cart_id": str(body.get("token") or body["id"]), "updated_at": body.get("updated_at") or iso(triggered),
        "lines": [_line(line) for line in body.get("line_items") or ()],
    }  # fmt: skip
    told.rows.append(("carts", row))


def _checkout(told: Told, body: _Body, triggered: datetime) -> None:
    at = body.get("updated_at") or body.get("created_at") or iso(triggered)
    customer = _buyer(told, body, at)
    done = bool(body.get("completed_at"))
    lines = [] if done else [_line(line) for line in body.get("line_items") or ()]
    row = {
        "cart_id": str(body.get("cart_token") or body["token"]), "customer": customer, "updated_at": at, "lines": lines,
        "currency": body.get("currency"), "checkout_url": body.get("abandoned_checkout_url"),
    }  # fmt: skip
    told.rows.append(("carts", _filled(row)))
    if customer and not done:
        started = {
            "id": f"shopify:checkout:{body['token']}", "event": "checkout_started", "customer": customer,
            "at": body.get("created_at") or at, "checkout_id": str(body["token"]), "value": body.get("total_price"),
            "currency": body.get("currency"), "url": body.get("abandoned_checkout_url"), "lines": lines,
        }  # fmt: skip
        told.rows.append(("events", _filled(started)))


# ── products ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _product(told: Told, body: _Body, triggered: datetime, shop_url: str) -> None:
    if "variants" not in body and "title" not in body:
        told.effects.append(Withdraw(PRODUCT_ID, number(body["id"]), triggered))
        return
    image = (body.get("image") or {}).get("src") or next(
        (each.get("src") for each in body.get("images") or ()), None
    )
    pictures = {each.get("id"): each.get("src") for each in body.get("images") or ()}
    for variant in body.get("variants") or ():
        name = str(variant.get("title") or "")
        title = body.get("title") if name in ("", "Default Title") else f"{body.get('title')} – {name}"
        at = max(str(body.get("updated_at") or ""), str(variant.get("updated_at") or "")) or iso(triggered)
        row = {
            "sku": str(variant.get("sku") or number(variant["id"])), "title": title, "category": body.get("product_type"),
            "brand": body.get("vendor"), "price": variant.get("price"), "group": body.get("handle"), "updated_at": at,
            "image_url": pictures.get(variant.get("image_id")) or image, "stock": _stock(variant),
            "available": body.get("status", "active") == "active" and bool(body.get("published_at", True)),
            "url": f"{shop_url.rstrip('/')}/products/{body['handle']}" if body.get("handle") else None,
            "properties": _filled({
                PRODUCT_ID: number(body["id"]), "compare_at_price": variant.get("compare_at_price"),
                INVENTORY_ITEM: number(variant["inventory_item_id"]) if variant.get("inventory_item_id") else None,
            }),
        }  # fmt: skip
        told.rows.append(("products", _filled(row)))


def _stock(variant: _Body) -> int | str:
    """Return how many there are; "" where nobody counts, or where it is sold without stock."""
    count = variant.get("inventory_quantity")
    tracked = (
        variant.get("inventory_management", "shopify") is not None
        and variant.get("inventory_policy") != "continue"
    )
    return max(count, 0) if tracked and isinstance(count, int) else ""


def _level(told: Told, body: _Body, triggered: datetime) -> None:
    available = body.get("available")
    if isinstance(available, int) and not isinstance(available, bool):
        at = _moment(body.get("updated_at")) or triggered
        item, place = number(body["inventory_item_id"]), number(body["location_id"])
        told.effects.append(Level(item, place, available, at))


def _left_alone(_told: Told, _body: _Body, _triggered: datetime) -> None:
    """Take a topic that tells nothing which another does not tell better."""


def _filled(row: _Body) -> dict[str, Any]:
    return {
        name: value for name, value in row.items() if value is not None and (value != "" or name == "stock")
    }


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_READERS: Mapping[str, Callable[[Told, _Body, datetime], None]] = {
    "customers/create": _customer, "customers/update": _customer, "customers/enable": _customer, "customers/disable": _customer,
    "customers/delete": _deleted, "customers/redact": _redact, "customers/data_request": _data_request,
    "customers/merge": _merged, "customers_email_marketing_consent/update": _email_consent,
    "customer.tags_added": _tags_added, "customer.tags_removed": _tags_removed,
    "customers_marketing_consent/update": _left_alone, "customers/purchasing_summary": _left_alone, "shop/redact": _left_alone,
    "orders/create": _new_order, "orders/updated": _order, "orders/paid": _order, "orders/cancelled": _order,
    "orders/fulfilled": _order, "orders/partially_fulfilled": _order, "orders/edited": _left_alone, "orders/delete": _left_alone,
    "refunds/create": _refunded, "fulfillments/create": _fulfillment, "fulfillments/update": _fulfillment,
    "carts/create": _cart, "carts/update": _cart, "checkouts/create": _checkout, "checkouts/update": _checkout,
    "checkouts/delete": _left_alone, "products/create": _left_alone, "products/update": _left_alone,
    "products/delete": _left_alone, "inventory_levels/update": _level, "inventory_levels/connect": _level,
    "inventory_levels/disconnect": _left_alone, "inventory_items/create": _left_alone, "inventory_items/update": _left_alone,
    "inventory_items/delete": _left_alone,
}  # fmt: skip
TOPICS = frozenset(_READERS)
