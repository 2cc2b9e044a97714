"""How a mail looks: contrast, size of type, and what other mailers left in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.render.library import TemplateLibrary
from engine.render.lint import lint, lint_project
from engine.render.looks import colour_of, contrast, left_over
from engine.settings import load

PAGE = """---
subject: "{subject}"
---
<mjml><mj-head><mj-attributes>{attributes}</mj-attributes></mj-head><mj-body background-color="#ffffff">
<mj-section{section}><mj-column>
{body}
</mj-column></mj-section></mj-body></mjml>
"""
BODY_LINE = 6


def found(body: str, *, attributes: str = "", section: str = "", subject: str = "Hello") -> list[str]:
    """Return `CODE line:column` of what is advised about a mail's looks."""
    source = PAGE.format(body=body, attributes=attributes, section=section, subject=subject)
    findings = lint(TemplateLibrary({"x.mjml": source}), "x", kind="transactional")
    return [
        f"{each.code} {each.span.line}:{each.span.column}"
        for each in findings
        if each.code in ("T407", "T408", "T409")
    ]


AT = f"{BODY_LINE}:1"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('<mj-text color="#999999">Soon</mj-text>', [f"T407 {AT}"]),
        ('<mj-text color="#595959">Soon</mj-text>', []),
        ('<mj-text color="#767676">Soon</mj-text>', []),
        ('<mj-text color="#777777">Soon</mj-text>', [f"T407 {AT}"]),
        ('<mj-text color="#777777" font-size="24px">Soon</mj-text>', []),
        ('<mj-text color="#777777" font-size="19px" font-weight="bold">Soon</mj-text>', []),
        ('<mj-text color="#fff" container-background-color="#222">Soon</mj-text>', []),
        ('<mj-text color="#fff">·</mj-text>', []),
        ('<mj-text color="#fff">&nbsp;</mj-text>', []),
        ('<mj-text><span style="color: #bbb">Soon</span></mj-text>', [f"T407 {BODY_LINE}:10"]),
        ('<mj-text><b style="color:#fff;background:#2f5d50">Soon</b></mj-text>', []),
        ('<mj-text color="#fff"><span style="display:none">Soon</span></mj-text>', []),
        ('<mj-button href="https://a.test">Buy</mj-button>', []),
        ('<mj-button href="https://a.test" background-color="#f5c542" color="white">Buy</mj-button>', [f"T407 {AT}"]),
        ('<mj-text color="rebeccapurple">Soon</mj-text>', []),
        ('<mj-text font-size="10px">Soon</mj-text>', [f"T408 {AT}"]),
        ('<mj-text font-size="12px">Soon</mj-text>', []),
        ('<mj-text font-size="16px"><span style="font-size:0.6em">Soon</span></mj-text>', [f"T408 {BODY_LINE}:27"]),
        ('<mj-text>Dear *|FNAME|*</mj-text>', [f"T409 {BODY_LINE}:15"]),
        ('<mj-text>Dear %FIRST_NAME%, 50% off</mj-text>', [f"T409 {BODY_LINE}:15"]),
        ('<mj-text>\n<p>Dear {first_name}, {first_name}</p></mj-text>', [f"T409 {BODY_LINE + 1}:9"]),
    ],
)  # fmt: skip
def test_what_is_hard_to_read_is_told_at_its_tag(body: str, told: list[str]) -> None:
    """Colours of attributes and inline styles, on the nearest background; sizes in px, pt and em."""
    assert found(body) == told


def test_defaults_and_classes_count() -> None:
    """What mj-attributes says holds for each tag; the tag's own word goes before it."""
    pale = '<mj-all color="#ccc" /><mj-class name="dark" color="#222" /><mj-text font-size="11px" />'
    assert found("<mj-text>Soon</mj-text>", attributes=pale) == [f"T407 {AT}", f"T408 {AT}"]
    assert found('<mj-text mj-class="dark" font-size="14px">Soon</mj-text>', attributes=pale) == []


def test_the_nearest_background_counts() -> None:
    """A section's colour is behind its texts; upon a picture nothing is judged."""
    text = '<mj-text color="#fff">Soon</mj-text>'
    assert found(text, section=' background-color="#2f5d50"') == []
    assert found(text, section=' background-color="#eeeeee"') == [f"T407 {AT}"]
    assert found(text, section=' background-url="https://a.test/p.jpg"') == []


def test_subjects_of_other_mailers_are_told() -> None:
    """A raw merge tag in the subject is told at the subject."""
    assert found("<mj-text>Soon</mj-text>", subject="*|FNAME|*, hello") == ["T409 2:11"]
    assert found("<mj-text>Soon</mj-text>", subject="Hello *|FNAME|*") == ["T409 2:17"]
    assert found("<mj-text>Soon</mj-text>", subject="{{ customer.first_name or 'Hello' }}") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[first_name]]", "[[first_name]]"),
        ("%%name%%", "%%name%%"),
        ("${user.name}", "${user.name}"),
        ("{person.name}", "{person.name}"),
        ("<<name>>", "<<name>>"),
        ("100%", None),
        ("10% or 20% off", None),
        ("a [b] c", None),
        ("{x}", None),
    ],
)
def test_left_over_words(text: str, words: str | None) -> None:
    """The placeholders of other mailers are known; percents and brackets are not taken for them."""
    assert left_over(text) == words


def test_contrast_is_that_of_wcag() -> None:
    """Known pairs, and the same whichever of the two is asked first."""
    grey, white = colour_of("#767676"), colour_of("white")
    assert grey is not None
    assert white is not None
    assert round(contrast(grey, white), 2) == round(contrast(white, grey), 2) == 4.54
    assert colour_of("#GGG") is None


FRONT = '---\nsubject: "Hello"\n---\n'
WHOLE = (
    FRONT
    + "<mjml><mj-body>{{ blocks.line(order) }}<mj-section><mj-column><mj-text>Hi</mj-text></mj-column></mj-section></mj-body></mjml>"
)


def test_a_copy_that_lacks_a_part_is_told() -> None:
    """A block of the default that a copy neither has nor names is advice; a comment that names it settles it."""
    line = "{% macro line(order) %}<mj-section><mj-column><mj-text>{{ order.total }}</mj-text></mj-column></mj-section>{% endmacro %}"
    short = WHOLE.replace("{{ blocks.line(order) }}", "")
    for copy, codes in ((WHOLE, []), (short, ["T410"]), (short + "{# no line in Japanese #}", [])):
        library = TemplateLibrary({"x.mjml": WHOLE, "ja/x.mjml": copy, "blocks/line.mjml": line})
        findings = lint(library, "x", kind="transactional")
        assert [each.code for each in findings if each.code == "T410"] == codes
    assert str(findings) == "[]"


@pytest.mark.parametrize(
    ("event", "body", "codes"),
    [
        ("survey_answered", "{{ order.total }}", ["T209"]),
        ("survey_answered", "{% if order %}{{ order.total }}{% endif %}", []),
        ("order_placed", "{{ order.total }}", []),
        ("order_placed", "{{ cart.url }}", ["T208"]),
        ("cart_updated", "{{ cart.url }}", []),
    ],
)
def test_what_the_trigger_may_lack_is_told(tmp_path: Path, event: str, body: str, codes: list[str]) -> None:
    """An own event may come without an order: advice; what a trigger surely lacks is an error; a guard settles both."""
    files = {
        "homing.toml": "[shop]\npostal_address = 'x'\n",
        "flows/one.yaml": f"flow: one\nkind: transactional\ntrigger: {{event: {event}}}\nsteps: [send: x]\n",
        "templates/x.mjml": WHOLE.replace("{{ blocks.line(order) }}", "").replace("Hi", "Hi " + body),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    told = {each.code for each in lint_project(tmp_path, load(tmp_path, {}))}
    assert sorted(told & {"T208", "T209"}) == codes


NIGHT = """<mjml><mj-head><mj-style>
@media (prefers-color-scheme: dark) {{
  .page div, .page td {{ color: #eeeeee !important; }}
  .soft > table > tbody > tr > td {{ background: #222222 !important; }}
  .act a {{ background: #88ccaa !important; color: #111111 !important; }}
  .note div {{ color: #222222 !important; }}
}}
</mj-style></mj-head><mj-body css-class="page"><mj-section>
<mj-column{column}>{body}</mj-column></mj-section></mj-body></mjml>
"""


@pytest.mark.parametrize(
    ("column", "body", "told"),
    [
        (' background-color="#f4efe6"', "<mj-text>Soon</mj-text>", True),
        (' background-color="#f4efe6" css-class="soft"', "<mj-text>Soon</mj-text>", False),
        (' background-color="#f4efe6" css-class="note"', "<mj-text>Soon</mj-text>", False),
        (' background-color="#223344"', '<mj-text color="#ffffff">Soon</mj-text>', False),
        ("", "<mj-text>Soon</mj-text>", False),
        ("", '<mj-text><span style="background:#ffffff">Soon</span></mj-text>', True),
        ("", '<mj-text css-class="act"><a href="https://a.test" style="background:#ffffff">Soon</a></mj-text>', False),
    ],
)  # fmt: skip
def test_light_words_need_a_dark_ground_at_night(column: str, body: str, told: bool) -> None:
    """Where styles turn words light at night, a light ground of one's own that stays is told; one that changes is not."""
    source = f"---\nsubject: Hello\n---\n{NIGHT.format(column=column, body=body)}"
    codes = {each.code for each in lint(TemplateLibrary({"x.mjml": source}), "x", kind="transactional")}
    assert ("T413" in codes) is told
    by_day = source.replace("prefers-color-scheme: dark", "min-width: 480px")
    assert "T413" not in {
        each.code for each in lint(TemplateLibrary({"x.mjml": by_day}), "x", kind="transactional")
    }
