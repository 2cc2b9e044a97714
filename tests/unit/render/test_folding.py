"""What is the same in every mail is put into templates when they are compiled, and nothing else is."""

from __future__ import annotations

import pytest

from engine.render.errors import RenderError, TooMuch
from engine.render.library import TemplateLibrary
from engine.render.render import render
from tests.unit.render.conftest import context, mail

SHOP = {"name": "Tea & Co", "slogan": None, "url": "https://kiyomi.test"}
WRITTEN = {
    "{{ shop.name }}|{{ shop.name | upper }}|{{ shop.slogan }}": "Tea &amp; Co|TEA &amp; CO|",
    "{% set edge = 'a ' ~ shop.name %}{{ edge }}{{ edge | length }}": "a Tea &amp; Co10",
    "{% set x = 'a' %}{% set x = 'b' %}{{ x }}": "b",
    "{% for n in [1, 2] %}{% set x = 'a' %}{{ x }}{{ n }}{% endfor %}": "a1a2",
    "{% if customer.first_name %}{% set x = 'a' %}{% else %}{% set x = 'b' %}{% endif %}{{ x }}": "a",
    "{{ '<a>' if customer.first_name else '<b>' }}{{ 'x' if not customer.first_name else 'y' }}": "&lt;a&gt;y",
    "{{ 'a' if customer.nickname is defined else customer.first_name }}": "Ann",
    "{% macro m(shop) %}{{ shop.name }}{% endmacro %}{{ m({'name': 'other'}) }}": "other",
    "{% for shop in [{'name': 'x'}] %}{{ shop.name }}{% endfor %}": "x",
    "{% macro m(x) %}{{ x }}<b>{{ x }}</b>{{ shop.name }}{% endmacro %}{{ m('&') }}{{ m(customer.first_name) }}": (
        "&amp;<b>&amp;</b>Tea &amp; CoAnn<b>Ann</b>Tea &amp; Co"
    ),
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(m('<')) }}{{ m(x='c') }}{{ m('a') | upper }}": "&lt;cA",
    "{% macro m(x) %}{{ x }}{{ y }}{% endmacro %}{% set y = customer.first_name %}{{ m('a') }}": "aAnn",
    "{% macro m(x, z='d') %}{{ x }}{{ z }}{% endmacro %}{{ m('a') }}{{ m('a', 'e') }}": "adae",
    "{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}{% call m('a') %}b{% endcall %}": "ab",
    "{% set ns = namespace(x='a') %}{% set ns.x = 'b' %}{{ ns.x }}": "b",
    "{{ true }}{{ none }}{{ 1 + 1 }}{{ 'a' 'b' }}": "True2ab",
}


@pytest.mark.parametrize("body", WRITTEN)
def test_folded_templates_write_the_same(body: str) -> None:
    """Constants, choices between them, and names that are always the same are written as if they were worked out each time."""
    library = TemplateLibrary({"x.mjml": mail(f"<p>{body}</p>")})
    for _ in range(2):
        html = render(library, "x", context(shop=SHOP, customer={"first_name": "Ann"})).html
        assert html.split("<p>", 1)[1].split("</p>", 1)[0] == WRITTEN[body]


def test_doubling_macros_are_bounded() -> None:
    """A macro that doubles what it is given, called within itself, ends as any bomb does."""
    body = "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{{ " + "m(" * 40 + "'a'" + ")" * 40 + " }}"
    with pytest.raises(TooMuch):
        render(TemplateLibrary({"x.mjml": mail(body)}), "x", context(shop=SHOP))


def test_a_layout_may_set_the_same_name() -> None:
    """What a layout sets before it comes to a block is what the block reads, as Jinja has it."""
    layout = mail("{% set x = 'layout' %}{% block b %}{% endblock %}").split("---\n")[-1]
    page = '---\nsubject: "Hi"\n---\n{% extends "layouts/l.mjml" %}{% set x = "page" %}{% block b %}<p>{{ x }}</p>{% endblock %}'
    library = TemplateLibrary({"x.mjml": page, "layouts/l.mjml": layout})
    assert "<p>layout</p>" in render(library, "x", context(shop=SHOP)).html


def test_another_shop_is_another_constant() -> None:
    """A library that makes mails for changed settings never shows the old ones."""
    library = TemplateLibrary({"x.mjml": mail("<p>{{ shop.name }}</p>")})
    for name in ("One", "Two", "One", "True", True):
        html = render(library, "x", context(shop={**SHOP, "name": name})).html
        assert f"<p>{name}</p>" in html


@pytest.mark.parametrize(
    "body",
    ["{{ shop.nme }}", "{{ x }}{% set x = 'a' %}", "{% if false %}{% set x = 1 %}{% endif %}{{ x.y }}"],
)
def test_mistakes_stay_mistakes(body: str) -> None:
    """A field that is missing, or a name that is read too early, fails as it did."""
    with pytest.raises(RenderError, match=r"nme|name that a template knows|undefined"):
        render(TemplateLibrary({"x.mjml": mail(body)}), "x", context(shop=SHOP))
