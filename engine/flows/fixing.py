"""Mending what can be mended safely: edits of text that keep comments and layout.

Comes in: findings and the files they are about. Goes out: the new text of each file. Promises: only what a finding
points at is changed; edits that would overlap are left for the next time; what is mended is found no more, so mending
twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.diagnostics import Finding, Span
from engine.flows.reading import CURLY, better_value, truth_word


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace `length` characters at a 1-based line and column by text (which may hold line breaks)."""

    line: int
    column: int
    length: int
    text: str


Fixer = Callable[[Finding, Sequence[str]], Iterable[Edit]]


def fixes(root: Path, findings: Sequence[Finding]) -> Mapping[Path, str]:
    """Return the new text of every file in which something can be mended."""
    by_file: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.fixable and finding.code in FIXERS and finding.span.line:
            by_file.setdefault(finding.span.file, []).append(finding)
    mended: dict[Path, str] = {}
    for file, found in by_file.items():
        path = root / file
        try:
            text = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        new = fix_text(text, found)
        if new != text:
            mended[path] = new
    return mended


def fix_text(text: str, findings: Iterable[Finding]) -> str:
    """Return the text of one file with everything mended that the findings allow; line ends stay as they are."""
    lines = text.splitlines(keepends=True)
    bare = [line.rstrip("\r\n").removeprefix("\ufeff") for line in lines]
    edits = {edit for finding in findings for edit in FIXERS.get(finding.code, _nothing)(finding, bare)}
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    done: list[Edit] = []
    for edit in sorted(edits, reverse=True):  # from the end, so that earlier places stay where they are
        if any(_overlap(edit, other) for other in done) or edit.line > len(lines):
            continue
        line, start = (
            lines[edit.line - 1],
            edit.column - 1 + (edit.line == 1 and lines[0].startswith("\ufeff")),
        )
        new = edit.text.replace("\n", ending)
        lines[edit.line - 1] = line[:start] + new + line[start + edit.length :]
        done.append(edit)
    return "".join(lines)


def _overlap(one: Edit, other: Edit) -> bool:
    if one.line != other.line:
        return False
    return one.column < other.column + max(other.length, 1) and other.column < one.column + max(one.length, 1)


def _nothing(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    del finding, lines
    return ()


def _written(span: Span, lines: Sequence[str]) -> str:
    line = lines[span.line - 1] if 0 < span.line <= len(lines) else ""
    return line[span.column - 1 : span.column - 1 + span.length]


def _replace(span: Span, lines: Sequence[str], new: str) -> Iterable[Edit]:
    """Replace what stands at a span, keeping its quotes."""
    old = _written(span, lines)
    if not old:
        return ()
    quote = old[0] if old[0] in "'\"" and old[-1] == old[0] and new[:1] not in "'\"" else ""
    return (Edit(span.line, span.column, span.length, f"{quote}{new}{quote}"),)


def _suggested(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Write the word that the finding suggests."""
    match = re.fullmatch(r'did you mean "([^"]+)"\?', finding.help) or re.fullmatch(
        r"write `?([\w.]+)`?", finding.help
    )
    return _replace(finding.span, lines, match[1]) if match else ()


def _better(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Write a duration, time of day or share as Homing writes it."""
    match = re.fullmatch(r"write (\S+)", finding.help)
    old = _written(finding.span, lines).strip("'\"" + CURLY)
    if match is None or (better_value(old) != match[1] and match[1] not in (old, f"{old}%")):
        return ()
    return (Edit(finding.span.line, finding.span.column, finding.span.length, match[1]),)


def _retyped(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Write the same value in the type that its field has: with quotes, or without."""
    old, new = _written(finding.span, lines), finding.help.removeprefix("write ")
    same = new.strip('"') == old.strip("'\"") or new == truth_word(old.strip("'\""))
    return (Edit(finding.span.line, finding.span.column, finding.span.length, new),) if same else ()


def _truth(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    word = truth_word(_written(finding.span, lines).strip("'\""))
    return (Edit(finding.span.line, finding.span.column, finding.span.length, word),) if word else ()


def _new_id(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Give a step that is named like another an `id` of its own."""
    span = finding.span
    line = lines[span.line - 1]
    name = _written(span, lines).strip("'\"")
    taken = set(re.findall(r"[\w-]+", "\n".join(lines)))
    new = next(f"{name}-{number}" for number in range(2, 10_000) if f"{name}-{number}" not in taken)
    before = line[: span.column - 1]
    block = re.fullmatch(r"(\s*-\s+)send:\s+", before)
    if re.search(r"\bid:\s*$", before):
        return (Edit(span.line, span.column, span.length, new),)
    if block:
        return (Edit(span.line, len(line) + 1, 0, f"\n{' ' * len(block[1])}id: {new}"),)
    if re.search(r"\{[^{}]*\bsend:\s*$", before):
        return (Edit(span.line, span.column + span.length, 0, f", id: {new}"),)
    return ()


def _setting(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Write the section or key that was meant; a header keeps its brackets."""
    match = re.fullmatch(r'did you mean "([^"]+)"\?', finding.help)
    old = _written(finding.span, lines)
    header = re.fullmatch(r"(\[\s*)([\w-]+)(\s*\])", old)
    if match is None or (old.startswith("[") and header is None):
        return ()
    if header is not None:
        return (Edit(finding.span.line, finding.span.column + len(header[1]), len(header[2]), match[1]),)
    return _replace(finding.span, lines, match[1])


_EXIT = "{did: order_placed}"


def _exit_on_purchase(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Let a purchase end the flow."""
    del finding
    for number, line in enumerate(lines, 1):
        match = re.match(r"exit_when:(\s*)(\[?)", line)
        if match is None:
            continue
        if match[2]:
            rest = line[match.end() :].lstrip()
            return (Edit(number, match.end() + 1, 0, _EXIT if rest.startswith("]") else f"{_EXIT}, "),)
        following = next(
            (
                i
                for i in range(number, len(lines))
                if lines[i].strip() and not lines[i].strip().startswith("#")
            ),
            None,
        )
        item = re.match(r"(\s*)- ", lines[following]) if following is not None else None
        return (
            (Edit(following + 1, 1, 0, f"{item[1]}- did: order_placed\n"),)
            if item and following is not None
            else ()
        )
    for number, line in enumerate(lines, 1):
        if line.startswith("steps:"):
            place = number
            while place > 1 and lines[place - 2].startswith("#"):
                place -= 1
            return (Edit(place, 1, 0, f"exit_when: [{_EXIT}]\n"),)
    return ()


def _as_property(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Write a field of one's own as a property, or the field that was meant."""
    if finding.help.startswith("write `properties."):
        old = _written(finding.span, lines)
        at = 1 if old[:1] in "'\"" else 0
        return (Edit(finding.span.line, finding.span.column + at, 0, "properties."),)
    return _suggested(finding, lines)


FIXERS: Mapping[str, Fixer] = {
    "C101": _suggested,
    "C102": _as_property,
    "C103": _suggested,
    "C202": _retyped,
    "C204": _suggested,
    "C205": _suggested,
    "F101": _suggested,
    "F103": _truth,
    "F104": _suggested,
    "F105": _better,
    "F109": _new_id,
    "F204": _exit_on_purchase,
    "S104": _setting,
    "S106": _setting,
}
