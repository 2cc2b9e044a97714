"""The finished mail: what was rendered, with its addresses and headers' values.

A `Rendered` and the facts of one message come in; a frozen `Mail` goes out, ready for any provider. The Message-ID and
the List-Id follow from the message key and the shop alone, so that making a mail again gives the same ones.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from engine.render.context import LinkMaker
from engine.render.errors import RenderError
from engine.render.mail import Address, Kind, Mail
from engine.render.render import Rendered, one_line


@dataclass(frozen=True, slots=True)
class Envelope:
    """The facts of one message that a mail needs beside its content.

    `key` is the message key; `date` the moment of the hand-over (aware); `shop_url` names the list in List-Id;
    `metadata` holds flow, version, step, message and customer.
    """

    key: str
    to: Address
    sender: Address
    date: datetime
    kind: Kind = "marketing"
    topic: str = ""
    shop_url: str = ""
    reply_to: Address | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def compose(rendered: Rendered, envelope: Envelope, links: LinkMaker) -> Mail:
    """Return the mail to hand over; raise RenderError where an address is none.

    Marketing mail gets its one-click unsubscribe link and List-Id; transactional mail has neither.
    """
    marketing = envelope.kind == "marketing"
    sender = _clean(envelope.sender)
    return Mail(
        key=envelope.key,
        message_id=message_id(envelope.key, sender.email),
        sender=sender,
        to=_clean(envelope.to),
        subject=rendered.subject,
        html=rendered.html,
        text=rendered.text,
        date=envelope.date,
        kind=envelope.kind,
        reply_to=_clean(envelope.reply_to) if envelope.reply_to else None,
        unsubscribe_url=links.unsubscribe() if marketing else "",
        list_id=list_id(envelope.topic, envelope.shop_url, sender.email) if marketing else "",
        preheader=rendered.preheader,
        locale=rendered.locale,
        metadata={name: one_line(value) for name, value in envelope.metadata.items()},
    )


def message_id(key: str, sender: str) -> str:
    """Return the Message-ID of a message key, in angle brackets, under the sender's domain.

    >>> message_id("k1", "hello@kiyomi.test")
    '<6ab9f1eb8f7d3388f4f9d586f66e99fd@kiyomi.test>'
    """
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{_domain(sender)}>"


def list_id(topic: str, shop_url: str, sender: str) -> str:
    """Return the content of List-Id for a topic: `<reminders.kiyomi.test>`."""
    host = urlsplit(shop_url).hostname or _domain(sender)
    label = re.sub(r"[^a-z0-9-]+", "-", topic.lower()).strip("-") or "mail"
    return f"<{label}.{host}>"


def _domain(address: str) -> str:
    domain = address.rpartition("@")[2].strip().lower()
    return domain if domain.isascii() else domain.encode("idna").decode("ascii")


def _clean(address: Address) -> Address:
    """Return the address with a display name of one line; refuse an email that could break a header."""
    email = address.email.strip()
    if email.count("@") != 1 or not email.isprintable() or re.search(r"[\s<>,;:\"()\[\]\\]", email):
        raise RenderError("an address of this mail is no email address")
    return Address(email, one_line(address.name))
