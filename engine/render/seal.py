"""Sealing: bytes become text for a URL that nobody else can write or read, and that can be read in one way only.

Comes in: bytes, a secret, a context that keeps one use of the secret from another. Promises: any change of any letter makes
the text unreadable, the last one included, whose bits to spare another letter could fill; without the secret nothing is
told of the payload but its length. The seal of the payload is what hides it (a synthetic IV, as in RFC 5297): the same
bytes give the same text, which links need, and no other text tells that two begin alike.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _hashlib import HASH, HASHXOF

    _Begun = tuple[HASH, HASH, HASHXOF]

MAC_BYTES = 16


def seal(secret: bytes, context: bytes, payload: bytes) -> str:
    """Return the payload, hidden, and its seal as URL-safe letters.

    Never two hyphens in a row, which a comment of HTML must not hold: one byte more is chosen so.
    """
    begun = _begun(secret, context)
    for spare in _SPARE:
        mac = _mac(begun, payload + spare)
        text = _written(mac + _hidden(begun, mac, payload + spare))
        if "--" not in text:
            break
    return text


def unseal(secrets: Sequence[bytes], context: bytes, text: str) -> bytes | None:
    """Return the payload, or None where none of the secrets sealed this text."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if _written(raw) != text:
        return None
    mac, hidden = raw[:MAC_BYTES], raw[MAC_BYTES:]
    found: bytes | None = None
    for secret in secrets:  # all of them: no hint which one fits
        begun = _begun(secret, context)
        payload = _hidden(begun, mac, hidden)
        if hmac.compare_digest(_mac(begun, payload), mac):
            found = payload[:-1]
    return found


def _hidden(begun: _Begun, mac: bytes, payload: bytes) -> bytes:
    """Return the payload under a stream of SHAKE-256 that secret, context and seal begin; done twice, it is bare again."""
    stream = begun[2].copy()
    stream.update(mac)
    long = len(payload)
    under = int.from_bytes(payload, "big") ^ int.from_bytes(stream.digest(long), "big")
    return under.to_bytes(long, "big")


def _written(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).translate(_FOR_URLS, b"=").decode("ascii")


def _mac(begun: _Begun, payload: bytes) -> bytes:
    """Return the HMAC of the payload in its context, cut."""
    inside, around = begun[0].copy(), begun[1].copy()
    inside.update(payload)
    around.update(inside.digest())
    return around.digest()[:MAC_BYTES]


@lru_cache(maxsize=32)
def _begun(secret: bytes, context: bytes) -> _Begun:
    """Return HMAC-SHA256's two hashes (RFC 2104) as they are before any payload, and the stream before any seal.

    Setting them up takes longest. The secret is not the key of the stream itself.
    """
    key = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
    inner, outer = hashlib.sha256(key.translate(_INNER)), hashlib.sha256(key.translate(_OUTER))
    inner.update(context)
    return inner, outer, hashlib.shake_256(hmac.digest(secret, b"hide\0" + context, "sha256"))


_FOR_URLS = bytes.maketrans(b"+/", b"-_")
_SPARE = tuple(bytes((byte,)) for byte in range(256))
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
