"""Addresses: real ones are kept, whatever could be more than an address is refused without being repeated."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.addresses import UnsafeMail, addr_spec, ascii_domain, is_ascii_address


@pytest.mark.parametrize(
    ("given_address", "written"),
    [
        ("ann@example.test", "ann@example.test"),
        ("Ann.O'Neil+tea/x=1@Example.TEST", "Ann.O'Neil+tea/x=1@Example.TEST"),
        ("a..b.@docomo.test", '"a..b."@docomo.test'),
        (".a@docomo.test", '".a"@docomo.test'),
        ("ann@bücher.test", "ann@xn--bcher-kva.test"),
        ("ann@BÜCHER.test", "ann@xn--bcher-kva.test"),
        ("ann@例子。test", "ann@xn--fsqu00a.test"),
        ("ann@straße.test", "ann@xn--strae-oqa.test"),
        ("用户@例子.test", "用户@xn--fsqu00a.test"),
        ("ann@localhost", "ann@localhost"),
    ],
)
def test_real_addresses_are_written(given_address: str, written: str) -> None:
    """Addresses that mail servers deliver to come out as they must stand in a header."""
    assert addr_spec(given_address) == written
    assert is_ascii_address(given_address) == written.isascii()


@pytest.mark.parametrize(
    "bad",
    [
        "", "@", "ann", "ann@", "@example.test", "ann@@example.test", "ann@example..test", "ann@.test", "ann@-a.test",
        "ann@exa mple.test", "an n@example.test", "ann\r\n@example.test", "ann@example.test\r\nBcc: x@evil.test",
        "ann\0@example.test", "<ann@example.test>", "Ann <ann@example.test>", "a,b@example.test", "a;b@example.test",
        '"a b"@example.test', "a@b@example.test", "=?utf-8?q?ann?=@example.test", "ann@example\uff20evil.test", "ann@[127.0.0.1]",
        "a\u2028b@example.test", "a\u200bb@example.test", "a\ud800@example.test", "x" * 65 + "@example.test",
        "ann@" + "x" * 64 + ".test", "ann@" + "x.y" * 90 + ".test", "ann@℀.test",
    ],
)  # fmt: skip
def test_other_things_are_refused(bad: str) -> None:
    """What is no single address is refused, says that the address is at fault, and does not repeat it."""
    with pytest.raises(UnsafeMail) as refusal:
        addr_spec(bad)
    assert refusal.value.address_is_bad
    assert not bad or bad not in str(refusal.value) or bad == "@"


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_unsafe_comes_out(local: str, domain: str) -> None:
    """Whatever goes in, what comes out fits into one SMTP command and one header."""
    try:
        written = addr_spec(f"{local}@{domain}")
    except UnsafeMail:
        return
    assert not re.search(r"[\s\x00-\x1f\x7f<>,;:()\[\]\\]", written)
    assert "=?" not in written
    assert written.count("@") == 1
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", written.rpartition("@")[2])


@given(st.from_regex(r"[a-z0-9]{1,20}(\.[a-z]{2,10}){1,3}", fullmatch=True))
def test_ascii_domains_do_not_change(domain: str) -> None:
    """A domain in ASCII is its own ASCII form."""
    assert ascii_domain(domain) == domain
