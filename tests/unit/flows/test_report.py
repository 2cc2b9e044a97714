"""Findings as text, JSON, GitHub annotations and SARIF."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.diagnostics import Finding, Span
from engine.flows.report import FORMATS, render, render_text, summary

FLOW = """\
flow: cart-recovery
topic: offers
trigger: {event: cart_updated}
steps:
  - send: hello
  - wait: 1d
  - send: ten-percent-off
"""
PURCHASE = Finding(
    "F204", "warning", "a purchase does not stop this flow", Span("flows/cart-recovery.yaml", 7, 5, 21),
    label="this goes out all the same", second=Span("flows/cart-recovery.yaml", 3, 10, 21), second_label="customers enter here",
    effect="someone who has just bought still gets this mail", help="add `exit_when: [{did: order_placed}]`", fixable=True,
)  # fmt: skip
TEXT = """\
warning[F204]: a purchase does not stop this flow
  --> flows/cart-recovery.yaml:7:5
   |
 3 | trigger: {event: cart_updated}
   |          --------------------- customers enter here
...
 7 |   - send: ten-percent-off
   |     ^^^^^^^^^^^^^^^^^^^^^ this goes out all the same
   |
   = effect: someone who has just bought still gets this mail
   = help: add `exit_when: [{did: order_placed}]`   (validate --fix can do it)
   = more: homing explain F204

1 warning; --fix can mend 1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one flow."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/cart-recovery.yaml").write_text(FLOW, encoding="utf-8")
    return tmp_path


def test_text_shows_the_places(root: Path) -> None:
    """A finding reads from the problem to the way out, with both places under carets."""
    assert render([PURCHASE], root=root) == TEXT


def test_text_without_files_is_short() -> None:
    """Where there is no project, no excerpt is shown."""
    text = render_text([PURCHASE])
    assert "^" not in text
    assert "--> flows/cart-recovery.yaml:7:5" in text


def test_colour_changes_only_colours(root: Path) -> None:
    """Colours are escape codes around the same words."""
    coloured = render([PURCHASE], root=root, colour=True)
    assert coloured != TEXT
    assert re.sub("\x1b\\[\\d+m", "", coloured) == TEXT


def test_carets_stand_under_wide_letters(tmp_path: Path) -> None:
    """Japanese letters take two cells, and the carets with them."""
    (tmp_path / "x.yaml").write_text("緑茶: 抹茶\n", encoding="utf-8")
    lines = render([Finding("F001", "error", "x", Span("x.yaml", 1, 5, 2))], root=tmp_path).splitlines()
    assert lines[3] == " 1 | 緑茶: 抹茶"
    assert lines[4] == "   |       ^^^^"


def test_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Escape codes and direction marks in a file or a message are shown as a replacement."""
    (tmp_path / "x.yaml").write_bytes("a: \x1b[31m\u202eb\tc\n".encode())
    text = render([Finding("F001", "error", "no \x1b[2J", Span("x.yaml", 1, 1, 1))], root=tmp_path)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a: �[31m�b c" in text


def test_long_lines_are_cut_around_the_place(tmp_path: Path) -> None:
    """Of a very long line, the part around the place is shown."""
    (tmp_path / "x.yaml").write_text("a" * 500 + "HERE" + "b" * 500, encoding="utf-8")
    lines = render([Finding("F001", "error", "x", Span("x.yaml", 1, 501, 4))], root=tmp_path).splitlines()
    at = lines[4].index("^")
    assert lines[3][at : at + 4] == "HERE"
    assert len(lines[3]) < 140


@pytest.mark.parametrize(
    "span",
    [Span(), Span("gone.yaml", 3, 1, 1), Span("flows/cart-recovery.yaml", 99, 1, 1), Span("x", 0, 0, 1)],
)
@pytest.mark.parametrize("form", FORMATS)
def test_places_that_are_not_there_do_no_harm(root: Path, span: Span, form: str) -> None:
    """A finding without a place, or of a line that is gone, is told all the same."""
    assert "broken" in render([Finding("F001", "error", "broken", span)], form, root=root)


def test_findings_come_in_order_and_once(root: Path) -> None:
    """By file, line and column; the same finding twice is one."""
    one, two = (Finding("F001", "error", "x", Span("flows/cart-recovery.yaml", line, 1)) for line in (1, 2))
    data = json.loads(render([two, one, two], "json", root=root))
    assert [entry["line"] for entry in data["findings"]] == [1, 2]


def test_json_holds_everything() -> None:
    """One document with counts and every field."""
    data = json.loads(render([PURCHASE], "json"))
    assert (data["errors"], data["warnings"]) == (0, 1)
    (entry,) = data["findings"]
    assert entry == {
        "code": "F204", "name": "purchase-does-not-stop", "severity": "warning", "message": PURCHASE.message,
        "file": "flows/cart-recovery.yaml", "line": 7, "column": 5, "length": 21, "label": PURCHASE.label,
        "effect": PURCHASE.effect, "help": PURCHASE.help, "fixable": True,
        "second": {"file": "flows/cart-recovery.yaml", "line": 3, "column": 10, "length": 21, "label": "customers enter here"},
    }  # fmt: skip


def test_github_annotations_escape() -> None:
    """Line breaks, colons and commas cannot end an annotation early."""
    finding = Finding("F001", "error", "50% of\n::error::x", Span("a,b:c.yaml", 1, 2, 3))
    assert render([finding], "github") == (
        "::error file=a%2Cb%3Ac.yaml,line=1,col=2,endColumn=5,title=F001 not-yaml::50%25 of%0A::error::x\n"
    )


def test_sarif_has_rules_and_places() -> None:
    """SARIF 2.1.0 with the manual pages as rules and both places."""
    data = json.loads(render([PURCHASE], "sarif"))
    (run,) = data["runs"]
    assert (data["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "homing")
    (result,) = run["results"]
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "F204"
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 7, "startColumn": 5, "endLine": 7, "endColumn": 26}
    assert len(result["relatedLocations"]) == 1


def test_the_summary_counts() -> None:
    """Errors, warnings and remarks are counted in words."""
    error = Finding("F001", "error", "x")
    remark = Finding("F303", "info", "x")
    assert summary([error, error, PURCHASE, remark]) == "2 errors, 1 warning, 1 remark; --fix can mend 1"


def test_what_is_wrong_with_many_files_at_once_is_told_once(tmp_path: Path) -> None:
    """One cause, such as a footer, is one finding that names the other files; machines get each of them, and all are counted."""
    files = [f"templates/{name}.mjml" for name in "abcdefgh"]
    same = [Finding("T404", "error", "no link", Span(file, 1, 1), help="add it") for file in files]
    text = render_text(same, root=tmp_path)
    assert text.count("error[T404]") == 1
    assert "= also: templates/b.mjml, templates/c.mjml, templates/d.mjml and 4 more files" in text
    assert text.endswith("8 errors\n")
    assert render(same, "github").count("::error") == 8
    assert render_text(same[:3], root=tmp_path).count("error[T404]") == 3
    placed = [replace(each, span=Span(each.span.file, 4, 2)) for each in same]
    assert render_text(placed, root=tmp_path).count("error[T404]") == 8
