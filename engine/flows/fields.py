"""What can be asked: the fields of customers, products, carts and orders, and the events that have meaning.

The parser holds conditions against these names, rules against their types, editors complete them. A field is a `text`,
`number`, `flag`, `moment`, `date`, `texts` (a list) or `any`. Free values live under `properties.`; facts themselves
(`trigger`, `answer`, `where` of `did`) may carry any field. `engine.audience.fields` says where each one is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

FieldType = Literal["text", "number", "flag", "moment", "date", "texts", "any"]

_PART = re.compile(r"[\w $@:/+-]{1,100}")
_MOST_PARTS = 8


def _fields(**names: str) -> dict[str, FieldType]:
    kinds: dict[str, FieldType] = {}
    for kind, listed in names.items():
        for name in listed.split():
            kinds[name] = kind  # type: ignore[assignment]  # the keyword is the type's name
    return kinds


CUSTOMER: Mapping[str, FieldType] = _fields(
    text="external_id email first_name last_name locale timezone country tier referral_code referral_url subscription_status",
    number="points orders spent average_gap_days usual_gap_days rfm.r rfm.f rfm.m spent_percentile churn_risk predicted_value",
    moment="created_at updated_at first_seen_at points_expire_at first_order_at last_order_at last_activity_at",
    date="birthday",
    texts="tags",
)
PRODUCT: Mapping[str, FieldType] = _fields(
    text="sku title category brand currency url image_url group",
    number="price stock days_of_supply",
    flag="available in_stock",
    moment="first_seen_at updated_at",
)
CART: Mapping[str, FieldType] = _fields(
    text="cart_id currency url checkout_url", number="value items", moment="updated_at"
)
ORDER: Mapping[str, FieldType] = _fields(
    text="order_id status currency coupon",
    number="total value discount refunded items",
    moment="placed_at status_at paid_at shipped_at delivered_at cancelled_at refunded_at returned_at updated_at",
    any="shipments refunds returns",
)
LINE: Mapping[str, FieldType] = {**PRODUCT, **_fields(text="sku", number="quantity price")}

# Scopes with known fields; None: any field of the fact.
OF_SCOPE: Mapping[str, Mapping[str, FieldType] | None] = {
    "customer": CUSTOMER,
    "product": PRODUCT,
    "cart": CART,
    "order": ORDER,
    "lines": LINE,
    "trigger": None,
    "answer": None,
}

# Scopes that have lines of their own.
WITH_LINES = ("trigger", "cart", "order")

# Events with a meaning of their own; any other name is free.
EVENTS: tuple[str, ...] = (
    "customer_created", "customer_updated", "order_placed", "order_cancelled", "order_refunded", "order_shipped",
    "order_delivered", "order_returned", "cart_updated", "cart_emptied", "product_viewed", "wishlist_added",
    "wishlist_removed", "stock_alert_requested", "checkout_started", "review_given", "survey_answered", "points_earned",
    "points_redeemed", "tier_reached", "referral_shared", "referral_converted", "delivery_delayed", "return_requested",
    "return_received", "complaint_opened", "complaint_closed", "refill_answered", "consent_granted", "consent_withdrawn",
    "mail_sent", "mail_opened", "mail_clicked", "flow_entered", "flow_left", "offer_issued", "offer_used",
)  # fmt: skip

# Facts that the engine raises itself.
ENGINE_EVENTS = frozenset(
    ("mail_sent", "mail_opened", "mail_clicked", "flow_entered", "flow_left", "offer_issued", "offer_used")
)

# What a fact tells by the name of its event, beside what the shop adds of its own: see docs/facts.md.
_CUSTOMERS = (*CUSTOMER, "consent", "consent_at", "consent_source", "consent_basis", "consent_wording")
_ORDERS = (*ORDER, "lines", "new_date")
_CARTS = (*CART, "lines", "checkout_id")
_PRODUCTS = ("sku", "product_id")
_CONSENTS = ("topic", "state", "basis", "source", "wording")
_LOOKED_AT = ("flow", "step", "topic", "message")
OF_EVENT: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("customer_created", "customer_updated"), _CUSTOMERS),
    **{name: _ORDERS for name in EVENTS if name.startswith("order_")},
    **dict.fromkeys(("cart_updated", "cart_emptied"), _CARTS),
    **dict.fromkeys(("product_viewed", "wishlist_added", "wishlist_removed", "stock_alert_requested"), _PRODUCTS),
    "checkout_started": ("checkout_id", "value", "url", "lines", "currency", "cart_id", "checkout_url"),
    "review_given": (*_PRODUCTS, "order_id", "rating"),
    "survey_answered": ("survey", "score", "choice", "text", "order_id"),
    "points_earned": ("points", "balance"),
    "points_redeemed": ("points", "balance"),
    "tier_reached": ("tier", "direction"),
    "referral_shared": (),
    "referral_converted": ("friend", "order_id"),
    "delivery_delayed": ("order_id", "new_date"),
    "return_requested": ("order_id",),
    "return_received": ("order_id",),
    "complaint_opened": ("order_id",),
    "complaint_closed": ("order_id",),
    "refill_answered": (*_PRODUCTS, "days"),
    **dict.fromkeys(("consent_granted", "consent_withdrawn"), _CONSENTS),
    "mail_sent": (*_LOOKED_AT, "template"),
    "mail_opened": _LOOKED_AT,
    "mail_clicked": _LOOKED_AT,
    "flow_entered": ("flow",),
    "flow_left": ("flow", "reason"),
    "offer_issued": ("flow", "step", "offer", "message"),
    "offer_used": ("flow", "offer", "code", "order_id"),
}  # fmt: skip
OF_ANY_EVENT = (
    "event", "at", "occurred_at", "customer", "id", "order_id", "cart_id", "sku", "value", "lines", "properties"
)  # fmt: skip
# What a trigger tells beside its fact, and what it tells where it comes from no fact.
OF_ANY_TRIGGER = ("order_number", "years", "facts", "products")
OF_TRIGGER: Mapping[str, tuple[str, ...]] = {
    "replenish": (*_ORDERS, *_PRODUCTS, "days", "quantity", "run_out_at"),
    "product": ("sku", "change", "stock", "price", "old_price", "seen_price"),
    "anniversary": ("value", "zone", "year"),
    "date": ("value", "zone", "year"),
    "segment": ("segment",),
    "schedule": ("segment",),
}
OF_FACTS = frozenset((*OF_ANY_EVENT, *OF_ANY_TRIGGER)).union(*OF_EVENT.values(), *OF_TRIGGER.values())


def of_event(name: str) -> frozenset[str] | None:
    """Return the fields that facts of an event have by themselves, or None where the event is somebody's own."""
    return frozenset((*OF_EVENT[name], *OF_ANY_EVENT)) if name in OF_EVENT else None


def is_path(text: str) -> bool:
    """Return whether the text is a field path: parts of letters, digits, spaces and `_ - $ @ : / +`, joined by dots.

    >>> is_path("properties.shoe_size"), is_path("x'; drop")
    (True, False)
    """
    parts = text.split(".")
    return len(parts) <= _MOST_PARTS and all(_PART.fullmatch(part) for part in parts)


def field_type(scope: str, path: str) -> FieldType | None:
    """Return the type of a known field, or None where anything may stand in it."""
    known = OF_SCOPE.get(scope)
    head, _, rest = path.partition(".")
    if known is not None and head == "lines" and rest and scope in WITH_LINES:
        return LINE.get(rest)
    return known.get(path) if known else None


def is_field(scope: str, path: str) -> bool:
    """Return whether a path is one of the named fields of a scope, whose value is no table (`tags` is, `properties.x` is not)."""
    return field_type(scope, path) not in (None, "any")


def is_known(scope: str, path: str) -> bool:
    """Return whether the scope has such a field (facts carry any field; `properties.` holds any)."""
    known = OF_SCOPE[scope]
    if known is None or path in known:
        return True
    head, _, rest = path.partition(".")
    if not rest:
        return False
    if head == "lines" and scope in WITH_LINES:
        return is_known("lines", rest)
    return head == "properties" or known.get(head) in ("any", "texts")
