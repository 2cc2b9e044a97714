"""Outcomes are values, and their reasons can be shown to anybody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.outcome import Accepted, Retry, plain


def test_outcomes_are_values() -> None:
    """Two outcomes that say the same are equal."""
    assert Accepted("a") == Accepted("a")
    assert Retry("x") != Retry("x", 3.0)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("550 <Ann.Example@customers.test>: unknown", "550 <address>: unknown"),
        ("rcpt=ann@customers.test,x", "<address>,x"),
        ("key SG.abcdefgh123.XYZ-987_x refused", "key *** refused"),
        ("a\r\nb\x00c\td", "a b c d"),
        ("login hunter2 failed", "login *** failed"),
    ],
)
def test_reasons_name_nobody(said: str, shown: str) -> None:
    """Addresses, keys and the given secrets are taken out of what the outside said."""
    assert plain(said, "hunter2", "") == shown


@given(st.text(), st.emails())
def test_no_address_survives(text: str, address: str) -> None:
    """Whatever stands around it, an address does not stay whole, and the reason is one short line."""
    shown = plain(f"{text} {address} {text}")
    assert address not in shown
    assert len(shown) <= 240
    assert shown.isprintable() or not set("\r\n\0") & set(shown)
