"""Rules about settings and delivery: what the law asks for, what protects customers, who takes the mails."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.diagnostics import Finding, Span, did_you_mean
from engine.flows.load import Project
from engine.flows.recommend_rules import findings_of
from engine.flows.rules.registry import project_rule, told
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
_LOCALE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_]([A-Za-z]{2}|\d{2,3}))?")
_NOT_REAL = (".test", ".example", ".invalid", ".localhost", "example.com", "example.org", "example.net")


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


@project_rule("S206", "no-currency")
def no_currency(project: Project) -> Iterator[Finding]:
    """`[shop] currency` is no currency as it is written.

    Currencies are ISO 4217 codes of three capital letters: `EUR`, `USD`, `JPY`. `spent` counts what was paid in the shop's
    currency, and offers of an amount are given in it.

    Before:

        [shop]
        currency = "eur"

    After:

        [shop]
        currency = "EUR"
    """
    from babel.core import get_global  # noqa: PLC0415 - of what other commands never ask

    written, known = project.settings.shop.currency, get_global("all_currencies")
    if written not in known:
        code = written.strip().upper()
        yield told(setting_place(project, "shop", "currency"), f'"{written}" is no currency',
                   effect="no order counts for `spent`, which stays 0 for everybody",
                   help=f'write "{code}"' if code in known else "write its code of three capital letters, such as EUR")  # fmt: skip


@project_rule("S207", "no-locale")
def no_locale(project: Project) -> Iterator[Finding]:
    """`[shop] locale` names no language, or no country, that is known.

    A locale is a language, with its script and country where they matter: `de`, `en-GB`, `zh-Hant-TW`. Customers without a
    language of their own get the shop's words, dates and prices in it.

    Before:

        [shop]
        locale = "en-UK"

    After:

        [shop]
        locale = "en-GB"
    """
    from babel import Locale, localedata  # noqa: PLC0415 - of what other commands never ask

    written = project.settings.shop.locale
    match = _LOCALE.fullmatch(written.strip())
    language, region = (match[1].lower(), (match[2] or "").upper()) if match else ("", "")
    if not match or not localedata.exists(language):
        yield told(setting_place(project, "shop", "locale"), f'"{written}" is no locale that is known', help="write a language such as de, en-GB or zh-Hant-TW",
                   effect="dates and prices are written in English")  # fmt: skip
    elif region and region not in Locale("en").territories:
        meant = f"{language}-GB" if region == "UK" else language
        yield told(setting_place(project, "shop", "locale"), f'"{written}" names no country that is known', help=f'write "{meant}"',
                   effect=f'dates and prices are written as for "{language}"')  # fmt: skip


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
