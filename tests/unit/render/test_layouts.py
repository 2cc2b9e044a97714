"""Mails that are filled as a whole: carts of any length, links that come to lead to one place, odd words."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest

from engine.render import environment, laying
from engine.render.codes import ROW_OPEN, ROW_SHUT, Codes
from engine.render.context import RenderContext
from engine.render.library import TemplateLibrary
from engine.render.render import plainly, prepare, render
from tests.unit.render.conftest import context

ROW = '<tr><td>{{ line.title }}</td>{% if line.price %}<td><a href="{{ line.url }}">{{ line.price | money }}</a></td>{% endif %}</tr>'
ROWS = "{% for line in cart.lines %}" + ROW + "{% endfor %}"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put templates together before their first mail."""
    monkeypatch.setattr(environment, "FLAT_AFTER", 0)


def library(*elements: str) -> TemplateLibrary:
    """Return a library of one mail with these elements in its one column."""
    head = "<mj-head><mj-title>{{ subject }}</mj-title>{% if preheader %}<mj-preview>{{ preheader }}</mj-preview>{% endif %}</mj-head>"
    body = f"<mj-body><mj-section><mj-column>{''.join(elements)}</mj-column></mj-section></mj-body>"
    source = f'---\nsubject: "Hello"\n---\n<mjml lang="{{{{ locale }}}}" dir="{{{{ direction }}}}">{head}{body}</mjml>'
    return TemplateLibrary({"x.mjml": source})


def hold(of: TemplateLibrary, mails: Iterable[RenderContext]) -> None:
    """Make mails, and compare each with its plain self."""
    for each in mails:
        done = render(of, "x", each)
        prepared = prepare(of, "x", each)
        prepared.values["subject"] = done.subject
        assert (done.html, done.text) == plainly(prepared)
    assert of.structures.tally.differed == 0


def cart(*titles: str, price: Any = 5) -> RenderContext:
    """Return a mail about a cart of products by these names."""
    return context(
        cart={
            "lines": [
                {"title": title, "price": price, "url": f"https://x.test/{n}"}
                for n, title in enumerate(titles)
            ]
        }
    )


def test_carts_of_any_length_share_a_layout() -> None:
    """A row that is known in one cart is known in all, in any order; the rest of the mail is laid out once for each count."""
    of = library("<mj-table>", ROWS, "</mj-table>", "<mj-text><p>Thanks</p></mj-text>")
    hold(of, [cart("A"), cart("B"), cart("A", "B"), cart("C", "D")])
    known = of.structures.tally.laid
    hold(of, [cart("E", "F"), cart("&<", "ไทย"), cart("F")])
    assert of.structures.tally.laid == known + 3


@pytest.mark.parametrize(
    "title",
    ["-", "|", "a | b", "·", "•", "| ", "x" * 300, "\u00a0", "a\u00ad", "\x06", "\U000f0000", "zqhvv0z"],
)
def test_odd_words_in_rows_and_texts(title: str) -> None:
    """A word that could pass for a sign of the text's own reads as in the plain way."""
    of = library("<mj-table>", ROWS, "</mj-table>", "<mj-text>{{ cart.lines[0].title }}</mj-text>")
    hold(of, [cart("A"), cart("B"), cart(title), cart(title), cart(title, "B"), cart(title, title)] * 2)


def test_rows_of_layout_tables_belong_to_the_text() -> None:
    """Rows inside of a text, or inside of other rows, are no rows of their own."""
    table = '<table role="presentation">' + ROWS + "</table>"
    nested = "<tr><td><table>" + ROWS + "</table></td></tr>"
    for inside in (f"<mj-text>{table}</mj-text>", f"<mj-table>{nested}</mj-table>"):
        of = library(inside)
        hold(of, [cart("A", "B"), cart("C", "D"), cart("E", "F"), cart("-", "F")])
        assert of.structures.tally.laid


PLACES = ["https://x.test/a", "https://x.test/b", "https://shop.test"]


def test_links_that_come_to_lead_to_one_place() -> None:
    """Whether neighbours, or a picture and words, lead to one place is looked at in each mail."""
    of = library(
        '<mj-text><a href="{{ customer.properties.one }}"><img src="https://x.test/i.png" alt="Tea" /></a></mj-text>',
        '<mj-text><a href="{{ customer.properties.two }}">{{ customer.first_name }}</a></mj-text>',
        '<mj-text><a href="{{ customer.properties.three }}">here</a> · <a href="https://shop.test">shop</a> and '
        '<a href="https://x.test/{{ customer.last_name }}">https://x.test/{{ customer.last_name }}</a></mj-text>',
    )
    combinations = list(product(PLACES, PLACES, PLACES, ["a", "b"]))
    hold(
        of,
        [
            context(
                customer={
                    "first_name": one,
                    "last_name": last,
                    "properties": {"one": one, "two": two, "three": three},
                }
            )
            for one, two, three, last in combinations + combinations
        ],
    )
    assert of.structures.tally.laid > len(combinations)


def test_memory_of_layouts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many layouts there are, two generations are kept; what was forgotten is made again."""
    of = library("<mj-text>{% for n in range(customer.orders) %}<p>{{ n }}</p>{% endfor %}</mj-text>")
    monkeypatch.setattr(of.structures.laying, "_most", 5_000)
    monkeypatch.setattr(laying, "_MOST_NOTED", 10)
    hold(of, [context(customer={"orders": n}) for n in range(40) for _ in range(2)])
    assert len(of.structures.laying._young) + len(of.structures.laying._old) < 40


def test_words_give_their_documents_back() -> None:
    """Each text has one sign, rows have marks around them, and the document comes back from the word."""
    codes = Codes()
    first, second = codes.word("<mj-table><tr><td>"), codes.word("</td></tr>\n</mj-table>")
    assert codes.document(f"{first}\x01{second}") == "<mj-table><tr><td>\x01</td></tr>\n</mj-table>"
    assert (first[1], second[1]) == (ROW_OPEN, ROW_SHUT)
    assert codes.word("<mj-table><tr><td>") == first
