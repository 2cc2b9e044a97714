"""The environment of templates: strict, escaped, closed, and bounded."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from engine.render.errors import RenderError, TooMuch
from engine.render.library import TemplateLibrary
from engine.render.render import render
from engine.render.samples import personas, sample_context
from tests.machine import usual_seconds
from tests.unit.render.conftest import ROOT, context, mail, rendered, written

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}"


def test_values_are_escaped_everywhere() -> None:
    """A customer's name is shown as it was typed and never becomes markup or template, in texts and attributes."""
    html = rendered(
        '<p title="{{ customer.first_name }}">{{ customer.first_name }}</p>', customer={"first_name": HOSTILE}
    ).html
    body = html[html.index("<body") :]
    assert "<script" not in body
    assert "<img" not in body
    assert "&lt;script&gt;" in body
    assert "{{ 7 * 7 }}" in body


@pytest.mark.parametrize(
    "name", ["cart-reminder", "thank-you-first", "check-in", "win-back-offer", "birthday", "replenish-soon"]
)
def test_hostile_shops_and_customers_stay_words(starter: TemplateLibrary, name: str) -> None:
    """Names, titles and codes from outside add no element and no attribute to any starter mail."""
    base = sample_context(personas()[0])
    lines = [
        {**line, "title": HOSTILE, "url": "javascript:alert(1)", "image_url": "data:x"}
        for line in (base.cart or {})["lines"]
    ]
    evil = context(
        customer={"first_name": HOSTILE, "last_name": HOSTILE},
        cart={**(base.cart or {}), "lines": lines, "checkout_url": "javascript:x", "url": "vbscript:x"},
        order={**(base.order or {}), "lines": lines, "order_id": HOSTILE},
        product={**(base.product or {}), "title": HOSTILE, "url": "javascript:x"},
        offer={"name": HOSTILE, "code": HOSTILE},
    )
    html = render(starter, name, evil).html
    assert "<script" not in html
    assert "javascript:" not in html
    assert "<img src=x" not in html


def test_none_is_written_as_nothing() -> None:
    """A known field without a value writes nothing, and `or` takes over for it."""
    assert written("[{{ customer.first_name }}]", customer={"first_name": None}) == "[]"
    assert written("{{ customer.first_name or 'there' }}", customer={"first_name": None}) == "there"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{{ customer.frist_name }}", 'customer has no field "frist_name"; did you mean "first_name"?'),
        ("{{ customer.frist_name or 'x' }}", "frist_name"),
        ("{{ custmer }}", 'did you mean "customer"?'),
        ("{{ shop.slogan }}", 'shop has no field "slogan"'),
        ("{{ words.nothing }}", "words has no field"),
        ("{{ links.unsubscrib }}", "unsubscribe"),
        ("{{ blocks.nothing() }}", "nothing"),
        ("{{ answer.score }}", "does not have"),
        ("{{ cart }}", "whole cart"),
        ("{{ cart.lines }}", "whole list"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'a' + 1 }}", "worked out: + does not work with text and a number: join text with ~"),
        ("{{ none + 1 }}", "worked out: + does not work with nothing and a number"),
        ("{{ 'a' - 1 }}", "worked out: - does not work with text and a number"),
        ("{{ 1 < 'a' }}", "worked out: < does not compare a number with text"),
        ("{% for each in 5 %}{% endfor %}", "a loop cannot go through a number"),
        ("{{ (1)() }}", "a number is no function to call"),
        ("{% if %}{% endif %}", "expected"),
        (
            "{% if 1 %}{% endfi %}",
            '"endfi" is no tag that a template knows, and the open "if" wants "elif" or "else" or "endif"',
        ),
        ("{% calendar %}", '"calendar" is no tag that a template knows'),
        ("{{ x | nothing }}", "nothing"),
        ("{% include 'nope.mjml' %}", "nope"),
        ("{{ '%s' % 1 }}", "does not format"),
    ],
)
def test_mistakes_are_told_with_their_line(body: str, sentence: str) -> None:
    """Every mistake in a template is one RenderError with file and line, and a likely name."""
    with pytest.raises(RenderError) as caught:
        rendered(f"\n\n{body}", answer=None)
    assert sentence in str(caught.value)
    assert caught.value.template == "templates/x.mjml"
    assert caught.value.line == 6


def test_a_misspelt_subject_is_on_its_own_line() -> None:
    """The front matter's lines count too."""
    with pytest.raises(RenderError, match=r"templates/x.mjml:2:23: .*first_name"):
        rendered("x", subject="{{ customer.frist_name }}")


def test_errors_in_a_layout_name_the_layout() -> None:
    """What fails in a layout or a block is told at that file's line."""
    library = TemplateLibrary(
        {
            "layouts/a.mjml": "<mjml><mj-body>\n{% block body %}{% endblock %}\n{{ blocks.b() }}</mj-body></mjml>",
            "blocks/b.mjml": "{% macro b() %}\n\n{{ shop.nope }}{% endmacro %}",
            "x.mjml": '---\nsubject: s\n---\n{% extends "layouts/a.mjml" %}',
        }
    )
    with pytest.raises(RenderError, match=r"^templates/blocks/b.mjml:3:9: "):
        render(library, "x", context())


def test_errors_hold_no_values() -> None:
    """No text of a customer stands in an error: it goes into logs."""
    with pytest.raises(RenderError) as caught:
        rendered("{{ customer.first_name + 1 }}{{ 0 }}", customer={"first_name": "Secretina"})
    assert "Secretina" not in str(caught.value)


ESCAPES = [
    "{{ ''.__class__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ customer._values }}", "{{ customer.__class__ }}",
    "{{ cart['__class__'] }}", "{{ customer['_values'] }}", "{{ cart.lines | map(attribute='__class__') | list }}",
    "{{ cart.lines | join(attribute='_values') }}", "{{ cart.lines | sort(attribute='_values') | length }}",
    "{{ links._maker.secret }}", "{{ blocks._environment }}", "{{ self.__init__ }}", "{{ _budget }}", "{% set _budget = 1 %}",
    "{{ _formats }}", "{{ range.__globals__ }}", "{{ blocks.b.__globals__ }}", "{{ ''.format.__globals__ }}",
    "{{ '{0.__class__}'.format(1) }}", "{{ '{0.__class__}' | format(1) }}", "{{ ''.format_map({}) }}", "{{ now.strftime('%Y') }}",
    "{{ now.tzinfo }}", "{{ (1).to_bytes(9, 'big') }}", "{{ cycler }}", "{{ lipsum(5) }}", "{{ config }}", "{{ request }}",
    "{{ '<b>' | safe }}", "{% autoescape false %}{{ '<b>' }}{% endautoescape %}", "{{ namespace.__init__.__globals__ }}",
    "{{ cart.lines.append(1) }}", "{{ [].append(1) }}", "{{ {}.update({}) }}", "{{ 'a'.encode() }}", "{{ ''.translate({}) }}",
    "{{ dict.fromkeys('ab') }}{{ dict.__subclasses__() }}", "{% import 'os' as os %}", "{{ ''|attr('__class__') }}",
    "{{ customer | pprint }}", "{{ [1, 2] | random }}", "{% for x in customer.__dict__ %}{% endfor %}",
    "{{ customer.properties.__class__ }}", "{{ trigger.__class__ }}", "{{ (cart.lines | first).__init__ }}",
]  # fmt: skip


@pytest.mark.parametrize("body", ESCAPES)
def test_nothing_leads_out_of_the_sandbox(body: str) -> None:
    """No attribute, filter, method or trick reaches the machine, the secrets or the rules of rendering."""
    library = TemplateLibrary({"x.mjml": mail(body), "blocks/b.mjml": "{% macro b() %}b{% endmacro %}"})
    with pytest.raises(RenderError):
        render(library, "x", context())


BOMBS = {
    "range": "{% for i in range(10**9) %}{% endfor %}",
    "large range": "{{ range(999999999) | length }}",
    "nested loops": "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}{% endfor %}{% endfor %}{% endfor %}",
    "nested output": "{% for a in range(999) %}{% for b in range(999) %}some words to fill the page{% endfor %}{% endfor %}",
    "long text": "{{ 'a' * 10**9 }}",
    "long text, other way": "{{ 10**9 * 'a' }}",
    "long list": "{{ ([0] * 10**9) | length }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "factorial": "{% set ns = namespace(x=2) %}{% for i in range(999) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "doubling by +": "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubling by ~": "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "doubling by blocks": "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
    "{% set ns.x = y %}{% endfor %}",
    "doubling lists": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "centre": "{{ 'a' | center(10**9) }}",
    "centre, method": "{{ 'a'.center(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "expandtabs": "{{ '\t'.expandtabs(10**9) }}",
    "replace": "{{ ('a' * 60000) | replace('a', 'b' * 60000) }}",
    "replace, method": "{{ ('a' * 60000).replace('', 'b' * 60000) }}",
    "join": "{{ (['b' * 60000] * 900) | join('c' * 60000) }}",
    "join, method": "{{ ('c' * 60000).join(['b' * 60000] * 900) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "batch 2": "{{ [1] | batch(10**9) | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "indent": "{{ 'a\n' | indent(10**9) }}",
    "round": "{{ 1.5 | round(10**9, 'ceil') }}",
    "number digits": "{{ 1 | number(10**9) }}{% for a in range(999) %}{% for b in range(99) %}{{ 1 | number(9) }}{% endfor %}{% endfor %}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent, filter": "{{ '%1000000000d' | format(1) }}",
    "macro recursion": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "macro tree": "{% macro a(n) %}{% if n %}{{ a(n - 1) }}{{ a(n - 1) }}{% endif %}{% endmacro %}{{ a(40) }}",
    "include itself": "{% include 'x.mjml' %}",
    "block recursion": "{% block q %}{{ self.q() }}{% endblock %}",
    "recursive loop": "{% for i in [[1]] recursive %}{{ loop([i, i]) }}{% endfor %}",
    "many loops over a text": "{% for a in 'a' * 60000 %}{% for b in 'a' * 60000 %}{% endfor %}{% endfor %}",
    "deep expression": "{{ " + "(" * 300 + "1" + ")" * 300 + " }}",
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_end_early(name: str) -> None:
    """A template that would run, grow or recurse without end is stopped within three seconds."""

    def explode() -> None:
        with pytest.raises(RenderError):
            rendered(BOMBS[name])

    assert usual_seconds(explode, 3) < 3


def test_bombs_need_little_memory() -> None:
    """All of them together stay below 256 MB."""
    program = (
        "import re, resource, sys\n"
        "from tests.unit.render.test_environment import BOMBS\n"
        "from tests.unit.render.conftest import rendered\n"
        "from engine.render.errors import RenderError\n"
        "for body in BOMBS.values():\n"
        "    try: rendered(body)\n"
        "    except RenderError: pass\n"
        # A child's ru_maxrss begins with its parent's; Linux knows the peak of this program alone.
        "own = open('/proc/self/status').read() if sys.platform == 'linux' else ''\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', own)\n"
        "print(peak[1] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 256 * 1024


def test_too_much_is_told_as_such() -> None:
    """The error of a bomb says what ran too far."""
    with pytest.raises(TooMuch, match="numbers"):
        rendered("{% for i in range(10**9) %}{% endfor %}")


def test_ordinary_loops_run() -> None:
    """The bounds are far from what mails need."""
    assert written("{% for i in range(200) %}{{ i }},{% endfor %}").count(",") == 200


def test_everyday_filters() -> None:
    """Money, numbers, dates and plurals are written for the customer; `lines` keeps line breaks."""
    values = {"first_name": "a\n<b>", "properties": {"n": 2, "big": "1234567.5"}}
    assert written("{{ 12.5 | money('EUR') }}", customer=values) == "€12.50"
    assert written("{{ customer.properties.big | number }}", customer=values) == "1,234,567.5"
    assert written("{{ customer.properties.n | plural('# day', '# days') }}", customer=values) == "2 days"
    assert written("{{ customer.first_name | lines }}", customer=values) == "a<br />&lt;b&gt;"
    moment = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert (
        written("{{ trigger.at | date }}", trigger={"at": moment}, now=datetime(2026, 3, 2, tzinfo=UTC))
        == "1 March 2026"
    )
    assert written("{{ customer.spent | money }}", customer={"spent": Decimal("1200")}) == "€1,200.00"


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("Sencha 500 g", "Sencha 500_g"),
        ("Teapot, 0.8 l, black", "Teapot, 0.8_l, black"),
        ("Oil 250 ml × 2 at 80 °C", "Oil 250_ml × 2 at 80_°C"),
        ("2 in 1, 3 golden cups, 4 mats", "2 in 1, 3 golden cups, 4 mats"),
        ("Whisk", "Whisk"),
    ],
)
def test_a_number_stays_with_its_unit(title: str, kept: str) -> None:
    """`unbroken` puts a no-break space between a number and its unit and touches nothing else; what is markup stays so."""
    values = {"first_name": title}
    assert written("{{ customer.first_name | unbroken }}", customer=values) == kept.replace("_", "\u00a0")
    assert written("{{ customer.last_name | unbroken }}", customer={"last_name": None}) == ""
    marked = "{{ ('a < b\\n9 g' | lines) | unbroken }}"
    assert written(marked) == "a &lt; b<br />9\u00a0g"


def test_german_money_keeps_its_no_break_space() -> None:
    """A price in German never breaks between number and sign, in words and in attributes."""
    html = rendered(
        '<p title="{{ 12.5 | money }}">{{ 12.5 | money }}</p>',
        customer={"locale": "de-DE"},
        shop={"locale": "de", "currency": "EUR", "name": "S", "url": "https://s.test"},
    ).html
    assert "12,50\u00a0€</p>" in html
    assert 'title="12,50&#160;&#8364;"' in html


LAYOUT = (
    "<mjml><mj-body><mj-section><mj-column>\n<mj-text>a{{ %s }} {%% block b %%}{%% endblock %%}</mj-text>"
    "</mj-column></mj-section></mj-body></mjml>"
)
PLACES = {
    "in the body": ({"x.mjml": mail("<p>a</p>\n  <b>{{ 'ü' }} {{ customer.first_nam }}</b>")}, "x.mjml:5:28"),
    "before filters": ({"x.mjml": mail("\n{{ customer.first_nam | upper | trim }}")}, "x.mjml:5:13"),
    "in brackets before filters": ({"x.mjml": mail("\n{{ customer['first_nam'] | upper | trim }}")}, "x.mjml:5:12"),
    "a name before fields": ({"x.mjml": mail("\n{{ 'nope' ~ nope.x.y | upper | trim }}")}, "x.mjml:5:13"),
    "a name in a choice": ({"x.mjml": mail("\n{% if nope | trim == nope %}{% endif %}")}, "x.mjml:5:7"),
    "a field in a choice": ({"x.mjml": mail("\n{% if customer.first_nam %}{% endif %}")}, "x.mjml:5:16"),
    "a block that is not there": ({"x.mjml": mail("\n{{ blocks.nope(1) | trim }}")}, "x.mjml:5:11"),
    "in the subject": ({"x.mjml": mail("x", subject="Hi {{ customer.nme }}")}, "x.mjml:2:26"),
    "in a block that extends": (
        {"x.mjml": '---\nsubject: "Hi"\n---\n{% extends "layouts/l.mjml" %}\n{% block b %}\n   {{ 1 / 0 }}{% endblock %}',
         "layouts/l.mjml": LAYOUT % "1"},
        "x.mjml:6:7",
    ),
    "in a layout": (
        {"x.mjml": '---\nsubject: "Hi"\n---\n{% extends "layouts/l.mjml" %}', "layouts/l.mjml": LAYOUT % "x.y"},
        "layouts/l.mjml:2:14",
    ),
    "in a macro's loop": (
        {"x.mjml": mail("{{ blocks.m(1) }}"),
         "blocks/m.mjml": "{% macro m(c) %}\n {% for i in [1] %}{{ i }} {{ c | batch(0) }}{% endfor %}{% endmacro %}"},
        "blocks/m.mjml:2:35",
    ),
    "in what is included": (
        {"x.mjml": mail('{% include "blocks/i.mjml" %}'), "blocks/i.mjml": "\n\n  {% if true %}{{ [] | batch(0) }}{% endif %}"},
        "blocks/i.mjml:3:24",
    ),
    "in what is imported": (
        {"x.mjml": mail('{% import "blocks/i.mjml" as i %}{{ i.m() }}'),
         "blocks/i.mjml": "\n\n  {% macro m() %}{{ nope }}{% endmacro %}"},
        "blocks/i.mjml:3:21",
    ),
}  # fmt: skip


@pytest.mark.parametrize("spot", PLACES)
def test_errors_name_file_line_and_column(spot: str) -> None:
    """What fails while a mail is made is told with its character in the author's file, wherever it was drawn from."""
    sources, place = PLACES[spot]
    with pytest.raises(RenderError) as told:
        render(TemplateLibrary(sources), "x", context())
    assert str(told.value).startswith(f"templates/{place}: ")


def test_imported_macros_are_bounded_too() -> None:
    """A macro that is imported, with or without its context, costs the same budget as any other."""
    sources = {
        "x.mjml": mail('{% import "blocks/i.mjml" as i without context %}{{ i.m() }}'),
        "blocks/i.mjml": "{% macro m() %}{% for a in range(900) %}{% for b in range(900) %}x{% endfor %}{% endfor %}{% endmacro %}",
    }
    with pytest.raises(TooMuch):
        render(TemplateLibrary(sources), "x", context())
