"""Counted links: each leads where it did, the text part and our own pages stay as they are."""

from __future__ import annotations

import re

from engine.render.counting import counted
from engine.render.links import SignedLinks, read_token

SECRET = b"s" * 32
LINKS = SignedLinks("https://mail.kiyomi.test", SECRET, "key-1", 42, "reminders")
MAIL = (
    '<html><head><link href="https://fonts.test/a.css" rel="stylesheet"></head><body>'
    '<!--[if mso]><v:roundrect arcsize="8%" href="https://kiyomi.test/cart?a=1&amp;b=2"></v:roundrect><![endif]-->'
    '<a class="x" href="https://kiyomi.test/cart?a=1&amp;b=2">Cart</a> <a href=\'https://kiyomi.test/\'>Shop</a>'
    f'<a href="{LINKS.unsubscribe()}">Stop</a> <a href="mailto:a@kiyomi.test">Write</a> <a href="#top">Up</a></body></html>'
)


def test_links_lead_over_ours_and_keep_their_place() -> None:
    """Every link to elsewhere becomes a number of the message's own list; the same address is one number."""
    found = counted(MAIL, LINKS, clicks=True, opens=False)
    assert found.links == ("https://kiyomi.test/cart?a=1&b=2", "https://kiyomi.test/")
    tokens = [read_token(SECRET, text, "r") for text in re.findall(r"/r/([\w-]+)", found.html)]
    assert [token.number for token in tokens if token is not None] == [0, 0, 1]
    assert "kiyomi.test/cart" not in found.html


def test_what_is_no_way_out_is_left_alone() -> None:
    """Fonts, our own pages, addresses to write to and places on the page stay as they are."""
    html = counted(MAIL, LINKS, clicks=True, opens=False).html
    for kept in ("https://fonts.test/a.css", LINKS.unsubscribe(), "mailto:a@kiyomi.test", "#top"):
        assert f'href="{kept}"' in html


def test_opens_are_counted_by_one_point_at_the_end() -> None:
    """The picture stands last in the body, without words, and no link changes for it."""
    found = counted(MAIL, LINKS, clicks=False, opens=True)
    assert found.links == ()
    assert re.search(
        r'<img src="https://mail.kiyomi.test/o/[\w-]+"[^>]* alt=""[^>]*></body></html>$', found.html
    )
    assert found.html.count("https://kiyomi.test/") == MAIL.count("https://kiyomi.test/")
