"""What a mail may show: a customer, the shop, carts, orders, products and offers as templates see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.calendar import local
from engine.delivery.claim import Claimed
from engine.delivery.material import Material
from engine.delivery.slots import trigger_skus
from engine.facts.days import on_clock
from engine.flows.model import Offer
from engine.journeys.round import Round
from engine.recommend.block import Pick
from engine.render.context import RenderContext
from engine.render.links import SignedLinks


def metadata_of(message: Claimed, person: Mapping[str, Any]) -> dict[str, str]:
    """Return what a mail carries about itself, for people and for the provider's events: no address."""
    return {
        "flow": message.flow,
        "version": message.version,
        "step": message.step,
        "message": message.key,
        "customer": person.get("external_id") or str(message.customer_id),
    }


def context_of(
    message: Claimed,
    person: Mapping[str, Any],
    material: Material,
    picks: Mapping[str, Sequence[Pick]],
    links: SignedLinks,
    at: Round,
    summary: str = "",
) -> RenderContext:
    """Return everything that this mail may show."""
    enrollment = message.enrollment
    zone = person.get("zone") or at.shop_zone
    sender = at.settings.sender_named(message.content.get("sender"))
    trigger = {"event": enrollment.context.get("event"), **enrollment.context.get("trigger", {})}
    gathered = enrollment.context.get("facts")
    if gathered:
        trigger["facts"] = gathered
    skus = trigger_skus(message)
    shown = [product_fields(material, sku) for sku in skus]
    answers = enrollment.context.get("answers", {})
    return RenderContext(
        customer=customer_fields(person, material.scores.get(message.customer_id), at),
        shop=shop_fields(at),
        sender={"email": sender.email, "name": sender.name, "reply_to": sender.reply_to},
        flow={
            "name": message.flow, "summary": summary, "topic": message.topic, "kind": message.kind, "step": message.step,
            "version": message.version, "topic_name": at.settings.topics.get(message.topic or "", message.topic),
        },
        now=local(at.now, zone),
        links=links,
        brand=at.settings.brand,
        trigger=trigger,
        order=_thing(material.orders.get(enrollment.order_id), material, at),
        cart=_thing(material.carts.get(enrollment.cart_id), material, at),
        product=product_fields(material, enrollment.sku) if enrollment.sku else None,
        products=[product for product in shown if product["sku"] in material.products or gathered],
        facts=gathered or (),
        offer=offer_fields(message.content.get("offer"), at.offers, material),
        answer=answers.get("answer") or next(iter(answers.values()), None),
        picks={name: [dict(pick.product) | {"strategy": pick.strategy} for pick in chosen] for name, chosen in picks.items()},
    )  # fmt: skip


def customer_fields(person: Mapping[str, Any], scores: Mapping[str, Any] | None, at: Round) -> dict[str, Any]:
    """Return a customer as templates see one; a day that was told without a time begins on the customer's own clock."""
    fields = {
        key: value
        for key, value in on_clock(person, person.get("zone") or at.shop_zone).items()
        if key not in ("id", "zone", "erased_at", "quarantined_at")
    }
    fields["timezone"] = person.get("zone") or person.get("timezone")
    fields["locale"] = person.get("locale") or at.settings.shop.locale
    if scores:
        fields["rfm"] = {"r": scores["rfm_r"], "f": scores["rfm_f"], "m": scores["rfm_m"]}
        fields |= {key: scores[key] for key in ("spent_percentile", "churn_risk", "predicted_value")}
    return fields


def shop_fields(at: Round) -> dict[str, Any]:
    """Return the shop as templates see it: the keys of `[shop]`."""
    shop = at.settings.shop
    named = ("name", "url", "timezone", "locale", "currency", "postal_address")
    return {**{name: getattr(shop, name) for name in named}, **shop.extra}


def product_fields(material: Material, sku: str) -> dict[str, Any]:
    """Return a product as templates see it; of one that is gone, its sku alone."""
    row = material.products.get(sku)
    if row is None:
        return {"sku": sku}
    return {**row, "group": row.get("variant_group")}


def _thing(thing: Mapping[str, Any] | None, material: Material, at: Round) -> dict[str, Any] | None:
    """Return a cart or order with its lines' products; a line keeps the price it was told with, `price_now` is today's."""
    if thing is None:
        return None
    lines = []
    for line in thing["lines"]:
        product = product_fields(material, str(line["sku"]))
        price_now = product.get("price")
        lines.append({**product, **{k: v for k, v in line.items() if v is not None}, "price_now": price_now})
    currency = thing.get("currency") or at.settings.shop.currency
    return {**thing, "lines": lines, "currency": currency}


def offer_fields(
    told: Mapping[str, Any] | None, offers: Mapping[str, Offer], material: Material
) -> dict[str, Any] | None:
    """Return an issued offer as templates see it."""
    if not told:
        return None
    offer = offers.get(told["name"])
    fields: dict[str, Any] = {"name": told["name"], "code": told.get("code")}
    if told.get("expires_at"):
        fields["expires_at"] = datetime.fromisoformat(told["expires_at"])
    if offer is not None:
        amount, _, currency = offer.value.partition(" ")
        if offer.gives == "amount":
            fields |= {"amount": amount, "currency": currency}
        elif offer.gives == "percent":
            fields["percent"] = amount.rstrip("%")
        elif offer.gives == "free_shipping":
            fields["free_shipping"] = True
        else:
            fields[offer.gives] = offer.value
            if offer.value in material.products:
                fields["product"] = product_fields(material, offer.value)
    return fields
