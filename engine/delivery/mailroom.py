"""The mailroom: claimed messages become finished mails.

Comes in: a batch of claimed messages. Goes out: for each a `Mail`, a webhook body, or the reason why there is none.
What the batch needs (customers, carts, orders, products, recommendations, answers) is read for the whole batch; then
each mail is rendered on its own, so that one broken template or customer stops nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, select

from engine.calendar import local
from engine.delivery.claim import Claimed
from engine.errors import HomingError, place, sentence_of
from engine.facts.days import on_clock
from engine.flows.conditions import FieldTest
from engine.flows.model import Offer
from engine.flows.read_conditions import field_tests_of
from engine.flows.recommend_rules import rules_of
from engine.full_names import full_name
from engine.journeys.references import names_of, resolved
from engine.journeys.round import Round
from engine.journeys.versions import programs
from engine.recommend.block import Pick
from engine.recommend.catalogue import Memory, as_shown
from engine.recommend.serve import recommend, slots_of
from engine.recommend.strategies import ALWAYS, STRATEGIES, Request
from engine.render.compose import Envelope, compose
from engine.render.context import RenderContext
from engine.render.counting import counted
from engine.render.library import TemplateLibrary
from engine.render.links import SignedLinks
from engine.render.mail import Address, Mail
from engine.render.render import render
from engine.render.template import RecommendBlock
from engine.store.dialect import within
from engine.store.keeping import known
from engine.store.prepared import Prepared
from engine.store.sifting import sift
from engine.store.tables import cart_lines, carts, customer_scores, customers, order_lines, orders, products

log = logging.getLogger("homing.dispatch")
_ADDRESSES = Prepared(
    select(customers.c.id, customers.c.email, customers.c.locale, customers.c.erased_at).where(
        within(customers.c.id, "ids")
    )
)


Blocks = Mapping[int, tuple[RecommendBlock, ...]]  # of templates, by message
_NOBODY: Mapping[str, Any] = {}
_SLOT: Mapping[str, Mapping[str, str]] = {name: {"strategy": name} for name in (*STRATEGIES, ALWAYS)}


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """What a webhook step hands over: the target's name and the body."""

    key: str
    to: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one claimed message: a mail or a webhook call, or the reason why there is none.

    `error` tells that the template or the customer's data failed, which is tried again before it is given up; `links` is
    where the mail's counted links lead, by number.
    """

    message: Claimed
    mail: Mail | None = None
    call: WebhookCall | None = None
    reason: str | None = None
    error: str | None = None
    slots: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    links: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """What a batch of mails is made of, by id."""

    customers: Mapping[int, Mapping[str, Any]]
    scores: Mapping[int, Mapping[str, Any]]
    carts: Mapping[str, Mapping[str, Any]]
    orders: Mapping[str, Mapping[str, Any]]
    products: Mapping[str, Mapping[str, Any]]
    picks: Mapping[tuple[int, str], Sequence[Pick]]


def make_mails(
    connection: Connection, claimed: Sequence[Claimed], at: Round, library: TemplateLibrary, secret: bytes
) -> list[Made]:
    """Return what each claimed message became, in order; nothing is written.

    A message of whom something fails that nobody foresaw fails alone; where more than ten do, it is not they, and the error goes
    up: nothing is given up then.
    """
    done, failed = sift(
        connection, claimed, lambda some: _made_together(connection, some, at, library, secret)
    )
    made = {each.message.id: each for some in done for each in some}
    for message, error in failed:
        log.error("a mail of %s failed: %s at %s", message.flow, type(error).__name__, place(error))
        made[message.id] = Made(message, error=sentence_of(error))
    return [made[message.id] for message in claimed]


def _made_together(
    connection: Connection, claimed: Sequence[Claimed], at: Round, library: TemplateLibrary, secret: bytes
) -> list[Made]:
    mails = [message for message in claimed if message.channel == "email"]
    material = read_material(connection, mails, at, library)
    summaries = {
        version: program.flow.summary
        for version, program in programs(connection, [m.version for m in claimed]).items()
    }
    called = [message.customer_id for message in claimed if message.channel == "webhook"]
    people = _by_id(connection, customers, "id", sorted(set(called)))
    return [
        _webhook(message, people.get(message.customer_id), at)
        if message.channel == "webhook"
        else _with_counting(_mail(message, material, at, library, secret, summaries), at, secret)
        for message in claimed
    ]


def make_outlines(
    connection: Connection,
    claimed: Sequence[Claimed],
    at: Round,
    library: TemplateLibrary,
    secret: bytes,
    memory: Memory | None = None,
) -> list[Made]:
    """Return what `make_mails` would, with nothing rendered, for dry runs: no mail, and of each slot its strategy alone.

    `memory` keeps what recommendations are made from, for who says when it changes.
    """
    del secret
    mails = [message for message in claimed if message.channel == "email"]
    ids = sorted({message.customer_id for message in claimed})
    people = known(
        connection,
        "addresses",
        ids,
        lambda some: {row["id"]: row for row in _ADDRESSES.dicts(connection, ids=some)},
    )
    blocks = _blocks_of(mails, people, at, library)
    slots = _slots_for(connection, [message for message in mails if blocks[message.id]], blocks, at, memory)
    return [
        _outline(message, people.get(message.customer_id), blocks.get(message.id, ()), slots)
        for message in claimed
    ]


def _slots_for(
    connection: Connection,
    picking: Sequence[Claimed],
    blocks: Blocks,
    at: Round,
    memory: Memory | None = None,
) -> Mapping[tuple[int, str], Sequence[str]]:
    """Return the strategies of the slots that blocks would have, by message and block."""
    if not picking:
        return {}
    ids = {m.enrollment.cart_id for m in picking if m.enrollment.cart_id}
    found_carts = _line_skus(connection, cart_lines, "cart_id", ids)
    ids = {m.enrollment.order_id for m in picking if m.enrollment.order_id}
    found_orders = _line_skus(connection, order_lines, "order_id", ids)
    asked = list(_requests(picking, blocks, found_carts, found_orders))
    found = slots_of(connection, [request for _, request in asked], at.now, rules_of(at.settings), memory)
    return {key: slots for (key, _), slots in zip(asked, found, strict=True)}


def _outline(
    message: Claimed,
    person: Mapping[str, Any] | None,
    blocks: Sequence[RecommendBlock],
    filled: Mapping[tuple[int, str], Sequence[str]],
) -> Made:
    if person is None or person["erased_at"] is not None:
        return Made(message, reason="suppressed")
    if message.channel == "webhook":
        return Made(message, call=WebhookCall(message.key, message.content["to"], {}))
    if not person["email"]:
        return Made(message, reason="suppressed")
    slots = {}
    for block in blocks:
        chosen = filled.get((message.id, block.name), ())
        if not chosen and block.otherwise == "skip":
            return Made(message, reason="nothing_to_recommend")
        slots[block.name] = [_SLOT[strategy] for strategy in chosen]
    return Made(message, slots=slots)


def make_again(
    connection: Connection,
    message: Claimed,
    at: Round,
    library: TemplateLibrary,
    secret: bytes,
    locale: str | None,
) -> Made:
    """Return a mail as it was made at `at.now`: in its language, with the products that stood in its slots then."""
    material = read_material(connection, [message], at, library)
    slots: Mapping[str, Sequence[Mapping[str, str]]] = message.content.get("slots", {})
    catalogue = as_shown(connection, sorted({slot["sku"] for chosen in slots.values() for slot in chosen}))
    picks = {
        (message.id, name): [
            Pick(slot["sku"], slot["strategy"], 0.0, catalogue[slot["sku"]])
            for slot in chosen
            if slot["sku"] in catalogue
        ]
        for name, chosen in slots.items()
    }
    people = {
        number: {**person, "locale": locale or person.get("locale")}
        for number, person in material.customers.items()
    }
    summary = programs(connection, [message.version])[message.version].flow.summary
    material = replace(material, customers=people, picks={**material.picks, **picks})
    return _mail(message, material, at, library, secret, {message.version: summary})


def _webhook(message: Claimed, person: Mapping[str, Any] | None, at: Round) -> Made:
    if person is None or person.get("erased_at") is not None:
        return Made(message, reason="suppressed")
    enrollment = message.enrollment
    names = names_of(
        enrollment.context,
        customer=customer_fields(person, None, at),
        shop=shop_fields(at),
        flow={"name": message.flow, "step": message.step},
    )
    body = {
        **resolved(message.content.get("body", {}), names),
        "customer": person.get("external_id") or person.get("email"),
        "message": message.key,
        "flow": message.flow,
        "step": message.step,
        "trigger": enrollment.context.get("trigger", {}),
        "answer": enrollment.context.get("answers", {}),
    }
    return Made(message, call=WebhookCall(message.key, message.content["to"], body))


# ── reading the batch's material ─────────────────────────────────────────────────────────────────────────────────────


def read_material(
    connection: Connection, messages: Sequence[Claimed], at: Round, library: TemplateLibrary
) -> Material:
    """Read everything that these mails may show, in a fixed number of statements."""
    ids = sorted({message.customer_id for message in messages})
    people = _by_id(connection, customers, "id", ids)
    scores = _by_id(connection, customer_scores, "customer_id", ids)
    found_carts = _with_lines(
        connection,
        carts,
        cart_lines,
        "cart_id",
        {m.enrollment.cart_id for m in messages if m.enrollment.cart_id},
    )
    found_orders = _with_lines(
        connection,
        orders,
        order_lines,
        "order_id",
        {m.enrollment.order_id for m in messages if m.enrollment.order_id},
    )
    skus = {
        str(line["sku"])
        for thing in (*found_carts.values(), *found_orders.values())
        for line in thing["lines"]
    }
    for message in messages:
        skus |= {*_trigger_skus(message), *_given_skus(message, at.offers)}
    catalogue = _by_id(connection, products, "sku", sorted(skus))
    blocks = _blocks_of(messages, people, at, library)
    picks = _picks(connection, list(_requests(messages, blocks, found_carts, found_orders)), at)
    return Material(people, scores, found_carts, found_orders, catalogue, picks)


def _by_id(
    connection: Connection, table: Table, key: str, ids: Sequence[Any]
) -> dict[Any, Mapping[str, Any]]:
    if not ids:
        return {}
    return {row[key]: row for row in _rows_by(table, key).dicts(connection, ids=ids)}


@lru_cache(maxsize=32)
def _rows_by(table: Table, key: str, *order: str) -> Prepared:
    query = select(table).where(within(table.c[key], "ids"))
    return Prepared(query.order_by(*(table.c[name] for name in order)))


def _with_lines(
    connection: Connection, table: Table, line_table: Table, key: str, ids: set[str]
) -> Mapping[Any, Mapping[str, Any]]:
    things: dict[Any, dict[str, Any]] = {
        name: {**row, "lines": []} for name, row in _by_id(connection, table, key, sorted(ids)).items()
    }
    if things:
        lines = _rows_by(line_table, key, key, "line_no")
        for row in lines.dicts(connection, ids=sorted(things)):
            things[row[key]]["lines"].append(row)
    return things


def _line_skus(
    connection: Connection, line_table: Table, key: str, ids: set[str]
) -> Mapping[Any, Mapping[str, Any]]:
    """Return carts or orders with nothing but the products of their lines, which is all that recommending asks for."""
    found: dict[Any, dict[str, Any]] = {}
    for thing, sku in _skus_by(line_table, key).rows(connection, ids=sorted(ids)) if ids else ():
        found.setdefault(thing, {"lines": []})["lines"].append({"sku": sku})
    return found


@lru_cache(maxsize=8)
def _skus_by(table: Table, key: str) -> Prepared:
    query = select(table.c[key], table.c.sku).where(within(table.c[key], "ids"))
    return Prepared(query.order_by(table.c[key], table.c.line_no))


def _trigger_skus(message: Claimed) -> list[str]:
    context = message.enrollment.context
    facts = [context.get("trigger", {}), *context.get("facts", [])]
    lines = [line for fact in facts for line in _listed(fact.get("lines"))]
    skus = [str(each["sku"]) for each in (*facts, *lines) if each.get("sku")]
    if message.enrollment.sku:
        skus.append(message.enrollment.sku)
    return list(dict.fromkeys(skus))


def _listed(told: Any) -> list[Mapping[str, Any]]:
    """Return the lines that a fact tells of: anybody may send anything under that name."""
    return [line for line in told if isinstance(line, Mapping)] if isinstance(told, list | tuple) else []


def _blocks(library: TemplateLibrary, template: str | None, locale: str | None) -> tuple[RecommendBlock, ...]:
    try:
        return library.template(template or "", locale).recommend
    except HomingError:
        return ()  # rendering will say what is wrong with the template


def _blocks_of(
    messages: Sequence[Claimed], people: Mapping[int, Mapping[str, Any]], at: Round, library: TemplateLibrary
) -> Blocks:
    """Return the blocks of each message's template in its customer's language; a batch knows few of those."""
    usual = at.settings.shop.locale
    known: dict[tuple[str | None, str], tuple[RecommendBlock, ...]] = {}
    found: dict[int, tuple[RecommendBlock, ...]] = {}
    for message in messages:
        key = message.template, people.get(message.customer_id, _NOBODY).get("locale") or usual
        if key not in known:
            known[key] = _blocks(library, *key)
        found[message.id] = known[key]
    return found


def _picks(
    connection: Connection, asked: Sequence[tuple[tuple[int, str], Request]], at: Round
) -> dict[tuple[int, str], Sequence[Pick]]:
    found = recommend(connection, [request for _, request in asked], at.now, rules_of(at.settings))
    return {key: picks for (key, _), picks in zip(asked, found, strict=True)}


def _requests(
    messages: Sequence[Claimed],
    blocks: Blocks,
    found_carts: Mapping[str, Mapping[str, Any]],
    found_orders: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[tuple[int, str], Request]]:
    """Yield what the blocks of these mails ask for, by message and block."""
    for message in messages:
        for block in blocks[message.id]:
            lines = [
                *found_carts.get(message.enrollment.cart_id, {}).get("lines", []),
                *found_orders.get(message.enrollment.order_id, {}).get("lines", []),
            ]
            context = dict.fromkeys([*_trigger_skus(message), *(str(line["sku"]) for line in lines)])
            request = Request(
                message.customer_id, tuple(context), tuple(block.strategies), block.count, block.at_least,
                _narrowing(block), per_category=block.per_category, mail=message.id,
            )  # fmt: skip
            yield (message.id, block.name), request


def _narrowing(block: RecommendBlock) -> tuple[FieldTest, ...]:
    return field_tests_of(dict(block.where)) if block.where else ()


# ── one mail ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _mail(
    message: Claimed,
    material: Material,
    at: Round,
    library: TemplateLibrary,
    secret: bytes,
    summaries: Mapping[str, str],
) -> Made:
    person = material.customers.get(message.customer_id)
    if person is None or not person.get("email") or person.get("erased_at") is not None:
        return Made(message, reason="suppressed")
    locale = person.get("locale") or at.settings.shop.locale
    picks = {}
    for block in _blocks(library, message.template, locale):
        chosen = material.picks.get((message.id, block.name), ())
        if not chosen and block.otherwise == "skip":
            return Made(message, reason="nothing_to_recommend")
        picks[block.name] = chosen
    links = SignedLinks(at.settings.link_base, secret, message.key, message.customer_id, message.topic or "")
    try:
        context = context_of(message, person, material, picks, links, at, summaries.get(message.version, ""))
        rendered = render(
            library, message.template or "", context, locale=locale, subject=message.content.get("subject")
        )
        sender = at.settings.sender_named(message.content.get("sender"))
        name = full_name(person.get("first_name"), person.get("last_name"))
        envelope = Envelope(
            key=message.key,
            to=Address(person["email"], name),
            sender=Address(sender.email, sender.name or at.settings.shop.name),
            date=at.now,
            kind="transactional" if message.kind == "transactional" else "marketing",
            topic=message.topic or "",
            shop_url=at.settings.shop.url,
            reply_to=Address(sender.reply_to) if sender.reply_to else None,
            metadata=metadata_of(message, person),
        )
        mail = compose(rendered, envelope, links)
    except HomingError as error:
        return Made(message, error=str(error))
    slots = {
        name: [{"sku": pick.sku, "strategy": pick.strategy} for pick in chosen]
        for name, chosen in picks.items()
    }
    return Made(message, mail=mail, slots=slots)


def _with_counting(made: Made, at: Round, secret: bytes) -> Made:
    """Return a mail whose looks are counted, where the shop wants that: marketing mail only, as consent covers it."""
    settings, mail, message = at.settings, made.mail, made.message
    wanted = settings.web_url and (settings.track_clicks or settings.track_opens)
    if mail is None or not wanted or mail.kind != "marketing":
        return made
    links = SignedLinks(settings.link_base, secret, message.key, message.customer_id, message.topic or "")
    found = counted(mail.html, links, clicks=settings.track_clicks, opens=settings.track_opens)
    return replace(made, mail=replace(mail, html=found.html), links=found.links)


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
    skus = _trigger_skus(message)
    shown = [_product(material, sku) for sku in skus]
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
        product=_product(material, enrollment.sku) if enrollment.sku else None,
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


def _product(material: Material, sku: str) -> dict[str, Any]:
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
        product = _product(material, str(line["sku"]))
        price_now = product.get("price")
        lines.append({**product, **{k: v for k, v in line.items() if v is not None}, "price_now": price_now})
    currency = thing.get("currency") or at.settings.shop.currency
    return {**thing, "lines": lines, "currency": currency}


def _given_skus(message: Claimed, offers: Mapping[str, Offer]) -> tuple[str, ...]:
    """Return the product that the message's offer gives, where it gives one."""
    told = message.content.get("offer")
    offer = offers.get(told["name"]) if told else None
    return (offer.value,) if offer is not None and offer.gives in ("gift", "buy_one_get_one") else ()


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
                fields["product"] = _product(material, offer.value)
    return fields
