"""JSON as rows: one object a line, or one array of objects, read as a stream.

Bytes come in (already unzipped); `Row` and `BadRow` go out, in order and numbered from 1. Memory stays flat whatever is
in the file: a line or an item beyond `LARGEST_ROW` is set aside, and an array that breaks off gives the items before.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from engine.facts.fact import KINDS, BadRow, Row

LARGEST_ROW = 1024 * 1024  # bytes of a line, characters of an item
_CHUNK = 64 * 1024
_SIGNS = re.compile(r'"(?:[^"\\]|\\.)*+(")?|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\[\]{}\"]+")
_BLANK = re.compile(r"[ \t\r\n]*")
_BEFORE = (b" ", b"\n", b"\r", b"\t", b"\xef", b"\xbb", b"\xbf")
_TOO_LARGE = f"the row is larger than {LARGEST_ROW // 1024} KB"


def json_rows(stream: io.BufferedReader) -> Iterator[Row | BadRow]:
    """Yield the rows of a JSON Lines file, one object a line; a file that is one JSON array is taken too."""
    first = stream.read(1)
    while first in _BEFORE:
        first = stream.read(1)
    yield from _items(stream) if first == b"[" else _lines(stream, first)


def json_row(number: int, text: str) -> Row | BadRow:
    """Return one object's text as a row, with the kind that it names itself."""
    text = text.strip()
    raw = ({"raw": text},)
    try:
        values = json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = str(error) if "NaN" in str(error) else "the line is no JSON"
        return BadRow(number, "", reason, raw)
    if not isinstance(values, dict):
        return BadRow(number, "", "the line is no JSON object", raw)
    kind = values.get("kind")
    return Row(number, values, kind if kind in KINDS else None, raw)


def _lines(stream: io.BufferedReader, head: bytes) -> Iterator[Row | BadRow]:
    number = 0
    while line := head + stream.readline(LARGEST_ROW):
        head = b""
        number += 1
        if len(line) >= LARGEST_ROW and not line.endswith(b"\n"):
            while (more := stream.readline(LARGEST_ROW)) and not more.endswith(b"\n"):
                pass
            yield BadRow(number, "", _TOO_LARGE, ({"raw": line.decode("utf-8", "surrogateescape")},))
        elif line.strip():
            yield json_row(number, line.decode("utf-8", "surrogateescape"))


def _items(stream: io.BufferedReader) -> Iterator[Row | BadRow]:
    """Yield the items of an array whose bracket was read."""
    array = _Array(stream)
    number = 0
    while True:
        number += 1
        try:
            text = array.item()
        except ValueError as error:
            yield BadRow(number, "", f"the array cannot be read on from here: {error}", array.here())
            return
        if text is None:
            return
        yield json_row(number, text)


class _Array:
    """The rest of a JSON array: its items, one after the other, as text."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text, self._at, self._ended, self._first = "", 0, False, True

    def item(self) -> str | None:
        """Return the next item, or None after the last; raise ValueError where there is neither."""
        sign = self._sign()
        if sign == "]":
            return None
        if not self._first:
            if sign != ",":
                raise ValueError("an item is not followed by a comma or the closing bracket")
            self._at += 1
            self._sign()
        self._first = False
        start = self._at
        while True:
            end = _end_of_value(self._text, start)
            if end is not None and (end < len(self._text) or self._ended):
                self._at = end
                return self._text[start:end]
            if len(self._text) - start > LARGEST_ROW:
                raise ValueError(_TOO_LARGE)
            if not self._more():
                raise ValueError("it ends within an item")
            start = self._at

    def here(self) -> tuple[dict[str, str], ...]:
        """Return what stands where the array cannot be read on, cut to a line."""
        text = self._text[self._at : self._at + 1_000]
        return ({"raw": text},) if text else ()

    def _sign(self) -> str:
        """Return the next sign that is no blank; raise ValueError at the end of the file."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise ValueError("its closing bracket is missing")

    def _more(self) -> bool:
        """Read on, forgetting what was read before the place; return whether there was more."""
        if self._ended:
            return False
        # As much again as is held: a long item is looked at a few times, not once for each chunk.
        chunk = self._stream.read(max(_CHUNK, len(self._text) - self._at))
        self._ended = not chunk
        self._text = self._text[self._at :] + self._decode(chunk, final=self._ended)
        self._at = 0
        return not self._ended


def _end_of_value(text: str, start: int) -> int | None:
    """Return where the value ends that begins here, by its quotes and brackets alone; None where it goes on."""
    scalar = _SCALAR.match(text, start)
    if scalar:
        return scalar.end()
    depth = 0
    for match in _SIGNS.finditer(text, start):
        sign = match[0][0]
        if sign == '"' and not match[1]:
            return None
        depth += (sign in "[{") - (sign in "]}")
        if depth <= 0:
            return match.end()
    return None


def _refuse(_word: str) -> Any:
    raise ValueError("holds NaN or Infinity, which JSON does not know")
