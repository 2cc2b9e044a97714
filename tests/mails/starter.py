"""Every starter mail, for three customers in each language, as it would leave.

Comes in: this repository as a project. Goes out: `StarterMail` values: each mail that a starter flow sends × language ×
customer (one whose name and cart are usual, one with little, one of whom only the address is known), as a finished
`Mail`. Nothing is sent, and the time is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.calendar import add
from engine.deploy.preview_moments import at_moment
from engine.flows.load import load_project
from engine.flows.model import Definitions, Flow, Send
from engine.render.compose import Envelope, compose
from engine.render.library import TemplateLibrary, read_folder
from engine.render.links import SignedLinks
from engine.render.lint import missing_names
from engine.render.mail import Address, Mail
from engine.render.render import Rendered, render
from engine.render.samples import NOW, Persona, sample_context
from engine.settings import Settings, load

ROOT = Path(__file__).parents[2]
LOCALES = ("en", "ja", "zh-Hant")
_NAMES = {
    "en": (("Grace", "Okafor", "en-GB", "GB"), ("Max", "Weber", "en-US", "US")),
    "ja": (("結衣", "佐藤", "ja-JP", "JP"), ("蓮", "高橋", "ja-JP", "JP")),
    "zh-Hant": (("雅婷", "林", "zh-TW", "TW"), ("志明", "陳", "zh-TW", "TW")),
}
SECRET = b"only for these mails"
CUSTOMERS = ("usual", "little", "unknown")


@dataclass(frozen=True, slots=True)
class StarterMail:
    """One mail: which step of which flow sends it, in which language, to which of the three customers."""

    flow: str
    step: str
    template: str
    locale: str
    customer: str
    rendered: Rendered
    mail: Mail

    @property
    def name(self) -> str:
        """A name for files: `cart-recovery.cart-reminder.ja.usual`."""
        return f"{self.flow}.{self.step}.{self.locale}.{self.customer}"


@dataclass(frozen=True, slots=True)
class Shop:
    """The project that the mails are made of."""

    settings: Settings
    definitions: Definitions
    library: TemplateLibrary


def open_shop(root: Path = ROOT) -> Shop:
    """Return the project in a folder."""
    settings = load(root, {})
    return Shop(
        settings, load_project(root, settings).definitions, TemplateLibrary(read_folder(root / "templates"))
    )


def starter_mails(shop: Shop, *, brand: dict[str, Any] | None = None) -> Iterator[StarterMail]:
    """Yield every mail of every flow, in the flows' order."""
    for flow in shop.definitions.flows.values():
        for step in flow.all_steps():
            if isinstance(step, Send):
                for template in step.templates:
                    for locale in LOCALES:
                        for customer in CUSTOMERS:
                            yield _made(shop, flow, step, template, locale, customer, brand)


def persona(locale: str, customer: str) -> Persona:
    """Return one of the three customers in a language."""
    usual, little = _NAMES[locale]
    if customer == "usual":
        first, last, spoken, country = usual
        fields = {"first_name": first, "last_name": last, "locale": spoken, "country": country, "orders": 12}
        return Persona("usual", {**fields, "tier": "gold", "points": 420, "tags": ["vip"]})
    first, last, spoken, country = little
    if customer == "little":
        named = {"first_name": first, "last_name": last, "locale": spoken, "country": country, "orders": 1}
        return Persona("little", named, picks=2, lines=1)
    return Persona("unknown", {"orders": 2, "locale": spoken}, picks=3, lines=2, with_offer=False)


def _made(
    shop: Shop,
    flow: Flow,
    send: Send,
    template: str,
    locale: str,
    customer: str,
    brand: dict[str, Any] | None,
) -> StarterMail:
    settings, person = shop.settings, persona(locale, customer)
    sender = settings.sender_named(send.sender or flow.sender)
    topic = send.topic or flow.topic
    fields = {
        "name": flow.name,
        "summary": flow.summary,
        "topic": topic,
        "kind": flow.kind,
        "step": send.id,
        "version": "sample",
        "topic_name": settings.topics.get(topic or "", topic),
    }
    blocks = {
        block.name for path in shop.library.paths(template) for block in shop.library.parse(path).recommend
    }
    told = settings.shop
    context = sample_context(
        person,
        shop={"name": told.name, "url": told.url, "timezone": told.timezone, "locale": told.locale,
              "currency": told.currency, "postal_address": told.postal_address, **told.extra},
        sender={"email": sender.email, "name": sender.name, "reply_to": sender.reply_to},
        brand=settings.brand if brand is None else brand, flow=fields, recommend=sorted(blocks),
        without=missing_names(flow, send),
    )  # fmt: skip
    key = f"{flow.name}:{send.id}:{customer}"
    context = replace(context, links=SignedLinks(settings.link_base, SECRET, key, 1, topic or ""))
    if send.offer is not None and person.with_offer:
        context = replace(context, offer=_offer(shop, send.offer))
    context = at_moment(context, flow, send)
    rendered = render(
        shop.library, template, context, locale=str(person.fields["locale"]), subject=send.subject
    )
    envelope = Envelope(
        key=key, to=Address(f"{customer}@example.test", _name(person)),
        sender=Address(sender.email, sender.name or told.name), date=NOW, topic=topic or "", shop_url=told.url,
        kind="transactional" if flow.kind == "transactional" else "marketing",
        reply_to=Address(sender.reply_to) if sender.reply_to else None,
        metadata={"flow": flow.name, "version": "sample", "step": send.id, "message": "sample", "customer": customer},
    )  # fmt: skip
    return StarterMail(
        flow.name, send.id, template, locale, customer, rendered, compose(rendered, envelope, context.links)
    )


def _name(person: Persona) -> str:
    return " ".join(str(person.fields[key]) for key in ("first_name", "last_name") if person.fields.get(key))


def _offer(shop: Shop, name: str) -> dict[str, Any]:
    offer = shop.definitions.offers[name]
    told: dict[str, Any] = {
        "name": name,
        "code": (offer.code or offer.pattern or "").replace("########", "7KQ4-M2XD"),
    }
    if offer.valid_for is not None:
        told["expires_at"] = add(NOW, offer.valid_for, "UTC")
    if offer.gives == "percent":
        told["percent"] = offer.value.rstrip("%")
    return told
