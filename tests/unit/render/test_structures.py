"""Mails from compiled structures are the plain way's mails, byte for byte."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from benchmarks.mails import different_mails
from engine.render import environment
from engine.render import render as rendering
from engine.render.capture import transformed
from engine.render.context import RenderContext
from engine.render.errors import RenderError
from engine.render.library import TemplateLibrary
from engine.render.pieces import places
from engine.render.render import Rendered, plainly, prepare, render
from engine.render.structures import Structures
from tests.unit.render.conftest import context, mail

SHARE = 10_000 if os.environ.get("HOMING_TEST_SHARE") == "full" else 2_000


def plain(library: TemplateLibrary, name: str, of: RenderContext, done: Rendered) -> tuple[str, str]:
    """Return HTML and text of a mail made the plain way."""
    prepared = prepare(library, name, of)
    prepared.values["subject"], prepared.values["preheader"] = done.subject, done.preheader
    return plainly(prepared)


def hold_the_same(library: TemplateLibrary, count: int) -> None:
    """Compare `count` different mails, made from structures, with their plain selves."""
    fresh = TemplateLibrary(library.sources)
    names = fresh.names()
    blocks = sorted({block.name for name in names for block in fresh.template(name).recommend})
    for name, of in different_mails(names, blocks, count):
        done = render(fresh, name, of)
        assert (done.html, done.text) == plain(fresh, name, of, done)
        assert done.size == len(done.html.encode())
    tally = fresh.structures.tally
    assert tally.differed == 0
    assert tally.plain == 0
    assert tally.filled


@pytest.mark.parametrize("flat_after", [0, 10_000])
def test_different_mails_are_the_same_bytes(
    starter: TemplateLibrary, flat_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hundred mails of all kinds of customers are what the plain way makes of them, put together into one or not."""
    monkeypatch.setattr(environment, "FLAT_AFTER", flat_after)
    hold_the_same(starter, 300)


@pytest.mark.slow
def test_ten_thousand_different_mails_are_the_same_bytes(starter: TemplateLibrary) -> None:
    """The same for ten thousand (two thousand without the full share)."""
    hold_the_same(starter, SHARE)


ODD = [
    "Ann", "A & B", "<b>", 'say "hi"', "it's", "back\\slash", "two  spaces", " edge ", "line\nbreak", "tab\tbed", "ไทย", "12,50\u00a0€",
    "\u200bzero", "\u202egnp", "\x01", "\x011\x02", "zqhvv0z", "&amp;", "&", "#", "-", "|", "", "👨‍👩‍👧", "a\u3000b", "javascript:x", "\ud800",
]  # fmt: skip
SPOTS = {
    "words": "<p>Hello {{ customer.first_name }}!</p>",
    "alone": "{{ customer.first_name }}",
    "entity": "<p>&{{ customer.first_name }};</p>",
    "title": '<a href="https://kiyomi.test/{{ customer.first_name }}" title="{{ customer.first_name }}">x</a>',
    "style": '<p style="color:{{ customer.first_name }}">x</p>',
    "class": '<p class="{{ customer.first_name }}">x</p>',
    "comment": "<!-- {{ customer.first_name }} --><p>x</p>",
    "link": '<a href="https://kiyomi.test/?n={{ customer.first_name }}">{{ customer.first_name }}</a>',
    "picture": '<a href="https://kiyomi.test/"><img src="https://kiyomi.test/a.png" alt="{{ customer.first_name }}" /></a>',
    "set": "{% set shown %}<b>{{ customer.first_name }}</b>{% endset %}<p>{{ shown }} and {{ shown }}</p>",
    "unused": "{% set shown %}{{ customer.first_name }}{% endset %}<p>{{ customer.last_name }}</p>",
    "hidden": '<p style="display:none">{{ customer.first_name }}</p><p>x</p>',
    "spaces": "<p> {{ customer.first_name }} </p> {{ customer.first_name }}\n<b>x</b>",
    "table": "<table><tr><td>{{ customer.first_name }}</td><td>{{ customer.last_name }}</td></tr></table>",
    "within": "<table><tr><td><table><tr><td>{{ customer.first_name }}</td></tr></table></td></tr></table>",
    "outlook": '<!--[if mso]><v:rect href="https://kiyomi.test/{{ customer.first_name }}"></v:rect><![endif]--><p>x</p>',
    "filtered": "{% filter upper %}{{ customer.first_name }}{% endfilter %}",
    "measured": "{% set shown %}{{ customer.first_name }}{% endset %}<p>{{ shown | length }}</p>",
}  # fmt: skip


def whole_mail(body: str) -> str:
    """Return a mail that says everything in its head itself, so that it can be filled as a whole."""
    head = "<mj-head><mj-title>{{ subject }}</mj-title>{% if preheader %}<mj-preview>{{ preheader }}</mj-preview>{% endif %}</mj-head>"
    return mail(body).replace("<mjml>", f'<mjml lang="{{{{ locale }}}}" dir="{{{{ direction }}}}">{head}')


@pytest.mark.parametrize("flat_after", [0, 10_000])
@pytest.mark.parametrize("spot", SPOTS)
def test_odd_values_in_odd_places(spot: str, flat_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a customer is called, and wherever the name stands, the mail is what the plain way makes, or fails as it does."""
    monkeypatch.setattr(environment, "FLAT_AFTER", flat_after)
    library = TemplateLibrary({"x.mjml": whole_mail(SPOTS[spot])})
    for name in ["Ann", "Beth", *ODD, *ODD]:
        of = context(customer={"first_name": name, "last_name": f"{name}!"})
        try:
            done = render(library, "x", of)
        except RenderError:
            with pytest.raises(RenderError):
                plainly(_with_lines(library, of))
        else:
            assert (done.html, done.text) == plain(library, "x", of, done)
    assert library.structures.tally.differed == 0


def _with_lines(library: TemplateLibrary, of: RenderContext) -> rendering.Prepared:
    prepared = prepare(library, "x", of)
    prepared.values["subject"] = prepared.line("subject")
    return prepared


@pytest.mark.parametrize(
    "address", ["https://kiyomi.test/", "#top", "javascript:alert(1)", "mailto:a@b.test", "ftp:x", "/x"]
)
def test_links_from_facts_are_judged_in_each_mail(address: str) -> None:
    """An address that a fact brings is held against the same rules as in the plain way, however often the mail is made."""
    library = TemplateLibrary(
        {"x.mjml": mail('<a href="{{ customer.properties.page }}">{{ customer.first_name }}</a>')}
    )
    for page in ("https://kiyomi.test/a", "https://kiyomi.test/b", address, address):
        of = context(customer={"properties": {"page": page}})
        if page in ("javascript:alert(1)", "ftp:x"):
            with pytest.raises(RenderError, match="address"):
                render(library, "x", of)
        else:
            done = render(library, "x", of)
            assert (done.html, done.text) == plain(library, "x", of, done)


CHANGED = [
    "{% filter upper %}{{ customer.first_name }}{% endfilter %}",
    "{% set x %}{{ customer.first_name }}{% endset %}{{ x | upper }}",
    "{% set x %}{{ customer.first_name }}{% endset %}{{ x | length }}",
    "{% set x | upper %}{{ customer.first_name }}{% endset %}{{ x }}",
    "{% set x %}a{% endset %}{% set y = x %}{% if y == 'a' %}b{% endif %}",
    "{% macro m() %}{{ customer.first_name }}{% endmacro %}{{ m() | replace('a', 'b') }}",
    "{% macro m() %}{{ customer.first_name }}{% endmacro %}{{ m().upper() }}",
    "{% macro m() %}a{% endmacro %}{% macro n(x) %}{{ x | upper }}{% endmacro %}{{ n(m()) }}",
    "{% macro m() %}{{ customer.first_name }}{% endmacro %}{{ m()[:2] }}",
    "{% macro m() %}{{ customer.first_name }}{% endmacro %}{% for x in m() %}{{ x }}{% endfor %}",
    "{% macro m() %}{{ caller() | upper }}{% endmacro %}{% call m() %}{{ customer.first_name }}{% endcall %}",
]  # fmt: skip


@pytest.mark.parametrize("body", CHANGED)
def test_changed_output_is_found_beforehand(body: str) -> None:
    """A template that works on what it has written is made plainly, without being tried."""
    library = TemplateLibrary({"x.mjml": mail(f"<p>{body}</p>")})
    assert transformed([library.parse("x.mjml")])
    for name in ("Ann", "Beth"):
        of = context(customer={"first_name": name})
        done = render(library, "x", of)
        assert (done.html, done.text) == plain(library, "x", of, done)
    assert library.structures.tally.plain == 2


KEPT = [
    "{{ customer.first_name | upper }}{{ (customer.first_name or '') | length }}",
    "{% set x %}{{ customer.first_name }}{% endset %}{% if x %}{{ x }}{% endif %}",
    "{% macro m(x) %}{{ x | upper }}{% endmacro %}{{ m(customer.first_name) }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ customer.first_name }}{% endcall %}",
    "{% macro m() %}{{ customer.first_name }}{% endmacro %}{{ m() ~ '!' }}{{ m() | default('x') }}",
    "{% for line in cart.lines | batch(2) %}{{ line | length }}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("body", KEPT)
def test_ordinary_templates_are_not_held_back(body: str) -> None:
    """Working on values is no working on output: such templates are made from structures."""
    library = TemplateLibrary({"x.mjml": mail(f"<p>{body}</p>")})
    for name in ("Ann", "Beth", "Cleo"):
        of = context(customer={"first_name": name})
        done = render(library, "x", of)
        assert (done.html, done.text) == plain(library, "x", of, done)
    assert library.structures.tally.filled


def test_a_difference_ends_it(monkeypatch: pytest.MonkeyPatch, starter: TemplateLibrary) -> None:
    """Should a new structure not give the plain mail, the customer gets the plain one, and the template stays plain."""
    library = TemplateLibrary(starter.sources)
    finish = Structures.finish
    monkeypatch.setattr(
        Structures,
        "finish",
        lambda self, *given, **more: replace(finish(self, *given, **more), html="<wrong>"),
    )
    for _ in range(2):
        done = render(library, "cart-reminder", context())
        assert (done.html, done.text) == plain(library, "cart-reminder", context(), done)
    assert (library.structures.tally.differed, library.structures.tally.plain) == (1, 1)


def test_memory_is_bounded() -> None:
    """However many structures there are, no more is kept than was allowed."""
    library = TemplateLibrary({"x.mjml": mail("<p>{{ customer.first_name }}{{ customer.last_name }}</p>")})
    library.structures = Structures(most=50_000)
    for number in range(300):
        of = context(customer={"first_name": f"a\u00ad{number}", "last_name": str(number)})
        done = render(library, "x", of)
        assert (done.html, done.text) == plain(library, "x", of, done)
    assert library.structures.tally.characters <= 50_000
    assert library.structures.tally.hit_rate == 0


def test_places_are_told_apart() -> None:
    """Only attributes that the compiler passes through take values later; what it works with belongs to the structure."""
    source = (
        '<mj-section padding="\x01"><mj-column width="\x01"><mj-image src="\x01" alt="a \x01" width="\x01" />'
        '<mj-text color="\x01"><a href="mailto:\x01" style="color:\x01">\x01</a></mj-text></mj-column></mj-section>'
        "<mj-style>a { color: \x01 }</mj-style><mj-title>\x01</mj-title>"
    )
    assert places(source) == (
        "fixed", "fixed", "address", "attribute", "fixed", "fixed", "attribute", "fixed", "text", "fixed", "attribute",
    )  # fmt: skip
