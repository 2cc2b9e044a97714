"""Which fields conditions can ask, scope by scope: their kind and where they are kept.

Comes in: a scope (`customer`, `trigger`, `product`, `cart`, `order`, `answer`, and inside them `event` and `line`) and a
dotted path. Goes out: a `Field`, which names the column or the path inside a JSON document. Both executions of conditions
look fields up here and nowhere else, so that they cannot disagree. A path is never put into SQL text: its segments come
from a closed grammar and are bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from engine.diagnostics import did_you_mean
from engine.errors import UsageError

FieldKind = Literal["text", "integer", "money", "number", "moment", "boolean", "any"]
FieldScope = Literal["customer", "trigger", "product", "cart", "order", "answer", "event", "line"]
SCOPES: tuple[FieldScope, ...] = get_args(FieldScope)

_SEGMENT = re.compile(r"[\w $@:/+-]{1,100}")
_MOST_SEGMENTS = 8


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field is kept: a column of a table of facts, or keys inside the JSON document in that column.

    `table` is the table's name, `trigger` or `answer` for the documents that travel with a subject, or empty for a
    computed field (`in_stock`, `items`), whose name is then `column`.
    """

    table: str
    column: str
    kind: FieldKind
    keys: tuple[str, ...] = ()


def _table(table: str, **names: str) -> dict[str, Field]:
    """Return the fields of a table: for each kind its columns, as `name` or `name=column`."""
    found: dict[str, Field] = {}
    for kind in get_args(FieldKind):
        for word in names.get(kind, "").split():
            name, _, column = word.partition("=")
            found[name] = Field(table, column or name, kind)
    return found


_CUSTOMER = _table(
    "customers",
    text="external_id email first_name last_name locale timezone country birthday tier referral_code referral_url "
    "subscription_status",
    integer="points orders",
    money="spent",
    number="average_gap_days usual_gap_days",
    moment="created_at points_expire_at updated_at first_seen_at first_order_at last_order_at last_activity_at",
    any="tags",
) | _table(
    "customer_scores",
    integer="rfm.r=rfm_r rfm.f=rfm_f rfm.m=rfm_m",
    number="spent_percentile churn_risk",
    money="predicted_value",
)
_PRODUCT = _table(
    "products",
    text="sku title category brand currency url image_url group=variant_group",
    money="price",
    integer="stock",
    boolean="available",
    number="days_of_supply",
    moment="first_seen_at updated_at",
) | _table("", boolean="in_stock")
_CART = _table(
    "carts", text="cart_id url checkout_url currency", money="value", moment="updated_at"
) | _table("", integer="items")
_ORDER = _table(
    "orders",
    text="order_id status currency coupon",
    money="total value=total refunded discount",
    moment="placed_at status_at paid_at shipped_at delivered_at cancelled_at refunded_at returned_at updated_at",
    any="shipments refunds returns",
) | _table("", integer="items")
_EVENT = _table(
    "events",
    text="order_id cart_id sku event=name",
    money="value",
    moment="at=occurred_at occurred_at",
)
_LINE = _PRODUCT | _table("lines", text="sku", number="quantity", money="price")
_TRIGGER = _table(
    "trigger",
    text="event order_id cart_id sku currency status checkout_id survey text tier direction friend",
    money="value total discount",
    number="rating score points balance days",
    integer="order_number years",
    moment="at placed_at status_at updated_at",
)

_KNOWN: Mapping[FieldScope, Mapping[str, Field]] = {
    "customer": _CUSTOMER,
    "trigger": _TRIGGER,
    "product": _PRODUCT,
    "cart": _CART,
    "order": _ORDER,
    "answer": _TRIGGER,
    "event": _EVENT,
    "line": _LINE,
}
_FREE: Mapping[FieldScope, Field] = {
    "customer": Field("customers", "properties", "any"),
    "trigger": Field("trigger", "trigger", "any"),
    "product": Field("products", "properties", "any"),
    "cart": Field("carts", "properties", "any"),
    "order": Field("orders", "properties", "any"),
    "answer": Field("answer", "answer", "any"),
    "event": Field("events", "properties", "any"),
    "line": Field("products", "properties", "any"),
}


def segments(path: str) -> tuple[str, ...]:
    """Return the parts of a dotted path; raise UsageError for what is no path.

    A part has up to 100 letters, digits, spaces and `_ - $ @ : / +`; there are at most 8 parts. A number is a key, never
    a place in a list.

    >>> segments("properties.shoe_size")
    ('properties', 'shoe_size')
    """
    parts = tuple(path.split("."))
    if len(parts) > _MOST_SEGMENTS or not all(_SEGMENT.fullmatch(part) for part in parts):
        raise UsageError(f"{path!r} is not the name of a field")
    return parts


def is_path(path: str) -> bool:
    """Return whether `path` can be asked at all, known or not."""
    try:
        segments(path)
    except UsageError:
        return False
    return True


def resolve(scope: FieldScope, path: str) -> Field:
    """Return where a field is kept; unknown names are properties of that name.

    Raise UsageError for what is no path. Facts (`trigger`, `answer`, `event`) are one flat document: what stands at its
    top level, and what stands in its `properties`; `properties.` may be written or left out.
    """
    keys = segments(path)
    if set(keys) == {"properties"}:
        raise UsageError(f'"{path}" holds many fields: name one of them, as in properties.shoe_size')
    free = _FREE[scope]
    if scope in ("trigger", "answer"):
        return Field(free.table, free.column, free.kind, _without_properties(keys))
    known = _KNOWN[scope].get(path)
    if known is not None:
        return known
    head = _KNOWN[scope].get(keys[0])
    if head is not None and head.kind == "any":
        return Field(head.table, head.column, "any", keys[1:])
    return Field(free.table, free.column, free.kind, _without_properties(keys))


def _without_properties(keys: tuple[str, ...]) -> tuple[str, ...]:
    while keys[0] == "properties" and len(keys) > 1:
        keys = keys[1:]
    return keys


def known_field(scope: FieldScope, path: str) -> FieldKind | None:
    """Return the kind of a field that has a meaning of its own, or `any` for a property; None: not known by name.

    >>> known_field("customer", "rfm.r"), known_field("customer", "properties.shoe_size")
    ('integer', 'any')
    >>> known_field("customer", "ordrs") is None
    True
    """
    if not is_path(path):
        return None
    known = _KNOWN[scope].get(path)
    if known is not None:
        return known.kind
    head, _, rest = path.partition(".")
    owner = _KNOWN[scope].get(head)
    return "any" if rest and (head == "properties" or (owner is not None and owner.kind == "any")) else None


def suggest(scope: FieldScope, path: str) -> str:
    """Return `did you mean "orders"?` for the likeliest known field, or an empty string."""
    return did_you_mean(path, _KNOWN[scope])
