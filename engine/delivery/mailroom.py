"""The mailroom: claimed messages become finished mails.

Comes in: a batch of claimed messages. Goes out: for each a `Mail`, a webhook body, or the reason why there is none.
What the batch needs (customers, carts, orders, products, recommendations, answers) is read for the whole batch; then
each mail is rendered on its own, so that one broken template or customer stops nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from engine.delivery.claim import Claimed
from engine.delivery.contexts import context_of, customer_fields, metadata_of, shop_fields
from engine.delivery.made import Made, WebhookCall
from engine.delivery.material import Material, by_id, read_material
from engine.delivery.slots import blocks_in
from engine.errors import HomingError, place, sentence_of
from engine.full_names import full_name
from engine.journeys.references import names_of, resolved
from engine.journeys.round import Round
from engine.journeys.versions import programs
from engine.recommend.block import Pick
from engine.recommend.catalogue import as_shown
from engine.render.compose import Envelope, compose
from engine.render.counting import counted
from engine.render.library import TemplateLibrary
from engine.render.links import SignedLinks
from engine.render.mail import Address
from engine.render.render import render
from engine.store.sifting import sift
from engine.store.tables import customers

log = logging.getLogger("homing.dispatch")


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
    people = by_id(connection, customers, "id", sorted(set(called)))
    return [
        _webhook(message, people.get(message.customer_id), at)
        if message.channel == "webhook"
        else _with_counting(_mail(message, material, at, library, secret, summaries), at, secret)
        for message in claimed
    ]


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
    for block in blocks_in(library, message.template, locale):
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
