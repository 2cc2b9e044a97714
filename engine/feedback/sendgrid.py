"""SendGrid's event webhook: whether it is SendGrid's, and what it says.

Comes in: the raw bytes of a request with its signature and timestamp. Goes out: delivery events, and what of the request
could not be understood. Promises: the signature is of the bytes as they came (a trailing line break belongs to them), old
and future timestamps are refused, any of several public keys will do, and no shape of an event raises.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from engine.delivery.outcome import plain
from engine.feedback.event import DeliveryEvent, Kind
from engine.feedback.machines import is_program

FRESH = timedelta(hours=25)  # SendGrid tries for 24 hours
AHEAD = timedelta(minutes=5)
_KINDS: Mapping[str, Kind] = {
    "processed": "processed", "deferred": "deferred", "delivered": "delivered", "bounce": "bounced", "dropped": "dropped",
    "open": "opened", "click": "clicked", "spamreport": "complained", "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed", "group_resubscribe": "resubscribed",
}  # fmt: skip
_BAD_ADDRESS = ("bounced address", "invalid")
_KEPT = (
    "event",
    "timestamp",
    "type",
    "reason",
    "status",
    "response",
    "attempt",
    "sg_event_id",
    "sg_message_id",
    "url_offset",
)


def is_genuine(keys: Iterable[str], signature: str, timestamp: str, body: bytes, now: datetime) -> bool:
    """Return whether any of the public keys (base64 DER) signed these bytes at that time, not long ago."""
    if not timestamp.isdecimal() or len(timestamp) > 12:
        return False
    at = datetime.fromtimestamp(int(timestamp), UTC)
    if not now - FRESH <= at <= now + AHEAD:
        return False
    try:
        signed = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return any(_fits(key, signed, timestamp.encode() + body) for key in keys)


def _fits(key: str, signed: bytes, content: bytes) -> bool:
    try:
        public = load_der_public_key(base64.b64decode(key, validate=True))
        if not isinstance(public, EllipticCurvePublicKey):
            return False
        public.verify(signed, content, ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def events_of(body: bytes) -> tuple[list[DeliveryEvent], list[tuple[Any, str]]]:
    """Return the events of a request in the order of their time, and what could not be understood with the reason."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return [], [(body.decode("utf-8", "replace"), "the body is no JSON")]
    if not isinstance(told, list):
        told = [told]
    events: list[DeliveryEvent] = []
    unusable: list[tuple[Any, str]] = []
    for item in told:
        found = _event(item)
        if isinstance(found, str):
            unusable.append((item, found))
        else:
            events.append(found)
    return sorted(events, key=lambda event: event.at), unusable


def _event(item: Any) -> DeliveryEvent | str:
    if not isinstance(item, Mapping):
        return "an event is a JSON object"
    kind = _KINDS.get(str(item.get("event")))
    if kind is None:
        return "this kind of event is not known"
    at = _moment(item.get("timestamp"))
    if at is None:
        return "the timestamp is no time"
    message_id = str(item.get("smtp-id") or "")
    reason = plain(str(item.get("reason") or item.get("response") or ""))
    blocked = kind == "bounced" and item.get("type") == "blocked"
    bad = kind == "dropped" and reason.lower().startswith(_BAD_ADDRESS)
    return DeliveryEvent(
        key=_key(item), kind=kind, at=at, message_key=_text(item.get("homing_message")), message_id=message_id,
        provider_id=_text(item.get("sg_message_id")).partition(".")[0], address=_text(item.get("email")).strip().lower(),
        reason=reason, hard=(kind == "bounced" and not blocked) or bad, machine=_by_machine(item),
        raw={name: _short(item[name]) for name in _KEPT if name in item},
    )  # fmt: skip


def _key(item: Mapping[str, Any]) -> str:
    told = _text(item.get("sg_event_id"))
    if told:
        return f"sendgrid:{told}"[:200]
    named = json.dumps(
        [item.get(name) for name in ("event", "sg_message_id", "email", "timestamp", "reason")], default=str
    )
    return "sendgrid:#" + hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _by_machine(item: Mapping[str, Any]) -> bool:
    agent = _text(item.get("useragent"))
    return item.get("sg_machine_open") is True or (bool(agent) and is_program(agent))


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromtimestamp(float(str(value)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if 2000 < moment.year < 2200 else None


def _text(value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "".join(letter for letter in text if letter.isprintable())[:500]


def _short(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value if isinstance(value, int | float) else None
