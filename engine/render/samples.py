"""Sample customers and their worlds, for the lint and for previews without a database.

`personas()` gives people that break careless templates: no name, Japanese, Thai, emoji, 60 characters; `sample_context`
puts one of them into a small shop with a cart, an order, an offer and products. No real person or address is in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from engine.render.context import RenderContext

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PICTURES = "https://kiyomi.test/images"
"""Where sample products have their pictures unless told otherwise: nowhere, so that previews draw them."""


@dataclass(frozen=True, slots=True)
class Persona:
    """A sample customer by name, with the fields that differ from the others'."""

    name: str
    fields: Mapping[str, Any]
    picks: int = 4
    lines: int = 3
    with_offer: bool = True


@dataclass(frozen=True, slots=True)
class SampleLinks:
    """Links of a sample mail: of the right shape, but they lead nowhere."""

    base_url: str = "https://shop.test"

    def unsubscribe(self) -> str:
        """Return a link that stands for the unsubscribe link."""
        return f"{self.base_url}/u/sample"

    def preferences(self) -> str:
        """Return a link that stands for the preference page."""
        return f"{self.base_url}/p/sample"

    def view_in_browser(self) -> str:
        """Return a link that stands for the mail's page."""
        return f"{self.base_url}/v/sample"

    def answer(self, event: str, **facts: object) -> str:
        """Return a link that stands for an answer."""
        return f"{self.base_url}/a/sample-{event}" + "".join(f"-{value}" for value in facts.values())

    def snooze(self, days: int) -> str:
        """Return a link that stands for a later reminder."""
        return f"{self.base_url}/s/sample-{int(days)}"


def personas() -> tuple[Persona, ...]:
    """Return the sample customers; together they run every branch of a usual template."""
    loyal = {"orders": 12, "spent": Decimal("612.40"), "tier": "gold", "points": 420, "tags": ["vip"]}
    return (
        Persona(
            "loyal",
            {"first_name": "Grace", "last_name": "Okafor", "locale": "en-GB", "country": "GB", **loyal},
        ),
        Persona(
            "new", {"first_name": "Max", "locale": "de-DE", "country": "DE", "orders": 1}, picks=2, lines=1
        ),
        Persona("no-name", {"orders": 0}, picks=1, lines=2, with_offer=False),
        Persona(
            "japanese",
            {"first_name": "結衣", "last_name": "佐藤", "locale": "ja-JP", "country": "JP", "orders": 3},
        ),
        Persona(
            "taiwanese",
            {"first_name": "雅婷", "last_name": "林", "locale": "zh-TW", "country": "TW"},
            picks=3,
        ),
        Persona(
            "thai", {"first_name": "ศิริพร", "last_name": "ใจดี", "locale": "th-TH", "country": "TH"}, picks=0
        ),
        Persona(
            "emoji", {"first_name": "Zoë 👩‍🚀", "locale": "en-US", "country": "US"}, lines=1, with_offer=False
        ),
        Persona(
            "sixty",
            {"first_name": "Maximiliana Konstantinopolitanska von und zu Hohenlohe-Berg", "locale": "en"},
        ),
    )


def sample_context(
    persona: Persona,
    *,
    shop: Mapping[str, Any] | None = None,
    sender: Mapping[str, Any] | None = None,
    brand: Mapping[str, Any] | None = None,
    flow: Mapping[str, Any] | None = None,
    recommend: Sequence[str] = (),
    without: frozenset[str] = frozenset(),
    offered: bool = False,
    pictures: str = PICTURES,
) -> RenderContext:
    """Return a context for a persona in a sample shop.

    `recommend` names the recommend blocks to fill; `without` names what the flow does not have (`cart`, `offer`,
    …). `offered` gives the offer to everybody, as where it cannot run out. `pictures` is the address below which the products' pictures are.
    """
    shop = {**_SHOP, **(shop or {})}
    zone = ZoneInfo({"JP": "Asia/Tokyo", "TW": "Asia/Taipei", "TH": "Asia/Bangkok"}.get(
        str(persona.fields.get("country")), "Europe/Berlin"))  # fmt: skip
    shelf = _Shelf(shop, pictures)
    order = _order(persona, shelf)
    parts: dict[str, Any] = {
        "order": order,
        "cart": _cart(persona, shelf),
        "product": shelf.product(0),
        "products": tuple(shelf.product(number) for number in range(3)),
        "facts": tuple({"event": "product_viewed", "at": NOW - timedelta(hours=5 - number), "sku": f"T{number}"}
                       for number in range(3)),
        "offer": _offer() if offered or persona.with_offer else None,
        "answer": {"event": "survey_answered", "survey": "check-in", "choice": "happy", "score": 9},
        "trigger": {"event": "order_placed", "at": NOW - timedelta(hours=5), "order_id": order["order_id"],
                    "order_number": persona.fields.get("orders", 1), "value": order["total"], "years": 34,
                    "sku": "T0", "quantity": 2, "run_out_at": (NOW + timedelta(days=3)).isoformat()},
    }  # fmt: skip
    parts = {name: value for name, value in parts.items() if name not in without}
    return RenderContext(
        customer={
            **_CUSTOMER,
            "external_id": persona.name,
            "email": f"{persona.name}@example.test",
            **persona.fields,
        },
        shop=shop,
        sender=sender or {"email": "hello@shop.test", "name": str(shop["name"])},
        flow=flow
        or {
            "name": "sample",
            "summary": "A sample.",
            "topic": "reminders",
            "kind": "marketing",
            "step": "sample",
        },
        now=NOW.astimezone(zone),
        links=SampleLinks(),
        brand=brand or {},
        picks={name: tuple(shelf.product(n) for n in range(3, 3 + persona.picks)) for name in recommend},
        **parts,
    )


_SHOP: Mapping[str, Any] = {
    "name": "Kiyomi Tea", "url": "https://shop.test", "timezone": "Europe/Berlin", "locale": "en", "currency": "EUR",
    "postal_address": "1 Tea Street, 10115 Berlin",
}  # fmt: skip
_CUSTOMER: Mapping[str, Any] = {
    "timezone": "Europe/Berlin", "orders": 2, "spent": Decimal("84.50"), "average_gap_days": 41,
    "first_order_at": NOW - timedelta(days=400), "last_order_at": NOW - timedelta(days=64), "birthday": "1990-03-09",
    "created_at": NOW - timedelta(days=420), "tags": [], "properties": {"favourite": "sencha"},
}  # fmt: skip
_CATALOGUE = (
    ("Sencha of the first harvest, 100 g", "tea", "14.50", "green-tea-1"),
    ("Hōjicha, roasted, 80 g", "tea", "9.80", "oolong-4"),
    ("Cast-iron teapot “Arare”, 0.8 l", "teaware", "64.00", "pot-black"),
    ("Genmaicha with rice, 100 g", "tea", "8.90", "green-tea-2"),
    ("Matcha for every day, 40 g", "tea", "18.00", "matcha-1"),
    ("Bamboo whisk", "teaware", "16.50", "whisk"),
    ("Two porcelain cups", "teaware", "24.00", "cup-blue"),
)


def sample_product(shop: Mapping[str, Any], pictures: str = PICTURES) -> dict[str, Any]:
    """Return one product of the sample shop, in the currency and with the address of `shop`: what an offer gives."""
    return _Shelf(shop, pictures).product(6)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The products of one shop: in its currency, below its address, with pictures below theirs."""

    shop: Mapping[str, Any]
    pictures: str

    def product(self, number: int) -> dict[str, Any]:
        shop = self.shop
        title, category, price, picture = _CATALOGUE[number % len(_CATALOGUE)]
        return {
            "sku": f"T{number}", "title": title, "category": category, "brand": "Kiyomi", "price": Decimal(price),
            "currency": shop["currency"], "url": f"{shop['url']}/p/t{number}",
            "image_url": f"{self.pictures}/{picture}.png", "stock": 0 if number == 2 else 12, "available": True,
            "days_of_supply": 40, "strategy": "bestsellers", "first_seen_at": NOW - timedelta(days=9 * number),
        }  # fmt: skip

    def lines(self, persona: Persona) -> tuple[dict[str, Any], ...]:
        return tuple({**self.product(number), "quantity": 2 - number % 2} for number in range(persona.lines))


def _order(persona: Persona, shelf: _Shelf) -> dict[str, Any]:
    shop, lines = shelf.shop, shelf.lines(persona)
    return {
        "order_id": "1042", "placed_at": NOW - timedelta(days=30), "status": "delivered", "currency": shop["currency"],
        "status_at": NOW - timedelta(days=26), "lines": lines, "coupon": None,
        "discount": Decimal("5.00") if persona.with_offer else None,
        "total": sum((line["price"] * line["quantity"] for line in lines), Decimal(0)) - 5 * persona.with_offer,
        "shipments": ({"carrier": "DHL", "tracking_url": f"{shop['url']}/track", "estimated_at": "2026-03-04"},),
    }  # fmt: skip


def _cart(persona: Persona, shelf: _Shelf) -> dict[str, Any]:
    shop = shelf.shop
    return {
        "cart_id": "c1", "url": f"{shop['url']}/cart", "checkout_url": f"{shop['url']}/checkout",
        "currency": shop["currency"], "updated_at": NOW - timedelta(hours=4),
        "lines": tuple(_today(line) for line in shelf.lines(persona)),
    }  # fmt: skip


def _today(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the cart with today's price: the second one has become cheaper."""
    price = line["price"]
    return {**line, "price_now": price - Decimal("1.30") if line["sku"] == "T1" else price}


def _offer() -> dict[str, Any]:
    return {
        "name": "ten-percent",
        "percent": 10,
        "code": "TEA-48213907",
        "expires_at": NOW + timedelta(days=7),
    }
