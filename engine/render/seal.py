"""Sealing: bytes become text for a URL that nobody else can write, and that can be read in one way only.

Comes in: bytes, a secret, a context that keeps one use of the secret from another. Promises: any change of any letter makes
the text unreadable, the last one included, whose bits to spare another letter could fill.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache

MAC_BYTES = 16


def seal(secret: bytes, context: bytes, payload: bytes) -> str:
    """Return the payload and its seal as URL-safe letters."""
    return _written(payload + _mac(secret, context, payload))


def unseal(secrets: Sequence[bytes], context: bytes, text: str) -> bytes | None:
    """Return the payload, or None where none of the secrets sealed this text."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if _written(raw) != text:
        return None
    payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    # All of them: no hint which one fits.
    fits = [hmac.compare_digest(_mac(secret, context, payload), mac) for secret in secrets]
    return payload if any(fits) else None


def _written(raw: bytes) -> str:
    text = binascii.b2a_base64(raw, newline=False).decode("ascii")
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def _mac(secret: bytes, context: bytes, payload: bytes) -> bytes:
    """Return the HMAC of the payload in its context, cut."""
    inner, outer = _begun(secret, context)
    inside, around = inner.copy(), outer.copy()
    inside.update(payload)
    around.update(inside.digest())
    return around.digest()[:MAC_BYTES]


@lru_cache(maxsize=32)
def _begun(secret: bytes, context: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """Return HMAC-SHA256's two hashes (RFC 2104) as they are before any payload: setting them up takes longest."""
    key = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
    inner, outer = hashlib.sha256(key.translate(_INNER)), hashlib.sha256(key.translate(_OUTER))
    inner.update(context)
    return inner, outer


_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
