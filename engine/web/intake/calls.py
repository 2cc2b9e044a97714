"""Segment's calls as values: checked, dated, and with who made them.

Comes in: the JSON of one request, as real clients send it (explicit nulls, traits in the context, numbers as ids). Goes
out: `Call`s in the order of their time, or `Refused` with the status that the client understands. The moment of a call is
corrected by what the client's clock says it is now: received − (sentAt − timestamp), and never lies ahead.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.facts.fact import iso

LARGEST_BATCH = 500 * 1024
LARGEST_CALL = 32 * 1024
MOST_CALLS = 2_500
LONGEST_ID = 255
LONGEST_MESSAGE_ID = 100
TYPES = ("identify", "track", "page", "screen", "group", "alias")
TOLD_BY = "homing"  # beside a call that is kept: its key, and whether that may grant; no client can say it
SHORT = {"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias", "b": "batch"}


class Refused(Exception):
    """A request that is not taken; `status` and a plain reason for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `content` is what the client sent with its corrected `timestamp`; `person` is empty for a visitor.

    `person` is the user id, else the email among the traits; `visitor` the anonymous id, `previous` what alias renames.
    `key` is the name of the write key, `may_grant` whether it may say that a customer agreed to mails.
    """

    type: str
    at: datetime
    person: str
    visitor: str
    message_id: str
    content: Mapping[str, Any]
    previous: str = ""
    key: str = ""
    may_grant: bool = False


def as_kept(content: Mapping[str, Any], key: str, *, may_grant: bool) -> dict[str, Any]:
    """Return what a client sent with who told it, as it is kept until it is taken; what the client itself says there is lost."""
    return {**content, TOLD_BY: [key, may_grant]}


def kept_by(kept: dict[str, Any]) -> tuple[str, bool]:
    """Take from a kept call by which key it came and whether that might grant a consent then; no key for what has no mark."""
    key, may_grant = kept.pop(TOLD_BY, None) or ("", False)
    return str(key), may_grant is True


def unpacked(body: bytes, encoding: str, most: int = LARGEST_BATCH) -> bytes:
    """Return a body as it was before gzip; raise Refused where it is too large or broken."""
    if encoding.strip().lower() != "gzip" and body[:2] != b"\x1f\x8b":
        if len(body) > most:
            raise Refused(413, f"a request has at most {most // 1024} KB")
        return body
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(body, most + 1)
    except zlib.error:
        raise Refused(400, "the body is no gzip") from None
    if len(plain) > most:
        raise Refused(413, f"a request has at most {most // 1024} KB")
    if not unzip.eof:
        raise Refused(400, "the body is no whole gzip")
    return plain


def parsed(body: bytes) -> dict[str, Any]:
    """Return the request's JSON object; raise Refused where it is none."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(told, dict):
        raise Refused(400, "the body is no JSON object")
    return told


def calls_of(
    kind: str, told: Mapping[str, Any], received: datetime
) -> tuple[list[Call], list[tuple[Any, str]]]:
    """Return the calls of a request in the order of their time, and those that cannot be used with the reason why.

    `kind` is the path's word; a single call that cannot be used, and a batch that is none, raise Refused.
    """
    sent = _moment(told.get("sentAt"))
    if kind != "batch":
        found = _call(kind, told, sent, received)
        if isinstance(found, str):
            raise Refused(400, found)
        return [found], []
    batch = told.get("batch")
    if not isinstance(batch, list):
        raise Refused(400, "batch is no list")
    if len(batch) > MOST_CALLS:
        raise Refused(400, f"a batch has at most {MOST_CALLS:,} calls")
    calls: list[Call] = []
    unusable: list[tuple[Any, str]] = []
    context = told.get("context")
    for item in batch:
        if isinstance(item, dict) and isinstance(context, dict) and not item.get("context"):
            item = {**item, "context": context}  # noqa: PLW2901 - a batch's context is that of its calls
        found = _call(None, item, sent, received)
        if isinstance(found, str):
            unusable.append((item, found))
        else:
            calls.append(found)
    calls.sort(key=lambda call: call.at)
    return calls, unusable


def too_large(told: Mapping[str, Any], body: bytes) -> bool:
    """Return whether any call of a request is over the limit of one."""
    if len(body) <= LARGEST_CALL:
        return False
    batch = told.get("batch")
    calls: Sequence[Any] = batch if isinstance(batch, list) else [told]
    return any(
        len(json.dumps(call, ensure_ascii=False).encode("utf-8", "replace")) > LARGEST_CALL for call in calls
    )


def _call(kind: str | None, told: Any, sent: datetime | None, received: datetime) -> Call | str:
    if not isinstance(told, dict):
        return "a call is a JSON object"
    kind = kind or told.get("type")
    if kind not in TYPES:
        return f"type is one of {', '.join(TYPES)}"
    person, visitor = _id(told.get("userId")), _id(told.get("anonymousId"))
    if person is None or visitor is None:
        return f"an id is text of at most {LONGEST_ID} characters that can be seen"
    if not person:
        person = _address(told)
    if not person and not visitor:
        return "userId or anonymousId is required"
    message_id = told.get("messageId")
    if message_id is not None and (not isinstance(message_id, str) or len(message_id) > LONGEST_MESSAGE_ID):
        return f"messageId is text of at most {LONGEST_MESSAGE_ID} characters"
    if kind == "track" and not (isinstance(told.get("event"), str) and told["event"].strip()):
        return "track needs an event"
    previous = _id(told.get("previousId"))
    if kind == "alias" and not (previous and person):
        return "alias needs previousId and userId"
    at = _corrected(told, _moment(told.get("sentAt")) or sent, received)
    content = {name: value for name, value in told.items() if name in _KEPT and value is not None}
    content |= {"type": kind, "timestamp": iso(at)}
    if not person:
        content.pop("userId", None)
    return Call(kind, at, person, visitor, message_id or "", content, previous or "")


_KEPT = frozenset({"userId", "event", "name", "properties", "traits", "messageId", "groupId", "context"})


def _id(value: Any) -> str | None:
    """Return an id as text, empty where there is none, None where it is none that can be kept."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    return text if len(text) <= LONGEST_ID and text.isprintable() else None


def _address(told: Mapping[str, Any]) -> str:
    """Return the email among the traits, of the call or of its context."""
    context = told.get("context")
    for traits in (told.get("traits"), context.get("traits") if isinstance(context, dict) else None):
        if isinstance(traits, dict) and isinstance(traits.get("email"), str) and "@" in traits["email"]:
            return str(traits["email"]).strip()
    return ""


def _corrected(told: Mapping[str, Any], sent: datetime | None, received: datetime) -> datetime:
    original = _moment(told.get("originalTimestamp")) or _moment(told.get("timestamp"))
    if original is None:
        return received
    if sent is None:
        return min(original, received)
    return received - max(sent - original, timedelta(0))


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        return None
    return moment if 1990 < moment.year < 2200 else None
