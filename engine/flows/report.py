"""Findings as people and machines read them: text with the source, JSON, GitHub annotations, SARIF.

Comes in: findings and the project's folder (their files are read for the excerpts). Goes out: one text that ends with a
line break. Promises: the order is that of the places; control characters of a file never reach the terminal; carets
stand under the words even where letters are wide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args
from unicodedata import east_asian_width

from engine.diagnostics import Finding, Span
from engine.flows.manual import Page, find

Format = Literal["text", "json", "github", "sarif"]
FORMATS: tuple[str, ...] = get_args(Format)
_WIDEST = 120
MANY = 3
"""Files of which a text says the same one by one; of more it says it once."""
_RED, _YELLOW, _BLUE, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"error": _RED, "warning": _YELLOW, "info": _BLUE}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def render(
    findings: Iterable[Finding], form: str = "text", *, root: Path | None = None, colour: bool = False
) -> str:
    """Return all findings in one of `FORMATS`; `root` is the project's folder, for excerpts."""
    ordered = in_order(findings)
    if form == "json":
        return json.dumps(as_data(ordered), indent=2, ensure_ascii=False) + "\n"
    if form == "github":
        return "".join(_annotation(finding) + "\n" for finding in ordered)
    if form == "sarif":
        return json.dumps(_sarif(ordered), indent=2, ensure_ascii=False) + "\n"
    return render_text(ordered, root=root, colour=colour)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by place, each once."""
    return sorted(dict.fromkeys(findings), key=lambda finding: (finding.span, finding.code, finding.message))


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def render_text(findings: Iterable[Finding], *, root: Path | None = None, colour: bool = False) -> str:
    """Return findings as people read them, with the lines that they are about, and a count at the end."""
    ordered = in_order(findings)
    files = _Files(root)
    texts = [
        "\n".join([*_finding_lines(first, files, colour=colour), *_elsewhere(first, others)])
        for first, others in _alike(ordered)
    ]
    return "\n\n".join([*texts, summary(ordered)]) + "\n"


def _alike(findings: Sequence[Finding]) -> list[tuple[Finding, list[Finding]]]:
    """Return findings with those that say the same of other whole files, where there are many: mostly one cause."""
    several: dict[Finding, list[Finding]] = {}
    for finding in findings:
        several.setdefault(replace(finding, span=Span()), []).append(finding)
    told: list[tuple[Finding, list[Finding]]] = []
    for finding in findings:
        same = several[replace(finding, span=Span())]
        if len(same) <= MANY or any((each.span.line, each.span.column) > (1, 1) for each in same):
            told.append((finding, []))
        elif finding is same[0]:
            told.append((finding, same[1:]))
    return told


def _elsewhere(first: Finding, others: Sequence[Finding]) -> list[str]:
    """Return the line that names the other files."""
    if not others:
        return []
    shown = ", ".join(each.span.file for each in others[:MANY])
    more = f" and {len(others) - MANY} more files" if len(others) > MANY else ""
    text = f"{shown}{more}: what all of them draw on may have changed"
    return [f"{' ' * (_gutter(first) + 1)}= also: {_safe(text)}"]


def summary(findings: Sequence[Finding]) -> str:
    """Return how many findings of each kind there are, in words.

    >>> summary([])
    'nothing to mend'
    """
    counts = {
        kind: sum(finding.severity == kind for finding in findings) for kind in ("error", "warning", "info")
    }
    words = [f"{count} {_noun(kind, count)}" for kind, count in counts.items() if count]
    fixable = sum(finding.fixable for finding in findings)
    return (", ".join(words) if words else "nothing to mend") + (
        f"; --fix can mend {fixable}" if fixable else ""
    )


def _noun(kind: str, count: int) -> str:
    noun = {"error": "error", "warning": "warning", "info": "remark"}[kind]
    return noun if count == 1 else noun + "s"


def _finding_lines(finding: Finding, files: _Files, *, colour: bool) -> list[str]:
    paint = _COLOURS[finding.severity] if colour else ""
    bold, blue, plain = (_BOLD, _BLUE, _PLAIN) if colour else ("", "", "")
    lines = [f"{paint}{bold}{finding.severity}[{finding.code}]{plain}{bold}: {_safe(finding.message)}{plain}"]
    if finding.span.file:
        lines.append(f"{blue}  -->{plain} {_safe(str(finding.span))}")
    shown = _excerpt(finding, files, paint, blue, plain)
    notes = [
        ("effect", finding.effect),
        ("help", finding.help + ("   (validate --fix can do it)" if finding.fixable else "")),
    ]
    if _page(finding.code) is not None:
        notes.append(("more", f"homing explain {finding.code}"))
    gutter = " " * (_gutter(finding) + 1)
    lines += shown
    lines += [f"{gutter}{blue}={plain} {name}: {_safe(text)}" for name, text in notes if text]
    return lines


def _gutter(finding: Finding) -> int:
    lines = [finding.span.line, finding.second.line if finding.second else 0]
    return max(len(str(max(lines))), 2)


def _excerpt(finding: Finding, files: _Files, paint: str, blue: str, plain: str) -> list[str]:
    """Return the lines of the file with carets under the place and dashes under the second one."""
    marks = [(finding.span, "^", finding.label, paint)]
    if finding.second is not None and finding.second.line:
        marks.append((finding.second, "-", finding.second_label, blue))
    marks = [mark for mark in marks if files.line(mark[0]) is not None]
    if not marks:
        return []
    marks.sort(key=lambda mark: mark[0])
    width = _gutter(finding)
    bar = f"{' ' * width} {blue}|{plain}"
    lines, before = [bar], marks[0][0]
    for span, sign, label, paint_sign in marks:
        if span.file != before.file:
            lines.append(f"{blue}  ::{plain} {_safe(str(span))}")
        elif span.line > before.line + 1:
            lines.append(f"{blue}...{plain}")
        text, start, length = _window(files.line(span) or "", span)
        lines.append(f"{blue}{span.line:>{width}} |{plain} {text}")
        pointed = f"{' ' * start}{paint_sign}{sign * length}{' ' + _safe(label) if label else ''}{plain}"
        lines.append(f"{bar} {pointed}")
        before = span
    return [*lines, bar]


def _window(line: str, span: Span) -> tuple[str, int, int]:
    """Return the part of a line to show, and where in it (in cells of a terminal) the place begins and how wide it is."""
    start = min(span.column - 1, len(line))
    end = min(start + span.length, max(len(line), start + 1))
    first = max(0, start - _WIDEST // 2) if len(line) > _WIDEST else 0
    shown = line[first : first + _WIDEST]
    text = ("…" if first else "") + _safe(shown) + ("…" if first + _WIDEST < len(line) else "")
    offset = _cells(line[first:start]) + bool(first)
    return text, offset, max(_cells(line[start : min(end, first + _WIDEST)]), 1)


def _cells(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in _safe(text))


def _safe(text: str) -> str:
    """Return text without what would steer a terminal; a tab is one space, so that columns stay."""
    return _CONTROL.sub("�", text.replace("\t", " ").replace("\n", " "))


class _Files:
    """The lines of the files that findings are about."""

    def __init__(self, root: Path | None) -> None:
        self.root = root

    def line(self, span: Span) -> str | None:
        """Return the line that a span stands in, or None."""
        if self.root is None or not span.file or span.line < 1:
            return None
        lines = _lines_of(self.root / span.file)
        return lines[span.line - 1] if span.line <= len(lines) else None


@lru_cache(maxsize=8)
def _cached_lines(path: Path, stamp: tuple[int, int]) -> list[str]:
    del stamp  # part of the key: a file that changed is read again
    text = path.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n")


def _lines_of(path: Path) -> list[str]:
    try:
        status = path.stat()
        return _cached_lines(path, (status.st_mtime_ns, status.st_size))
    except OSError:
        return []


def _page(code: str) -> Page | None:
    """Return the page of a code; those of rules are known once the rules are."""
    import_module("engine.flows.rules")
    return find(code)


# ── machines ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def as_data(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return findings as JSON data with counts."""
    return {
        "errors": sum(finding.is_error for finding in findings),
        "warnings": sum(finding.severity == "warning" for finding in findings),
        "findings": [_as_entry(finding) for finding in findings],
    }


def _as_entry(finding: Finding) -> dict[str, Any]:
    page = _page(finding.code)
    entry: dict[str, Any] = {
        "code": finding.code,
        "name": page.name if page else "",
        "severity": finding.severity,
    }
    entry |= {"message": finding.message, **_place(finding.span), "label": finding.label}
    entry |= {"effect": finding.effect, "help": finding.help, "fixable": finding.fixable}
    if finding.second is not None:
        entry["second"] = {**_place(finding.second), "label": finding.second_label}
    return entry


def _place(span: Span) -> dict[str, Any]:
    return {"file": span.file, "line": span.line, "column": span.column, "length": span.length}


def _annotation(finding: Finding) -> str:
    level = {"error": "error", "warning": "warning", "info": "notice"}[finding.severity]
    span = finding.span
    where = {"file": span.file, "line": span.line, "col": span.column, "endColumn": span.column + span.length}
    page = _page(finding.code)
    properties = [
        f"{name}={_property(str(value))}"
        for name, value in where.items()
        if (value and span.line) or name == "file"
    ]
    title = f"{finding.code} {page.name}" if page else finding.code
    text = ". ".join(part for part in (finding.message, finding.effect, finding.help) if part)
    return f"::{level} {','.join([*properties, f'title={_property(title)}'])}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    codes = sorted({finding.code for finding in findings})
    driver = {
        "name": "homing",
        "rules": [_sarif_rule(code) for code in codes],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(item, codes) for item in findings],
            }
        ],
    }


def _sarif_rule(code: str) -> dict[str, Any]:
    page = _page(code)
    if page is None:
        return {"id": code}
    help_ = {"text": page.text, "markdown": page.text}
    return {"id": code, "name": page.name, "shortDescription": {"text": page.title}, "help": help_}


def _result(finding: Finding, codes: Sequence[str]) -> dict[str, Any]:
    text = ". ".join(part for part in (finding.message, finding.effect, finding.help) if part)
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": {"error": "error", "warning": "warning", "info": "note"}[finding.severity],
        "message": {"text": text},
        "locations": [_location(finding.span, finding.label)],
    }
    if finding.second is not None:
        result["relatedLocations"] = [_location(finding.second, finding.second_label)]
    return result


def _location(span: Span, label: str) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": span.file or "homing.toml"}}
    if span.line:
        end = span.column + span.length
        physical["region"] = {
            "startLine": span.line,
            "startColumn": span.column,
            "endLine": span.line,
            "endColumn": end,
        }
    return {"physicalLocation": physical, **({"message": {"text": label}} if label else {})}
