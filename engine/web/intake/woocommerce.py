"""WooCommerce's webhooks (API v2 and v3) in canonical rows: customers, orders, products.

Comes in: a topic and its payload. Goes out: rows and effects, as for Shopify. An order that is not one yet (pending,
failed, a draft of the checkout) tells who it is of and nothing else. Times are the payload's own in GMT.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engine.facts.fact import iso
from engine.web.intake.effects import Stop, Withdraw
from engine.web.intake.shopify import Told

PRODUCT_ID = "woocommerce_product_id"
_STATES = {
    "processing": "paid", "completed": "shipped", "cancelled": "cancelled", "refunded": "refunded", "on-hold": "placed",
}  # fmt: skip
TOPICS = frozenset(
    f"{kind}.{what}"
    for kind in ("customer", "order", "product")
    for what in ("created", "updated", "restored", "deleted")
)
_Body = Mapping[str, Any]


def read(topic: str, body: _Body, triggered: datetime) -> Told:
    """Return what a webhook says; raise KeyError, TypeError or ValueError where it lacks what its topic always has."""
    told = Told()
    match topic:
        case "customer.created" | "customer.updated":
            told.rows.append(("customers", _customer(body, triggered)))
        case "customer.deleted":
            told.effects.append(Stop(str(body["id"])))
        case "order.created" | "order.updated" | "order.restored":
            _order(told, body, triggered)
        case "product.created" | "product.updated" | "product.restored":
            _product(told, body, triggered)
        case "product.deleted":
            told.effects.append(Withdraw(PRODUCT_ID, str(body["id"]), triggered))
        case "order.deleted":
            pass  # what was sold stays sold
        case _:
            told.known = False
    return told


def _customer(body: _Body, triggered: datetime) -> dict[str, Any]:
    billing = body.get("billing") or {}
    return _filled(
        {
            "external_id": str(body["id"]), "email": body.get("email") or billing.get("email"),
            "first_name": body.get("first_name") or billing.get("first_name"),
            "last_name": body.get("last_name") or billing.get("last_name"), "country": billing.get("country"),
            "created_at": _gmt(body.get("date_created_gmt")), "updated_at": _gmt(body.get("date_modified_gmt")) or iso(triggered),
        }
    )  # fmt: skip


def _order(told: Told, body: _Body, triggered: datetime) -> None:
    billing = body.get("billing") or {}
    created = _gmt(body.get("date_created_gmt")) or iso(triggered)
    updated = _gmt(body.get("date_modified_gmt")) or created
    registered = body.get("customer_id")
    customer = str(registered) if registered else billing.get("email")
    if customer:
        who = {"external_id": str(registered)} if registered else {}
        person = {
            **who, "email": billing.get("email"), "first_name": billing.get("first_name"),
            "last_name": billing.get("last_name"), "country": billing.get("country"), "updated_at": updated,
        }  # fmt: skip
        told.rows.append(("customers", _filled(person)))
    status = _STATES.get(str(body["status"]))
    if status is None:
        return
    coupons = [each.get("code") for each in body.get("coupon_lines") or ()]
    row = {
        "order_id": str(body["id"]), "customer": customer or None, "placed_at": created, "status": status, "status_at": updated,
        "currency": body.get("currency"), "total": body.get("total"), "discount": body.get("discount_total"),
        "coupon": [code for code in coupons if code] or None, "lines": [_line(line) for line in body.get("line_items") or ()],
        "refunds": [_refund(each) for each in body.get("refunds") or ()] or None,
        "properties": _filled({"name": body.get("number")}),
    }  # fmt: skip
    told.rows.append(("orders", _filled(row)))
    for name, field in (("paid", "date_paid_gmt"), ("shipped", "date_completed_gmt")):
        at = _gmt(body.get(field))
        if at:
            told.rows.append(("orders", {"order_id": str(body["id"]), "status": name, "status_at": at}))


def _line(line: _Body) -> dict[str, Any]:
    sku = line.get("sku") or line.get("variation_id") or line.get("product_id") or line.get("name")
    return _filled({"sku": str(sku), "quantity": line.get("quantity"), "price": line.get("price")})


def _refund(body: _Body) -> dict[str, Any]:
    return {"id": str(body["id"]), "amount": str(body.get("total") or "0").lstrip("-")}


def _product(told: Told, body: _Body, triggered: datetime) -> None:
    pictures, categories = body.get("images") or [], body.get("categories") or []
    count = body.get("stock_quantity")
    tracked = bool(body.get("manage_stock")) and isinstance(count, int)
    row = {
        "sku": str(body.get("sku") or body["id"]), "title": body.get("name"), "price": body.get("price"),
        "category": categories[0].get("name") if categories else None, "url": body.get("permalink"),
        "image_url": pictures[0].get("src") if pictures else None, "stock": max(int(count or 0), 0) if tracked else "",
        "available": body.get("status", "publish") == "publish" and body.get("stock_status", "instock") != "outofstock",
        "group": str(body["parent_id"]) if body.get("parent_id") else None,
        "updated_at": _gmt(body.get("date_modified_gmt")) or iso(triggered), "properties": {PRODUCT_ID: str(body["id"])},
    }  # fmt: skip
    told.rows.append(("products", _filled(row)))


def _gmt(value: Any) -> str | None:
    return f"{value}Z" if isinstance(value, str) and value and not value.endswith("Z") else value or None


def _filled(row: _Body) -> dict[str, Any]:
    return {
        name: value for name, value in row.items() if value is not None and (value != "" or name == "stock")
    }
