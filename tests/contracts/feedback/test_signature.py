"""SendGrid's signature: genuine, fresh, of the bytes as they came."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.feedback.sendgrid import events_of, is_genuine

VECTOR = Path("/work/shared/captures/sendgrid-event-webhook-vector.json")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BODY = b'[{"event":"delivered","timestamp":1}]\r\n'
PRIVATE = generate_private_key(SECP256R1())
PUBLIC = base64.b64encode(
    PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def signed(body: bytes = BODY, at: datetime = NOW) -> tuple[str, str]:
    """Return signature and timestamp as SendGrid makes them."""
    stamp = str(int(at.timestamp()))
    return base64.b64encode(PRIVATE.sign(stamp.encode() + body, ECDSA(SHA256()))).decode(), stamp


def test_a_genuine_request_is_taken() -> None:
    """Any of several keys will do, so that they can be changed."""
    signature, stamp = signed()
    assert is_genuine([PUBLIC], signature, stamp, BODY, NOW)
    assert is_genuine(["not a key", "", PUBLIC], signature, stamp, BODY, NOW)


@pytest.mark.parametrize("body", [BODY.rstrip(), BODY.replace(b"\r\n", b"\n"), b"", BODY + b" "])
def test_every_byte_counts(body: bytes) -> None:
    """The trailing line break belongs to what is signed."""
    signature, stamp = signed()
    assert not is_genuine([PUBLIC], signature, stamp, body, NOW)


def test_old_and_future_requests_are_refused() -> None:
    """A request may be a day old, since SendGrid tries that long, and hardly ahead."""
    for at, taken in (
        (timedelta(hours=-24), True),
        (timedelta(hours=-26), False),
        (timedelta(minutes=6), False),
    ):
        signature, stamp = signed(at=NOW + at)
        assert is_genuine([PUBLIC], signature, stamp, BODY, NOW) is taken


@pytest.mark.parametrize(
    ("signature", "stamp"), [("", ""), ("x", "1"), ("%%", "9" * 40), ("AAAA", "-5"), ("AAAA", "１")]
)
def test_nonsense_is_refused(signature: str, stamp: str) -> None:
    """No header and no key makes it fail, and without a key nothing is genuine."""
    assert not is_genuine([PUBLIC], signature, stamp, BODY, NOW)
    assert not is_genuine([], *signed(), BODY, NOW)


@pytest.mark.skipif(not VECTOR.is_file(), reason="the recorded event is not here")
def test_a_real_event_of_sendgrid() -> None:
    """A request that SendGrid signed is genuine at its time, and is understood: it lacks what newer ones have."""
    told = json.loads(VECTOR.read_text(encoding="utf-8"))
    at = datetime.fromtimestamp(int(told["timestamp"]), UTC)
    body = told["payload"].encode()
    assert is_genuine([told["public_key"]], told["signature"], told["timestamp"], body, at)
    assert not is_genuine([told["public_key"]], told["signature"], told["timestamp"], body.rstrip(), at)
    (event,), unusable = events_of(body)
    assert not unusable
    assert (event.kind, event.hard, event.provider_id) == ("dropped", True, "LRzXl_NHStOGhQ4kofSm_A")
