"""Signed links: opaque, unforgeable, bound to their purpose, and still good after a change of keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import string
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.render.errors import RenderError
from engine.render.links import ACTIONS, SignedLinks, read_token
from engine.render.seal import seal, unseal

SECRET, OTHER = b"s" * 32, b"o" * 32
LINKS = SignedLinks("https://mail.kiyomi.test/", SECRET, "key-1", 42, "reminders")


def parts(url: str) -> tuple[str, str]:
    """Return the letter and the token of a link."""
    assert url.startswith("https://mail.kiyomi.test/")
    letter, token = url.removeprefix("https://mail.kiyomi.test/").split("/")
    return letter, token


def test_each_link_says_what_it_is_for() -> None:
    """A token gives back the message, the customer, the topic and what is asked."""
    for url in (LINKS.unsubscribe(), LINKS.preferences(), LINKS.view_in_browser()):
        letter, text = parts(url)
        token = read_token(SECRET, text, letter)
        assert token is not None
        assert (token.action, token.message_key, token.customer_id, token.topic) == (
            ACTIONS[letter],
            "key-1",
            42,
            "reminders",
        )
    letter, text = parts(
        LINKS.answer(
            "survey_answered", survey="nps", score=Decimal(9), at=datetime(2026, 3, 1, tzinfo=UTC), none=None
        )
    )
    answer = read_token(SECRET, text, letter)
    assert answer is not None
    assert (answer.event, dict(answer.facts)) == (
        "survey_answered",
        {"survey": "nps", "score": 9, "at": "2026-03-01T00:00:00+00:00"},
    )
    letter, text = parts(LINKS.snooze(14))
    snooze = read_token(SECRET, text, letter)
    assert snooze is not None
    assert snooze.days == 14


def test_a_link_is_good_for_one_purpose() -> None:
    """The token of a page that only shows something does not unsubscribe."""
    _, text = parts(LINKS.view_in_browser())
    assert read_token(SECRET, text, "u") is None
    assert read_token(SECRET, text, "v") is not None


def test_keys_can_be_changed() -> None:
    """Links signed with an older key stay good while that key is kept, and no longer."""
    _, text = parts(LINKS.unsubscribe())
    assert read_token([OTHER, SECRET], text, "u") is not None
    assert read_token(OTHER, text, "u") is None
    assert read_token([], text, "u") is None


@given(st.integers(0, 200), st.integers(1, 255))
def test_any_change_breaks_a_token(position: int, flip: int) -> None:
    """Not one bit of a token can be changed."""
    _, text = parts(LINKS.unsubscribe())
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[position % len(raw)] ^= flip
    assert read_token(SECRET, base64.urlsafe_b64encode(raw).decode().rstrip("="), "u") is None


@pytest.mark.parametrize("length", range(4))
def test_another_last_letter_breaks_a_token(length: int) -> None:
    """Nor may its last letter be another one, whose bits are not all used where the token is no whole number of bytes."""
    links = SignedLinks("https://mail.kiyomi.test", SECRET, "e" * (1 + length), 7, "offers")
    _, text = parts(links.unsubscribe())
    assert read_token(SECRET, text, "u") is not None
    for letter in set(string.ascii_letters + string.digits + "-_") - {text[-1]}:
        assert read_token(SECRET, text[:-1] + letter, "u") is None


@given(st.text(max_size=60))
def test_nonsense_is_no_token(text: str) -> None:
    """Whatever arrives instead of a token is nobody's."""
    assert read_token(SECRET, text, "u") is None


def test_links_are_plain() -> None:
    """A link is short, holds only letters that survive every client, no query, and no address."""
    for url in (LINKS.unsubscribe(), LINKS.answer("review_given", rating=5, order_id="1042")):
        assert url.isascii()
        assert "?" not in url
        assert "@" not in url
        assert len(url) < 250


@pytest.mark.parametrize("days", [0, -1, 367, "14", True, 1.5])
def test_snoozes_have_bounds(days: object) -> None:
    """A reminder comes one to 366 days later."""
    with pytest.raises(RenderError):
        LINKS.snooze(days)  # type: ignore[arg-type]


def test_links_do_not_grow_without_bound() -> None:
    """A template cannot put a book into a link."""
    with pytest.raises(RenderError, match="too much"):
        LINKS.answer("note", text="x" * 5_000)


def test_the_secret_is_not_shown() -> None:
    """Printing the maker of links does not print its key."""
    assert "ssss" not in repr(LINKS)


@given(secret=st.binary(max_size=130), payload=st.binary(max_size=300))
def test_a_seal_is_an_hmac_that_hides_what_it_seals(secret: bytes, payload: bytes) -> None:
    """The first 16 bytes of HMAC-SHA256 over context, payload and a byte more, then those under SHAKE-256 of key and seal."""
    text = seal(secret, b"a use\x00", payload)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    key = hmac.digest(secret, b"hide\x00a use\x00", "sha256")
    stream = hashlib.shake_256(key + raw[:16]).digest(len(payload) + 1)
    bare = bytes(one ^ other for one, other in zip(raw[16:], stream, strict=True))
    assert bare[:-1] == payload
    assert raw[:16] == hmac.digest(secret, b"a use\x00" + bare, "sha256")[:16]
    assert unseal([secret], b"a use\x00", text) == payload


def test_a_link_can_stand_in_a_comment() -> None:
    """No token holds two hyphens in a row: a button for Outlook stands within a comment."""
    assert not [number for number in range(3_000) if "--" in seal(SECRET, b"u\x00", b"%d" % number * 20)]


def test_a_link_tells_nothing_to_who_reads_it() -> None:
    """Neither a customer's nor a mail's number can be read off a link, nor that two links are of one customer."""
    tokens = [
        seal(SECRET, b"u\x00", b'["unsubscribe",7,4711,"offers"]'),
        seal(SECRET, b"u\x00", b'["unsubscribe",8,4711,"offers"]'),
    ]
    raw = [base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)) for token in tokens]
    assert all(b"4711" not in each and b"offers" not in each for each in raw)
    assert sum(one == other for one, other in zip(*raw, strict=True)) < 8
