"""Whether an installation could mail customers: sender, addresses, provider, links, and the DNS records it needs.

Comes in: settings and the environment. Goes out: findings, and DNS records as advice. Promises: asks the provider
without sending, looks nothing up in DNS, and shows no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from engine.delivery.addresses import UnsafeMail, addr_spec
from engine.delivery.provider import make_provider
from engine.diagnostics import Finding, Severity
from engine.errors import UsageError
from engine.runtime import problems
from engine.runtime.opening import MAILBOX
from engine.settings import Settings


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record that the sender's domain should have, and what for."""

    kind: str
    name: str
    value: str
    why: str


def findings(settings: Settings, environ: Mapping[str, str], *, live: bool) -> list[Finding]:
    """Return what keeps this installation from mailing customers; in the sandbox some of it is only worth a warning."""
    return [
        *_senders(settings),
        *_addresses(settings, live=live),
        *_provider(settings, environ, live=live),
    ]


def _senders(settings: Settings) -> Iterator[Finding]:
    senders = {
        "sender": settings.sender,
        **{f"senders.{name}": own for name, own in settings.senders.items()},
    }
    for section, sender in senders.items():
        if not sender.email:
            yield problems.no_sender(section, "it is empty")
            continue
        try:
            addr_spec(sender.email)
        except UnsafeMail as refusal:
            yield problems.no_sender(section, str(refusal))


def _addresses(settings: Settings, *, live: bool) -> Iterator[Finding]:
    severity: Severity = "error" if live else "warning"
    if not settings.shop.postal_address.strip():
        yield problems.no_postal_address(severity)
    places = {"shop": settings.shop.url} | ({"web": settings.web_url} if settings.web_url else {})
    for section, url in places.items():
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            yield problems.links_without_https(section, severity)


def _provider(settings: Settings, environ: Mapping[str, str], *, live: bool) -> Iterator[Finding]:
    delivery = settings.delivery
    if delivery.provider == MAILBOX and live:
        yield problems.provider_is_mailbox()
    try:
        provider = make_provider(delivery.provider, delivery.options, environ=environ, project=settings.root)
    except UsageError as error:
        yield problems.provider_not_ready(str(error))
        return
    try:
        for sentence in provider.check():
            yield problems.provider_not_ready(sentence)
    finally:
        provider.close()


def dns_records(settings: Settings) -> list[DnsRecord]:
    """Return the records that the domains of all senders should have, each domain once."""
    domains: dict[str, None] = {}
    for sender in (settings.sender, *settings.senders.values()):
        try:
            domains[addr_spec(sender.email).rpartition("@")[2].lower()] = None
        except UnsafeMail:
            continue
    return [record for domain in domains for record in _records(domain, settings)]


def _records(domain: str, settings: Settings) -> list[DnsRecord]:
    provider = settings.delivery.provider
    policy = DnsRecord(
        "TXT", f"_dmarc.{domain}", "v=DMARC1; p=none",
        "DMARC: what receivers do with mail that fails; begin with p=none, then quarantine (add rua=mailto:… for reports)",
    )  # fmt: skip
    if provider == "sendgrid":
        return [
            DnsRecord("CNAME", f"em0000.{domain}", "u0000.wl.sendgrid.net", "SPF by SendGrid's return path; its domain authentication shows your numbers"),
            DnsRecord("CNAME", f"s1._domainkey.{domain}", "s1.domainkey.u0000.wl.sendgrid.net", "DKIM: signs each mail; SendGrid shows your own value"),
            DnsRecord("CNAME", f"s2._domainkey.{domain}", "s2.domainkey.u0000.wl.sendgrid.net", "DKIM: the second key, for changing them"),
            policy,
        ]  # fmt: skip
    host = str(settings.delivery.options.get("host") or "the provider's host")
    return [
        DnsRecord("TXT", domain, f"v=spf1 a:{host} ~all" if provider == "smtp" else "v=spf1 include:PROVIDER ~all", "SPF: who may send for this domain; a provider that names its own `include:` wants that one"),
        DnsRecord("TXT", f"SELECTOR._domainkey.{domain}", "v=DKIM1; k=rsa; p=PUBLIC-KEY", "DKIM: signs each mail; the provider or the mail server gives selector and key"),
        policy,
    ]  # fmt: skip
