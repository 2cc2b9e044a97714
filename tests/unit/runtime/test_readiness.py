"""DNS advice: the records that a sender's domain needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.runtime.readiness import dns_records
from engine.settings import Delivery, Sender, Settings

SHOP = Settings(Path(), sender=Sender("hello@kiyomi.test"))


def test_each_domain_is_told_once() -> None:
    """SPF, DKIM and DMARC for every sender's domain; two senders of one domain need one set, none needs nothing."""
    two = replace(
        SHOP,
        senders={"founder": Sender("k@kiyomi.test"), "care": Sender("care@bücher.test"), "none": Sender()},
    )
    names = [record.name for record in dns_records(two)]
    assert names == [
        "kiyomi.test", "SELECTOR._domainkey.kiyomi.test", "_dmarc.kiyomi.test",
        "xn--bcher-kva.test", "SELECTOR._domainkey.xn--bcher-kva.test", "_dmarc.xn--bcher-kva.test",
    ]  # fmt: skip


def test_the_records_are_the_provider_s() -> None:
    """SendGrid is set up by CNAMEs; with SMTP the server itself is named in SPF."""
    sendgrid = dns_records(replace(SHOP, delivery=Delivery(provider="sendgrid")))
    assert [record.kind for record in sendgrid] == ["CNAME", "CNAME", "CNAME", "TXT"]
    smtp = dns_records(
        replace(SHOP, delivery=Delivery(provider="smtp", options={"host": "mail.kiyomi.test"}))
    )
    assert "a:mail.kiyomi.test" in smtp[0].value
