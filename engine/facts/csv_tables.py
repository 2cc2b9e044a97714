"""CSV as rows: a header and its cells, read as a stream.

Bytes come in (already unzipped); `Row` and `BadRow` go out, numbered from 1 without the header. Commas, semicolons and
tabs, UTF-8 and UTF-16 are seen by themselves. Memory stays flat: a line beyond `LARGEST_ROW` is set aside.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping

from engine.errors import UsageError
from engine.facts.fact import BadRow, Row
from engine.facts.json_texts import LARGEST_ROW, json_row
from engine.facts.openings import LOOK, text_encoding

SET_ASIDE = ("row", "column", "reason")
"""What the columns of a quarantine begin with."""
csv.field_size_limit(LARGEST_ROW)


def csv_rows(stream: io.BufferedReader, name: str) -> Iterator[Row | BadRow]:
    """Yield the rows of a CSV file with a header; commas, semicolons or tabs; UTF-8 or UTF-16."""
    lines = _text(stream)
    try:
        yield from _table_rows(lines, name)
    finally:
        lines.detach()  # the stream is its opener's to close


def csv_columns(stream: io.BufferedReader, name: str) -> list[str]:
    """Return the columns of a table that may hold no row; raise UsageError where its first line is no header."""
    lines = _text(stream)
    try:
        return _opened(lines, name)[0]
    finally:
        lines.detach()


def _opened(lines: io.TextIOWrapper, name: str) -> tuple[list[str], Iterator[list[str]]]:
    """Return the columns, and what reads the rows below them."""
    head = lines.readline(LARGEST_ROW)
    if len(head) == LARGEST_ROW:
        raise UsageError(f"the first line of {name} is longer than {LARGEST_ROW // 1024} KB: it is no header")
    reader = csv.reader(_Lines(head, lines), delimiter=max(",;\t", key=head.count))
    header = [column.strip() for column in next(reader, [])]
    repeated = [column for column, times in Counter(header).items() if times > 1]
    if repeated:
        raise UsageError(f'{name} has the column "{min(repeated)}" twice')
    return header, reader


def _table_rows(lines: io.TextIOWrapper, name: str) -> Iterator[Row | BadRow]:
    header, reader = _opened(lines, name)
    if not header:
        return
    mended = tuple(header[:3]) == SET_ASIDE
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(number, "", f"the row cannot be read: {error}")
            continue
        if not cells:
            number -= 1
            continue
        raw = dict(zip(header, cells, strict=False))
        if len(cells) != len(header):
            more = {
                f"column {place}": cell for place, cell in enumerate(cells[len(header) :], len(header) + 1)
            }
            yield BadRow(
                number, "", f"the row has {len(cells)} cells, the header {len(header)}", (raw | more,)
            )
        elif mended:
            yield _mended_row(number, raw)
        else:
            yield Row(number, raw, None, (raw,))


def _text(stream: io.BufferedReader) -> io.TextIOWrapper:
    encoding = text_encoding(stream.peek(LOOK)[:LOOK])
    return io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")


def _mended_row(number: int, raw: Mapping[str, str]) -> Row | BadRow:
    """Read a row of the quarantine that somebody mended: without what it was set aside for."""
    kept = {name: cell for name, cell in raw.items() if name not in SET_ASIDE}
    if set(kept) == {"raw"}:
        return json_row(number, kept["raw"])
    return Row(number, kept, None, (kept,))


class _Lines:
    """The lines of a table: one that is too long is left out, with an error in its place."""

    def __init__(self, head: str, rest: io.TextIOWrapper) -> None:
        self._head: str | None = head
        self._rest = rest

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, self._head = self._head, None
        if line is None:
            line = self._rest.readline(LARGEST_ROW)
        if not line:
            raise StopIteration
        if len(line) == LARGEST_ROW:
            while (more := self._rest.readline(LARGEST_ROW)) and not more.endswith("\n"):
                pass
            raise csv.Error(f"it is longer than {LARGEST_ROW // 1024} KB")
        return line
