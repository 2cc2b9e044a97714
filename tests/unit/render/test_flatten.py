"""Many files put together write what they write apart."""

from __future__ import annotations

from typing import Any

import pytest
from markupsafe import escape

from engine.render import environment
from engine.render.environment import BUDGET, guarded
from engine.render.library import TemplateLibrary
from engine.render.pieces import END, TOKEN
from engine.render.render import prepare, render
from engine.render.structures import Tokens
from engine.render.values import Values
from tests.unit.render.conftest import context

FRONT = '---\nsubject: "Hello"\n---\n'
LAYOUT = (
    '<mjml lang="{{ locale }}" dir="{{ direction }}"><mj-head><mj-title>{{ subject }}</mj-title>{% if preheader %}<mj-preview>'
    "{{ preheader }}</mj-preview>{% endif %}</mj-head><mj-body>{% block body %}<p>nothing</p>{% endblock %}"
    '{% call blocks.foot("left") %}{% block reason %}{% endblock %}{% endcall %}{% include "layouts/part.mjml" %}</mj-body></mjml>'
)
FILES = {
    "layouts/l.mjml": LAYOUT,
    "layouts/part.mjml": "{% set name = 'part' %}<i>{{ name }} {{ customer.first_name }}</i>",
    "blocks/foot.mjml": '{% macro foot(side, size=3) %}\n<b class="{{ side }}">{{ size }}{% if caller is defined %}{{ caller() }}{% endif %}</b>\n{% endmacro %}',
    "blocks/name.mjml": "{% macro name(of, loud=false, last=none) %}{% set shown = of.first_name or 'you' %}"
    "{{ shown | upper if loud else shown }}{% if last is not none %} {{ last }}{% elif loud %}!{% else %}.{% endif %}{% endmacro %}",
    "blocks/rows.mjml": "{% macro rows(items) %}{% for line in items %}{% set n = loop.index %}{{ n }}:{{ blocks.row(line, n) }}{% else %}none{% endfor %}{% endmacro %}",
    "blocks/row.mjml": "{% macro row(line, n) %}<u>{{ n }} {{ line.title }} {{ line.price | money(line.currency) }}</u>{% endmacro %}",
    "blocks/twice.mjml": "{% macro twice() %}{{ caller() }}-{{ caller() }}{% endmacro %}",
    "blocks/asks.mjml": "{% macro asks() %}{% if caller is defined %}{{ caller() ~ '' }}{% else %}alone{% endif %}{% endmacro %}",
    "blocks/free.mjml": "{% macro free() %}{{ customer.last_name }}{% endmacro %}",
    "blocks/counts.mjml": "{% macro counts() %}{% set ns = namespace(n=0) %}{% for x in [1, 2] %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}{% endmacro %}",
    "blocks/many.mjml": "{% macro many() %}{{ varargs | length }}{{ kwargs.a }}{% endmacro %}",
    "blocks/self.mjml": "{% macro self(n) %}{{ n }}{% if n > 0 %}{{ blocks.self(n - 1) }}{% endif %}{% endmacro %}",
    "blocks/sums.mjml": "{% macro sums(label, n=2) %}{{ (label | length) * 9 + 64 - n }}{{ n * 2 }}{{ n + 1 if n > 1 else n }}{% endmacro %}",
    "blocks/two.mjml": "{% macro helper(x) %}<s>{{ x }}</s>{% endmacro %}{% macro two(x) %}{{ helper(x) }}{% endmacro %}",
}
BODIES = [
    "{{ blocks.name(customer) }}", "{{ blocks.name(customer, true) }}", "{{ blocks.name(customer, loud=true, last=customer.last_name) }}",
    "a{{ blocks.name(customer) }}b{{ customer.first_name }}", "{{ blocks.rows(cart.lines) }}", "{{ blocks.rows([]) }}",
    "{% call blocks.foot('right', size=customer.orders) %}<p>{{ customer.first_name }}</p>{% endcall %}", "{{ blocks.foot('x') }}",
    "{% call blocks.twice() %}{{ customer.first_name }}{{ blocks.name(customer) }}{% endcall %}",
    "{% call blocks.asks() %} x {% endcall %}", "{{ blocks.asks() }}", "{{ blocks.counts() }}{{ blocks.counts() }}", "{{ blocks.many(1, 2, a=3) }}",
    "{{ blocks.sums('words') }}{{ blocks.sums(customer.last_name or '', 3) }}{{ blocks.sums('x', n=customer.orders) }}",
    "{{ blocks.self(3) }}", "{{ blocks.two(customer.first_name) }}", "{% set x = blocks.name(customer) %}{{ x }}{{ x }}",
    "{% for line in cart.lines %}{{ blocks.row(line, loop.index) }}{{ loop.index }}{% endfor %}",
    "{% set shown = 'mine' %}{{ blocks.name(customer) }}{{ shown }}", "{% set of = 1 %}{% for of in [1, 2] %}{{ blocks.name(customer) }}{{ of }}{% endfor %}",
    "{% set customer = {'last_name': 'Other'} %}{{ blocks.free() }}{{ customer.last_name }}",
    "{% for customer in cart.lines %}{{ blocks.free() }}{% endfor %}", "{% with n = 4 %}{{ blocks.self(1) }}{{ n }}{% endwith %}",
    "{% macro own(a, b=customer.first_name) %}{{ a }}{{ b }}{% endmacro %}{{ own(1) }}{{ own(2, 3) }}",
    "{% if customer.orders > 3 %}{{ blocks.name(customer) }}{% elif customer.orders %}one{% else %}two{% endif %}",
    "{{ blocks.name(customer) if customer.orders else 'x' }}", "{{ 3 * 4 }}{{ customer.orders * 2 + 1 }}{{ 'a' ~ customer.first_name }}",
    "{{ customer.first_name | lines }}", "{{ ('a\\n' ~ customer.first_name) | lines }}{{ customer.last_name }}",
    "{% set x = customer.first_name | lines %}{{ customer.last_name }}{{ x }}", "{{ 'two\\nlines <' | lines }}",
    "{% import 'm.mjml' as m %}{{ m.say(customer.first_name) }}",
    "{{ customer.first_name }}{% set late %}{{ customer.last_name }}{% endset %}{{ shop.name }}{{ late }}", "{{ now | date }}{{ shop.name }}{{ brand.accent }}{{ words.hello }}",
]  # fmt: skip
PEOPLE: list[dict[str, Any]] = [
    {}, {"first_name": "<b>&", "last_name": "two  spaces"}, {"first_name": None, "last_name": "", "orders": 0},
]  # fmt: skip
MORE = {"m.mjml": "{% macro say(x) %}<q>{{ x }}</q>{% endmacro %}", "words.yaml": "hello: Hi"}


def library(body: str, outside: str = "") -> TemplateLibrary:
    """Return a library whose mail has this body."""
    source = f'{FRONT}{{% extends "layouts/l.mjml" %}}{outside}{{% block body %}}{body}{{% endblock %}}{{% block reason %}}why {{{{ shop.name }}}}{{% endblock %}}'
    return TemplateLibrary({**FILES, **MORE, "x.mjml": source})


def put_together(of: TemplateLibrary, person: dict[str, Any]) -> tuple[str, str] | None:
    """Return what the files of a mail write apart, and put together; None where they cannot be."""
    apart = prepare(of, "x", context(customer=person))
    apart.values["subject"] = apart.line("subject")
    flat = apart.environment.flat("x.mjml")
    if flat is None:
        return None
    together = apart.renewed()
    if flat.codes is not None:
        values = together.values[BUDGET].tokens = Values()
        word = guarded(lambda: flat.written(together.values), "x", str)
        literals, said = flat.codes.document(word).split(TOKEN), values.taken
        return apart.mjml().strip(), "".join(
            map("".join, zip(literals, [*map(escape, said), ""], strict=True))
        ).strip()
    tokens = together.values[BUDGET].tokens = Tokens()
    parts = guarded(lambda: flat.written(together.values), "x", str).split(TOKEN)
    for number, part in enumerate(parts[1:], 1):
        at, _, rest = part.partition(END)
        parts[number] = str(escape(tokens.values[int(at)])) + rest
    return apart.mjml().strip(), "".join(parts).strip()


@pytest.mark.parametrize("body", BODIES)
def test_together_is_as_apart(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, callers, loops, names that mean different things in different files: all write the same."""
    monkeypatch.setattr(environment, "FLAT_AFTER", 0)
    of = library(body)
    for person in PEOPLE:
        found = put_together(of, person)
        assert found is not None
        assert found[0] == found[1]


def test_what_a_mail_sets_is_known_in_its_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and macros of the mail itself are known in its blocks; what it writes outside of them is not seen."""
    monkeypatch.setattr(environment, "FLAT_AFTER", 0)
    of = library(
        "{{ best }}{{ m(2) }}",
        "unseen{% set best = customer.first_name %}{% macro m(x) %}{{ x }}{% endmacro %}",
    )
    found = put_together(of, {})
    assert found is not None
    assert found[0] == found[1]
    assert "unseen" not in found[1]


@pytest.mark.parametrize(
    "change",
    [
        {"layouts/l.mjml": LAYOUT.replace("{% block body %}", "{% for x in [1] %}{% block body %}").replace("<p>nothing</p>{% endblock %}", "{% endblock %}{% endfor %}")},
        {"layouts/l.mjml": LAYOUT.replace('"layouts/part.mjml"', "'layouts/part.mjml' ignore missing")},
        {"x.mjml": f'{FRONT}{{% extends "layouts/l.mjml" %}}{{% block body %}}{{{{ super() }}}}{{% endblock %}}'},
        {"x.mjml": f'{FRONT}{{% extends "layouts/l.mjml" if true else "m.mjml" %}}{{% block body %}}x{{% endblock %}}'},
        {"x.mjml": f'{FRONT}{{% extends "layouts/l.mjml" %}}{{% block body %}}{{% set flat1x = 1 %}}{{% endblock %}}'},
        {"x.mjml": f'{FRONT}{{% include "x.mjml" %}}'},
        {"x.mjml": f"{FRONT}{{{{ x"},
    ],
)  # fmt: skip
def test_what_cannot_be_put_together_stays_apart(
    change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where putting together could change a meaning, it is not done; the mail is made as ever, or fails as ever."""
    monkeypatch.setattr(environment, "FLAT_AFTER", 0)
    of = TemplateLibrary({**library("x").sources, **change})
    assert prepare(of, "x", context()).environment.flat("x.mjml") is None


def test_a_mail_is_put_together_when_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first mails are made without; the same template writes the same before and after."""
    monkeypatch.setattr(environment, "FLAT_AFTER", 3)
    of = library(
        "<mj-section><mj-column><mj-text>{{ customer.first_name }}{{ shop.name }}</mj-text></mj-column></mj-section>"
    )
    made = [render(of, "x", context()) for _ in range(6)]
    assert len(set(made)) == 1
    assert prepare(of, "x", context()).environment.flat("x.mjml") is not None
    assert of.structures.tally.plain == 0
