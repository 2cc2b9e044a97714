"""Delivery reports of mail servers (RFC 3464), and complaints in the format of RFC 5965 (ARF).

Comes in: the bytes of one mail from the mailbox that bounces go to. Goes out: delivery events, none for a mail that is no
report. A report is told by its parts alone, never by the words in it; `Action: failed` with a 5.x.x status is hard where
the status speaks of the address (5.1.x, 5.2.1), else soft. The mail is found by the Message-ID in the headers that came back.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

from engine.delivery.outcome import plain
from engine.feedback.event import DeliveryEvent, Kind

LARGEST = 5 * 1024 * 1024
_KINDS: dict[str, Kind] = {
    "failed": "bounced",
    "delayed": "deferred",
    "delivered": "delivered",
    "relayed": "delivered",
}
_MESSAGE_ID = re.compile(r"<[^<>\s@]{1,200}@[^<>\s@]{1,200}>")
_STATUS = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})")


def events_of(mail: bytes, received: datetime) -> list[DeliveryEvent]:
    """Return what a report says, for each of its recipients; an empty list where the mail is no report."""
    parsed = email.message_from_bytes(mail[:LARGEST], policy=email.policy.compat32)
    if parsed.get_content_type() != "multipart/report":
        return []
    parts = list(_parts(parsed))
    message_id = _original(parts)
    found: list[DeliveryEvent] = []
    for part in parts:
        kind = part.get_content_type()
        if kind in ("message/delivery-status", "message/global-delivery-status"):
            found += _delivery(part, message_id, _dated(parsed, received))
        elif kind == "message/feedback-report":
            found += _complaint(part, message_id, _dated(parsed, received))
    return found


def _parts(message: Message) -> Iterator[Message]:
    payload = message.get_payload()
    if isinstance(payload, list):
        yield from (part for part in payload if isinstance(part, Message))


def _original(parts: list[Message]) -> str:
    """Return the Message-ID of the mail that came back, whole or its headers only."""
    for part in reversed(parts):
        kind = part.get_content_type()
        if kind in ("message/rfc822", "message/global"):
            inner = next(_parts(part), None)
            found = _MESSAGE_ID.search(str(inner.get("Message-ID", ""))) if inner is not None else None
        elif kind in ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers"):
            body = part.get_payload(decode=True)
            text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(part.get_payload())
            found = _MESSAGE_ID.search(str(email.message_from_string(text).get("Message-ID", "")))
        else:
            continue
        if found is not None:
            return found[0]
    return ""


def _blocks(part: Message) -> list[Message]:
    """Return the blocks of headers in a status part; the first is about the whole mail."""
    return list(_parts(part))


def _delivery(part: Message, message_id: str, at: datetime) -> Iterator[DeliveryEvent]:
    for block in _blocks(part)[1:] or _blocks(part):
        kind = _KINDS.get(str(block.get("Action", "")).strip().lower())
        if kind is None:
            continue
        status = _STATUS.match(str(block.get("Status", "")))
        address = _recipient(block)
        reason = plain(str(block.get("Diagnostic-Code") or block.get("Status") or ""))
        yield DeliveryEvent(
            key=_key("dsn", kind, message_id, address, str(block.get("Status", "")), at), kind=kind, at=at,
            message_id=message_id, address=address, reason=reason, hard=kind == "bounced" and _speaks_of_address(status),
            raw={"event": "dsn", "status": status[0].strip() if status else None, "reason": reason},
        )  # fmt: skip


def _speaks_of_address(status: re.Match[str] | None) -> bool:
    return (
        status is not None and status[1] == "5" and (status[2] == "1" or (status[2], status[3]) == ("2", "1"))
    )


def _complaint(part: Message, message_id: str, at: datetime) -> Iterator[DeliveryEvent]:
    blocks = _blocks(part)
    text = part.get_payload(decode=True)
    block = blocks[0] if blocks else email.message_from_bytes(text if isinstance(text, bytes) else b"")
    if str(block.get("Feedback-Type", "")).strip().lower() == "abuse":
        address = _plain_address(str(block.get("Original-Rcpt-To", "")))
        yield DeliveryEvent(
            key=_key("arf", "complained", message_id, address, "", at), kind="complained", at=at, message_id=message_id,
            address=address, reason="called spam", raw={"event": "arf"},
        )  # fmt: skip


def _recipient(block: Message) -> str:
    told = str(block.get("Original-Recipient") or block.get("Final-Recipient") or "")
    return _plain_address(told.partition(";")[2] or told)


def _plain_address(text: str) -> str:
    address = text.strip().strip("<>").lower()
    return address if address.count("@") == 1 and address.isprintable() and " " not in address else ""


def _dated(message: Message, received: datetime) -> datetime:
    try:
        at = parsedate_to_datetime(str(message.get("Date", "")))
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return min(at.astimezone(UTC), received)
    except (ValueError, TypeError, OverflowError):
        return received


def _key(source: str, kind: str, message_id: str, address: str, status: str, at: datetime) -> str:
    # A mail without a Message-ID of ours is told from others by its time.
    named = "\x1f".join((kind, message_id or at.isoformat(), address, status))
    return f"{source}:{hashlib.blake2b(named.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
