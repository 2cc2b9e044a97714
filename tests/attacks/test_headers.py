"""Whatever is in a name, a subject, an id or an address, the bytes that leave have exactly the headers they should have."""

from __future__ import annotations

import email
import email.policy
import random
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import AddressHeader

from engine.delivery.addresses import UnsafeMail, addr_spec
from engine.delivery.mime import to_bytes
from engine.render.mail import Address, Mail
from tests.attacks.vectors import HEADERS, hostile_texts

MAIL = Mail(
    key="e1.thanks.0",
    message_id="<e1.thanks.0@kiyomi.test>",
    sender=Address("hello@kiyomi.test", "Kiyomi Tea"),
    to=Address("ann@customers.test", "Ann"),
    subject="Thank you",
    html="<p>Hello</p>",
    text="Hello",
    date=datetime(2026, 3, 29, 7, 30, tzinfo=UTC),
    unsubscribe_url="https://mail.kiyomi.test/u/1",
    list_id="offers.kiyomi.test",
    metadata={"flow": "thank-you", "version": "1", "step": "s", "message": "e1.thanks.0", "customer": "c1"},
)
NAMES = [
    "From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Feedback-ID",
    "X-Homing-Flow", "X-Homing-Version", "X-Homing-Step", "X-Homing-Message", "X-Homing-Customer", "MIME-Version", "Content-Type",
]  # fmt: skip
EVERY = 10  # the parser that decodes everything is slow: it reads each tenth mail
_ENCODED_WORD = re.compile(r"=\?[^?]{0,80}\?[bBqQ]\?")
_LINE = re.compile(rb"(?:[A-Za-z-]+:|[ \t]).*")


def test_texts_stay_in_their_headers() -> None:
    """Generated attacks in subject, names and ids add no header, no part and no recipient; no line ends oddly."""
    for number, text in enumerate(hostile_texts(HEADERS)):
        mail = replace(
            MAIL,
            subject=f"Hi {text}",
            to=Address("ann@customers.test", text),
            sender=Address("hello@kiyomi.test", text),
            metadata={**MAIL.metadata, "customer": text},
        )
        content = to_bytes(mail, metadata_headers=True)
        head = content.partition(b"\r\n\r\n")[0]
        assert head.isascii(), ascii(text)
        assert all(_LINE.fullmatch(line) for line in head.split(b"\r\n")), ascii(text)
        parsed = email.message_from_bytes(content)
        assert parsed.keys() == NAMES, ascii(text)
        assert not parsed.defects, ascii(text)
        assert [part.get_content_type() for part in parsed.walk()][1:] == ["text/plain", "text/html"]
        if number % EVERY == 0:
            _read_by_the_decoding_parser(content, text)


def _read_by_the_decoding_parser(content: bytes, text: str) -> None:
    """A parser that decodes each word sees one line for each header, one sender and one recipient."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    for name, value in message.items():
        assert len(str(value).splitlines()) == 1, (
            name,
            ascii(text),
        )  # \x0b, \x85 and others end a line there, too
        assert "\0" not in str(value), (name, ascii(text))
        assert not _ENCODED_WORD.search(str(value)), (
            name,
            ascii(text),
        )  # nor is there anything left to decode
    for name, expected in (("To", "ann@customers.test"), ("From", "hello@kiyomi.test")):
        header = message[name]
        assert isinstance(header, AddressHeader)
        assert [address.addr_spec for address in header.addresses] == [expected], ascii(text)
    # Set anew by a program that trusts what it has decoded, it is still one header (CVE-2024-6923).
    again = email.message.EmailMessage()
    again["Subject"] = str(message["Subject"])
    assert email.message_from_bytes(again.as_bytes()).keys() == ["Subject"], ascii(text)


def test_an_address_is_one_address_or_none() -> None:
    """Attacks in an address are refused, or are one address that survives the header that it stands in."""
    chance = random.Random(11)
    taken = 0
    for text in hostile_texts(HEADERS, seed=13):
        form = chance.choice(("{}@customers.test", "ann@{}", "{}", "ann{}@customers.test", "a@b.test{}"))
        address = form.format(text[: chance.choice((5, 20, 400))])
        try:
            written = addr_spec(address)
        except UnsafeMail as error:
            assert error.address_is_bad  # noqa: PT017 - both ends are right, and each has its own promise
            continue
        taken += 1
        assert not re.search(r"[\x00-\x20\x7f,;<>()\\]|=\?", written), ascii(written)
        assert written.count("@") == 1
        content = to_bytes(replace(MAIL, to=Address(address, "Ann")), metadata_headers=False)
        assert f"<{written}>\r\n".encode() in content
        assert email.message_from_bytes(content).keys() == [
            name for name in NAMES if not name.startswith("X-")
        ]
    assert taken > HEADERS // 100  # some are harmless: the refusal is not blind
