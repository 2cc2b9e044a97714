"""Tickets: signed tokens of pages that belong to no mail of a flow, such as confirming a sign-up; each ends on a day.

A ticket is base64url(payload + HMAC-SHA256 cut to 16 bytes), under another context than the links in flows' mails, so
that neither passes for the other. It names a customer by number, never by address.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.render.seal import seal, unseal

_CONTEXT = b"homing-ticket-1\x00"
_LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says: what for, for whom, until when (seconds since 1970), and words that belong to it."""

    purpose: str
    customer_id: int
    until: int
    words: tuple[str, ...] = ()


def write(secret: bytes, ticket: Ticket) -> str:
    """Return the ticket as text for a URL."""
    payload = json.dumps(
        [ticket.purpose, ticket.customer_id, ticket.until, *ticket.words], separators=(",", ":")
    ).encode()
    return seal(secret, _CONTEXT, payload)


def read(secrets: Sequence[bytes], text: str, purpose: str) -> Ticket | None:
    """Return what a ticket says, or None where it is none of ours or for something else; it may be too old."""
    if not text.isascii() or len(text) > _LONGEST:
        return None
    payload = unseal(secrets, _CONTEXT, text)
    if payload is None:
        return None
    told, customer_id, until, *words = json.loads(payload)
    return Ticket(told, customer_id, until, tuple(words)) if told == purpose else None


def is_late(ticket: Ticket, now: datetime) -> bool:
    """Return whether the ticket's day has passed."""
    return now.timestamp() > ticket.until
