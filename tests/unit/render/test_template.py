"""Front matter: what it says, and where it is wrong."""

from __future__ import annotations

import pytest

from engine.render.template import Inline, parse_template

WHOLE = """---
subject: "{{ customer.first_name or 'Hello' }}, your cart"
preheader: Waiting
recommend:
  picks: {from: [bought_together, bestsellers], count: 3, at_least: 2, otherwise: skip, where: {category: tea}}
  more: {from: newest}
---
<mjml></mjml>
"""


def test_everything_is_taken() -> None:
    """Subject, preheader, recommend blocks and body come out with their places."""
    template, findings = parse_template("a", "a.mjml", WHOLE)
    assert findings == ()
    assert template.subject == Inline("{{ customer.first_name or 'Hello' }}, your cart", 2, 11)
    assert template.preheader == Inline("Waiting", 3, 12)
    assert (template.body, template.body_line) == ("<mjml></mjml>\n", 8)
    picks, more = template.recommend
    assert (picks.name, picks.strategies, picks.count) == ("picks", ("bought_together", "bestsellers"), 3)
    assert (picks.at_least, picks.otherwise, dict(picks.where)) == (2, "skip", {"category": "tea"})
    assert (more.strategies, more.count, more.at_least, more.otherwise) == (("newest",), 4, 1, "omit")


@pytest.mark.parametrize("source", ["<mjml></mjml>", "", "-- not a fence\n", "{# a #}\n---\n"])
def test_no_front_matter_is_fine(source: str) -> None:
    """Layouts and blocks have none."""
    template, findings = parse_template("a", "a.mjml", source)
    assert (template.body, template.body_line, findings) == (source, 1, ())


def test_windows_files_read_the_same() -> None:
    """A byte order mark and CRLF line ends change nothing."""
    template, findings = parse_template("a", "a.mjml", "\ufeff" + WHOLE.replace("\n", "\r\n"))
    assert (template, findings) == (parse_template("a", "a.mjml", WHOLE)[0], ())


@pytest.mark.parametrize(
    ("front", "line", "column", "words"),
    [
        ("subjct: a", 2, 1, "subject"),
        ("subject: a\nsubject: b", 3, 1, "second time"),
        ("subject: [a]", 2, 10, "subject"),
        ("subject: a: b", 2, 0, ""),
        ("recommend: 3", 2, 12, "recommend"),
        ("recommend:\n  picks: {count: 3}", 3, 10, "come from"),
        ("recommend:\n  picks: {from: [bestseller]}", 3, 18, "bestsellers"),
        ("recommend:\n  picks: {from: newest, count: 99}", 3, 32, "24"),
        ("recommend:\n  picks: {from: newest, count: 2, at_least: 3}", 3, 35, "never"),
        ("recommend:\n  picks: {from: newest, otherwise: shout}", 3, 36, "omit"),
        ("recommend:\n  picks: {from: newest, where: {price: {bigger: 3}}}", 3, 41, "bigger"),
        ("recommend:\n  my-picks: {from: newest}", 3, 3, "letters"),
        ("recommend:\n  picks: {from: newest, wher: 1}", 3, 25, "where"),
    ],
)
def test_mistakes_have_their_place(front: str, line: int, column: int, words: str) -> None:
    """Each mistake in the front matter is an error on its line and column, with a way out."""
    _, findings = parse_template("a", "a.mjml", f"---\n{front}\n---\nbody")
    finding = findings[0]
    assert finding.is_error
    assert (finding.span.file, finding.span.line) == ("templates/a.mjml", line)
    assert column in (0, finding.span.column)
    assert words in f"{finding.message} {finding.help}"


def test_an_open_front_matter_is_told() -> None:
    """Three dashes without their partner are an error, not a mail that begins with YAML."""
    _, findings = parse_template("a", "a.mjml", "---\nsubject: a\n<mjml></mjml>")
    assert [finding.code for finding in findings] == ["T102"]


def test_aliases_cannot_explode() -> None:
    """A bomb of YAML aliases is a finding."""
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert parse_template("a", "a.mjml", f"---\n{bomb}---\n")[1]


def test_a_long_template_is_refused() -> None:
    """Nobody writes 200,000 characters by hand."""
    assert [finding.code for finding in parse_template("a", "a.mjml", "x" * 200_001)[1]] == ["T101"]
