"""Every code that `homing validate` can tell: a project with that mistake, and the same project without it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine import settings as settings_module
from engine.diagnostics import Finding, Span
from engine.errors import FindingsError
from engine.flows import rules
from engine.flows.validate import validate
from engine.render.lint import lint_project
from tests.unit.flows import test_rules
from tests.unit.test_settings import CASES as SETTINGS

FLOW = """\
flow: one
summary: What this is for.
kind: marketing
topic: reminders
trigger: {event: order_placed}
re_entry: {per: order}
enter_if:
  - customer: {country: [DE, JP], orders: {gte: 1}}
  - did: product_viewed
    within: 30d
  - segment: vip
exit_when:
  - did: order_placed
  - {did: order_cancelled, same: order_id}
goal: {did: order_placed, within: 30d}
sender: ceo
steps:
  - send: a
  - wait: 2d
  - branch:
      - when: [{order: {lines: {any: {category: tea}}}}]
        steps: [{send: b, offer: ten}]
      - otherwise:
          - webhook: {to: sms, with: {text: hello}}
  - wait: {until: {did: survey_answered}, up_to: 7d, as: answer}
  - experiment:
      name: lot
      arms:
        nothing: {weight: 50, steps: []}
        words: {weight: 50, steps: [{send: b, id: b-again}]}
  - set: {properties.asked: true, consent: {reminders: withdrawn}}
"""
TEMPLATE = """\
---
subject: "Hello {{ customer.first_name }}"
recommend:
  picks: {from: [bestsellers], count: 4, at_least: 2}
---
<mjml>
  <mj-body>
    <mj-section><mj-column>
      {% if order %}<mj-text color="#222222" font-size="16px">{{ order.total | money }} &amp; more</mj-text>{% endif %}
      <mj-image src="https://shop.example/a.png" alt="a pot" />
      {{ blocks.note("thanks") }}
      <mj-text><a href="{{ links.unsubscribe }}">unsubscribe</a> {{ shop.postal_address }}</mj-text>
    </mj-column></mj-section>
  </mj-body>
</mjml>
"""
SCENARIO = """\
scenario: nobody
flow: one
customer: {timezone: UTC, consent: [reminders]}
timeline: [{at: 2026-03-02 10:00, event: order_placed, order_id: o1}]
arms: {lot: nothing}
expect: [{does_not_send: a}]
"""
_LINES = SCENARIO.splitlines()
SCENARIOS = "flow: one\nscenarios:\n  - name: nobody\n"
SCENARIO_TWICE = "\n".join(["- " + _LINES[0], *("  " + line for line in _LINES[1:])] * 2) + "\n"
BASE: dict[str, str] = {
    "homing.toml": (
        "[shop]\nurl = 'https://shop.example'\npostal_address = '1 Tea Street'\n[sender]\nemail = 'hello@kiyomi.shop'\n"
        "[senders.ceo]\nemail = 'ceo@kiyomi.shop'\n[webhooks]\nsms = 'https://sms.example'\n"
        "[topics]\nreminders = 'Reminders'\n[policy]\nexclude = ['blocked']\n"
    ),
    "flows/one.yaml": FLOW,
    "flows/segments.yaml": "vip: [{customer: {tier: gold}}, {not_segment: blocked}]\nblocked: [{customer: {tags: {contains: no}}}]\n",
    "flows/offers.yaml": "ten: {percent: 10, pool: codes.txt, valid_for: 7d, when_empty: two}\ntwo: {percent: 5, code: TWO, valid_for: 7d}\n",
    "codes.txt": "A1\n",
    "templates/a.mjml": TEMPLATE,
    "templates/ja/a.mjml": TEMPLATE,
    "templates/b.mjml": TEMPLATE,
    "templates/words.yaml": "hello: Hello\n",
    "templates/blocks/note.mjml": "{% macro note(words) %}<mj-text>{{ words }}</mj-text>{% endmacro %}\n",
    "tests/one.yaml": SCENARIO,
}  # fmt: skip
ONE, A = "flows/one.yaml", "templates/a.mjml"

# code → file, what is there, what stands there instead, and what the finding points at (empty: anything in the file)
WRONG: dict[str, tuple[str, str, str, str]] = {
    "F001": (ONE, "What this is for.", "What: this is for.", ":"),
    "F002": (ONE, "sender: ceo", "sender: ceo\nsender: ceo", "sender"),
    "F003": (ONE, "nothing: {weight: 50, steps: []}", "nothing: " + "[" * 50 + "]" * 50, "["),
    "F005": (ONE, FLOW, "# nothing yet\n", ""),
    "F006": (ONE, "flow: one", "flow: two", "two"),
    "F101": (ONE, "exit_when:", "exit_whn:", "exit_whn"),
    "F102": (ONE, "topic: reminders\n", "", "flow"),
    "F103": (ONE, "trigger: {event: order_placed}", "trigger: order_placed", "order_placed"),
    "F104": (ONE, "kind: marketing", "kind: Marketing", "Marketing"),
    "F105": (ONE, "wait: 2d", "wait: two days", "two days"),
    "F106": (ONE, "name: lot", "name: a lot!", "a lot!"),
    "F107": (ONE, "{event: order_placed}", "{event: order_placed, by: 5%}", "by"),
    "F108": (ONE, "- send: a\n", "- {send: a, wait: 2d}\n", "{send: a, wait: 2d}"),
    "F109": (ONE, "{send: b, id: b-again}", "{send: b}", "b"),
    "F110": (ONE, "consent: {reminders: withdrawn}", "consent: {reminders: granted}", "granted"),
    "F111": (ONE, "      - when: [{order: {lines: {any: {category: tea}}}}]\n        steps: [{send: b, offer: ten}]\n", "", ""),
    "F121": (ONE, "topic: reminders", "topic: reminder", "reminder"),
    "F122": (ONE, "sender: ceo", "sender: coe", "coe"),
    "F123": (ONE, "offer: ten", "offer: tenn", "tenn"),
    "F124": (ONE, "to: sms", "to: smss", "smss"),
    "F125": (ONE, "- send: a\n", "- send: aa\n", "aa"),
    "F126": ("flows/offers.yaml", "codes.txt", "code.txt", "code.txt"),
    "F127": ("flows/offers.yaml", "{percent: 5, code: TWO,", "{percent: 5, code: TWO, when_empty: ten,", ""),
    "C101": (ONE, "- customer: {country", "- costumer: {country", "costumer"),
    "C102": (ONE, "{country: [DE", "{contry: [DE", "contry"),
    "C103": (ONE, "{gte: 1}", "{min: 1}", "min"),
    "C104": (ONE, "{gte: 1}", "{gte: [1]}", "[1]"),
    "C105": (ONE, "{country: [DE", "{'country!': [DE", "'country!'"),
    "C106": (ONE, "segment: vip", "segment: vips", "vips"),
    "C107": ("flows/segments.yaml", "{customer: {tags: {contains: no}}}", "{segment: vip}", ""),
    "C108": (ONE, "  - did: product_viewed\n", "  - did: product_viewed\n    did_not: order_placed\n", ""),
    "F501": ("tests/one.yaml", "flow: one", "flow: ones", "ones"),
    "F502": ("tests/one.yaml", "does_not_send: a", "does_not_send: aa", "aa"),
    "F503": ("tests/one.yaml", "lot: nothing", "lot: none", "none"),
    "F504": ("tests/one.yaml", "consent: [reminders]", "consent: [remindrs]", "remindrs"),
    "F505": ("tests/one.yaml", SCENARIO, SCENARIO_TWICE, "scenario"),
    "F506": ("tests/one.yaml", "order_id: o1}]", "order_id: o1}, {at: 2026-03-01 10:00, event: order_placed}]", "2026-03-01 10:00"),
    "F507": ("tests/one.yaml", "does_not_send: a}", "does_not_send: a, because: consent}", "consent"),
    "F508": ("tests/one.yaml", SCENARIO, SCENARIOS, "flow: one"),
    "F509": ("tests/one.yaml", "expect: [{does_not_send: a}]", "expect: []", "[]"),
    "T102": (A, "at_least: 2}\n---\n", "at_least: 2}\n", ""),
    "T103": (A, 'subject: "Hello {{ customer.first_name }}"\n', "", ""),
    "T104": (A, "at_least: 2", "at_least: 5", ""),
    "T105": (A, TEMPLATE, "", ""),
    "T106": ("templates/words.yaml", "hello: Hello", "- Hello", ""),
    "T201": (A, "{% endif %}", "{% end %}", ""),
    "T202": (A, "customer.first_name", "costumer.first_name", "costumer"),
    "T203": (A, "order.total", "order.totl", "totl"),
    "T204": (A, "| money", "| mony", "mony"),
    "T205": (A, "<mjml>", '{% include "layouts/none.mjml" %}<mjml>', '"layouts/none.mjml"'),
    "T206": (A, "blocks.note(", "blocks.nite(", "nite"),
    "T207": (A, 'note("thanks")', "note(1, 2)", "note"),
    "T208": (A, "{% if order %}", "{{ cart.url }}{% if order %}", "u"),
    "T210": (A, "<mjml>", '{% include "a" %}<mjml>', "include"),
    "T301": (A, "<mj-image", "<mj-imag", "<mj-imag"),
    "T302": (A, "<mj-section><mj-column>\n", "<mj-section><mj-column>\n<mj-section></mj-section>", "<mj-section"),
    "T303": (A, "&amp; more", "& more", "&"),
    "T304": (A, "</a>", "", "<a"),
    "T305": (A, "<mj-body>", "<mj-head><mj-style inline='inline'>p {}</mj-style></mj-head><mj-body>", "<mj-style"),
    "T306": (A, "<mj-column>", '<mj-column width="wide">', "<mj-column"),
    "T307": (A, '<mj-image', '<mj-image colour="red"', "colour"),
    "T401": (A, ' alt="a pot"', "", "<mj-image"),
    "T402": (A, "https://shop.example/a.png", "http://shop.example/a.png", "<mj-image"),
    "T403": (A, "&amp; more", "more " * 21_000, ""),
    "T404": (A, '<a href="{{ links.unsubscribe }}">unsubscribe</a>', "", ""),
    "T405": (A, 'subject: "Hello ', 'subject: "Hello, this is a subject that says far more than anybody reads on a phone ', ""),
    "T406": (A, " {{ shop.postal_address }}", "", ""),
    "T407": (A, "#222222", "#999999", "<mj-text"),
    "T408": (A, "16px", "9px", "<mj-text"),
    "T409": (A, "Hello {{ customer.first_name }}", "Hello *|FNAME|*", ""),
    "T410": ("templates/ja/a.mjml", '{{ blocks.note("thanks") }}', "", ""),
}  # fmt: skip
# codes that need another project than one replacement away, tried below or elsewhere
APART = {
    "F004": "tests/contracts/findings/test_every_code.py",
    "T107": "tests/contracts/findings/test_every_code.py",
    "T211": "tests/contracts/findings/test_every_code.py",
    "T213": "tests/contracts/findings/test_every_code.py",
    "T411": "tests/contracts/findings/test_every_code.py",
    "T209": "tests/unit/render/test_looks.py",
    "T212": "tests/unit/render/test_lint.py",
    "T413": "tests/unit/render/test_looks.py",
    "C212": "tests/integration/test_unseen.py",
    "C213": "tests/integration/test_unseen.py",
    "C216": "tests/integration/test_unseen.py",
    "F231": "tests/integration/test_unseen.py",
    "T412": "tests/integration/test_unseen.py",
    "T101": "tests/unit/render/test_template.py",
    "F007": "tests/contracts/findings/test_every_code.py",
    "T414": "tests/contracts/findings/test_every_code.py",
    "F208": "tests/unit/flows/test_rules.py",
    "F407": "tests/unit/flows/test_rules.py",
    "C211": "tests/unit/flows/test_rules.py",
}


def found(root: Path, changes: dict[str, str | bytes] | None = None) -> list[Finding]:
    """Write the base project with some files changed, and return all that is found in it."""
    for name, text in {**BASE, **(changes or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if not text and name.endswith(".mjml"):
            path.unlink()
    try:
        settings = settings_module.load(root, {}, strict=False)
    except FindingsError as error:
        return list(error.findings)
    return validate(root, settings, lint=lint_project)


def written(root: Path, finding: Finding) -> str:
    """Return what stands at the place of a finding."""
    line = (root / finding.span.file).read_text(encoding="utf-8").split("\n")[finding.span.line - 1]
    return line[finding.span.column - 1 : finding.span.column - 1 + finding.span.length]


def test_the_right_project_has_no_findings(tmp_path: Path) -> None:
    """Nothing is told where nothing is wrong, whatever the project uses."""
    assert [f"{each.code} {each.span} {each.message}" for each in found(tmp_path)] == []


@pytest.mark.parametrize("code", WRONG)
def test_each_code_is_told_where_the_mistake_is(tmp_path: Path, code: str) -> None:
    """One change to a right project gives the finding, in that file, at the very words, with a way out."""
    file, right, wrong, place = WRONG[code]
    assert right in BASE[file]
    told = [
        each for each in found(tmp_path, {file: BASE[file].replace(right, wrong, 1)}) if each.code == code
    ]
    assert told, [f"{each.code} {each.message}" for each in found(tmp_path)]
    finding = told[0]
    assert finding.span.file == file
    assert finding.message
    assert finding.help or finding.code in ("T101", "T106", "T201")
    if place:
        assert written(tmp_path, finding).startswith(place), (str(finding.span), written(tmp_path, finding))


def test_a_file_of_another_encoding_is_told(tmp_path: Path) -> None:
    """A flow or template that is no UTF-8 is told as what it is."""
    told = found(tmp_path, {ONE: FLOW.replace("What", "Wäs").encode("latin-1")})
    assert [
        (each.code, each.span.file, each.span.line, each.span.column)
        for each in told
        if each.span.file == ONE
    ] == [("F004", ONE, 2, 11)]
    assert "T107" in {
        each.code for each in found(tmp_path, {A: TEMPLATE.replace("Hello", "Wäs").encode("latin-1")})
    }


@pytest.mark.parametrize(("file", "code"), [(ONE, "F004"), (A, "T107"), ("homing.toml", "S101")])
def test_a_file_of_two_bytes_a_letter_is_named(tmp_path: Path, file: str, code: str) -> None:
    """What some editors call Unicode is told by its name, as a whole, without its bytes."""
    told = found(tmp_path, {file: BASE[file].encode("utf-16")})
    assert [(each.code, each.span, "UTF-16" in each.message) for each in told if each.code == code] == [
        (code, Span(file), True)
    ]
    assert [each.help for each in told if each.code == code] == ["save the file as UTF-8 text"]


@pytest.mark.parametrize("name", ["offers", "segments"])
def test_a_folder_in_place_of_what_is_declared_is_told_alone(tmp_path: Path, name: str) -> None:
    """Where segments.yaml or offers.yaml is a folder, that is told, and not each name that would stand in it."""
    found(tmp_path)
    file = tmp_path / "flows" / f"{name}.yaml"
    file.unlink(missing_ok=True)
    file.mkdir()
    told = validate(tmp_path, settings_module.load(tmp_path, {}, strict=False))
    assert [(each.code, str(each.span)) for each in told if each.is_error] == [("F004", f"flows/{name}.yaml")]


def test_bare_words_among_the_scenarios_are_told(tmp_path: Path) -> None:
    """A file under tests/ that holds no more than words is no scenario, and not a silence; a list of words may lie there."""
    told = found(
        tmp_path, {"tests/odd.yaml": "she buys, and gets nothing\n", "tests/list.yaml": "- tea\n- pots\n"}
    )
    assert [(each.code, str(each.span)) for each in told if each.span.file.startswith("tests/")] == [
        ("F508", "tests/odd.yaml:1:1")
    ]


@pytest.mark.parametrize(
    ("words", "code", "place"),
    [
        ("Just words, and a few of them.", "T302", (6, 1)),
        ("{% call blocks.note() %}a <![CDATA[ b ]]>{% endcall %}", "T303", (6, 27)),
        ("  {{ blocks.note() }}", "T208", (6, 17)),
    ],
)
def test_words_of_a_mail_are_told_in_its_own_file(
    tmp_path: Path, words: str, code: str, place: tuple[int, int]
) -> None:
    """What a mail puts straight into its layout's block, or writes as no mail can, is told where it was written."""
    layout = "<mjml><mj-body><mj-wrapper>{% block body %}{% endblock %}</mj-wrapper></mj-body></mjml>"
    mail = f"---\nsubject: x\n---\n{{% extends 'layouts/store.mjml' %}}\n{{% block body %}}\n{words}\n{{% endblock %}}\n"
    told = found(tmp_path, {"templates/layouts/store.mjml": layout, "templates/bad.mjml": mail})
    places = {(each.span.file, each.span.line, each.span.column) for each in told if each.code == code}
    assert places == {("templates/bad.mjml", *place)}
    assert "the MJML cannot be compiled" not in {each.message for each in told}


def test_what_shows_in_a_mail_is_told_of_its_file(tmp_path: Path) -> None:
    """Asked for one template alone, what its mail breaks in a shared block is told; asked for another one, it is not."""
    block = "{% macro badge(text) %}<mj-text>{{ text + 1 }}</mj-text>{% endmacro %}"
    mail = TEMPLATE.replace('{{ blocks.note("thanks") }}', '{{ blocks.badge("thanks") }}')
    found(tmp_path, {"templates/blocks/badge.mjml": block, "templates/bad.mjml": mail})
    settings = settings_module.load(tmp_path, {}, strict=False)
    of_bad, of_good = (
        validate(tmp_path, settings, [tmp_path / "templates" / name], lint=lint_project)
        for name in ("bad.mjml", Path(A).name)
    )
    assert [each.span.file for each in of_bad if each.is_error] == ["templates/blocks/badge.mjml"]
    assert of_bad[0].through == ("templates/bad.mjml",)
    assert of_good == []


@pytest.mark.parametrize(
    ("file", "text"),
    [("flows/two.yml", FLOW), ("flows/later/two.yaml", FLOW), ("tests/two.yml", SCENARIO)],
)
def test_a_file_that_is_never_read_is_told(tmp_path: Path, file: str, text: str) -> None:
    """A flow or scenario that Homing passes over, for its ending or its folder, is no silence."""
    told = found(tmp_path, {file: text})
    assert [(each.code, each.span.file, each.severity) for each in told] == [("F007", file, "warning")]
    assert ".yaml" in told[0].help


STRANGE = [
    ("event: order_placed", "event: order_placd", "order_placd"),
    ("order_id: o1", "order_ids: o1", "order_ids"),
    ("timezone: UTC", "timezones: UTC", "timezones"),
    ("order_id: o1", "order_id: o1, lines: [{sku: a, quantiti: 1}]", "quantiti"),
    ("expect:", "products: [{sku: a, titel: b}]\nexpect:", "titel"),
    ("event: order_placed", "event: consent_withdrawn, topic: remindrs", "remindrs"),
    ("event: order_placed", "event: survey_answered, survy: nps", "survy"),
]


@pytest.mark.parametrize(("right", "wrong", "word"), STRANGE)
def test_odd_words_of_a_scenario_are_told(tmp_path: Path, right: str, wrong: str, word: str) -> None:
    """A scenario that passes because its event, field or topic is misspelt is not passed over."""
    told = found(tmp_path, {"tests/one.yaml": SCENARIO.replace(right, wrong)})
    assert [(each.code, each.severity) for each in told] == [("F504", "warning")]
    assert written(tmp_path, told[0]) == word
    assert "did you mean" in told[0].help


def test_segments_are_held_to_the_rules_of_conditions(tmp_path: Path) -> None:
    """What can never hold, compares with another type or misspells an event is told in segments.yaml too."""
    segments = (
        "vip:\n  - customer: {orders: {gte: two}}\n  - customer: {country: Germany}\n  - did: order_placd\n"
    )
    segments += (
        "  - customer: {spent: {gte: 5, lt: 3}}\n  - customer: {tier: gold}\n  - customer: {tier: silver}\n"
    )
    told = found(tmp_path, {"flows/segments.yaml": segments + BASE["flows/segments.yaml"].partition("\n")[2]})
    here = [(each.code, each.span.line) for each in told if each.span.file == "flows/segments.yaml"]
    assert {("C202", 2), ("C205", 3), ("C204", 4), ("C201", 5), ("C214", 7)} <= set(here), here


@pytest.mark.parametrize("file", ["flows/segments.yaml", "flows/offers.yaml"])
def test_what_a_broken_file_declares_is_not_called_missing(tmp_path: Path, file: str) -> None:
    """A slip in segments.yaml or offers.yaml is one finding, not one more for each flow that uses them."""
    told = found(tmp_path, {file: BASE[file].replace("]\n", "\n", 1).replace("}\n", "\n", 1)})
    assert [(each.code, each.span.file) for each in told if each.is_error] == [("F001", file)]


def test_a_flow_that_cannot_be_read_is_held_to_what_is_written(tmp_path: Path) -> None:
    """A misspelt event is told beside the errors that keep the flow from being read, not after them."""
    text = FLOW.replace("did: order_placed\n", "did: order_placd\n").replace("wait: 2d", "wait: tomorrow")
    assert [each.code for each in found(tmp_path, {ONE: text})] == ["C204", "F105"]


def test_a_misspelt_key_is_told_once(tmp_path: Path) -> None:
    """Who misspelt a key that must be there is not told as well that it is missing; nor to write one that is there."""
    told = found(tmp_path, {ONE: FLOW.replace("topic:", "Topic:")})
    assert [(each.code, each.help) for each in told] == [("F101", 'did you mean "topic"?')]
    limit = found(tmp_path, {ONE: FLOW.replace("up_to:", "up to:")})
    assert [(each.code, each.help) for each in limit] == [("F101", 'did you mean "up_to"?')]
    (twice,) = found(tmp_path, {ONE: FLOW + "steps2: []\n"})
    assert not twice.fixable
    assert twice.help == 'remove it: "steps" stands here already'


def test_words_handed_to_a_block_are_told_where_they_are_written(tmp_path: Path) -> None:
    """Another mailer's placeholder, or a link to one's own machine, stands in the mail, not in the block that shows it."""
    wrong = TEMPLATE.replace('note("thanks")', 'note("thanks, *|FNAME|*")')
    (told,) = [each for each in found(tmp_path, {A: wrong}) if each.code == "T409"]
    assert (told.span.file, written(tmp_path, told)) == (A, "*|FNAME|*")
    link = '{% macro note(words) %}<mj-button href="{{ words }}">go</mj-button>{% endmacro %}'
    local = TEMPLATE.replace('note("thanks")', 'note("http://localhost/x")')
    (told,) = [
        each
        for each in found(tmp_path, {A: local, "templates/blocks/note.mjml": link})
        if each.code == "T402" and "machine" in each.message
    ]
    assert (told.span.file, written(tmp_path, told)) == (A, "http://localhost/x")


def test_a_block_that_the_layout_does_not_have_is_told(tmp_path: Path) -> None:
    """What stands in it would appear nowhere; a block within a block, and one of a layout's layout, has its place."""
    front, body = TEMPLATE.rsplit("---\n", 1)
    layouts = {
        "templates/layouts/base.mjml": body.replace("{{ blocks", "{% block body %}{% endblock %}{{ blocks"),
        "templates/layouts/page.mjml": '{% extends "layouts/base.mjml" %}',
    }
    page = (
        front
        + '---\n{% extends "layouts/page.mjml" %}\n{% block NAME %}{% block inner %}x{% endblock %}{% endblock %}\n'
    )
    right = found(tmp_path, {**layouts, A: page.replace("NAME", "body")})
    assert "T211" not in {each.code for each in right}
    (told,) = [
        each for each in found(tmp_path, {**layouts, A: page.replace("NAME", "bdy")}) if each.code == "T211"
    ]
    assert (written(tmp_path, told), told.help) == ("bdy", 'did you mean "body"?')
    assert "T410" not in {each.code for each in found(tmp_path)}
    copy = {"templates/ja/a.mjml": page.replace("NAME", "body")}
    codes = [each.code for each in found(tmp_path, {**layouts, **copy, A: page.replace("NAME", "bdy")})]
    assert (codes.count("T211"), codes.count("T410")) == (1, 0)


def test_a_mistake_in_a_recommend_block_is_told_alone(tmp_path: Path) -> None:
    """The block's name is known to the mail, whatever else stands in it."""
    wrong = TEMPLATE.replace("count: 4", "cont: 4")
    assert [each.code for each in found(tmp_path, {A: wrong}) if each.span.file == A] == ["F101"]


@pytest.mark.parametrize(
    ("loose", "at"),
    [
        ("<mj-text>loose</mj-text>", "<mj-text>loose</mj-text>"),
        ("<!-- kept -->\n  and <b>this</b>", "and <b>this</b>"),
        ("{{ blocks.note('x') }}", "{{ blocks.note('x') }}"),
        ("{% if customer.first_name %}\nmore\n{% endif %}", "more"),
        ("<!-- kept -->\n{# note #}{% set x = 1 %}{% macro m() %}y{% endmacro %}", ""),
    ],
)
def test_what_stands_outside_of_all_blocks_is_told(tmp_path: Path, loose: str, at: str) -> None:
    """A layout has no place for it, and the mail would go out without it; remarks and macros are meant to be unseen."""
    layouts = {
        "templates/layouts/page.mjml": "<mjml><mj-body>{% block body %}{% endblock %}</mj-body></mjml>\n"
    }
    page = (
        TEMPLATE[: TEMPLATE.rindex("---\n")]
        + '---\n{% extends "layouts/page.mjml" %}\n{% block body %}x{% endblock %}\n'
    )
    told = [each for each in found(tmp_path, {**layouts, A: page + loose + "\n"}) if each.code == "T213"]
    assert [written(tmp_path, each) for each in told] == ([at] if at else [])
    assert [each.help for each in told] == ["put it between {% block body %} and its {% endblock %}"] * len(
        told
    )


def test_a_long_subject_is_told_once_by_its_longest(tmp_path: Path) -> None:
    """However many sample customers meet it, and however long their names are."""
    wrong = TEMPLATE.replace(
        '"Hello', '"Hello, this is a subject that says far more than anybody reads on a phone'
    )
    told = [each for each in found(tmp_path, {A: wrong}) if each.code == "T405"]
    assert len(told) == 1


def test_front_matter_that_fails_is_not_called_missing(tmp_path: Path) -> None:
    """A template whose front matter is no YAML is told that, and not that it has no subject."""
    wrong = TEMPLATE.replace("recommend:", "recommend")
    told = [each.code for each in found(tmp_path, {A: wrong}) if each.span.file == A]
    assert told == ["F001"]
    assert [each.code for each in found(tmp_path, {A: "\n"}) if each.span.file == A] == ["T103"]


def test_a_copy_that_names_a_part_for_something_else_lacks_it(tmp_path: Path) -> None:
    """Only the part itself counts, or a comment that says why it is left out."""
    copy = "templates/ja/a.mjml"
    lacking = BASE[copy].replace('{{ blocks.note("thanks") }}', "<mj-text>note</mj-text>")
    assert "T410" in {each.code for each in found(tmp_path, {copy: lacking})}
    assert "T410" not in {
        each.code for each in found(tmp_path, {copy: lacking + "{# no note in Japanese #}"})
    }


def test_recommendations_in_transactional_mail_are_told(tmp_path: Path) -> None:
    """A transactional flow may send no mail with a recommend block."""
    flow = "flow: two\nsummary: x\nkind: transactional\ntrigger: {event: order_placed}\nsteps: [{send: c}]\n"
    told = found(tmp_path, {"flows/two.yaml": flow, "templates/c.mjml": TEMPLATE})
    assert [(each.code, each.span.line) for each in told] == [("T411", 3)]
    plain = re.sub(r"recommend:\n.*\n", "", TEMPLATE)
    assert found(tmp_path, {"flows/two.yaml": flow, "templates/c.mjml": plain}) == []


@pytest.mark.parametrize("shown", ["{{ blocks.ticket(offer) }}", '{{ blocks.ticket("x" if offer, offer) }}'])
def test_an_offer_block_without_an_offer_is_told(tmp_path: Path, shown: str) -> None:
    """A mail that shows an offer needs one from its step; a block that asks for the offer first does not."""
    block = {
        "templates/blocks/ticket.mjml": "{% macro ticket(a, b=none) %}<mj-text>{{ a }}</mj-text>{% endmacro %}\n"
    }
    mail: dict[str, str | bytes] = {
        A: TEMPLATE.replace('{{ blocks.note("thanks") }}', shown),
        "templates/ja/a.mjml": TEMPLATE,
        **block,
    }
    (told,) = [each for each in found(tmp_path, mail) if each.code == "T414"]
    assert (told.span.file, written(tmp_path, told), told.severity) == (ONE, "send: a", "warning")
    assert told.second is not None
    assert (told.second.file, told.second.line, told.second.column) == (A, 11, shown.index("blocks") + 7)
    given = FLOW.replace("- send: a\n", "- {send: a, offer: ten}\n")
    assert "T414" not in {each.code for each in found(tmp_path, {**mail, ONE: given})}
    for guarded in (
        "{% if offer %}{{ blocks.ticket(offer) }}{% endif %}",
        "{{ blocks.ticket(offer) if offer else '' }}",
    ):
        asks = {A: TEMPLATE.replace('{{ blocks.note("thanks") }}', guarded)}
        assert "T414" not in {each.code for each in found(tmp_path, {**mail, **asks})}


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_code_has_a_wrong_and_a_right_file() -> None:
    """No page of the manual is without a mistake that is found and a file in which it is not."""
    tried = {*WRONG, *APART, *SETTINGS, *test_rules.FLOWS, *test_rules.OFFERS, *test_rules.SETTINGS}
    pages = {page.code for page in rules.all_rules()}
    here = {code for code in pages if not re.match(r"D[3-9]|B|P[3-9]", code)}
    assert sorted(here - tried) == []


def test_every_code_says_what_to_do() -> None:
    """Each page of what stands in files shows a mistake and how it is mended."""
    silent = [
        page.code
        for page in rules.all_rules()
        if page.code in {*WRONG, *test_rules.FLOWS} and "Before" not in page.text
    ]
    assert silent == []


TOGETHER: list[tuple[str, str, str, str]] = [
    ("homing.toml", "exclude = ", "exclud = ", "S104"),
    ("flows/two.yaml", "topic: reminders", "topic: reminder", "F121"),
    ("flows/two.yaml", "{gte: 1}", "{min: 1}", "C103"),
    ("flows/two.yaml", "wait: 2d", "wait: two days", "F105"),
    ("flows/two.yaml", "sender: ceo", "sender: coe", "F122"),
    ("flows/two.yaml", "to: sms", "to: smss", "F124"),
    (A, "| money", "| mony", "T204"),
    (A, "<mj-image", "<mj-imag", "T301"),
    (A, "customer.first_name", "customer.first_nam", "T203"),
    (A, ' color="#222222"', ' colour="#222222"', "T307"),
    ("templates/b.mjml", "<mj-image", "<mj-imag", "T301"),
    ("templates/b.mjml", "&amp; more", "& more", "T303"),
    ("templates/ja/a.mjml", "order.total", "order.totl", "T203"),
    ("tests/one.yaml", "timezone: UTC", "timezone: UTX", "F105"),
    ("tests/one.yaml", "does_not_send: a", "does_not_send: aa", "F502"),
    ("flows/segments.yaml", "contains", "contain", "C103"),
    ("flows/offers.yaml", "codes.txt", "code.txt", "F126"),
]


def test_mistakes_of_every_kind_of_file_are_told_together(tmp_path: Path) -> None:
    """One look tells them all, whichever of them keeps its file from being read any further."""
    texts = {**BASE, "flows/two.yaml": FLOW.replace("flow: one", "flow: two")}
    for file, right, wrong, _ in TOGETHER:
        assert right in texts[file]
        texts[file] = texts[file].replace(right, wrong, 1)
    told = {(each.code, each.span.file, each.span.line) for each in found(tmp_path, {**texts})}
    wanted = [
        (code, file, texts[file].count("\n", 0, texts[file].index(wrong)) + 1)
        for file, _, wrong, code in TOGETHER
    ]
    assert [each for each in wanted if each not in told] == []


# ── planted at random ────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = {  # what can be misspelt, and the code that tells it at that very place
    A: [("customer.", "T202"), ("first_name", "T203"), ("bestsellers", "C106|T104|F104"), ("total", "T203"), ("money", "T204"), ("note(", "T206"),
        ("links.", "T202"), ("unsubscribe }}", "T203"), ("postal_address", "T203"), ("mj-image", "T301"), ("mj-column", "T301|T304|T302")],
    ONE: [("summary", "F101"), ("marketing", "F104"), ("reminders", "F121"), ("event", "F101|F108|F102"), ("order\\b", "F104|C101"), ("customer", "C101"),
          ("country", "C102"), ("gte", "C103"), ("within", "F101|C101"), ("vip", "C106"), ("exit_when", "F101"), ("ceo", "F122"),
          ("category", "C102"), ("ten", "F123"), ("sms", "F124"), ("weight", "F101"), ("up_to", "F101"), ("withdrawn", "F110"), ("goal", "F101")],
    "tests/one.yaml": [("scenario", "F101"), ("timeline", "F101"), ("consent\\b", ""), ("does_not_send", "F101|F108"),
                       ("(?<=flow: )one\\b", "F501"), ("UTC", "F105")],
    "flows/segments.yaml": [("customer", "C101"), ("tier", "C102"), ("contains", "C103"), ("blocked}", "C106"), ("not_segment", "C101")],
    "flows/offers.yaml": [("percent", "F101|F108"), ("valid_for", "F101"), ("pool", "F101"), ("7d", "F105"), ("two}", "F123")],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder to plant mistakes in."""
    return tmp_path_factory.mktemp("planted")


@given(st.integers(0, 2**32))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_misspelt_word_is_found_where_it_is(folder: Path, seed: int) -> None:
    """A letter too many, anywhere in any kind of file and pushed about by other lines, is told at its line and column."""
    chance = random.Random(seed)
    file = chance.choice(sorted(NAMES))
    word, codes = chance.choice([each for each in NAMES[file] if each[1]])
    text = BASE[file]
    # An end tag is told at the tag before it, which is the one that it was meant to close or stands in.
    places = re.finditer(r"(?<!</)(?:" + (word if "\\" in word else re.escape(word)) + ")", text)
    match = chance.choice(list(places))
    at = match.start() + chance.randint(1, 2)
    planted = text[:at] + "qq" + text[at:]
    moved = chance.randint(0, 3) if file != A else 0
    planted = "# 緑茶 🍵\n" * moved + planted
    line = text.count("\n", 0, match.start()) + 1 + moved
    column = match.start() - text.rfind("\n", 0, match.start())
    findings = found(folder, {file: planted})
    found(folder)
    near = [each for each in findings if each.span.file == file and each.span.line == line]
    assert any(each.code in codes.split("|") and abs(each.span.column - column) <= 4 for each in near), (
        word, codes, line, column, [f"{each.code} {each.span} {each.message}" for each in findings],
    )  # fmt: skip
