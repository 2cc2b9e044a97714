"""Ten thousand different mails: what the speed and the sameness of rendering are measured on.

A seed comes in, contexts go out: customers of many names and languages, carts and orders of one to five lines with and
without pictures, changed prices and sold out products, zero to four recommendations, offers of each kind, and signed links
of their own. The same seed gives the same mails.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from engine.render.context import RenderContext
from engine.render.links import SignedLinks
from engine.render.samples import NOW, personas, sample_context

_NAMES = (
    "Ann", "Björn", "Zoë 👩‍🚀", "結衣", "雅婷", "ศิริพร", "O'Neill", 'Say "hi"', "A & B", "<b>", "back\\slash", "हिन्दी", "Ana María",
    "two  spaces", " edge ", "no\u00a0break", "soft\u00adhyphen", "line\nbreak", "x" * 60, "&amp;", "|", "-", "#", "tab\tbed",
    "\u200bzero", "{{ 7 }}", "\u202egnp", "1", "3:4", "https://kiyomi.test",
)  # fmt: skip
_TITLES = (
    "Sencha, 100 g", "Hōjicha “roasted”", "Teapot | black", "Matcha & whisk", "抹茶 <40g>", "Cup", "Genmaicha 'rice'",
    "Ein langer Name für eine Dose mit Deckel und noch etwas mehr", "Tea\u00a0towel", "-", "Bowl \\ spoon",
)  # fmt: skip
_OFFERS: tuple[dict[str, Any] | None, ...] = (
    None, {"percent": 10, "code": "TEA-1"}, {"amount": "5.00", "currency": "EUR"}, {"free_shipping": True},
    {"percent": 15, "code": "A&B"}, {"gift": "tea-cup", "code": "CUP"}, {"early_access": "spring"},
)  # fmt: skip


def different_mails(
    templates: Sequence[str], blocks: Sequence[str], count: int, seed: int = 7
) -> Iterator[tuple[str, RenderContext]]:
    """Yield `count` mails: the template's name and its context, for templates with these recommend blocks."""
    chance = random.Random(seed)
    bases = [sample_context(persona, recommend=blocks) for persona in personas()]
    for number in range(count):
        base = chance.choice(bases)
        lines = [_line(chance, number) for _ in range(chance.randint(1, 5))]
        cart, order = base.cart or {}, base.order or {}
        yield (
            templates[number % len(templates)],
            replace(
                base,
                customer={**base.customer, **_names(chance), "locale": chance.choice(_LOCALES)},
                cart={**cart, "lines": lines} if chance.random() < 0.95 else {**cart, "lines": lines[:1]},
                order={
                    **order, "order_id": f"{1000 + number}", "lines": lines,
                    "discount": chance.choice([None, Decimal("5.00")]),
                },
                product=_line(chance, number),
                offer=_offer(chance),
                now=base.now + timedelta(minutes=number),
                links=SignedLinks("https://mail.kiyomi.test", b"k" * 32, f"message-{number}", number, "reminders"),
                picks={name: [_line(chance, n) for n in range(chance.randint(0, 4))] for name in blocks},
            ),
        )  # fmt: skip


_LOCALES = ("en", "en-GB", "de-DE", "ja-JP", "zh-TW", "th-TH")


def _names(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.1:
        return {"first_name": None, "last_name": None}
    first = chance.choice(_NAMES) if chance.random() < 0.5 else f"Ann {chance.randint(1, 10_000)}"
    return {"first_name": first, "last_name": chance.choice([None, chance.choice(_NAMES)])}


def _offer(chance: random.Random) -> dict[str, Any] | None:
    offer = chance.choice(_OFFERS)
    if offer is None:
        return None
    return {
        "name": "an-offer",
        **offer,
        "expires_at": chance.choice([None, NOW + timedelta(days=chance.randint(1, 30))]),
    }


def _line(chance: random.Random, number: int) -> dict[str, Any]:
    price = Decimal(chance.randint(100, 99_999)) / 100
    has = chance.random
    return {
        "sku": f"T{number}", "title": chance.choice(_TITLES) if has() < 0.97 else None, "category": chance.choice(["tea", "cloth", "x"]),
        "price": price if has() < 0.95 else None, "price_now": price if has() < 0.7 else price - 1, "currency": chance.choice(["EUR", "JPY", None]),
        "url": f"https://kiyomi.test/p/{number}?a=1&b=2" if has() < 0.98 else None,
        "image_url": f"https://kiyomi.test/i/{number}.png" if has() < 0.97 else None, "quantity": chance.randint(1, 12),
        "stock": chance.choice([0, 3, 12, None]), "old_price": chance.choice([None, price + 5]),
        "days_of_supply": 40, "strategy": "bestsellers",
    }  # fmt: skip
