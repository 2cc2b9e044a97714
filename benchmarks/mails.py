"""Ten thousand different mails: what the speed and the sameness of rendering are measured on.

A seed comes in, contexts go out. `different_mails` are as odd as can be: names and titles that break careless programs,
carts and orders of one to five lines with and without pictures, changed prices, any number of recommendations, offers of
each kind. `shop_mails` are those of a usual shop: sixty products that have all that belongs to them, customers that mostly
told their names, carts with a changed price here and there. All have signed links of their own. The same seed gives the
same mails.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from engine.render.context import RenderContext
from engine.render.links import SignedLinks
from engine.render.samples import NOW, Persona, personas, sample_context

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


def shop_mails(
    templates: Sequence[str], blocks: Sequence[str], count: int, seed: int = 7
) -> Iterator[tuple[str, RenderContext]]:
    """Yield `count` mails of a usual shop to as many customers, in three languages."""
    chance = random.Random(seed)
    shelf = [_article(number) for number in range(60)]
    bases = {_language(persona): sample_context(persona, recommend=blocks) for persona in personas()}
    for number in range(count):
        language = chance.choices(("en", "ja", "zh"), (6, 2, 2))[0]
        base, name = bases[language], templates[number % len(templates)]
        lines = [
            _taken(chance, article)
            for article in chance.sample(shelf, chance.choices((1, 2, 3, 4), (5, 3, 2, 1))[0])
        ]
        yield (
            name,
            replace(
                base,
                customer={
                    **base.customer,
                    "first_name": chance.choice(_USUAL[language]) if chance.random() < 0.94 else None,
                    "last_name": chance.choice(_USUAL[language]) if chance.random() < 0.8 else None,
                    "last_order_at": NOW - timedelta(days=chance.randint(30, 300)),
                },
                cart={**(base.cart or {}), "lines": lines},
                order={
                    **(base.order or {}), "order_id": f"{1000 + number}", "lines": lines,
                    "placed_at": NOW - timedelta(days=chance.randint(1, 90)),
                    "discount": Decimal("5.00") if chance.random() < 0.2 else None,
                },
                product=chance.choice(shelf),
                offer={"name": "ten", "percent": 10, "code": f"TEA-{chance.randint(10**7, 10**8)}",
                       "expires_at": NOW + timedelta(days=chance.randint(7, 30))},
                now=base.now + timedelta(minutes=number),
                links=SignedLinks("https://mail.kiyomi.test", b"k" * 32, f"message-{number}", number, "reminders"),
                picks={block: chance.sample(shelf, 4 if chance.random() < 0.9 else chance.randint(2, 3)) for block in blocks},
            ),
        )  # fmt: skip


_USUAL = {
    "en": ("Grace", "Max", "Zoë", "Anna", "O'Neill", "José", "Priya", "Tom", "Björn", "Mia", "Okafor", "Sørensen", "Li"),
    "ja": ("結衣", "佐藤", "蓮", "陽葵", "高橋", "美咲"),
    "zh": ("雅婷", "林", "志明", "怡君", "陳", "淑芬"),
}  # fmt: skip


def _language(persona: Persona) -> str:
    return str(persona.fields.get("locale", "en"))[:2]


def _article(number: int) -> dict[str, Any]:
    return {
        "sku": f"T{number}", "title": f"{('Sencha', 'Teapot', 'Two cups', 'Whisk')[number % 4]} No. {number}",
        "category": ("tea", "teaware", "cups", "tools")[number % 4], "price": Decimal(450 + 115 * number) / 100,
        "currency": "EUR", "url": f"https://kiyomi.test/p/{number}", "image_url": f"https://kiyomi.test/i/{number}.png",
        "stock": 40, "available": True, "days_of_supply": 40, "strategy": "bestsellers",
        "first_seen_at": NOW - timedelta(days=7 * number),
    }  # fmt: skip


def _taken(chance: random.Random, article: Mapping[str, Any]) -> dict[str, Any]:
    """Return an article as a line: today it may cost more or less, be scarce, or be sold out."""
    line = {**article, "quantity": chance.choices((1, 2, 3), (7, 2, 1))[0], "price_now": article["price"]}
    happened = chance.random()
    if happened < 0.08:
        line["price_now"] = line["price"] + chance.choice((-1, 1))
    elif happened < 0.16:
        line["stock"] = chance.randint(1, 5)
    elif happened < 0.2:
        line["stock"] = 0
    return line


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
