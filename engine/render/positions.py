"""Where every piece of a template stands: Jinja trees whose nodes know their exact character.

Jinja keeps lines only. Here a source comes in, and a tree goes out whose `lineno` is an offset into that source; `Source`
turns offsets into spans. Nothing of this runs when mails are made.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import Lexer, TokenStream

from engine.diagnostics import Finding, Span
from engine.render import problems


@dataclass(frozen=True, slots=True)
class Source:
    """One Jinja source in a file: `line` and `column` (1-based) are where it begins there."""

    file: str
    text: str
    line: int = 1
    column: int = 1

    def span(self, offset: int, length: int = 1) -> Span:
        """Return the place of an offset into the text."""
        breaks = [match.start() for match in re.finditer("\n", self.text)]
        row = bisect_right(breaks, offset - 1)
        column = offset - (breaks[row - 1] + 1 if row else 0) + 1
        return Span(self.file, self.line + row, column + (self.column - 1 if row == 0 else 0), max(length, 1))

    def find(self, word: str, offset: int) -> Span:
        """Return the place of the first whole `word` at or after an offset, else of the offset itself."""
        match = re.compile(rf"\b{re.escape(word)}\b").search(self.text, offset)
        return self.span(match.start() if match else offset, len(word))


class _Positioned(Environment):
    """Parses only; the lines of its nodes are offsets + 1."""

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> Any:
        raw = [(offset + 1, kind, text) for _, offset, kind, text in located_tokens(self, source)]
        return TokenStream(self.lexer.wrap(iter(raw), name, filename), name, filename)


def located_tokens(environment: Environment, source: str) -> Iterator[tuple[int, int, str, str]]:
    """Yield (line, offset, kind, text) of every token of a source; what was read to its end is kept."""
    known = _TOKENS.get((environment.lexer, source))
    if known is not None:
        yield from known
        return
    tokens, position = [], 0
    for line, kind, text in environment.lexer.tokeniter(source, None):
        found = source.find(text, position)
        position = found if found >= 0 else position
        tokens.append((line, position, kind, text))
        yield tokens[-1]
        position += len(text)
    if len(_TOKENS) >= _MOST_TOKENS:
        _TOKENS.clear()
    _TOKENS[environment.lexer, source] = tuple(tokens)


_MOST_TOKENS = 256
_TOKENS: dict[tuple[Lexer, str], tuple[tuple[int, int, str, str], ...]] = {}


_ENVIRONMENT = _Positioned(keep_trailing_newline=True)


def parse(source: Source, findings: list[Finding]) -> nodes.Template | None:
    """Return the tree of a source, or None with a finding. Trees are kept and must not be changed."""
    parsed = _parsed(source)
    if isinstance(parsed, Finding):
        findings.append(parsed)
        return None
    return parsed


@lru_cache(maxsize=4096)
def _parsed(source: Source) -> nodes.Template | Finding:
    begun = read = 0
    try:
        for _, begun, _, text in located_tokens(_ENVIRONMENT, source.text):
            read = begun + len(text)
    except TemplateSyntaxError as error:  # the lexer's own: its line is a line
        at = begun if "Missing end" in (error.message or "") else read
        return problems.syntax(source.span(_offset_of_failure(source.text, at, error)), sentence(error))
    try:
        return _ENVIRONMENT.parse(source.text)
    except TemplateSyntaxError as error:
        return problems.syntax(source.span(min(error.lineno - 1, len(source.text))), sentence(error))


def offset(node: nodes.Node) -> int:
    """Return the offset of a node of a tree made by `parse`."""
    return max(node.lineno - 1, 0)


def data_tokens(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (offset, text) of everything that is not Jinja; nothing where the source cannot be read."""
    try:
        tokens = list(located_tokens(_ENVIRONMENT, source.text))
    except TemplateSyntaxError:
        return
    yield from ((offset, text) for _, offset, kind, text in tokens if kind == "data")


def _offset_of_failure(text: str, read: int, error: TemplateSyntaxError) -> int:
    """Return where the lexer could go no further: behind the last token, on the line that it names."""
    start = sum(len(each) + 1 for each in text.split("\n")[: error.lineno - 1])
    at = max(read, start)
    return min(at + len(text[at:]) - len(text[at:].lstrip()), max(len(text) - 1, 0))


_UNKNOWN_TAG = re.compile(
    r"Encountered unknown tag '(\w+)'"
    r"(?:\..*?looking for the following tags: (.+?)\. The innermost block that needs to be closed is '(\w+)')?"
)


def sentence(error: TemplateSyntaxError) -> str:
    """Return Jinja's sentence in the words of the language.

    >>> sentence(TemplateSyntaxError("Encountered unknown tag 'endcal'.", 1))
    '"endcal" is no tag that a template knows'
    """
    message = (error.message or "this is not Jinja").rstrip(".")
    unknown = _UNKNOWN_TAG.match(message)
    if unknown is not None:
        wanted = (unknown[2] or "").replace("'", '"')
        inside = f', and the open "{unknown[3]}" wants {wanted}' if wanted and unknown[3] else ""
        return f'"{unknown[1]}" is no tag that a template knows{inside}'
    message = message.replace("Jinja was looking for the following tags", "wanted here")
    return message[:1].lower() + message[1:]
