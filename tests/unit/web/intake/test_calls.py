"""Segment's calls as real clients send them: limits, clocks, identities, and what is odd."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine.web.intake.calls import Call, Refused, calls_of, parsed, too_large, unpacked

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def one(**told: Any) -> Call:
    """Return the call of a track request."""
    (call,), unusable = calls_of("track", {"event": "Tea Poured", "userId": "u1", **told}, NOW)
    assert not unusable
    return call


def refused(kind: str = "track", **told: Any) -> str:
    """Return why a request is refused."""
    with pytest.raises(Refused) as refusal:
        calls_of(kind, {"event": "Tea Poured", "userId": "u1", **told}, NOW)
    assert refusal.value.status == 400
    return refusal.value.reason


def test_the_clients_clock_is_corrected() -> None:
    """A client whose clock is a day ahead tells of a minute ago: received − (sentAt − timestamp)."""
    sent = NOW + timedelta(days=1)
    call = one(timestamp=(sent - timedelta(minutes=1)).isoformat(), sentAt=sent.isoformat())
    assert call.at == NOW - timedelta(minutes=1)


def test_nothing_happens_in_the_future() -> None:
    """A timestamp ahead of the receipt counts as the receipt; without one, too."""
    assert one(timestamp="2030-01-01T00:00:00Z").at == NOW
    assert one(timestamp="2030-01-01T00:00:00Z", sentAt=NOW.isoformat()).at == NOW
    assert one().at == one(timestamp="soon").at == one(timestamp=5).at == NOW


def test_explicit_nulls_and_numbers_as_ids() -> None:
    """`"userId": null` is none; a number is its text."""
    assert one(anonymousId=None).visitor == ""
    assert one(userId=None, anonymousId="a1").person == ""
    assert one(userId=90071992547409931).person == "90071992547409931"


def test_an_address_in_the_context_names_the_customer() -> None:
    """Some clients put identify's traits only into `context.traits`."""
    assert (
        one(userId=None, anonymousId="a1", context={"traits": {"email": "ann@example.test"}}).person
        == "ann@example.test"
    )


@pytest.mark.parametrize(
    "told",
    [
        {"userId": None}, {"userId": True}, {"userId": ["u"]}, {"userId": "x" * 300}, {"userId": "a\nb"},
        {"messageId": "m" * 101}, {"messageId": 5}, {"event": ""}, {"event": None},
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(told: dict[str, Any]) -> None:
    """A single call that breaks a rule is answered 400 with a plain reason."""
    assert refused(**told)


def test_a_batch_keeps_its_good_calls() -> None:
    """One bad call of a batch is set aside with its reason; the others are in the order of their time."""
    batch = [
        {"type": "track", "event": "B", "userId": "u", "timestamp": "2026-03-01T11:00:00Z"},
        {"type": "nonsense", "userId": "u"},
        "text",
        {"type": "track", "event": "A", "userId": "u", "timestamp": "2026-03-01T10:00:00Z"},
    ]
    calls, unusable = calls_of("batch", {"batch": batch}, NOW)
    assert [call.content["event"] for call in calls] == ["A", "B"]
    assert len(unusable) == 2


def test_the_limits_of_a_batch() -> None:
    """2,500 calls, 32 KB each, 500 KB together; a bomb of gzip is not unpacked."""
    assert refused("batch", batch=[{}] * 2_501)
    assert refused("batch", batch={})
    large = {"batch": [{"type": "track", "properties": {"x": "y" * 33_000}}]}
    assert too_large(large, json.dumps(large).encode())
    with pytest.raises(Refused) as refusal:
        unpacked(gzip.compress(b"0" * 50_000_000), "gzip")
    assert refusal.value.status == 413


def test_gzip_is_recognised_by_itself() -> None:
    """With its header, without it, and not where it is cut off."""
    packed = gzip.compress(b"{}")
    assert unpacked(packed, "gzip") == unpacked(packed, "") == unpacked(b"{}", "") == b"{}"
    with pytest.raises(Refused):
        unpacked(packed[:-9], "gzip")
    with pytest.raises(Refused):
        unpacked(b"{}", "gzip")


@given(some.recursive(some.none() | some.booleans() | some.floats() | some.text(), lambda inner: some.lists(inner) | some.dictionaries(some.sampled_from(["batch", "type", "userId", "anonymousId", "event", "timestamp", "sentAt", "properties", "context", "traits", "messageId"]), inner), max_leaves=20))  # fmt: skip
def test_no_json_is_an_error(told: Any) -> None:
    """Whatever JSON comes, it is taken or refused with a reason."""
    for kind in ("batch", "track", "identify", "alias"):
        with suppress(Refused):
            calls_of(kind, parsed(json.dumps(told).encode()), NOW)
