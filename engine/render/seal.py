"""Sealing: bytes become text for a URL that nobody else can write, and that can be read in one way only.

Comes in: bytes, a secret, a context that keeps one use of the secret from another. Promises: any change of any letter makes
the text unreadable, the last one included, whose bits to spare another letter could fill.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

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
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _mac(secret: bytes, context: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, context + payload, "sha256")[:MAC_BYTES]
