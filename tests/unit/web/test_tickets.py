"""Tickets: what is signed, for what, and until when."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as some

from engine.render.links import SignedLinks
from engine.web.tickets import Ticket, is_late, read, write

TICKET = Ticket("data", 7, 1_800_000_000, ("offers",))


def test_a_ticket_is_read_by_any_of_our_secrets() -> None:
    """An older secret still opens its tickets; a foreign one opens none; a ticket is good for one purpose."""
    text = write(b"old", TICKET)
    assert read([b"new", b"old"], text, "data") == TICKET
    assert read([b"new"], text, "data") is None
    assert read([b"old"], text, "confirm") is None


def test_a_ticket_ends() -> None:
    """After its day it is late."""
    assert not is_late(TICKET, datetime(2027, 1, 1, tzinfo=UTC))
    assert is_late(TICKET, datetime(2027, 2, 1, tzinfo=UTC))


def test_a_links_token_is_no_ticket() -> None:
    """The two kinds of signed words are made under different contexts."""
    token = SignedLinks("https://x.test", b"old", "k", 7).preferences().rpartition("/")[2]
    assert read([b"old"], token, "p") is None


@given(some.text(max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    """Whatever stands in the address, it is read or it is not."""
    assert read([b"old"], text, "data") is None
