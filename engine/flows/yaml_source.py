"""Reading YAML safely, with the place of every key and value.

Comes in: the text of one file. Goes out: a tree (`engine.flows.nodes`) or findings with line and column. Promises:
YAML 1.2 core values (`on`, `NO` and `10:30` are text, dates stay text), duplicate keys are errors, `<<` takes in tables
whose keys keep their places, no tag makes an object, and size, depth and the nodes that aliases expand to are limited,
so that no file costs more than a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from engine.diagnostics import Finding, Span, no_utf8
from engine.flows import problems
from engine.flows.nodes import Entry, Items, Node, Scalar, Table, Value, neat_number

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 50_000
MAX_DIGITS = 15
MERGE = "<<"

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_HIDDEN_BREAK = re.compile("[\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ODD = {"\uff1a": ("a full-width colon stands here", "write `: `, a plain colon and a space")}
_ODD |= dict.fromkeys(
    "\xa0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u202f\u205f\u3000\ufeff",
    ("a space of another kind stands here, which YAML takes for a letter", "write an ordinary space"),
)
_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def read_file(path: Path, name: str, findings: list[Finding]) -> Node | None:
    """Read one YAML file; `name` is what findings call it (relative to the project); None where it cannot be read."""
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except IsADirectoryError:
        way_out = "rename the folder, so that its name does not end like that of a file"
        findings.append(problems.unreadable_file(Span(name), "it is a folder", way_out))
        return None
    except OSError as error:
        way_out = "put a file there that Homing may read, or remove it"
        message = error.strerror or "it cannot be opened"
        findings.append(problems.unreadable_file(Span(name), message[0].lower() + message[1:], way_out))
        return None
    return read_yaml(content, name, findings)


def read_yaml(content: str | bytes, name: str, findings: list[Finding]) -> Node | None:
    """Read the text of one YAML file; None (and a finding) where it holds no usable document."""
    text = _decoded(content, name, findings)
    if text is None:
        return None
    builder = _Builder(name, text.split("\n"), findings)
    try:
        return builder.document(yaml.parse(text, Loader=_Loader))
    except _Stop as stop:
        findings.append(stop.finding)
    except yaml.YAMLError as error:
        said = str(getattr(error, "problem", ""))
        bracket = builder.open_bracket() if "expected node content" in said else None
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        if bracket is not None and mark is not None:
            findings.append(
                _in_bracket(bracket, _within(name, builder.lines, mark.line, mark.column), builder.lines)
            )
        else:
            findings.append(_syntax(error, name, builder.lines, builder.last))
    return None


def _decoded(content: str | bytes, name: str, findings: list[Finding]) -> str | None:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(raw) > MAX_BYTES:
        findings.append(problems.too_much(Span(name, 1, 1), f"this file is larger than {MAX_BYTES:,} bytes"))
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.append(problems.unreadable_file(*no_utf8(name, error)))
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    hidden = _HIDDEN_BREAK.search(text)
    if hidden:
        line = text.count("\n", 0, hidden.start()) + 1
        span = Span(name, line, hidden.start() - text.rfind("\n", 0, hidden.start()))
        message = f"a hidden line break (U+{ord(hidden[0]):04X}) stands here"
        findings.append(problems.unreadable_file(span, message, "remove it, or write an ordinary line break"))
        return None
    return text


class _Stop(Exception):
    """Reading cannot go on; carries the finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(slots=True)
class _Open:
    """A list or table whose end has not been read yet."""

    start: Any
    is_table: bool
    anchor: str | None
    nodes: list[Node] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    key: tuple[str, Span] | None = None
    takes_in: bool = False  # whether the key is `<<`, whose value is not an entry but a table of them
    taken_in: dict[str, Entry] = field(default_factory=dict)
    seen: dict[str, Span] = field(default_factory=dict)
    size: int = 1
    height: int = 1


class _Builder:
    """Builds the tree from parser events without recursion, within the limits."""

    def __init__(self, name: str, lines: list[str], findings: list[Finding]) -> None:
        self.name, self.lines, self.findings = name, lines, findings
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int, int]] = {}  # node, its size, its height
        self.total = 0
        self.root: Node | None = None
        self.documents = 0
        self.last: Any = None  # the event that was read last

    def open_bracket(self) -> Span | None:
        """Return the place of the innermost `[` or `{` that is still open, if what was read last stands in one."""
        top = self.stack[-1] if self.stack else None
        return self._at(top.start) if top is not None and top.start.flow_style else None

    def document(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            self.last = event
            self._take(event)
        if self.root is None or (isinstance(self.root, Scalar) and self.root.value is None):
            raise _Stop(problems.empty_file(Span(self.name, 1, 1)))
        return self.root

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                said = "a file holds one document; `---` begins a second one"
                way_out = "remove the line, or put what follows into a file of its own"
                raise _Stop(problems.syntax(self._at(event), said, way_out=way_out))

    def _scalar(self, event: Any) -> None:
        span = self._span(event)
        self._no_tag(event, span)
        self._count(span, 1)
        if self._wants_key():
            self._key(event.value, span, is_plain=bool(event.implicit[0]))
            return
        is_plain = bool(event.implicit[0])
        value = self._value(event.value, span) if is_plain else event.value
        if isinstance(value, str):
            control = _CONTROL.search(value)
            if control:
                raise _Stop(
                    problems.syntax(
                        span,
                        f"a control character (U+{ord(control[0]):04X}) stands in this text",
                        way_out="remove it",
                    )
                )
        self._add(Scalar(value, span, not is_plain), event.anchor, 1, 1)

    def _value(self, text: str, span: Span) -> Value:
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text) and len(text.lstrip("+-0")) <= MAX_DIGITS:
            return int(text)
        if _BASED.fullmatch(text) and len(text) <= MAX_DIGITS:
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return self._decimal(text, span)
        if _NOT_A_NUMBER.fullmatch(text):
            said = f'"{text}" is no number to count with'
            raise _Stop(problems.syntax(span, said, way_out="write a number, or text in quotes"))
        return text

    def _decimal(self, text: str, span: Span) -> Value:
        try:
            number = Decimal(text)
            if (
                len(number.normalize().as_tuple().digits) <= MAX_DIGITS
                and abs(number.adjusted()) <= MAX_DIGITS
            ):
                return neat_number(number)
        except InvalidOperation:
            pass
        said, way_out = (
            f"a number has at most {MAX_DIGITS} digits",
            "put it in quotes where it is text, such as an id",
        )
        self.findings.append(problems.syntax(span, said, way_out=way_out))
        return text

    def _key(self, text: str, span: Span, *, is_plain: bool) -> None:
        top = self.stack[-1]
        if text in top.seen:
            self.findings.append(problems.duplicate_key(span, text, top.seen[text]))
        if _CONTROL.search(text):
            raise _Stop(problems.syntax(span, "a control character stands in this key", way_out="remove it"))
        odd = _odd_sign(self.name, self.lines[span.line - 1], span.line, span.column - 1, span.length)
        if odd is not None and is_plain:
            raise _Stop(odd)
        top.key, top.takes_in = (text, span), is_plain and text == MERGE

    def _open(self, event: Any) -> None:
        at = self._at(event)
        self._no_tag(event, at)
        if self._wants_key():
            raise _Stop(
                problems.syntax(
                    at, "a key is text", way_out='put text that begins with { or [ in quotes: "{{ … }}"'
                )
            )
        if len(self.stack) >= MAX_DEPTH:
            raise _Stop(problems.too_much(at, f"lists and tables stand more than {MAX_DEPTH} deep here"))
        self._count(at, 1)
        self.stack.append(_Open(event, isinstance(event, yaml.MappingStartEvent), event.anchor))

    def _close(self, event: Any) -> None:
        top = self.stack.pop()
        span = self._whole(top, event)
        others = (entry for key, entry in top.taken_in.items() if key not in top.seen)
        node: Node = Table((*top.entries, *others), span) if top.is_table else Items(tuple(top.nodes), span)
        self._add(node, top.anchor, top.size, top.height)

    def _alias(self, event: Any) -> None:
        span = self._span(event)
        if self._wants_key() or event.anchor not in self.anchors:
            raise _Stop(
                problems.syntax(span, f"*{event.anchor} names nothing that is complete above this place")
            )
        node, size, height = self.anchors[event.anchor]
        self._count(span, size)
        if len(self.stack) + height > MAX_DEPTH:
            raise _Stop(
                problems.too_much(
                    span, f"with *{event.anchor} lists and tables stand more than {MAX_DEPTH} deep"
                )
            )
        self._add(node, None, size, height)

    def _add(self, node: Node, anchor: str | None, size: int, height: int) -> None:
        if anchor:
            self.anchors[anchor] = (node, size, height)
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if not top.is_table:
            top.nodes.append(node)
        elif top.key is not None:
            key, span = top.key
            if key not in top.seen and top.takes_in:
                self._take_in(top, node, span)
            elif key not in top.seen:
                top.entries.append(Entry(key, span, node))
            top.seen.setdefault(key, span)
            top.key = None

    def _take_in(self, top: _Open, node: Node, span: Span) -> None:
        """Let a table have what those behind `<<` have and it has not itself; of two of them the first counts."""
        for table in node if isinstance(node, Items) else (node,):
            if not isinstance(table, Table):
                said, way_out = (
                    "`<<` takes in a table, or a list of them",
                    "write `<<: *NAME`, and &NAME before that table",
                )
                raise _Stop(problems.syntax(span, said, way_out=way_out))
            for entry in table:
                top.taken_in.setdefault(entry.key, entry)

    def _wants_key(self) -> bool:
        return bool(self.stack) and self.stack[-1].is_table and self.stack[-1].key is None

    def _count(self, span: Span, size: int) -> None:
        self.total += size
        if self.total > MAX_NODES:
            raise _Stop(
                problems.too_much(
                    span, f"this file holds (or its aliases make) more than {MAX_NODES:,} values"
                )
            )

    def _no_tag(self, event: Any, span: Span) -> None:
        if event.tag is not None and event.tag != "!":
            raise _Stop(
                problems.syntax(span, "tags such as !!str have no meaning here", way_out="leave the tag out")
            )

    def _at(self, event: Any) -> Span:
        return Span(self.name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _whole(self, top: _Open, event: Any) -> Span:
        """Return the place of a list or table: of its first line, up to the last thing in it there."""
        if top.start.flow_style:
            return self._span(top.start, event)
        start = self._at(top.start)
        inside = [entry.value.span for entry in top.entries] + [entry.key_span for entry in top.entries]
        inside += [node.span for node in top.nodes]
        ends = [
            span.column + span.length
            for span in inside
            if span.line == start.line and span.file == start.file
        ]
        return Span(self.name, start.line, start.column, max(max(ends, default=0) - start.column, 1))

    def _span(self, first: Any, last: Any = None) -> Span:
        start, end = first.start_mark, (last or first).end_mark
        if end.line == start.line and end.column > start.column:
            length = end.column - start.column
        elif start.line < len(self.lines) and (start.line, start.column) < (end.line, end.column):
            length = len(self.lines[start.line].rstrip()) - start.column
        else:
            length = 1
        return Span(self.name, start.line + 1, start.column + 1, max(length, 1))


# What libyaml says → what we say, and one way out.
_SENTENCES: tuple[tuple[str, str, str], ...] = (
    ("mapping values are not allowed", "a colon stands where no key can be",
     "put text that holds `: ` in quotes, and check the indentation of this line"),
    ("cannot start any token", "a value cannot begin with this character",
     "put the text in quotes"),
    ("did not find expected key", "this line does not fit the lines above it",
     "indent it exactly like its neighbours, or close the quote or bracket above"),
    ("did not find expected '-'", "a list goes on with `- ` here", "indent it exactly like the items above"),
    ("could not find expected ':'", "a key without a colon", "write `key: value`, with a space behind the colon"),
    ("did not find expected ',' or '}'", "this { is not closed", "close it with } or put a comma between entries"),
    ("did not find expected ',' or ']'", "this [ is not closed", "close it with ] or put a comma between items"),
    ("unexpected end of stream", "this quote is not closed", "close it"),
    ("unexpected document indicator", "this quote is not closed", "close it"),
    ("unknown escape", "a backslash in double quotes begins an escape", "write it twice, or use single quotes"),
    ("special characters are not allowed", "this file holds a character that text may not hold", "remove it"),
    ("control characters are not allowed", "this file holds a character that text may not hold", "remove it"),
)  # fmt: skip
_GLUED = re.compile(r"[ -]*[\w.-]+:[^\s:/]")
_OPENED = ("did not find expected ','", "unexpected end of stream", "unexpected document indicator")


def _syntax(error: yaml.YAMLError, name: str, lines: list[str], last: Any = None) -> Finding:
    """Return what a reader's error means; what was opened and not closed is told where it was opened."""
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    mark, opened = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    span = _within(name, lines, *((mark.line, mark.column) if mark else _place(error, lines)))
    if opened is not None and "could not find expected ':'" in said:
        return _no_colon(name, lines, opened.line, opened.column)
    if "mapping values are not allowed" in said and span.line > 1 and _GLUED.match(lines[span.line - 2]):
        return _no_colon(
            name, lines, span.line - 2, len(lines[span.line - 2]) - len(lines[span.line - 2].lstrip(" -"))
        )
    if "mapping values are not allowed" in said:
        bare = _first_key(lines, span.line - 1)
        if bare is not None:
            return _no_colon(name, lines, *bare)
    if lines[span.line - 1][span.column - 1 :].startswith("\t"):
        return problems.syntax(
            span, "a tab stands here", way_out="indent with spaces, as the lines around it"
        )
    if mark is not None and _is_long_quote(last) and mark.line == last.end_mark.line:
        begun = Span(name, last.start_mark.line + 1, last.start_mark.column + 1)
        message = f"the quote that begins here ends on line {mark.line + 1} only"
        finding = problems.syntax(begun, message, way_out="close it where the text ends")
        return replace(finding, second=span, second_label="what follows fits nothing")
    for words, message, way_out in _SENTENCES:
        if words not in said:
            continue
        if opened is not None and words.startswith(_OPENED):
            begun = Span(name, opened.line + 1, opened.column + 1)
            finding = problems.syntax(begun, message, way_out=way_out)
            return replace(finding, second=span, second_label="still open here") if span != begun else finding
        return problems.syntax(span, message, way_out=way_out)
    return problems.syntax(span, f"this is no YAML: {said}")


def _in_bracket(bracket: Span, here: Span, lines: list[str]) -> Finding:
    """Return the finding for what cannot stand in a bracket: mostly it was opened, and never closed."""
    sign = lines[bracket.line - 1][bracket.column - 1 : bracket.column]
    found = lines[here.line - 1][here.column - 1 :]
    if found.startswith(","):
        return problems.syntax(here, "nothing stands before this comma", way_out="leave the comma out")
    close = "]" if sign == "[" else "}"
    way_out = f"close it with {close}"
    if re.match(r"-(\s|$)", found):
        way_out = f"leave the {sign} out: items behind `- ` stand in no brackets"
    finding = problems.syntax(bracket, f"this {sign} is not closed", way_out=way_out)
    return (
        finding
        if here.line == bracket.line
        else replace(finding, second=here, second_label="still open here")
    )


def _first_key(lines: list[str], line: int) -> tuple[int, int] | None:
    """Return the line (0-based) above and its column, where a table seems to begin there with a key that lacks its colon."""
    above = [
        number
        for number in range(line)
        if lines[number].strip() and not lines[number].lstrip().startswith("#")
    ]
    if not above:
        return None
    text = lines[above[-1]]
    column = len(text) - len(text.lstrip(" -"))
    indent = len(lines[line]) - len(lines[line].lstrip(" "))
    is_first = len(above) == 1 or text.lstrip().startswith("- ") or lines[above[-2]].rstrip().endswith(":")
    if column != indent or not is_first or not re.match(r"[\w.-]+\s+[^\s:#]", text[column:]):
        return None
    return None if re.search(r":(\s|$)", text) else (above[-1], column)


def _within(name: str, lines: list[str], line: int, column: int) -> Span:
    """Return a place that can be shown: the end of the last line that holds something where the file ends."""
    if line >= len(lines) or (line == len(lines) - 1 and not lines[line]):
        line = max(next((n for n in range(len(lines) - 1, -1, -1) if lines[n].strip()), 0), 0)
        column = len(lines[line].rstrip())
    return Span(name, line + 1, column + 1)


def _is_long_quote(event: Any) -> bool:
    """Return whether an event is quoted text of several lines: mostly one whose closing quote was forgotten."""
    if getattr(event, "style", None) not in ("'", '"'):
        return False
    return bool(event.end_mark.line > event.start_mark.line)


def _no_colon(name: str, lines: list[str], line: int, column: int) -> Finding:
    """Return the finding for a key without a colon: at the key, or at the sign that only looks like one."""
    text = lines[line] if line < len(lines) else ""
    odd = _odd_sign(name, text, line + 1, column, len(text))
    if odd is not None:
        return odd
    glued = re.match(r"[\w.-]+:(?=\S)", text[column:])
    if glued:
        span = Span(name, line + 1, column + 1, len(glued[0]))
        return problems.syntax(span, "no space stands behind this colon", way_out=f"write `{glued[0]} …`")
    span = Span(name, line + 1, column + 1, max(len(text.rstrip()) - column, 1))
    return problems.syntax(
        span, "a key without a colon", way_out="write `key: value`, with a space behind the colon"
    )


def _odd_sign(name: str, text: str, line: int, start: int, length: int) -> Finding | None:
    """Return the finding for a sign that looks like a space or colon and is another, where one stands in a line."""
    for column, sign in enumerate(text[start : start + length], start + 1):
        if sign in _ODD:
            message, way_out = _ODD[sign]
            return problems.syntax(Span(name, line, column), message, way_out=way_out)
    return None


def _place(error: yaml.YAMLError, lines: list[str]) -> tuple[int, int]:
    """Return line and column (0-based) of an error of the character reader, which knows a position only."""
    position = getattr(error, "position", 0)
    before = "\n".join(lines)[: position if isinstance(position, int) else 0]
    return before.count("\n"), len(before) - before.rfind("\n") - 1
