"""Where every key and value of a TOML file stands.

Comes in: the text of a file that `tomllib` has read without an error. Goes out: the span of each key and of its value,
by path: `("policy", "caps")`, `("policy", "caps", "0")` for an item of a list. Promises: comments, strings over several
lines, dotted keys and inline tables are told apart from what merely looks like them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from engine.diagnostics import Span

Path = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r"[ \t]*(\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*")
_TEXT = re.compile(
    r"\"\"\"(?:[^\\]|\\.)*?\"{3,5}(?!\")|'''.*?'{3,5}(?!')|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'", re.DOTALL
)
_BARE = re.compile(r"[^,\]}#\n]*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands, and its value (its first line); of a section, its header for both."""

    key: Span
    value: Span


def places(source: str, file: str) -> Mapping[Path, Place]:
    """Return the place of every key, section and list item; what cannot be followed is left out."""
    scanner = _Scanner(source, file)
    with suppress(_Lost):  # tomllib tells what is wrong with the file
        scanner.statements()
    return scanner.found


class _Lost(Exception):
    """The text is no TOML that can be followed."""


class _Scanner:
    """Goes through a file statement by statement."""

    def __init__(self, source: str, file: str) -> None:
        self.source, self.file, self.at = source, file, 0
        self.found: dict[Path, Place] = {}
        self.tables: dict[Path, int] = {}

    def statements(self) -> None:
        section: Path = ()
        while True:
            self.match(_BLANK)
            if self.at >= len(self.source):
                return
            section = self.header() if self.source[self.at] == "[" else self.pair(section)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.source, self.at)
        if found is None:
            raise _Lost
        self.at = found.end()
        return found

    def sign(self, wanted: str) -> bool:
        """Step over a sign, if it stands here."""
        here = self.source.startswith(wanted, self.at)
        self.at += len(wanted) if here else 0
        return here

    def header(self) -> Path:
        start = self.at
        several = self.sign("[[")
        if not several:
            self.sign("[")
        path = self.keys()[0]
        if not self.sign("]]" if several else "]"):
            raise _Lost
        span = self.span(start, self.at)
        if several:
            number = self.tables[path] = self.tables.get(path, -1) + 1
            path = (*path, str(number))
        self.found.setdefault(path, Place(span, span))
        return path

    def keys(self) -> tuple[Path, int, int]:
        """Read a key, which may be dotted; return its parts, and from where to where it is written."""
        parts: list[str] = []
        start = end = self.at
        while True:
            found = self.match(_KEY)
            start = found.start(1) if not parts else start
            end = found.end(1)
            word = found[1]
            parts.append(word[1:-1] if word[0] in "\"'" else word)
            if not self.sign("."):
                return tuple(parts), start, end

    def pair(self, section: Path) -> Path:
        name, start, end = self.keys()
        if not self.sign("="):
            raise _Lost
        path = (*section, *name)
        key = self.span(start, end)
        self.found[path] = Place(key, key)
        self.found[path] = Place(key, self.value(path))
        return section

    def value(self, path: Path) -> Span:
        while self.sign(" ") or self.sign("\t"):
            pass
        start = self.at
        if self.sign("["):
            self.items(path)
        elif self.sign("{"):
            self.entries(path)
        elif self.source[self.at : self.at + 1] in ("'", '"'):
            self.match(_TEXT)
        else:
            found = self.match(_BARE)
            return self.span(start, start + len(found[0].rstrip()))
        return self.span(start, self.at)

    def items(self, path: Path) -> None:
        number = 0
        while True:
            self.match(_BLANK)
            if self.sign("]"):
                return
            inner = (*path, str(number))
            span = self.value(inner)
            self.found[inner] = Place(span, span)
            number += 1
            self.match(_BLANK)
            if not self.sign(",") and not self.source.startswith("]", self.at):
                raise _Lost

    def entries(self, path: Path) -> None:
        while True:
            self.match(_BLANK)
            if self.sign("}"):
                return
            self.pair(path)
            self.match(_BLANK)
            if not self.sign(",") and not self.source.startswith("}", self.at):
                raise _Lost

    def span(self, start: int, end: int) -> Span:
        """Return a stretch of the file as a span on its first line."""
        line = self.source.count("\n", 0, start) + 1
        before = self.source.rfind("\n", 0, start) + 1
        stop = self.source.find("\n", start)
        end = min(end, stop if stop >= 0 else len(self.source))
        written = self.source[start:end].rstrip("\r")
        return Span(self.file, line, start - before + 1, max(len(written), 1))
