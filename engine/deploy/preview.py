"""Previews: the mails of a template or a flow as they would go out, without sending anything.

Comes in: a project's folder, what to look at (`TEMPLATE`, `FLOW` or `FLOW:STEP`), and for whom: a sample customer, or one
of the database with the cart, order and products that a mail of this moment would show. Goes out: one `Shot` for each
mail, in order. Links of a preview lead nowhere, so that nobody is unsubscribed by looking.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.header import decode_header, make_header
from typing import Any

from sqlalchemy import Connection, func, select

from engine.calendar import add
from engine.delivery.claim import Claimed
from engine.delivery.contexts import context_of, metadata_of, offer_fields, shop_fields
from engine.delivery.material import Material, read_material
from engine.delivery.mime import to_bytes
from engine.deploy.pictures import PATH
from engine.deploy.preview_cast import Role
from engine.deploy.preview_moments import at_moment
from engine.diagnostics import Finding, did_you_mean
from engine.errors import HomingError, UsageError
from engine.flows.conditions import Did, Of, walk
from engine.flows.load import Project, load_project
from engine.flows.model import (
    Arm,
    Branch,
    Experiment,
    ExperimentArm,
    Flow,
    ReplenishTrigger,
    Send,
    Step,
    WaitClock,
    WaitField,
    WaitFor,
)
from engine.full_names import full_name
from engine.journeys.round import Round
from engine.render.compose import Envelope, compose
from engine.render.context import RenderContext
from engine.render.library import TemplateLibrary, read_folder
from engine.render.links import SignedLinks
from engine.render.lint import lint, missing_names
from engine.render.mail import Address, Mail
from engine.render.render import Rendered, render
from engine.render.samples import NOW, Persona, SampleLinks, personas, sample_context, sample_product
from engine.settings import Settings
from engine.store.tables import carts, customers, enrollments, events, orders, products

CLIPPED_AT = 102_000  # bytes of HTML beyond which Gmail cuts a mail off
_OFFER_DAYS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Slot:
    """One mail to look at: its place in the flow (1 is the first) and `before`, what happens before it, in words."""

    number: int
    step: str
    template: str
    flow: Flow | None = None
    send: Send | None = None
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    """One mail as it would go out, or the `error` that keeps it from being made.

    `size` is the HTML in bytes; `note` tells why this customer would not get it now; `headers` are those of the bytes, in readable form.
    """

    slot: Slot
    mail: Mail | None = None
    size: int = 0
    locale: str = ""
    error: str = ""
    note: str = ""
    findings: tuple[Finding, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something keeps this mail from going out."""
        return bool(self.error) or any(finding.is_error for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Studio:
    """What previews are made of: the folder's flows and templates, and the settings."""

    project: Project
    library: TemplateLibrary
    settings: Settings
    offers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> str:
        """The address below which `homing serve` has the pictures of sample products."""
        return f"{self.settings.link_base}{PATH}"


def open_studio(settings: Settings) -> Studio:
    """Read the folder; raise FindingsError where templates cannot be read at all."""
    project = load_project(settings.root, settings)
    library = TemplateLibrary(read_folder(settings.root / "templates"))
    return Studio(project, library, settings, project.definitions.offers)


def slots(studio: Studio, target: str) -> list[Slot]:
    """Return the mails that a target means; raise UsageError with the likely name where there is none."""
    flows = studio.project.definitions.flows
    name, colon, step = target.partition(":")
    if name in flows:
        found = list(_flow_slots(flows[name]))
        return (
            [slot for slot in found if slot.step == step] or _no_step(name, step, found) if colon else found
        )
    if not colon and name in studio.library.names():
        return [_template_slot(studio, name)]
    known = {*studio.library.names(), *flows}
    told = [source.file for source in studio.project.sources if source.flow is None]
    hint = did_you_mean(name, known)
    if f"flows/{name}.yaml" in told:
        hint = "its file has errors: homing validate tells them"
    raise UsageError(f'there is no flow and no template "{name}"' + (f"; {hint}" if hint else ""))


def _no_step(flow: str, step: str, found: Sequence[Slot]) -> list[Slot]:
    known = [slot.step for slot in found]
    hint = did_you_mean(step, known) or f"its mails: {', '.join(known)}"
    raise UsageError(f'the flow "{flow}" has no mail "{step}"; {hint}')


def _template_slot(studio: Studio, template: str) -> Slot:
    """Return a template as the first flow sends it, so that it is shown with what that flow has."""
    for flow in studio.project.definitions.flows.values():
        for slot in _flow_slots(flow):
            if slot.template == template:
                return replace(slot, number=1, before=())
    return Slot(1, template, template)


def _flow_slots(flow: Flow) -> Iterator[Slot]:
    before: list[str] = []
    number = 0
    for step, words in _told(flow.steps, ()):
        before += words
        for template in step.templates if isinstance(step, Send) else ():
            assert isinstance(step, Send)
            number += 1
            identity = step.id if len(step.templates) == 1 else f"{step.id}-{template}"
            yield Slot(number, identity, template, flow, step, tuple(before))
            before = []


def _told(steps: Sequence[Step], arm: tuple[str, ...]) -> Iterator[tuple[Step, tuple[str, ...]]]:
    """Yield each step with what happens at it, in words; the first step of an arm says which arm that is."""
    for step in steps:
        words, arm = (*arm, *_words(step)), ()
        yield step, words
        if isinstance(step, Branch | Experiment):
            for inner in step.arms:
                yield from _told(inner.steps, (_arm_words(step, inner),))


def _words(step: Step) -> tuple[str, ...]:
    if isinstance(step, WaitFor):
        return (f"{step.duration} later",)
    if isinstance(step, WaitClock):
        return (f"at {step.clock:%H:%M} on the customer's clock",)
    if isinstance(step, WaitField):
        return (f"when {step.field_path} comes",)
    return ()


def _arm_words(step: Branch | Experiment, arm: Arm | ExperimentArm) -> str:
    if isinstance(arm, ExperimentArm):
        return f"experiment {step.id}, arm {arm.name} ({arm.weight})"
    return "otherwise" if arm.when is None else f"if {' and '.join(clause.text for clause in arm.when)}"


# ── sample customers ─────────────────────────────────────────────────────────────────────────────────────────────────


def preview_sample(
    studio: Studio, target: str, locale: str | None = None, who: Role | None = None, *, judged: bool = True
) -> list[Shot]:
    """Return the target's mails for a sample customer who speaks `locale`; needs no database, and no clock.

    `who` is the usual one unless given; `judged` tells whether the templates' findings are looked for.
    """
    who = who or Role("sample", "A sample customer", _persona(locale))
    contexts = [(slot, who.dressed(_sample(studio, slot, who.persona))) for slot in slots(studio, target)]
    return [
        _noted(studio, _shot(studio, slot, context, context.now, locale, judged=judged), context)
        for slot, context in contexts
    ]


def _persona(locale: str | None) -> Persona:
    known = {str(persona.fields.get("locale", ""))[:2]: persona for persona in reversed(personas())}
    return known.get((locale or "en")[:2].lower(), personas()[0]) if locale else personas()[0]


def _sample(studio: Studio, slot: Slot, persona: Persona) -> RenderContext:
    flow, send, settings = slot.flow, slot.send, studio.settings
    at = Round(NOW, settings, offers=studio.offers)
    without = missing_names(flow, send) if flow is not None and send is not None else frozenset()
    sender = settings.sender_named(
        send.sender or flow.sender if flow is not None and send is not None else None
    )
    blocks = {
        block.name: block
        for path in studio.library.paths(slot.template)
        for block in studio.library.parse(path).recommend
    }
    context = sample_context(
        persona, shop=shop_fields(at), brand=settings.brand, flow=_flow_fields(studio, slot), recommend=sorted(blocks),
        sender={"email": sender.email, "name": sender.name, "reply_to": sender.reply_to}, without=without,
        pictures=studio.pictures,
    )  # fmt: skip
    # As many as would be chosen: never more than the block shows, and none where that is too few for it.
    picks = {name: chosen[: blocks[name].count] for name, chosen in context.picks.items()}
    enough = {name: some if len(some) >= blocks[name].at_least else () for name, some in picks.items()}
    context = replace(context, links=SampleLinks(settings.link_base), picks=enough)
    if send is not None and send.offer is not None:
        told = _sample_offer(studio, send.offer, context.now)
        given = offer_fields(told, studio.offers, _NOTHING) or {}
        if given.keys() & {"gift", "buy_one_get_one"}:
            given["product"] = sample_product(shop_fields(at), studio.pictures)
        context = replace(context, offer=given)
    return at_moment(context, flow, send)


def _flow_fields(studio: Studio, slot: Slot) -> dict[str, Any]:
    flow, send = slot.flow, slot.send
    topic = (send.topic if send is not None else None) or (flow.topic if flow is not None else None)
    return {
        "name": flow.name if flow is not None else slot.template, "summary": flow.summary if flow is not None else "",
        "topic": topic, "topic_name": studio.settings.topics.get(topic or "", topic),
        "kind": flow.kind if flow is not None else "marketing", "step": slot.step, "version": "preview",
    }  # fmt: skip


def _sample_offer(studio: Studio, name: str, now: datetime) -> dict[str, Any]:
    """Return an offer as it would be issued: without a code or an end where it has none."""
    offer = studio.offers.get(name)
    if offer is None:
        return {"name": name, "code": "SAMPLE-7777", "expires_at": (now + _OFFER_DAYS).isoformat()}
    pattern = offer.code or offer.pattern or ("SAMPLE-####" if offer.pool else None)
    until = add(now, offer.valid_for, "UTC") if offer.valid_for is not None else None
    return {
        "name": name,
        "code": pattern.replace("#", "7") if pattern else None,
        "expires_at": until.isoformat() if until else None,
    }


# ── a customer of the database ───────────────────────────────────────────────────────────────────────────────────────


def preview_customer(
    connection: Connection,
    studio: Studio,
    target: str,
    customer_id: int,
    now: datetime,
    locale: str | None = None,
) -> list[Shot]:
    """Return the target's mails as this customer would see them at this moment."""
    at = Round(now, studio.settings, offers=studio.offers)
    wanted = slots(studio, target)
    claimed = [_claimed(connection, studio, slot, customer_id, now) for slot in wanted]
    material = read_material(connection, claimed, at, studio.library)
    person = material.customers[customer_id]
    spoken = locale or person.get("locale") or studio.settings.shop.locale
    shots = []
    for slot, message in zip(wanted, claimed, strict=True):
        blocks = _blocks(studio, slot, str(spoken))
        picks = {name: material.picks.get((message.id, name), ()) for name in blocks}
        links = SignedLinks(
            studio.settings.link_base, _no_secret(), message.key, customer_id, message.topic or ""
        )
        context = context_of(
            message, person, material, picks, links, at, slot.flow.summary if slot.flow else ""
        )
        shot = _shot(studio, slot, context, now, locale or str(spoken), metadata_of(message, person))
        shots.append(_noted(studio, shot, context))
    return shots


def _blocks(studio: Studio, slot: Slot, locale: str) -> dict[str, str]:
    return {block.name: block.otherwise for block in studio.library.template(slot.template, locale).recommend}


def _no_secret() -> bytes:
    """Return a secret that is used once and forgotten: what it signs opens nothing."""
    return secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What an enrollment of this moment would know."""

    cart_id: str | None
    order_id: str | None
    sku: str | None
    context: Mapping[str, Any]


def _claimed(connection: Connection, studio: Studio, slot: Slot, customer_id: int, now: datetime) -> Claimed:
    flow, send = slot.flow, slot.send
    content: dict[str, Any] = {"subject": None, "sender": None}
    if flow is not None and send is not None:
        content = {"subject": send.subject, "sender": send.sender or flow.sender}
        if send.offer is not None:
            content["offer"] = _sample_offer(studio, send.offer, now)
    return Claimed(
        id=slot.number, key=f"preview:{slot.step}", fence=0, enrollment_id=0, flow=flow.name if flow else slot.template,
        version="preview", step=slot.step, channel="email", template=slot.template, customer_id=customer_id,
        kind=flow.kind if flow else "marketing", topic=(send.topic if send else None) or (flow.topic if flow else None),
        priority=0, due_at=now, expires_at=now, tries=0, visit=0, content=content,
        enrollment=_standing(connection, slot, customer_id),
    )  # fmt: skip


def _standing(connection: Connection, slot: Slot, customer_id: int) -> Any:
    """Return the customer's newest enrollment in the flow, else one as it would be made of the newest facts."""
    flow = slot.flow
    if flow is not None:
        own = enrollments.c
        query = select(enrollments).where(own.customer_id == customer_id, own.flow == flow.name)
        row = connection.execute(query.order_by(own.entered_at.desc(), own.id.desc()).limit(1)).first()
        if row is not None:
            return row
    without = missing_names(flow, slot.send) if flow is not None and slot.send is not None else frozenset()
    cart = (
        None if "cart" in without else _newest(connection, carts.c.cart_id, carts.c.updated_at, customer_id)
    )
    order = (
        None
        if "order" in without
        else _newest(connection, orders.c.order_id, orders.c.placed_at, customer_id)
    )
    runs_out = flow is not None and any(isinstance(each, ReplenishTrigger) for each in flow.triggers)
    sku = None if "product" in without else _newest_sku(connection, customer_id, runs_out=runs_out)
    trigger = {
        "order_number": connection.scalar(select(customers.c.orders).where(customers.c.id == customer_id))
        or None
    }
    return _Standing(
        cart,
        order,
        sku,
        {"event": getattr(flow.triggers[0], "event", None) if flow else None, "trigger": trigger},
    )


def _newest(connection: Connection, column: Any, at: Any, customer_id: int) -> Any:
    query = select(column).where(column.table.c.customer_id == customer_id).order_by(at.desc(), column.desc())
    return connection.scalar(query.limit(1))


def _newest_sku(connection: Connection, customer_id: int, *, runs_out: bool) -> str | None:
    """Return what the customer had to do with last; with `runs_out` rather one that is known to run out."""
    query = (
        select(events.c.sku)
        .where(events.c.customer_id == customer_id, events.c.sku.is_not(None))
        .order_by(events.c.occurred_at.desc(), events.c.id.desc())
        .limit(1)
    )
    found: str | None = None
    if runs_out:
        lasts = func.coalesce(products.c.days_of_supply, products.c.learned_days)
        found = connection.scalar(
            query.join(products, products.c.sku == events.c.sku).where(lasts.is_not(None))
        )
    if found is None:
        found = connection.scalar(query)
    return found


# ── one mail ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shot(
    studio: Studio,
    slot: Slot,
    context: RenderContext,
    now: datetime,
    locale: str | None,
    metadata: Mapping[str, str] | None = None,
    *,
    judged: bool = True,
) -> Shot:
    findings = _findings(studio, slot, context, locale) if judged else ()
    try:
        subject = slot.send.subject if slot.send is not None else None
        rendered = render(studio.library, slot.template, context, locale=locale, subject=subject)
        mail = compose(rendered, _envelope(studio, slot, context, now, metadata), context.links)
        headers = _headers(mail)
    except HomingError as error:
        return Shot(slot, error=str(error), findings=findings)
    return Shot(
        slot, mail, rendered.size, rendered.locale, findings=_of_copy(findings, rendered), headers=headers
    )


def _noted(studio: Studio, shot: Shot, context: RenderContext) -> Shot:
    """Return the shot with why it would not go out: nothing to recommend, or an empty cart that its flow asks about."""
    flow = shot.slot.flow
    blocks = _blocks(studio, shot.slot, str(context.customer.get("locale") or "en"))
    if any(otherwise == "skip" and not context.picks.get(name) for name, otherwise in blocks.items()):
        return replace(shot, note="there is nothing to recommend, so this mail would not go out")
    if flow is None or context.cart is None or context.cart.get("lines"):
        return shot
    entering = [part for clause in flow.only_if for part in walk(clause.condition)]
    leaving = [part for clause in flow.exit_when for part in walk(clause.condition)]
    if any(isinstance(part, Did) and part.event == "cart_emptied" for part in leaving):
        why = "this cart is empty, so this mail would not go out: emptying a cart ends this flow"
    elif any(isinstance(part, Of) and part.scope == "cart" and part.lines for part in entering):
        why = "this cart is empty, so this mail would not go out: the flow asks for its lines"
    else:
        why = (
            "this cart is empty, and the mail would go out all the same: "
            "`exit_when: {did: cart_emptied, same: cart_id}` keeps it back"
        )
    return replace(shot, note=why)


def _findings(studio: Studio, slot: Slot, context: RenderContext, locale: str | None) -> tuple[Finding, ...]:
    kind = slot.flow.kind if slot.flow is not None else "marketing"
    spoken = locale or str(context.customer.get("locale") or "en")
    return tuple(
        lint(studio.library, slot.template, {spoken: context}, kind=kind, base=studio.settings.link_base)
    )


def _of_copy(findings: Sequence[Finding], rendered: Rendered) -> tuple[Finding, ...]:
    """Leave out what is wrong with other languages' copies of the same template."""
    name = rendered.template_path.rpartition("/")[2]
    return tuple(
        finding
        for finding in findings
        if not finding.span.file.endswith(f"/{name}")
        or finding.span.file == f"templates/{rendered.template_path}"
    )


def _envelope(
    studio: Studio, slot: Slot, context: RenderContext, now: datetime, metadata: Mapping[str, str] | None
) -> Envelope:
    settings, flow, person = studio.settings, slot.flow, context.customer
    sender = settings.sender_named(
        slot.send.sender or flow.sender if flow is not None and slot.send is not None else None
    )
    fields = _flow_fields(studio, slot)
    name = full_name(person.get("first_name"), person.get("last_name"))
    own = {
        "flow": fields["name"],
        "version": "preview",
        "step": slot.step,
        "message": "preview",
        "customer": "sample",
    }
    return Envelope(
        key=f"preview:{slot.step}", to=Address(str(person.get("email") or "sample@example.test"), name),
        sender=Address(sender.email, sender.name or settings.shop.name), date=now,
        kind="transactional" if fields["kind"] == "transactional" else "marketing", topic=fields["topic"] or "",
        shop_url=settings.shop.url, reply_to=Address(sender.reply_to) if sender.reply_to else None,
        metadata=dict(metadata or own),
    )  # fmt: skip


def _headers(mail: Mail) -> tuple[tuple[str, str], ...]:
    head = to_bytes(mail, metadata_headers=True).split(b"\r\n\r\n", 1)[0].decode("utf-8", "replace")
    lines = head.replace("\r\n ", " ").split("\r\n")
    return tuple(
        (name, _readable(value.strip())) for name, _, value in (line.partition(":") for line in lines)
    )


def _readable(value: str) -> str:
    """Return a header's value with its encoded words decoded."""
    return str(make_header(decode_header(value))) if "=?" in value else value


_NOTHING = Material({}, {}, {}, {}, {}, {})
