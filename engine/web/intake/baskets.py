"""Carts from single steps: "Product Added", "Product Removed", "Cart Viewed", "Checkout Started", "Order Completed".

Comes in: calls of known customers in the order of their time. Goes out: rows of carts with all their lines. A cart that
the shop gives no id is the customer's own, `web:CUSTOMER`. A call told twice moves nothing, a finished order empties what
it was ordered from. A handful of statements for all calls together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Connection, select

from engine.facts.carts import load_carts
from engine.facts.fact import iso, plain_number
from engine.facts.normalise import event_name
from engine.store.dialect import among
from engine.store.tables import events
from engine.store.types import from_micros
from engine.web.intake.calls import Call

STEPS = frozenset({"product_added", "product_removed", "cart_viewed", "checkout_started", "order_placed"})
_WHOLE = frozenset({"cart_viewed", "checkout_started", "order_placed"})  # which say all that is in a cart
MOST_PIECES = Decimal(10_000)
Lines = dict[str, dict[str, Any]]


@dataclass(slots=True)
class _Basket:
    """A cart while calls are told: lines by sku, and the moment that it is known of."""

    lines: Lines = field(default_factory=dict)
    at: datetime | None = None


def rows_of(connection: Connection, calls: Sequence[Call]) -> Iterator[tuple[Call, dict[str, Any]]]:
    """Yield for each call that moves a cart the cart as it is after it."""
    steps = [(call, name) for call in calls if (name := step_of(call)) is not None]
    if not steps:
        return
    known = _known(connection, [call for call, _ in steps])
    ids = sorted({_cart_id(call) for call, _ in steps} | {_own(call) for call, _ in steps})
    baskets = {
        cart_id: _Basket(
            {line.sku: dict(line.plain) for line in cart.record.values.get("lines") or ()},
            None if cart.record.updated is None else from_micros(cart.record.updated),
        )
        for cart_id, cart in load_carts(connection, ids).items()
    }
    for call, name in steps:
        if call.message_id and call.message_id in known:
            continue
        known.add(call.message_id)
        for cart_id in (
            dict.fromkeys((_cart_id(call), _own(call))) if name == "order_placed" else (_cart_id(call),)
        ):
            basket = baskets.setdefault(cart_id, _Basket())
            if _move(basket, name, call):
                basket.at = max(call.at, basket.at or call.at)
                yield call, _row(cart_id, basket, call)


def step_of(call: Call) -> str | None:
    """Return the step that a call makes, or None."""
    name = event_name(str(call.content.get("event") or "")) if call.type == "track" else ""
    return name if name in STEPS and isinstance(call.content.get("properties"), Mapping) else None


def _known(connection: Connection, calls: Sequence[Call]) -> set[str]:
    """Return the message ids that were told before."""
    keys = {f"event:{call.message_id}" for call in calls if call.message_id}
    wanted = select(events.c.key).where(among(connection, events.c.key, sorted(keys)))
    return {key.removeprefix("event:") for key in connection.scalars(wanted)}


def _own(call: Call) -> str:
    return f"web:{call.person}"[:255]


def _cart_id(call: Call) -> str:
    told = call.content["properties"].get("cart_id")
    return (
        str(told)[:255]
        if isinstance(told, str | int) and not isinstance(told, bool) and told != ""
        else _own(call)
    )


def _move(basket: _Basket, name: str, call: Call) -> bool:
    """Take a step; return whether there is something to tell."""
    properties = call.content["properties"]
    if name in _WHOLE and basket.at is not None and call.at < basket.at:
        return False  # something later is known, perhaps a step after an order that is told again
    if name in ("cart_viewed", "checkout_started"):
        products = properties.get("products")
        if not isinstance(products, list):
            return False
        lines = {line["sku"]: line for item in products if (line := _line(item)) is not None}
        changed = lines != basket.lines
        basket.lines = lines
        return changed
    if name == "order_placed":
        emptied = bool(basket.lines)
        basket.lines = {}
        return emptied
    line = _line(properties)
    if line is None:
        return False
    before = Decimal(str(basket.lines.get(line["sku"], {}).get("quantity", 0)))
    step = Decimal(str(line["quantity"]))
    after = min(before + step if name == "product_added" else before - step, MOST_PIECES)
    if after > 0:
        basket.lines[line["sku"]] = {
            **basket.lines.get(line["sku"], {}),
            **line,
            "quantity": plain_number(after),
        }
    else:
        basket.lines.pop(line["sku"], None)
    return True


def _line(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, Mapping):
        return None
    sku = item.get("sku") or item.get("product_id")
    if not isinstance(sku, str | int) or isinstance(sku, bool):
        return None
    line: dict[str, Any] = {"sku": str(sku)[:255], "quantity": _number(item.get("quantity")) or 1}
    price = _number(item.get("price"))
    return line | {"price": price} if price is not None else line


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return plain_number(number) if number.is_finite() and 0 <= number < 1_000_000_000 else None


def _row(cart_id: str, basket: _Basket, call: Call) -> dict[str, Any]:
    assert basket.at is not None
    properties = call.content["properties"]
    row = {
        "cart_id": cart_id, "customer": call.person, "updated_at": iso(basket.at), "lines": list(basket.lines.values()),
        "currency": properties.get("currency"), "checkout_url": properties.get("checkout_url"),
    }  # fmt: skip
    return {name: value for name, value in row.items() if value is not None}
