"""The bytes of a mail: whatever is in it, two parsers read the same mail back and no header more.

The standard library's in both of its policies, and Rust's mailparse (fast-mail-parser), which shares no line with it.
"""

from __future__ import annotations

import email
import email.policy
import re
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.utils import parseaddr

import pytest
from fast_mail_parser import PyMail, parse_email
from hypothesis import example, given
from hypothesis import strategies as st

from engine.delivery.addresses import UnsafeMail
from engine.delivery.mime import clean, feedback_id, to_bytes
from engine.render.mail import Address, Mail

MAIL = Mail(
    key="e1.thanks.0",
    message_id="<e1.thanks.0@kiyomi.test>",
    sender=Address("hello@kiyomi.test", "Kiyomi Tea"),
    to=Address("ann@customers.test", "Ann"),
    subject="Thank you",
    html="<p>Hello</p>",
    text="Hello",
    date=datetime(2026, 3, 29, 7, 30, tzinfo=UTC),
    reply_to=Address("care@kiyomi.test", "Care"),
    unsubscribe_url="https://mail.kiyomi.test/u/1",
    list_id="offers.kiyomi.test",
    metadata={"flow": "thank-you", "version": "1", "step": "s", "message": "e1.thanks.0", "customer": "c1"},
)
NAMES = [
    "From", "To", "Subject", "Reply-To", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Id",
    "Feedback-ID", "X-Homing-Flow", "X-Homing-Version", "X-Homing-Step", "X-Homing-Message", "X-Homing-Customer",
    "MIME-Version", "Content-Type",
]  # fmt: skip
# What an attacker would type, between letters of all kinds.
HOSTILE = st.one_of(
    st.text(max_size=120),
    st.lists(
        st.sampled_from(
            ["\r\n", "\n", "\r", "\0", "Bcc: x@evil.test", "=?utf-8?q?=0D=0ABcc:_x?=", "=?", "?=", '"', "\\", "<", ">", ",",
             ";", ":", "@", " ", "\t", "\x85", "\u2028", "\ud800", "é", "茶", "🍵", "--", "=_", "a" * 90, "(", ")"]
        ),
        max_size=24,
    ).map("".join),
)  # fmt: skip


def modern(content: bytes) -> EmailMessage:
    """Read as the standard library's new parser does."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def classic(content: bytes) -> Message:
    """Read as the standard library's old parser does."""
    return email.message_from_bytes(content, policy=email.policy.compat32)


def other(content: bytes) -> PyMail:
    """Read as Rust's mailparse does."""
    return parse_email(content)


def decoded(value: str) -> str:
    """Decode a header that the old parser has left encoded."""
    return str(make_header(decode_header(re.sub(r"\r\n(?=[ \t])", "", value))))


@given(subject=HOSTILE, name=HOSTILE, sender=HOSTILE, customer=HOSTILE)
@example(subject="=?utf-8?b?DQpCY2M6IGE=?=", name="", sender="", customer="")
@example(subject="a" * 2000, name="b" * 2000, sender="é" * 400, customer="x " * 900)
def test_no_text_becomes_a_header(subject: str, name: str, sender: str, customer: str) -> None:
    """Any subject, name and id comes back as one line of its own header, and no header is added or lost."""
    mail = replace(
        MAIL,
        subject=subject,
        to=Address("ann@customers.test", name),
        sender=Address("hello@kiyomi.test", sender),
        metadata={**MAIL.metadata, "customer": customer},
    )
    content = to_bytes(mail, metadata_headers=True)
    for message in (modern(content), classic(content)):
        assert message.keys() == NAMES
        assert not message.defects
        assert all(not set("\r\n\0") & set(decoded(str(value))) for value in message.values())
    foreign = other(content)
    assert list(foreign.headers) == NAMES
    assert all(len(values) == 1 for values in foreign.headers.values())
    assert foreign.subject == clean(subject)
    assert foreign.headers["X-Homing-Customer"] == [clean(customer)]
    assert str(modern(content)["Subject"]) == clean(subject)
    assert decoded(classic(content)["Subject"]) == clean(subject)
    assert decoded(classic(content)["X-Homing-Customer"]) == clean(customer)
    (to,) = modern(content)["To"].addresses
    # The new parser keeps the space between two encoded words of a name, against RFC 2047 6.2.
    shown_name = to.display_name.replace(" ", "") if len(name) > 20 else to.display_name
    assert shown_name == (clean(name).replace(" ", "") if len(name) > 20 else clean(name))
    assert to.addr_spec == "ann@customers.test"
    shown, address = parseaddr(re.sub(r"\r\n(?=[ \t])", "", classic(content)["To"]))
    assert (decoded(shown), address) == (clean(name), "ann@customers.test")


@given(subject=HOSTILE, name=HOSTILE)
@example(subject="茶" * 60, name="é" * 60)
def test_each_encoded_word_can_be_read_alone(subject: str, name: str) -> None:
    """No letter is cut in two by the end of an encoded word: RFC 2047 forbids it, and some programs decode word by word."""
    mail = replace(MAIL, subject=subject, to=Address("ann@customers.test", name))
    head = to_bytes(mail, metadata_headers=False).partition(b"\r\n\r\n")[0]
    words = [b64decode(word) for word in re.findall(rb"=\?utf-8\?b\?([^?]*)\?=", head)]
    assert [word for word in words if word.decode("utf-8", "ignore").encode() != word] == []


@given(
    text=HOSTILE,
    html=st.one_of(HOSTILE, HOSTILE.map(lambda text: text * 40)),
    key=st.text(min_size=1, max_size=30),
)
def test_no_body_becomes_a_part(text: str, html: str, key: str) -> None:
    """Any text and HTML come back as the two parts they were, with nothing but line ends and NULs changed."""
    content = to_bytes(replace(MAIL, text=f"t{text}", html=f"h{html}", key=key), metadata_headers=False)
    message = modern(content)
    parts = list(message.iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    for part, given_text in zip(parts, (f"t{text}", f"h{html}"), strict=True):
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        expected = re.sub("\r\n|\r|\n", "\r\n", given_text.replace("\0", "")).encode("utf-8", "replace")
        assert payload == expected
    foreign = other(content)
    assert (len(foreign.text_plain), len(foreign.text_html), len(foreign.attachments)) == (1, 1, 0)
    for found, given_text in ((foreign.text_plain[0], f"t{text}"), (foreign.text_html[0], f"h{html}")):
        wanted = re.sub("\r\n|\r|\n", "\r\n", given_text.replace("\0", ""))
        assert found == wanted.encode("utf-8", "replace").decode()


@given(HOSTILE)
def test_clean_text_stays_clean(text: str) -> None:
    """Clean text has no line break, no control and no encoded word, and cleaning it again changes nothing."""
    once = clean(text)
    assert clean(once) == once
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|=\?[^?]*\?[bq]\?", once, re.IGNORECASE)


def test_ordinary_text_is_not_touched() -> None:
    """Question marks, equals signs and spaces that matter stay as they are."""
    for text in ("2+2=?", "a=?b=?c", "Preis: 12,00\u00a0€", "全角\u3000空白", "👩\u200d🍳"):
        assert clean(text) == text


def test_a_body_cannot_end_itself() -> None:
    """A customer's text that knows the boundary of its mail still stays inside its part."""
    boundary = modern(to_bytes(MAIL, metadata_headers=False)).get_boundary()
    text = f"Hello\r\n--{boundary}\r\nContent-Type: text/html\r\n\r\n<p>evil\r\n--{boundary}--\r\n"
    parts = list(modern(to_bytes(replace(MAIL, text=text), metadata_headers=False)).iter_parts())
    assert len(parts) == 2
    assert parts[0].get_payload(decode=True) == text.encode()


@given(subject=HOSTILE, html=st.text(max_size=3000), text=st.text(max_size=3000))
def test_lines_stay_short_and_end_right(subject: str, html: str, text: str) -> None:
    """No line is longer than 998 bytes, every line ends with CRLF, and no CR or LF stands alone."""
    content = to_bytes(replace(MAIL, subject=subject, html=html, text=text), metadata_headers=True)
    lines = content.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    head = content.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert all(line.strip() for line in head.split(b"\r\n"))


@pytest.mark.parametrize("length", [1, 60, 70, 300, 860])
def test_one_click_unsubscribing_is_never_folded(length: int) -> None:
    """A long link stays on one line as it is: folded into encoded words it would unsubscribe nobody."""
    url = "https://mail.kiyomi.test/u/" + "x" * length
    content = to_bytes(replace(MAIL, unsubscribe_url=url), metadata_headers=False)
    assert (
        f"\r\nList-Unsubscribe: <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n".encode()
        in content
    )


@pytest.mark.parametrize(
    "change",
    [
        {"message_id": "<a@b>\r\nBcc: x@evil.test"},
        {"message_id": "no brackets"},
        {"message_id": "<ü@kiyomi.test>"},
        {"unsubscribe_url": "https://mail.test/u/1>\r\nBcc: x"},
        {"unsubscribe_url": "https://mail.test/ü"},
        {"unsubscribe_url": "https://mail.test/" + "x" * 1000},
        {"unsubscribe_url": "javascript:alert(1)"},
        {"unsubscribe_url": "https://mail.test/=?utf-8?q?x?="},
        {"list_id": "two words"},
        {"list_id": "a<b>c"},
        {"sender": Address("hello", "Kiyomi")},
        {"reply_to": Address("care@kiyomi.test\nBcc: x@evil.test")},
    ],
)
def test_what_cannot_be_safe_is_refused(change: dict[str, object]) -> None:
    """A value for machines that would break its header is refused, never mended."""
    with pytest.raises(UnsafeMail) as refusal:
        to_bytes(replace(MAIL, **change), metadata_headers=True)  # type: ignore[arg-type]
    assert "evil" not in str(refusal.value)


def test_headers_read_as_written() -> None:
    """An ordinary mail has every header that mailbox providers and people look for, readable as it is."""
    head = to_bytes(MAIL, metadata_headers=True).partition(b"\r\nMIME-Version")[0].decode("ascii")
    assert head.split("\r\n") == [
        'From: "Kiyomi Tea" <hello@kiyomi.test>',
        'To: "Ann" <ann@customers.test>',
        "Subject: Thank you",
        'Reply-To: "Care" <care@kiyomi.test>',
        "Date: Sun, 29 Mar 2026 07:30:00 +0000",
        "Message-ID: <e1.thanks.0@kiyomi.test>",
        "List-Unsubscribe: <https://mail.kiyomi.test/u/1>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "List-Id: <offers.kiyomi.test>",
        "Feedback-ID: thank-you:s:marketing:kiyomitest",
        "X-Homing-Flow: thank-you",
        "X-Homing-Version: 1",
        "X-Homing-Step: s",
        "X-Homing-Message: e1.thanks.0",
        "X-Homing-Customer: c1",
    ]


def test_metadata_stays_at_home() -> None:
    """Without `metadata_headers` nothing of flow, version and customer is written."""
    assert b"X-Homing" not in to_bytes(MAIL, metadata_headers=False)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello\nthere", "7bit"),
        ("x" * 2000, "quoted-printable"),
        ("An ordinary sentence with one umlaut: ü", "quoted-printable"),
        ("お茶をありがとう", "base64"),
    ],
)
def test_bodies_are_encoded_as_fits(text: str, encoding: str) -> None:
    """ASCII stays as it is, Latin letters stay readable, other scripts stay short."""
    parts = list(modern(to_bytes(replace(MAIL, text=text), metadata_headers=False)).iter_parts())
    assert parts[0]["Content-Transfer-Encoding"] == encoding
    assert parts[0].get_content().replace("\r\n", "\n").rstrip("\n") == text


def test_a_mail_without_html_is_one_part() -> None:
    """A mail with only a text has no alternatives, and an empty one is still a mail."""
    assert modern(to_bytes(replace(MAIL, html=""), metadata_headers=False)).get_content_type() == "text/plain"
    assert (
        modern(to_bytes(replace(MAIL, html="", text=""), metadata_headers=False)).get_content().strip() == ""
    )


@given(flow=st.text(max_size=100), step=st.text(max_size=100))
def test_feedback_id_has_four_fields(flow: str, step: str) -> None:
    """Gmail's field count and its 5 to 15 characters for the sender hold for any flow and step."""
    fields = feedback_id(replace(MAIL, metadata={"flow": flow, "step": step})).split(":")
    assert len(fields) == 4
    assert all(field.isascii() and not set(" \r\n") & set(field) for field in fields)
    assert 5 <= len(fields[3]) <= 15
