"""Rules about offers, the policy, settings and delivery: what would keep mails from going out, or should."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from engine.calendar import QuietHours
from engine.diagnostics import Finding, Span, did_you_mean, has_errors
from engine.flows.conditions import OfferIs, walk
from engine.flows.cron import Cron
from engine.flows.load import Project, flow_clauses
from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    Offer,
    ScheduleTrigger,
    Send,
    Step,
    WaitClock,
    WaitFor,
)  # fmt: skip
from engine.flows.nodes import Table
from engine.flows.recommend_rules import findings_of
from engine.flows.rules.registry import Look, flow_rule, place_of, project_rule, told
from engine.flows.rules.shape import lists_of
from engine.settings import Cap
from engine.settings import setting_place as settings_place

_PROVIDERS = ("mailbox", "smtp", "sendgrid")
_FREE_MAIL = frozenset(
    [
        "gmail.com",
        "googlemail.com",
        "yahoo.com",
        "hotmail.com",
        "outlook.com",
        "live.com",
        "icloud.com",
        "aol.com",
        "gmx.de",
        "gmx.net",
        "web.de",
        "t-online.de",
        "mail.ru",
        "yahoo.co.jp",
        "qq.com",
        "163.com",
    ]
)
_NOT_REAL = (".test", ".example", ".invalid", ".localhost", "example.com", "example.org", "example.net")


# ── offers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _offers(project: Project) -> Iterator[tuple[Offer, Table]]:
    node = project.offers_node
    for entry in node or ():
        offer = project.definitions.offers.get(entry.key)
        if offer is not None and isinstance(entry.value, Table):
            yield offer, Table((entry,), entry.key_span)


@project_rule("F401", "offer-without-end")
def offer_without_end(project: Project) -> Iterator[Finding]:
    """An offer never ends.

    Its codes stay good for ever: they are collected on coupon sites, and `wait: {until: offer.NAME.expires_at}` exits,
    since there is no such moment.

    Before:

        ten-percent: {percent: 10, pattern: "TEA-########"}

    After:

        ten-percent: {percent: 10, pattern: "TEA-########", valid_for: 14d}
    """
    for offer, place in _offers(project):
        if offer.valid_for is None and offer.gives != "early_access":
            yield told(
                place.span,
                f'the offer "{offer.name}" has no end',
                effect="its codes are good for ever",
                help="add `valid_for: 14d`",
            )


@project_rule("F402", "code-can-be-guessed")
def code_can_be_guessed(project: Project) -> Iterator[Finding]:
    """The codes of an offer can be guessed.

    Each # is one of about 30 letters and digits. With fewer than six of them, trying codes at the till pays.

    Before:

        gift: {percent: 20, pattern: "A-####", valid_for: 7d}

    After:

        gift: {percent: 20, pattern: "A-########", valid_for: 7d}
    """
    for offer, place in _offers(project):
        if offer.pattern is not None and offer.pattern.count("#") < 6:
            yield told(place_of(place, "pattern"), "codes of this pattern can be guessed", effect="strangers find codes by trying",
                       help="use at least eight #")  # fmt: skip


@project_rule("F403", "unusual-discount")
def unusual_discount(project: Project) -> Iterator[Finding]:
    """An offer gives more than half of the price away.

    That may be meant. A slip here costs more than any other.

    Before:

        ten: {percent: 100, code: TEN, valid_for: 7d}

    After:

        ten: {percent: 10, code: TEN, valid_for: 7d}
    """
    for offer, place in _offers(project):
        if offer.gives == "percent" and Decimal(offer.value) > 50:
            yield told(
                place_of(place, "percent"),
                f"{offer.value} % is more than half of the price",
                help="check the number",
            )


@project_rule("F404", "offer-in-other-currency")
def offer_in_other_currency(project: Project) -> Iterator[Finding]:
    """An offer's amount is in another currency than the shop's.

    Before (in a shop with `currency = "EUR"`):

        five: {amount: 5 USD, code: FIVE}

    After:

        five: {amount: 5 EUR, code: FIVE}
    """
    for offer, place in _offers(project):
        currency = project.settings.shop.currency
        if offer.gives == "amount" and not offer.value.endswith(currency):
            yield told(
                place_of(place, "amount"),
                f"the shop sells in {currency}",
                help=f"write the amount in {currency}",
            )


@project_rule("F405", "unused-offer", "info")
def unused_offer(project: Project) -> Iterator[Finding]:
    """An offer that no flow gives.

    It may be kept for later. Remove it, or name it in a step: `offer: NAME`.

    Before:

        ten: {percent: 10, code: TEN, valid_for: 7d}        # and no step says `offer: ten`

    After:

        - {send: cart-offer, offer: ten}
    """
    used = {offer.when_empty for offer in project.definitions.offers.values()}
    for flow in project.definitions.flows.values():
        used |= {step.offer for step in flow.all_steps() if isinstance(step, Send) and step.offer}
        used |= {
            part.offer
            for clause in flow_clauses(flow)
            for part in walk(clause.condition)
            if isinstance(part, OfferIs)
        }
    for offer, place in _offers(project):
        if offer.name not in used and not has_errors(project.findings):
            yield told(
                place.span, f'no flow gives the offer "{offer.name}"', help="keep it for later, or remove it"
            )


@project_rule("F406", "shared-pool")
def shared_pool(project: Project) -> Iterator[Finding]:
    """Two offers take their codes from the same file.

    A code is given once, so it can belong to one of them only: the offer that comes first in the alphabet gets all of them,
    and the pool of the other stays empty.

    Before:

        autumn: {percent: 10, pool: codes.txt, valid_for: 7d}
        spring: {percent: 15, pool: codes.txt, valid_for: 7d}

    After:

        autumn: {percent: 10, pool: autumn.txt, valid_for: 7d}
        spring: {percent: 15, pool: spring.txt, valid_for: 7d}
    """
    owners: dict[str, str] = {}
    for offer, place in sorted(_offers(project), key=lambda pair: pair[0].name):
        if offer.pool is None:
            continue
        owner = owners.setdefault(os.path.normpath(offer.pool), offer.name)
        if owner != offer.name:
            yield told(place_of(place, "pool"), f'the codes of {offer.pool} belong to the offer "{owner}"',
                       effect=f'the pool of "{offer.name}" stays empty', help="give each offer a file of its own")  # fmt: skip


# ── policy ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def quiet_hours(look: Look) -> QuietHours | None:
    """Return the quiet hours that a flow's mails keep, or None."""
    if not look.is_marketing:
        return None
    own = look.flow.policy.quiet_hours
    return look.settings.policy.quiet_hours if own is None else QuietHours.parse(own)


def _is_quiet(hours: QuietHours | None, clock: time) -> bool:
    return (
        hours is not None
        and hours.ends(datetime(2026, 1, 15, clock.hour, clock.minute, tzinfo=UTC), "UTC") is not None
    )


@flow_rule("P201", "due-in-quiet-hours")
def due_in_quiet_hours(look: Look) -> Iterator[Finding]:
    """A mail is due at a time of day that lies in the quiet hours.

    It is put off until they end, each time, for everybody: the time that is written never comes true.

    Before (with quiet hours from 21:00 to 08:00):

        - wait: {until: "07:00"}

    After:

        - wait: {until: "08:00"}
    """
    hours = quiet_hours(look)
    for step in look.flow.all_steps():
        if isinstance(step, WaitClock) and _is_quiet(hours, step.clock):
            yield _quiet(step.span, step.clock, hours)
    for trigger in look.flow.triggers:
        span = look.trigger_place(trigger).span
        if isinstance(trigger, AnniversaryTrigger | DateTrigger):
            at = trigger.at or time(0, 0)
            if "at" in look.trigger_place(trigger) and _is_quiet(hours, at) and _starts_with_send(look):
                yield _quiet(place_of(look.trigger_place(trigger), "at"), at, hours)
        elif isinstance(trigger, ScheduleTrigger) and trigger.clock == "customer" and _starts_with_send(look):
            clocks = _clocks(trigger)
            if clocks and all(_is_quiet(hours, clock) for clock in clocks):
                yield _quiet(span, clocks[0], hours)


def _starts_with_send(look: Look) -> bool:
    return bool(look.flow.steps) and isinstance(look.flow.steps[0], Send)


def _clocks(trigger: ScheduleTrigger) -> list[time]:
    if trigger.once is not None:
        return [trigger.once.time()]
    cron = Cron.parse(trigger.cron or "")
    return [time(hour, minute) for hour in cron.hours for minute in cron.minutes]


def _quiet(span: Span, clock: time, hours: QuietHours | None) -> Finding:
    end = hours.end if hours is not None else clock
    return told(span, f"{clock:%H:%M} lies in the quiet hours", effect=f"every mail due then is put off until {end:%H:%M}",
                help=f'write "{end:%H:%M}" or later, or change the quiet hours')  # fmt: skip


@flow_rule("P202", "capped-by-itself")
def capped_by_itself(look: Look) -> Iterator[Finding]:
    """Two mails of one flow follow each other faster than the frequency cap allows.

    The second one is dropped as `capped`, for everybody.

    Before (with a cap of 1 per 16h):

        - send: first
        - wait: 4h
        - send: second

    After:

        - send: first
        - wait: 20h
        - send: second
    """
    caps = (
        look.settings.policy.caps
        if look.flow.policy.caps is None
        else tuple(map(Cap.parse, look.flow.policy.caps))
    )
    if not look.is_marketing or look.flow.policy.when_capped == "wait":
        return
    for steps in lists_of(look.flow.steps):
        for cap in caps:
            late = _too_soon(steps, cap)
            if late is not None:
                yield told(late[1].span, f"this mail comes sooner than the cap of {cap.count} per {cap.per} allows", second=late[0].span,
                           second_label="counted from here", effect="it is dropped for everybody",
                           help="wait longer before it, or say `policy: {when_capped: wait}`")  # fmt: skip
                return


def _too_soon(steps: tuple[Step, ...], cap: Cap) -> tuple[Step, Step] | None:
    """Return the mail that a run of mails is counted from, and the one too many, where only fixed waits lie between."""
    run: list[tuple[timedelta, Step]] = []
    clock = timedelta()
    for step in steps:
        if isinstance(step, WaitFor):
            clock += step.duration.approximate
        elif isinstance(step, Send):
            if step.only_if or len(step.templates) > 1:
                run, clock = [], timedelta()
                continue
            run.append((clock, step))
            if len(run) > cap.count and clock - run[-cap.count - 1][0] < cap.per.approximate:
                return run[-cap.count - 1][1], step
        else:
            run, clock = [], timedelta()
    return None


@flow_rule("P203", "too-late-by-morning")
def too_late_by_morning(look: Look) -> Iterator[Finding]:
    """A mail may be late by less time than the quiet hours last.

    What falls due in the evening waits until the morning, and is then too late.

    Before (with quiet hours from 21:00 to 08:00):

        max_lateness: 6h

    After:

        max_lateness: 12h
    """
    hours = quiet_hours(look)
    limit = look.flow.max_lateness or look.settings.policy.max_lateness
    if hours is None:
        return
    minutes = (hours.end.hour - hours.start.hour) * 60 + hours.end.minute - hours.start.minute
    night = timedelta(minutes=minutes % (24 * 60))
    if limit.approximate < night:
        place = look.value("max_lateness") if "max_lateness" in look.table else look.flow.span
        yield told(place, f"a mail may be {limit} late, and the quiet hours last longer",
                   effect="what falls due at night is never sent (`too_late`)", help="allow more, such as 12h")  # fmt: skip


# ── settings and delivery ────────────────────────────────────────────────────────────────────────────────────────────


def setting_place(project: Project, section: str, key: str = "") -> Span:
    """Return where a setting stands in homing.toml, else its section, else the first line."""
    return settings_place(project.root, *section.split("."), *([key] if key else []))


def _sends_marketing(project: Project) -> bool:
    return any(flow.kind == "marketing" for flow in project.definitions.flows.values())


@project_rule("S201", "no-postal-address")
def no_postal_address(project: Project) -> Iterator[Finding]:
    """The settings hold no postal address.

    The law wants one in every marketing mail (CAN-SPAM; the imprint duty in the EU). In sandbox this is a warning, in
    live mode an error.

    Before:

        [shop]
        name = "Kiyomi Tea"

    After:

        [shop]
        name = "Kiyomi Tea"
        postal_address = "1 Tea Street, 10115 Berlin"
    """
    if not project.settings.shop.postal_address.strip() and _sends_marketing(project):
        yield told(setting_place(project, "shop"), "there is no postal address", severity=_grave(project),
                   effect="marketing mails without one break the law", help='add `postal_address = "…"` to [shop]')  # fmt: skip


def _grave(project: Project) -> str:
    return "error" if project.settings.delivery.mode == "live" else "warning"


@project_rule("S202", "no-sender")
def no_sender(project: Project) -> Iterator[Finding]:
    """A sender has no address, so nothing can be sent in its name.

    Before:

        [sender]
        name = "Kiyomi Tea"

    After:

        [sender]
        name = "Kiyomi Tea"
        email = "hello@kiyomi-tea.com"
    """
    senders = {"": project.settings.sender, **project.settings.senders}
    for name, sender in senders.items():
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", sender.email) and (name or project.definitions.flows):
            section = f"senders.{name}" if name else "sender"
            what = (
                "has no address" if not sender.email.strip() else "has an address without an @ and a domain"
            )
            yield told(setting_place(project, section, "email"), f"[{section}] {what}", severity=_grave(project),
                       effect="no mail can leave in its name", help='write `email = "hello@YOUR-DOMAIN"`')  # fmt: skip


@project_rule("S203", "links-are-not-https")
def links_are_not_https(project: Project) -> Iterator[Finding]:
    """The address under which customers reach the shop's links is not https, or leads nowhere.

    One-click unsubscribing needs https (RFC 8058), and a link to localhost works on no phone.

    Before:

        [web]
        url = "http://localhost:8000"

    After:

        [web]
        url = "https://mail.kiyomi-tea.com"
    """
    base = project.settings.link_base
    local = re.match(r"https?://(localhost|127\.|0\.0\.0\.0|\[::1\])", base)
    if base.startswith("https://") and not local:
        return
    section = "web" if project.settings.web_url else "shop"
    why = "leads to this machine only" if local else "is not https"
    yield told(setting_place(project, section, "url"), f"the base of all links {why}", severity=_grave(project),
               effect="customers cannot unsubscribe with one click", help='write `url = "https://…"`')  # fmt: skip


@project_rule("S205", "unreadable-recommend-rule", "error")
def unreadable_recommend_rule(project: Project) -> Iterator[Finding]:
    """A rule for recommended products cannot be read.

    Each rule of `never`, `always` and `boost` is a table of tests on a product, all of which must hold: its fields, its
    `properties.NAME`, `tags` and `margin`. A boost says `by` how much, from 0.1 to 10.

    Before:

        [recommend]
        never = ["sale"]

    After:

        [recommend]
        never = [{tags = "sale"}]
    """
    yield from findings_of(project.settings)


@project_rule("S204", "no-protection")
def no_protection(project: Project) -> Iterator[Finding]:
    """Both frequency caps and quiet hours are switched off.

    Nothing then keeps several flows from mailing one customer on one day, or at night. People unsubscribe from shops
    that do.

    Before:

        [policy]
        quiet_hours = ""
        caps = []

    After:

        [policy]
        quiet_hours = "21:00-08:00"
        caps = ["1 per 16h", "4 per 7d"]
    """
    policy = project.settings.policy
    if not policy.caps and policy.quiet_hours is None and _sends_marketing(project):
        yield told(setting_place(project, "policy"), "neither caps nor quiet hours protect customers",
                   effect="one customer may get any number of mails, at any hour", help='set `caps = ["1 per 16h", "4 per 7d"]`')  # fmt: skip


@project_rule("D201", "live-into-the-mailbox")
def live_into_mailbox(project: Project) -> Iterator[Finding]:
    """Live mode delivers into the local mailbox.

    Mails are written into a folder on this machine; customers get none of them.

    Before:

        [delivery]
        mode = "live"
        provider = "mailbox"

    After:

        [delivery]
        mode = "live"
        provider = "smtp"
    """
    delivery = project.settings.delivery
    if delivery.mode == "live" and delivery.provider == "mailbox":
        yield told(setting_place(project, "delivery", "provider"), "live mails go into a folder on this machine",
                   effect="customers get none of them", help='choose `provider = "smtp"` or "sendgrid"')  # fmt: skip


@project_rule("D202", "unknown-provider", "error")
def unknown_provider(project: Project) -> Iterator[Finding]:
    """`[delivery] provider` names no provider that Homing knows.

    Known are `mailbox`, `smtp` and `sendgrid`.

    Before:

        provider = "sendgird"

    After:

        provider = "sendgrid"
    """
    name = project.settings.delivery.provider
    if name not in _PROVIDERS:
        hint = did_you_mean(name, _PROVIDERS)
        yield told(setting_place(project, "delivery", "provider"), f'there is no provider "{name}"', severity="error",
                   effect="nothing can be sent", help=hint or f"known: {', '.join(_PROVIDERS)}")  # fmt: skip


@project_rule("D203", "sender-of-a-free-mailer")
def sender_of_free_mailer(project: Project) -> Iterator[Finding]:
    """A sender's address belongs to a free mail service.

    Its DMARC policy forbids others to send in its name: the mails are refused, or land in spam. Use the shop's own domain.

    Before:

        [sender]
        email = "my-shop@gmail.com"

    After:

        [sender]
        email = "hello@my-shop.com"
    """
    for name, sender in {"": project.settings.sender, **project.settings.senders}.items():
        domain = sender.email.rpartition("@")[2].lower()
        if domain in _FREE_MAIL:
            section = f"senders.{name}" if name else "sender"
            yield told(setting_place(project, section, "email"), f"mails in the name of {domain} are refused",
                       effect="they land in spam, or nowhere", help="use an address of the shop's own domain")  # fmt: skip


@project_rule("D204", "sender-that-is-not-real")
def sender_not_real(project: Project) -> Iterator[Finding]:
    """Live mode sends in the name of a domain that is kept for examples.

    `.test`, `example.com` and the like belong to nobody; answers are lost and receivers refuse such mail.

    Before:

        [sender]
        email = "hello@example.com"

    After:

        [sender]
        email = "hello@my-shop.com"
    """
    if project.settings.delivery.mode != "live":
        return
    for name, sender in {"": project.settings.sender, **project.settings.senders}.items():
        if sender.email.lower().rstrip(">").endswith(_NOT_REAL):
            section = f"senders.{name}" if name else "sender"
            yield told(setting_place(project, section, "email"), "this sender's domain exists only in examples",
                       effect="receivers refuse the mails", help="write the shop's own address")  # fmt: skip
