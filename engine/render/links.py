"""Signed links: opaque tokens that name a message and a customer by number, never by address.

A token is base64url(payload + HMAC-SHA256 cut to 16 bytes); the payload is compact JSON. `SignedLinks` makes the links
of one mail; `read_token` gives back what a token says, or None for one that was not made with any of our secrets. The
newest secret signs, older ones still verify, so that keys can be changed without breaking mails already sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from engine.render.errors import RenderError
from engine.render.seal import seal, unseal

ACTIONS = {
    "u": "unsubscribe", "p": "preferences", "v": "view_in_browser", "a": "answer", "s": "snooze", "r": "click", "o": "open",
}  # fmt: skip
_CONTEXT = b"homing-link-1\x00"
_MAX_TOKEN = 2_000
_MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class Token:
    """What a link says: `action` is one of `ACTIONS`' values.

    `event` and `facts` belong to answers, `days` to snoozes, `number` to clicks: which of the mail's stored links it is.
    """

    action: str
    message_key: str
    customer_id: int
    topic: str = ""
    event: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    days: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class SignedLinks:
    """Makes the links of one mail under `base_url` (`[web] url`, without a slash at its end)."""

    base_url: str
    secret: bytes = field(repr=False)
    message_key: str
    customer_id: int
    topic: str = ""

    def unsubscribe(self) -> str:
        """Return `/u/TOKEN`: ends the mail's topic by POST, shows a page by GET."""
        return self._link("u")

    def preferences(self) -> str:
        """Return `/p/TOKEN`: the customer's topics."""
        return self._link("p")

    def view_in_browser(self) -> str:
        """Return `/v/TOKEN`: this mail as a page."""
        return self._link("v")

    def answer(self, event: str, **facts: object) -> str:
        """Return `/a/TOKEN`: a page whose button records `event` with the facts."""
        return self._link(
            "a", event, {name: _json_value(value) for name, value in facts.items() if value is not None}
        )

    def snooze(self, days: int) -> str:
        """Return `/s/TOKEN`: asks for the reminder that many days later (1 to 366)."""
        if type(days) is not int or not 1 <= days <= _MAX_DAYS:
            raise RenderError(f"links.snooze takes a number of days from 1 to {_MAX_DAYS}")
        return self._link("s", days)

    def click(self, number: int) -> str:
        """Return `/r/TOKEN`: leads to the mail's link of that number, which the message keeps; no address stands in it."""
        return self._link("r", number)

    def open(self) -> str:
        """Return `/o/TOKEN`: a picture of one point."""
        return self._link("o")

    def _link(self, action: str, *more: object) -> str:
        payload = f'["{action}",{_quoted(self.message_key)},{self.customer_id:d},{_quoted(self.topic)}'
        payload += f",{_written(more)[1:]}" if more else "]"
        token = seal(self.secret, _CONTEXT, payload.encode())
        if len(token) > _MAX_TOKEN:
            raise RenderError("a link carries too much; give links.answer fewer or shorter facts")
        return f"{self.base_url.rstrip('/')}/{action}/{token}"


_written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring  # what it writes for one text, at once


def read_token(secrets: bytes | Sequence[bytes], token: str, action: str) -> Token | None:
    """Return what a token says, or None where it is forged, broken, or made for another action.

    `action` is the letter of the path it came by (one of `ACTIONS`): a link to a page never unsubscribes.
    """
    if not token.isascii() or len(token) > _MAX_TOKEN or action not in ACTIONS:
        return None
    payload = unseal([secrets] if isinstance(secrets, bytes) else secrets, _CONTEXT, token)
    return None if payload is None else _parsed(payload, action)


def _parsed(payload: bytes, action: str) -> Token | None:
    letter, key, customer, topic, *more = json.loads(payload)
    if letter != action:
        return None
    token = Token(ACTIONS[letter], key, customer, topic)
    if letter == "a":
        return Token(token.action, key, customer, topic, event=more[0], facts=more[1])
    if letter == "r":
        return Token(token.action, key, customer, topic, number=more[0])
    return Token(token.action, key, customer, topic, days=more[0]) if letter == "s" else token


def _json_value(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value if isinstance(value, (bool, int, float)) else str(value)
