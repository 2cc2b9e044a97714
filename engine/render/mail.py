"""One finished mail: the value between rendering and delivery.

`Mail` is everything a provider needs and nothing that it has to look up. It is made by `engine.render`
for one message and handed over by `engine.delivery`; it never changes on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Kind = Literal["marketing", "transactional"]


@dataclass(frozen=True, slots=True)
class Address:
    """An email address with an optional display name, both as text (not yet encoded)."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A rendered mail for exactly one recipient.

    `key` is the message key (unique in the ledger); `message_id` is the Message-ID header with its angle brackets, made
    from the key. `date` is the moment of the hand-over (aware). `unsubscribe_url` is the https URL of the RFC 8058 pair,
    and is empty for transactional mail only. `list_id` is the content of List-Id. `metadata` holds flow, version, step,
    message and customer: headers in the local mailbox, custom arguments at a provider.
    """

    key: str
    message_id: str
    sender: Address
    to: Address
    subject: str
    html: str
    text: str
    date: datetime
    kind: Kind = "marketing"
    reply_to: Address | None = None
    unsubscribe_url: str = ""
    list_id: str = ""
    preheader: str = ""
    locale: str = "en"
    metadata: dict[str, str] = field(default_factory=dict)
