"""What every source of delivery events promises, held by the same cases for each: SendGrid's webhook and mail servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine.feedback import dsn, sendgrid
from engine.feedback.event import DeliveryEvent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = int(NOW.timestamp())
MESSAGE_ID = "<6ab9f1eb8f7d3388f4f9d586f66e99fd@kiyomi.test>"

Case = Callable[..., list[DeliveryEvent]]


def by_sendgrid(what: str, *, hard: bool = True, address: str = "ann@example.test") -> list[DeliveryEvent]:
    """Return what SendGrid's parser makes of an event."""
    item: dict[str, Any] = {
        "event": {"bounced": "bounce", "deferred": "deferred", "delivered": "delivered", "complained": "spamreport"}[what],
        "email": address, "timestamp": SECOND, "sg_event_id": "e1", "sg_message_id": "m1.filter-0", "homing_message": "7:hello:0",
        "smtp-id": MESSAGE_ID, "reason": "550 5.1.1 <ann@example.test> unknown", "category": ["hello"],
    }  # fmt: skip
    if what == "bounced" and not hard:
        item["type"] = "blocked"
    events, unusable = sendgrid.events_of(json.dumps([item]).encode())
    assert not unusable
    return events


def report(
    action: str, status: str, address: str = "ann@example.test", *, headers_only: bool = False
) -> bytes:
    """Return a report as Postfix writes it."""
    kind, original = ("text/rfc822-headers", "") if headers_only else ("message/rfc822", "\r\nhello\r\n")
    return (
        "From: MAILER-DAEMON@mx.test\r\nTo: bounces@kiyomi.test\r\nDate: Sun, 01 Mar 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nI'm sorry. Action: delivered\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n"
        f"Final-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; 550 {status} <{address}> unknown\r\n\r\n"
        f"--b\r\nContent-Type: {kind}\r\n\r\nMessage-ID: {MESSAGE_ID}\r\nSubject: Hello\r\n{original}\r\n--b--\r\n"
    ).encode()


COMPLAINT = (
    "From: fbl@isp.test\r\nDate: Sun, 01 Mar 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
    "--b\r\nContent-Type: text/plain\r\n\r\nabuse\r\n"
    "--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\n"
    "Original-Rcpt-To: <ann@example.test>\r\n\r\n"
    f"--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: {MESSAGE_ID}\r\n\r\nhello\r\n--b--\r\n"
).encode()


def by_mail(what: str, *, hard: bool = True, address: str = "ann@example.test") -> list[DeliveryEvent]:
    """Return what the parser of reports makes of one."""
    if what == "complained":
        return dsn.events_of(COMPLAINT, NOW)
    action = {"bounced": "failed", "deferred": "delayed", "delivered": "delivered"}[what]
    return dsn.events_of(report(action, "5.1.1" if hard else "5.7.1", address), NOW)


@pytest.fixture(params=[by_sendgrid, by_mail], ids=["sendgrid", "mail server"])
def parse(request: pytest.FixtureRequest) -> Case:
    """Give each parser in turn."""
    case: Case = request.param
    return case


@pytest.mark.parametrize("what", ["bounced", "deferred", "delivered", "complained"])
def test_one_vocabulary(parse: Case, what: str) -> None:
    """The same thing has the same name, with its time, its mail and whose it was."""
    (event,) = parse(what)
    assert (event.kind, event.at, event.message_id, event.address) == (
        what,
        NOW,
        MESSAGE_ID,
        "ann@example.test",
    )
    assert not event.machine


def test_hard_and_soft(parse: Case) -> None:
    """Only what speaks of the address is hard."""
    assert [event.hard for event in parse("bounced")] == [True]
    assert [event.hard for event in parse("bounced", hard=False)] == [False]
    assert [event.hard for event in parse("deferred")] == [False]


def test_told_again_it_has_the_same_key(parse: Case) -> None:
    """A repeated event is recognised; another one is not taken for it."""
    assert parse("bounced")[0].key == parse("bounced")[0].key
    assert (
        parse("bounced")[0].key != parse("delivered", address="bo@example.test")[0].key
        or parse is by_sendgrid
    )


def test_no_address_is_kept(parse: Case) -> None:
    """Neither the reason nor what is kept of the event holds an address."""
    for what in ("bounced", "complained"):
        (event,) = parse(what)
        assert "@" not in event.reason
        assert "@" not in json.dumps(dict(event.raw))
        assert "ann@" not in repr(event)


def test_headers_alone_are_enough() -> None:
    """Some servers send back the headers only."""
    (event,) = dsn.events_of(report("failed", "5.1.1", headers_only=True), NOW)
    assert event.message_id == MESSAGE_ID


def test_a_mail_that_is_no_report_says_nothing() -> None:
    """An answer of a person, whatever words are in it, and whatever bytes."""
    for mail in (
        b"",
        b"\xff\x00",
        b"Subject: Undelivered Mail\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        Message().as_bytes(),
    ):
        assert dsn.events_of(mail, NOW) == []


@given(some.binary(max_size=400))
def test_no_bytes_are_an_error(body: bytes) -> None:
    """Whatever comes, the parsers return."""
    dsn.events_of(b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\n' + body, NOW)
    sendgrid.events_of(body)


@given(some.recursive(some.none() | some.booleans() | some.floats() | some.text(), lambda inner: some.lists(inner) | some.dictionaries(some.sampled_from(["event", "timestamp", "email", "sg_event_id", "sg_message_id", "reason", "type", "homing_message", "useragent"]), inner), max_leaves=12))  # fmt: skip
def test_no_json_is_an_error(told: Any) -> None:
    """Whatever JSON is signed, it is understood or set aside."""
    events, unusable = sendgrid.events_of(json.dumps(told).encode())
    assert len(events) + len(unusable) == (len(told) if isinstance(told, list) else 1)
