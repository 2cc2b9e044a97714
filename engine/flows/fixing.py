"""Mending what can be mended safely: edits of text that keep comments and layout.

Comes in: findings and the files they are about. Goes out: the new text of each file, and which findings can be mended.
Promises: only what a finding points at is changed; edits that would overlap are left for the next time; a mend is
promised (`mendable`) only after it was tried on the text: what it mends is found no more, and it leaves no more errors
than there were, so mending never breaks a file, and mending twice changes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engine.diagnostics import Finding, Span
from engine.flows.nodes import Items, Node, Table
from engine.flows.reading import CURLY, better_value, truth_word
from engine.flows.yaml_source import read_yaml

ROUNDS = 4
"""How often what a mend uncovers is mended in turn, before it is held against what stood there at first."""
_CLASHES = ("F001", "F002", "F003", "F004", "F108", "F109", "C108", "S101")
"""What an unlucky edit makes of a file; no other error may pay for one of these."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace `length` characters at a 1-based line and column by text (which may hold line breaks)."""

    line: int
    column: int
    length: int
    text: str


Fixer = Callable[[Finding, Sequence[str]], Iterable[Edit]]
Look = Callable[[str, str], Sequence[Finding]]
"""Tells what would be found in a file (its path in the project) if it held a text."""


def fixes(root: Path, findings: Sequence[Finding]) -> Mapping[Path, str]:
    """Return the new text of every file in which something can be mended; `findings` went through `mendable`."""
    mended: dict[Path, str] = {}
    for file, found in _by_file(findings).items():
        text = _text_of(root / file)
        new = text if text is None else fix_text(text, found)
        if new is not None and new != text:
            mended[root / file] = new
    return mended


def mendable(root: Path, findings: Sequence[Finding], look: Look) -> list[Finding]:
    """Return the findings with `fixable` only where mending was tried and does what it should."""
    kept: set[Finding] = set()
    for file, found in _by_file(findings).items():
        text = _text_of(root / file)
        if text is not None:
            kept.update(_kept(text, found, partial(look, file)))
    return [
        replace(finding, fixable=False) if finding.fixable and finding not in kept else finding
        for finding in findings
    ]


def _by_file(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    by_file: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.fixable and finding.code in FIXERS and finding.span.line:
            by_file.setdefault(finding.span.file, []).append(finding)
    return by_file


def _text_of(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _kept(text: str, found: Sequence[Finding], look: Callable[[str], Sequence[Finding]]) -> list[Finding]:
    """Return the findings that can be mended together: all, where that works, else each that goes with those before."""
    before = look(text)
    kept: list[Finding] = []
    waiting = [[finding for finding in found if fix_text(text, [finding]) != text]]
    while waiting:
        group = waiting.pop()
        if group and _is_safe(text, [*kept, *group], before, look):
            kept += group
        elif len(group) > 1:
            middle = len(group) // 2
            waiting += [group[middle:], group[:middle]]
    return kept


def _is_safe(
    text: str,
    mended: Sequence[Finding],
    before: Sequence[Finding],
    look: Callable[[str], Sequence[Finding]],
) -> bool:
    """Return whether mending does away with what it mends and leaves no more errors than there were before.

    Mending a key uncovers what stands under it, which may be more errors: then those that can be mended are, too.
    """
    known = before
    for _ in range(ROUNDS):
        text = fix_text(text, mended)
        after = look(text)
        if _are_told_again(mended, known, after):
            return False
        if not _is_worse(before, after):
            return True
        known, mended = after, [finding for finding in after if finding.fixable]
        if not mended:
            return False
    return False


def _are_told_again(mended: Sequence[Finding], before: Sequence[Finding], after: Sequence[Finding]) -> bool:
    then, now = (Counter((each.code, each.message) for each in found) for found in (before, after))
    count = Counter((each.code, each.message) for each in mended)
    return any(now[said] > max(then[said] - count[said], 0) for said in count)


def _is_worse(before: Sequence[Finding], after: Sequence[Finding]) -> bool:
    then, now = (Counter(each.code for each in found if each.is_error) for found in (before, after))
    return now.total() > then.total() or any(now[code] > then[code] for code in _CLASHES)


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")


def fix_text(text: str, findings: Iterable[Finding]) -> str:
    """Return the text of one file with everything mended that the findings allow; line ends stay as they are."""
    lines = _LINE.findall(text)  # the lines that findings count: splitlines() knows more signs that end one
    bare = [line.rstrip("\r\n").removeprefix("\ufeff") for line in lines]
    edits = {
        edit
        for finding in findings
        for edit in FIXERS.get(finding.code, _nothing)(_past_anchor(finding, bare), bare)
    }
    done: list[Edit] = []
    for edit in sorted(edits, reverse=True):  # from the end, so that earlier places stay where they are
        if any(_overlap(edit, other) for other in done) or edit.line > len(lines):
            continue
        line, start = (
            lines[edit.line - 1],
            edit.column - 1 + (edit.line == 1 and lines[0].startswith("\ufeff")),
        )
        new = edit.text.replace("\n", _ending(line) or _ending(lines[0]) or "\n")
        lines[edit.line - 1] = line[:start] + new + line[start + edit.length :]
        done.append(edit)
    return "".join(lines)


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _past_anchor(finding: Finding, lines: Sequence[str]) -> Finding:
    """Return the finding at its value, where an anchor (`&name`) stands before it: what refers to that goes on to."""
    span = finding.span
    anchor = re.match(r"&\S+[ \t]+", _written(span, lines))
    if anchor is None or len(anchor[0]) >= span.length:
        return finding
    return replace(
        finding,
        span=replace(span, column=span.column + len(anchor[0]), length=span.length - len(anchor[0])),
    )


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


_SEND = r"(?:send|'send'|\"send\")\s*:\s+(?:&\S+\s+)?"
_ID = r"(?:\bid|'id'|\"id\")\s*:\s+(?:&\S+\s+)?"


def _new_id(finding: Finding, lines: Sequence[str]) -> Iterable[Edit]:
    """Give a step that is named like another an `id` of its own."""
    span = finding.span
    line = lines[span.line - 1]
    first = finding.second
    if first is not None and (first.line, first.column + first.length) == (
        span.line,
        span.column + span.length,
    ):
        return ()  # both come from one place (*alias): the id would be the first step's, which keeps its name
    free = re.search(r"`id: ([\w-]+)`", finding.help)
    if free is None:
        return ()
    new = free[1]
    before = line[: span.column - 1]
    block = re.fullmatch(rf"(\s*(?:-\s+)*){_SEND}", before)
    if re.search(rf"{_ID}$", before):
        return (Edit(span.line, span.column, span.length, new),)
    if block:
        return (Edit(span.line, len(line) + 1, 0, f"\n{' ' * len(block[1])}id: {new}"),)
    if re.search(rf"\{{[^{{}}]*{_SEND}$", before):
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
    """Let a purchase end the flow: as the first of what ends it, or in a key of its own before the steps."""
    flow = read_yaml("\n".join(lines), finding.span.file, [])
    if not isinstance(flow, Table):
        return ()
    known, steps = flow.entry("exit_when"), flow.entry("steps")
    if known is not None:
        return _one_more(known.value, lines) if known.value.span > known.key_span else ()  # not an alias
    if steps is None:
        return ()
    place, before = steps.key_span, lines[steps.key_span.line - 1][: steps.key_span.column - 1]
    if _written(flow.span, lines).startswith("{"):
        return (Edit(place.line, place.column, 0, f"exit_when: [{_EXIT}], "),)
    if before.strip():
        return ()
    line = place.line
    while line > 1 and lines[line - 2].startswith(f"{before}#"):
        line -= 1  # a comment above the steps is about them
    return (Edit(line, 1, 0, f"{before}exit_when: [{_EXIT}]\n"),)


def _one_more(value: Node, lines: Sequence[str]) -> Iterable[Edit]:
    """Put the purchase before the other conditions; a list with an anchor is another's, too, and stays as it is."""
    span, written = value.span, _written(value.span, lines)
    if isinstance(value, Table) and written.startswith("{") and written.endswith("}"):
        end = span.column + span.length
        return (Edit(span.line, span.column, 0, f"[{_EXIT}, "), Edit(span.line, end, 0, "]"))
    if not isinstance(value, Items):
        return ()
    before, rest = lines[span.line - 1][: span.column - 1], lines[span.line - 1][span.column :]
    if written.startswith("["):
        gap = len(rest) - len(rest.lstrip(" ")) if rest.strip() else 0
        comma = ("," if not rest.strip() else ", ") if len(value) else ""
        return (Edit(span.line, span.column + 1 + gap, 0, f"{_EXIT}{comma}"),)
    if written.startswith("-") and not before.strip():
        return (Edit(span.line, 1, 0, f"{before}- did: order_placed\n"),)
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
