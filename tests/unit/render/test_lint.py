"""The lint: every mistake on its place in the author's file, before any mail is made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mjml import mjml2html

from engine.flows import fields
from engine.flows.load import load_project
from engine.flows.manual import pages
from engine.flows.model import Send
from engine.render.attributes import IGNORED, WRITTEN
from engine.render.context import KINDS
from engine.render.library import TemplateLibrary
from engine.render.lint import lint, lint_project, missing_names, sample_contexts
from engine.settings import Settings, load
from tests.unit.render.conftest import ROOT, mail


def told(source: str, **more: str) -> list[str]:
    """Return `CODE file:line:column` for each finding of a template."""
    library = TemplateLibrary({"x.mjml": source, **more})
    return [
        f"{finding.code} {str(finding.span).removeprefix('templates/')}"
        for finding in lint(library, "x", kind="transactional")
    ]


def marked(source: str) -> tuple[str, str]:
    """Return a source without its ◊, and line:column of where that stood."""
    before = source[: source.index("◊")]
    return source.replace("◊", ""), f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_the_starter_set_is_clean(starter: TemplateLibrary) -> None:
    """No starter template has a finding, with what its own flow has and no more."""
    project = load_project(ROOT, load(ROOT, {}))
    assert not project.findings
    sent = 0
    for flow in project.definitions.flows.values():
        for step in flow.all_steps():
            if not isinstance(step, Send):
                continue
            for name in step.templates:
                contexts = sample_contexts(starter, name, without=missing_names(flow, step))
                assert lint(starter, name, contexts) == []
                sent += 1
    assert sent >= 14


def test_all_starter_templates_are_used(starter: TemplateLibrary) -> None:
    """No template lies about that no flow sends."""
    flows = load_project(ROOT, load(ROOT, {})).definitions.flows.values()
    used = {
        name
        for flow in flows
        for step in flow.all_steps()
        if isinstance(step, Send)
        for name in step.templates
    }
    assert used == set(starter.names())


NAMES = [
    ("T203", "{{ customer.◊frist_name }}"),
    ("T203", "{{ customer.first_name }} {{ customer.◊frist_name }}"),
    ("T203", '{{ customer["◊frist_name"] }}'),
    ("T202", "{{ ◊custmer.first_name }}"),
    ("T202", "{% if ◊custmer %}{% endif %}"),
    ("T203", "{% for line in cart.lines %}{{ line.◊titel }}{% endfor %}"),
    ("T203", "{% for line in order.lines | sort(attribute='◊titel') %}{% endfor %}"),
    ("T203", "{{ cart.lines | map(attribute='◊titel') | join }}"),
    ("T203", "{{ (cart.lines | first).◊titel }}"),
    ("T203", "{{ cart.lines[0].◊titel }}"),
    ("T203", "{{ cart.lines.◊title }}"),
    ("T203", "{% set basket = cart %}{{ basket.◊linse }}"),
    ("T203", "{% with o = order %}{{ o.◊totl }}{% endwith %}"),
    ("T203", "{{ offer.product.◊nam }}"),
    ("T203", "{{ shop.◊slogan }}"),
    ("T203", "{{ links.◊unsubscrib }}"),
    ("T203", "{{ flow.◊nam if true else 1 }}"),
    ("T203", "{{\n\n  order\n    .◊totl | money }}"),
    ("T204", "{{ order.total | ◊mony }}"),
    ("T204", "{{ order.total | ◊safe }}"),
    ("T204", "{% if order is ◊shiny %}{% endif %}"),
    ("T205", '{% include ◊"nope.mjml" %}'),
    ("T205", "{% include ◊customer.tier %}"),
    ("T206", "{{ blocks.◊crt(cart) }}"),
    ("T206", "{{ blocks.◊named() }}"),
    ("T207", "{{ blocks.◊b(1, 2, 3) }}"),
    ("T207", "{{ blocks.◊b(colour=1) }}"),
    ("T202", "{% macro m(a) %}{{ a }}{{ ◊c }}{% endmacro %}"),
    ("T202", "{% for a in cart.lines %}{% endfor %}{{ ◊a }}"),
    ("T202", "{{ ◊loop.index }}"),
    ("T201", "{% if customer %}◊"),
    ("T201", "{% ◊foo %}"),
    ("T212", "{{ answer.◊choic }}"),
    ("T212", "{% if answer and answer['◊ratng'] %}{% endif %}"),
    ("T212", "{{ trigger.◊ordr_id }}"),
]


@pytest.mark.parametrize(("code", "body"), NAMES)
def test_names_have_line_and_column(code: str, body: str) -> None:
    """An unknown name, field, filter, file or block is told where it stands, without any values."""
    source, place = marked(mail(f"\n  {body}"))
    drawn = {
        "blocks/b.mjml": "{% macro b(x, y=1) %}{{ x }}{{ y }}{% endmacro %}",
        "blocks/named.mjml": "{% macro otherwise() %}x{% endmacro %}",
    }
    found = told(source, **drawn)
    assert f"{code} x.mjml:{place}" in found


def test_subjects_are_checked_too() -> None:
    """The front matter's lines have their columns."""
    source, place = marked(mail("x", subject="Hello {{ customer.◊frist_name }}"))
    assert f"T203 x.mjml:{place}" in told(source)


def test_mistakes_in_drawn_files_are_told_there() -> None:
    """What is wrong in a layout, an include, an import or a block is told in that file."""
    layout, in_layout = marked(
        "<mjml><mj-body>\n{{ shop.◊nope }}{% block body %}{% endblock %}</mj-body></mjml>"
    )
    part, in_part = marked("\n\n {{ order.◊nope }}")
    macros, in_macros = marked("{% macro m() %}\n{{ cart.◊nope }}{% endmacro %}")
    block, in_block = marked("{% macro b() %}{{ links.◊nope }}{% endmacro %}")
    body = '{% extends "layouts/l.mjml" %}{% import "m.mjml" as m %}{% block body %}{% include "p.mjml" %}{{ blocks.b() }}{% endblock %}'
    found = told(
        f"---\nsubject: s\n---\n{body}",
        **{"layouts/l.mjml": layout, "p.mjml": part, "m.mjml": macros, "blocks/b.mjml": block},
    )
    assert {
        f"T203 layouts/l.mjml:{in_layout}",
        f"T203 p.mjml:{in_part}",
        f"T203 m.mjml:{in_macros}",
        f"T203 blocks/b.mjml:{in_block}",
    } <= set(found)


@pytest.mark.parametrize(
    "body",
    [
        "{{ customer.properties.anything }}", "{{ trigger.anything }}", "{{ answer.score }}", "{{ answer.store }}", "{{ answer.balance }}", "{{ x | default('') }}",
        "{% if x is defined %}{% endif %}", "{% set x = 1 %}{{ x }}", "{% for a in cart.lines %}{{ loop.index }}{{ a.title }}{% endfor %}",
        "{% macro m(a, b=1) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% call m(1) %}x{% endcall %}",
        "{% for a, b in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}", "{% set ns = namespace(n=0) %}{% set ns.n = 1 %}{{ ns.n }}",
        "{{ cart.lines | selectattr('in_stock') | map(attribute='title') | join(', ') }}", "{{ shop.name[:3] }}",
        "{% for a in cart.lines if a.price %}{{ a.total }}{% else %}x{% endfor %}", "{{ now | date }}", "{{ brand.accent }}",
        "{% include 'nope.mjml' ignore missing %}", "{{ customer.rfm.r if customer.rfm }}", "{{ customer.first_name.upper() if customer.first_name }}",
    ],
)  # fmt: skip
def test_what_is_right_is_not_told(body: str) -> None:
    """The lint claims nothing that it does not know."""
    assert told(mail(body)) == []


PAGE = '---\nsubject: s\n---\n{% extends "layouts/l.mjml" %}\n{% block body %}\n'
LAYOUT = "<mjml><mj-body>{% block body %}{% endblock %}</mj-body></mjml>"
SECTION = "<mj-section><mj-column>{}</mj-column></mj-section>"
STRUCTURE = [
    ("T301", SECTION.format("◊<mj-texx>a</mj-texx>")),
    ("T301", SECTION.format("<mj-text>◊<script>a</script></mj-text>")),
    ("T301", SECTION.format("<mj-text>◊<blink>a</blink></mj-text>")),
    ("T302", "<mj-section>◊<mj-text>a</mj-text></mj-section>"),
    ("T302", "◊<mj-column></mj-column>"),
    ("T302", SECTION.format("◊<p>a</p>")),
    ("T302", "<mj-section>◊<mj-column>loose words</mj-column></mj-section>"),
    ("T303", SECTION.format("<mj-text>a ◊< b</mj-text>")),
    ("T303", SECTION.format("<mj-text>a ◊& b</mj-text>")),
    ("T304", SECTION.format("<mj-text>◊<p>a</mj-text>")),
    ("T304", SECTION.format("<mj-text><p>The ◊<em kettle</p><p>is hot</p></mj-text>")),
    ("T304", SECTION.format("<mj-text><p>It isn't ◊<b\n'hot'</p></mj-text>")),
    ("T305", '◊<mj-include path="x" />'),
    ("T401", SECTION.format('◊<mj-image src="https://x.test/a.png" />')),
    ("T401", SECTION.format('<mj-text>◊<img src="https://x.test/a.png" /></mj-text>')),
    (
        "T401",
        "{% for i in range(2) %}"
        + SECTION.format('{% if i %}\n  ◊<mj-image src="https://x.test/a.png" />{% endif %}')
        + "{% endfor %}",
    ),
    ("T402", SECTION.format('◊<mj-button href="http://x.test">x</mj-button>')),
    ("T402", SECTION.format('<mj-text>◊<a href="https://localhost:3000/">x</a></mj-text>')),
    ("T402", SECTION.format('◊<mj-image alt="" src="http://192.168.0.2/a.png" />')),
    ("T402", SECTION.format('◊<mj-image alt="" src="/logo.png" />')),
    ("T402", SECTION.format('◊<mj-button href="www.kiyomi.test">x</mj-button>')),
    ("T402", SECTION.format('<mj-text>◊<a href="javascript:go()">x</a></mj-text>')),
    ("T304", SECTION.format("<mj-text><p>a</p>◊</b></mj-text>")),
    ("T304", SECTION.format("<mj-text>a\n  ◊</p>\n</mj-text>")),
    ("T305", SECTION.format('<mj-button href="https://a.test/" ◊title="x">y</mj-button>')),
    ("T305", SECTION.format('<mj-text align="left" ◊background-color="#ffffff">y</mj-text>')),
    ("T307", SECTION.format('<mj-text ◊colour="#222222">y</mj-text>')),
    ("T307", SECTION.format('<mj-text\n    align="left"\n    ◊font-szie="16px"\n  >y</mj-text>')),
    ("T307", SECTION.format('<mj-text {% if 2 > 1 %}align="a > b" {% endif %}◊class="x">y</mj-text>')),
    ("T307", SECTION.format('<mj-button ◊herf="{{ shop.url }}">y</mj-button>')),
    ("T307", SECTION.format("{% for i in range(2) %}<mj-divider ◊colour='#222222' />{% endfor %}")),
    ("T402", SECTION.format('◊<mj-button href="https://a.test/?q=green tea">x</mj-button>')),
    (
        "T402",
        SECTION.format(
            '<mj-text>◊<a href="{{ shop.url }}/?q={{ customer.last_name or "a b" }}">x</a></mj-text>'
        ),
    ),
    ("T402", SECTION.format("<mj-text>◊<a href='https://a.test/?q=&quot;x&quot;'>x</a></mj-text>")),
    ("T201", SECTION.format("<mj-text>{{ customer.first_name ◊}</mj-text>")),
    ("T201", SECTION.format("<mj-text>{{ customer.first_name ~ ◊? }}</mj-text>")),
    ("T201", SECTION.format("<mj-text>\n  ◊{# never ends</mj-text>")),
    ("T210", '{% ◊include "x.mjml" %}'),
    ("T210", '<mj-section><mj-column><mj-text>{% ◊include "x" %}</mj-text></mj-column></mj-section>'),
    ("T208", '{% if 1 < 2 %}{% ◊include "x.mjml" %}{% endif %}'),
    ("T306", '<mj-section>◊<mj-column width="half"><mj-text>a</mj-text></mj-column></mj-section>'),
    (
        "T306",
        '◊<mj-section><mj-column width="60%"><mj-text>a</mj-text></mj-column><mj-column width="60%"><mj-text>a</mj-text></mj-column></mj-section>',
    ),
    ("T306", SECTION.format('◊<mj-image alt="" src="https://a.test/a.png" width="50%" />')),
    ("T208", SECTION.format("<mj-text>{{ ◊1 / 0 }}</mj-text>")),
    ("T208", SECTION.format("<mj-text>{{ customer.tier.upper◊() }}</mj-text>")),
]


@pytest.mark.parametrize(("code", "body"), STRUCTURE)
def test_structure_has_line_and_column(code: str, body: str) -> None:
    """What MJML does not allow is told at its tag, through layouts, conditions and loops, once for all samples."""
    source, place = marked(f"{PAGE}  {body}\n{{% endblock %}}")
    found = told(source, **{"layouts/l.mjml": LAYOUT})
    assert found.count(f"{code} x.mjml:{place}") == 1


def test_what_a_subject_asks_for_is_told_at_its_name() -> None:
    """However long the chain of filters behind it; the front matter's columns are those of the file."""
    subject = "For {{ (order.◊lines | map(attribute='title') | first) | default('it', true) | truncate(34, end='…') }}"
    source, place = marked(f'---\nsubject: "{subject}"\n---\n<mjml><mj-body></mj-body></mjml>')
    assert f"T208 x.mjml:{place}" in told_without_order(source)


def told_without_order(source: str) -> list[str]:
    """Return `CODE file:line:column` for each finding of a template that a flow without orders sends."""
    library = TemplateLibrary({"x.mjml": source})
    contexts = sample_contexts(library, "x", without=frozenset({"order"}))
    found = lint(library, "x", contexts, kind="transactional")
    return [f"{finding.code} {str(finding.span).removeprefix('templates/')}" for finding in found]


def test_a_tag_without_its_end_is_told_alone() -> None:
    """What MJML says of the whole mail is not told as well; comments, and tags that Jinja goes on with, are fine."""
    open_tag = "<mj-section><mj-column><mj-text><p>The <em kettle</p></mj-text></mj-column></mj-section>"
    assert told(f"{PAGE}{open_tag}{{% endblock %}}", **{"layouts/l.mjml": LAYOUT}) == ["T304 x.mjml:6:40"]
    fine = "<!-- <em kettle <b --><p {% if 1 < 2 %}class=\"x > y\"{% endif %}>a</p><a\n href='{{ shop.url }}'>b</a>"
    page = f"{PAGE}{SECTION.format(f'<mj-text>{fine}</mj-text>')}{{% endblock %}}"
    assert [each for each in told(page, **{"layouts/l.mjml": LAYOUT}) if each.startswith("T30")] == []


def test_attributes_that_are_meant_are_named() -> None:
    """A misspelt attribute names the likely one, one of another language what MJML calls it, and all are known in mj-attributes."""
    for written, hint in (
        ("colour", '"color"'),
        ("class", "css-class"),
        ("margin", "padding"),
        ("zzz", "takes"),
    ):
        source = (
            PAGE.replace("{% block body %}\n", "")
            + "{% block body %}"
            + SECTION.format(f'<mj-text {written}="1">a</mj-text>')
            + "{% endblock %}"
        )
        library = TemplateLibrary({"x.mjml": source, "layouts/l.mjml": LAYOUT})
        (finding,) = [each for each in lint(library, "x", kind="transactional") if each.code == "T307"]
        assert hint in finding.help
    layout = LAYOUT.replace("<mj-body>", '<mj-head><mj-attributes><mj-all font-family="a" colour="b" /><mj-class name="c" color="d" />'
                            '<mj-text css-class="e" /></mj-attributes></mj-head><mj-body>')  # fmt: skip
    found = told(PAGE + "{% endblock %}", **{"layouts/l.mjml": layout})
    assert found == ["T307 layouts/l.mjml:1:55"]


def test_every_known_attribute_has_an_effect() -> None:
    """What the lint lets pass is written by the compiler, and what it says to have none has none."""
    for tag, wrap in WRAPS.items():
        for attribute in WRITTEN[tag] - {"mj-class", "css-class"}:
            assert changes(wrap, attribute), f"{tag} {attribute}"
        for attribute in IGNORED.get(tag, ()):
            assert not changes(wrap, attribute), f"{tag} {attribute}"


WRAPS = {
    "mj-text": SECTION.format("<mj-text {}>x</mj-text>"),
    "mj-image": SECTION.format('<mj-image src="https://a.test/x.png" alt="y" href="https://a.test" {} />'),
    "mj-button": SECTION.format('<mj-button href="https://a.test" {}>x</mj-button>'),
    "mj-divider": SECTION.format("<mj-divider {} />"),
    "mj-spacer": SECTION.format("<mj-spacer {} />"),
    "mj-table": SECTION.format("<mj-table {}><tr><td>x</td></tr></mj-table>"),
    "mj-column": '<mj-section><mj-column padding="1px" {}><mj-text>x</mj-text></mj-column></mj-section>',
    "mj-group": "<mj-section><mj-group {}><mj-column><mj-text>x</mj-text></mj-column></mj-group></mj-section>",
    "mj-section": '<mj-section background-url="https://a.test/b.png" {}><mj-column></mj-column></mj-section>',
    "mj-wrapper": '<mj-wrapper background-url="https://a.test/b.png" {}><mj-section></mj-section></mj-wrapper>',
    "mj-hero": '<mj-hero background-url="https://a.test/b.png" {}><mj-text>x</mj-text></mj-hero>',
}
VALUES = (
    "37px", "#123456", "https://q.test/z.png", "top", "left", "right", "bottom", "middle", "center", "full-width", "true", "zz",
    "37", "rtl", "ltr", "0", "fixed", "fluid", "fluid-height", "cover", "50%", "repeat", "solid 3px red", "37px 38px",
)  # fmt: skip


def changes(wrap: str, attribute: str) -> bool:
    """Return whether an attribute changes what is compiled, with any of many values."""
    bare = re.sub(rf' {attribute}="[^"]*"', "", wrap) if re.search(rf' {attribute}="', wrap) else wrap
    return any(
        compiled(bare.format(f'{attribute}="{value}"')) != compiled(bare.format("")) for value in VALUES
    )


def compiled(body: str) -> str:
    """Return the HTML of a body without the numbers that the compiler makes up."""
    return re.sub("[0-9a-f]{16}", "", mjml2html(f"<mjml><mj-body>{body}</mj-body></mjml>", fonts={}))


def test_links_to_a_machine_of_ones_own_are_told_once() -> None:
    """A file with many links to localhost has one finding that counts them; those that the settings make have none."""
    links = " ".join(f'<a href="http://localhost:8000/{number}">x</a>' for number in range(3))
    library = TemplateLibrary({"x.mjml": mail(links)})
    (finding,) = lint(library, "x", kind="transactional")
    assert (finding.code, finding.label) == ("T402", "and 2 more in this file")
    assert lint(library, "x", kind="transactional", base="http://localhost:8000") == []


def test_circles_are_told_where_they_close() -> None:
    """Layouts, includes and blocks that come back to where they began are told there; what may end is left to rendering."""
    layout, place = marked(LAYOUT.replace("<mj-body>", '<mj-body>{% ◊include "p.mjml" %}'))
    part, in_part = marked('---\nsubject: s\n---\n\n{% ◊extends "layouts/l.mjml" %}')
    found = told(PAGE + "{% endblock %}", **{"layouts/l.mjml": layout, "p.mjml": part})
    assert f"T210 p.mjml:{in_part}" in found
    assert not any(place in each for each in found)
    block, in_block = marked("{% macro b() %}\n  {{ ◊blocks.c() }}{% endmacro %}")
    other, in_other = marked("{% macro c() %}{{ ◊blocks.b() }}{% endmacro %}")
    files = {"layouts/l.mjml": LAYOUT, "blocks/b.mjml": block, "blocks/c.mjml": other}
    assert told(PAGE + "{{ blocks.b() }}{% endblock %}", **files) == [f"T210 blocks/c.mjml:{in_other}"]
    assert told(PAGE + "{{ blocks.c() }}{% endblock %}", **files) == [f"T210 blocks/b.mjml:{in_block}"]
    down = "{% macro d(n) %}{% if n %}{{ blocks.d(n - 1) }}{% endif %}{% endmacro %}"
    assert (
        told(PAGE + "{{ blocks.d(3) }}{% endblock %}", **{"layouts/l.mjml": LAYOUT, "blocks/d.mjml": down})
        == []
    )


def test_structure_of_a_block_is_told_in_the_block() -> None:
    """A picture without alt text is told in the block that writes it."""
    block, place = marked(
        '{% macro b() %}\n<mj-section><mj-column>◊<mj-image src="https://x.test/a.png" /></mj-column></mj-section>{% endmacro %}'
    )
    found = told(
        PAGE + "{{ blocks.b() }}{% endblock %}", **{"layouts/l.mjml": LAYOUT, "blocks/b.mjml": block}
    )
    assert f"T401 blocks/b.mjml:{place}" in found


def test_marketing_mail_can_be_stopped() -> None:
    """A marketing mail without an unsubscribe link is an error, without a postal address a warning."""
    findings = lint(TemplateLibrary({"x.mjml": mail("x")}), "x")
    assert [(finding.code, finding.severity) for finding in findings] == [
        ("T404", "error"),
        ("T406", "warning"),
    ]
    whole = mail('<a href="{{ links.unsubscribe }}">stop</a> {{ shop.postal_address }}')
    assert lint(TemplateLibrary({"x.mjml": whole}), "x") == []


def test_size_and_subject_are_advice() -> None:
    """A mail that Gmail would cut, and a subject that phones would, are warnings."""
    long = mail(
        "word " * 25_000, subject="A subject that goes on and on and on, long after everybody stopped reading"
    )
    library = TemplateLibrary({"x.mjml": long})
    assert {(finding.code, finding.severity) for finding in lint(library, "x", kind="transactional")} == {
        ("T403", "warning"),
        ("T405", "warning"),
    }


def test_every_copy_is_checked() -> None:
    """A mistake in a translation is told there; a template without a default is told too."""
    library = TemplateLibrary({"ja/x.mjml": mail("{{ customer.nam }}")})
    assert {(finding.code, finding.span.file) for finding in lint(library, "x")} == {
        ("T105", "templates/x.mjml"),
        ("T203", "templates/ja/x.mjml"),
    }


def test_what_the_flow_lacks_is_missed() -> None:
    """A cart in a birthday mail is found before the first birthday."""
    library = TemplateLibrary({"x.mjml": mail("{{ cart.lines | length }}")})
    contexts = sample_contexts(library, "x", without=frozenset({"cart"}))
    findings = lint(library, "x", contexts, kind="transactional")
    assert [finding.code for finding in findings] == ["T208"]


def test_the_projects_own_keys_are_known() -> None:
    """A key that the project adds to [shop] or [brand] is a field."""
    library = TemplateLibrary({"x.mjml": mail("{{ shop.slogan }} {{ brand.corner }}")})
    contexts = sample_contexts(library, "x", shop={"slogan": "Drink!"}, brand={"corner": "4px"})
    assert lint(library, "x", contexts, kind="transactional") == []


def test_all_fields_of_conditions_are_fields_of_templates() -> None:
    """What a flow can ask, a mail can say."""
    for kind, known in (
        ("customer", fields.CUSTOMER),
        ("product", fields.PRODUCT),
        ("cart", fields.CART),
        ("order", fields.ORDER),
        ("line", fields.LINE),
    ):
        missing = {name.split(".")[0] for name in known} - set(KINDS[kind].fields)
        assert not missing


def test_every_code_has_a_page() -> None:
    """`homing explain` knows each code that the lint can tell."""
    source = (Path(ROOT) / "engine" / "render" / "problems.py").read_text(encoding="utf-8")
    assert set(re.findall(r'"(T\d{3})"', source)) <= {page.code for page in pages()}


FLOW = """flow: hello
summary: Say hello.
topic: reminders
trigger: {event: signed_up}
exit_when: [{did: order_placed}]
steps:
  - send: hello
    subject: "Hello {{ customer.frist_name }}"
"""


def test_a_project_is_linted_as_its_flows_send(tmp_path: Path) -> None:
    """Subjects of steps, templates as their flows send them, and unreadable files are all told."""
    for name, text in {"flows/hello.yaml": FLOW, "templates/hello.mjml": mail("{{ offer.code }}")}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings = Settings(root=tmp_path)
    found = {(finding.code, str(finding.span)) for finding in lint_project(tmp_path, settings)}
    assert found == {("T203", "flows/hello.yaml:8:33"), ("T208", "templates/hello.mjml:4:57")}
    (tmp_path / "templates" / "hello.mjml").write_bytes(b"\xff")
    assert [finding.code for finding in lint_project(tmp_path, settings)] == ["T107"]
    assert lint_project(tmp_path / "nowhere", settings) == []


@pytest.mark.parametrize(
    ("subject", "place"),
    [
        ('"Hello {{ customer.frist_name }}"', 'T203 8:33 did you mean "first_name"?'),
        ("'Hello {{ customer.frist_name }}'", 'T203 8:33 did you mean "first_name"?'),
        ("Hello {{ costumer.first_name }}", 'T202 8:23 did you mean "customer"?'),
        (
            '"It\\x27s {{ costumer.first_name }}"',
            'T202 8:14 did you mean "customer"?',
        ),  # it has escapes: all of it
        ('"Hello {{ "', "T201 8:21 end each {{ with }}, each {% with %}, each {# with #}"),
    ],
)
def test_a_steps_subject_is_told_at_its_words(tmp_path: Path, subject: str, place: str) -> None:
    """What is wrong in a subject of a flow is told where it stands in the file, with a way out."""
    flow = FLOW.replace('"Hello {{ customer.frist_name }}"', subject)
    texts = {"flows/hello.yaml": flow, "templates/hello.mjml": mail("{{ links.unsubscribe }}")}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = [each for each in lint_project(tmp_path, Settings(root=tmp_path)) if each.is_error]
    assert [
        f"{each.code} {each.span.line}:{each.span.column} {each.help}"
        for each in found
        if each.span.file == "flows/hello.yaml"
    ] == [place]


@pytest.mark.parametrize(
    ("offers", "codes"),
    [
        ("one: {percent: 10, code: TEN, valid_for: 7d}", []),
        ('one: {percent: 10, pattern: "A-########", valid_for: 7d}', []),
        ("one: {percent: 10, valid_for: 7d}", []),
        ("one: {percent: 10, pool: codes.txt, valid_for: 7d, when_empty: wait}", []),
        ("one: {percent: 10, pool: codes.txt, when_empty: two}\ntwo: {percent: 5, code: FIVE}", []),
        ("one: {percent: 10, pool: codes.txt, valid_for: 7d}", ["T208"]),
        ("one: {percent: 10, pool: codes.txt, when_empty: without}", ["T208"]),
        (
            "one: {percent: 10, pool: codes.txt, when_empty: two}\ntwo: {percent: 5, pool: codes.txt}",
            ["T208"],
        ),
    ],
)
def test_an_offer_that_cannot_run_out_needs_no_if(tmp_path: Path, offers: str, codes: list[str]) -> None:
    """`offer.code` is asked of nothing only where a mail may go without its offer."""
    flow = FLOW.replace('    subject: "Hello {{ customer.frist_name }}"\n', "    offer: one\n")
    texts = {
        "flows/hello.yaml": flow,
        "flows/offers.yaml": offers + "\n",
        "codes.txt": "AAA\n",
        "templates/hello.mjml": mail(
            'Your code: {{ offer.code }} <a href="{{ links.unsubscribe }}">stop</a> {{ shop.postal_address }}'
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert [finding.code for finding in lint_project(tmp_path, Settings(root=tmp_path))] == codes
    bare = (
        texts["flows/hello.yaml"].replace("    offer: one\n", "")
        + "  - {send: hello, id: again, offer: one}\n"
    )
    (tmp_path / "flows/hello.yaml").write_text(bare, encoding="utf-8")
    assert [finding.code for finding in lint_project(tmp_path, Settings(root=tmp_path))] == ["T208"]


def test_the_repositorys_own_project_is_clean() -> None:
    """What `homing init` copies out has no finding with its own settings."""
    assert lint_project(ROOT, load(ROOT, {})) == []
