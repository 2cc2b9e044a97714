"""CSV as rows: a header and its cells, read as a stream.

Bytes come in (already unzipped); `Row` and `BadRow` go out, numbered from 1 without the header. Commas, semicolons and
tabs, UTF-8 and UTF-16 are seen by themselves. Memory stays flat: a line beyond `LARGEST_ROW` is set aside.

Cells in quotes may hold line breaks. A quote that is never closed must not swallow the rows below it: its own row is set
aside, and the lines below are read again by themselves (`_judged`).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.errors import UsageError
from engine.facts.fact import BadRow, Row
from engine.facts.json_texts import LARGEST_ROW, json_row
from engine.facts.openings import LOOK, text_encoding

SET_ASIDE = ("row", "column", "reason")
"""What the columns of a quarantine begin with."""
_ENDS = ("\n", "\r")
_TOLD_SHAPES = 2  # columns that tell whether a line is a row: the first ones name it
csv.field_size_limit(LARGEST_ROW)


def csv_rows(stream: io.BufferedReader, name: str) -> Iterator[Row | BadRow]:
    """Yield the rows of a CSV file with a header; commas, semicolons or tabs; UTF-8 or UTF-16."""
    text = _text(stream)
    try:
        yield from _table_rows(text, name)
    finally:
        text.detach()  # the stream is its opener's to close


def csv_columns(stream: io.BufferedReader, name: str) -> list[str]:
    """Return the columns of a table that may hold no row; raise UsageError where its first line is no header."""
    text = _text(stream)
    try:
        return _opened(text, name)[0]
    finally:
        text.detach()


def named(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Return cells by their columns; those beyond the last are called by their place.

    >>> named(["sku", "title"], ["T1"]), named(["sku"], ["T1", "Tea"])
    ({'sku': 'T1'}, {'sku': 'T1', 'column 2': 'Tea'})
    """
    raw = dict(zip(columns, cells, strict=False))
    for place in range(len(columns), len(cells)):
        raw[f"column {place + 1}"] = cells[place]
    return raw


def _opened(text: io.TextIOWrapper, name: str) -> tuple[list[str], _Lines]:
    """Return the columns, and the lines below them."""
    head = text.readline(LARGEST_ROW)
    if len(head) == LARGEST_ROW:
        raise UsageError(f"the first line of {name} is longer than {LARGEST_ROW // 1024} KB: it is no header")
    lines = _Lines(text, head)
    header = [column.strip() for column in lines.record() or ()]
    if lines.is_torn and not _is_sound(lines):
        raise UsageError(
            f"the header of {name} opens a quote that is never closed: close it, or take it away"
        )
    below = header[len(SET_ASIDE) :] if _is_mended(header) else header  # a row may have a reason of its own
    repeated = [column for column, times in Counter(below).items() if times > 1]
    if repeated:
        raise UsageError(f'{name} has the column "{min(repeated)}" twice')
    return header, lines


def _is_mended(header: Sequence[str]) -> bool:
    return tuple(header[: len(SET_ASIDE)]) == SET_ASIDE


def _table_rows(text: io.TextIOWrapper, name: str) -> Iterator[Row | BadRow]:
    header, lines = _opened(text, name)
    if not header:
        return
    table = _Table(tuple(header), len(SET_ASIDE) if _is_mended(header) else 0)
    width, number = len(header), 0
    doubt: _Doubt | None = None
    while True:
        try:
            cells = lines.record()
        except csv.Error as error:
            number += 1
            yield BadRow(number, "", f"the row cannot be read: {error}", columns=table.columns)
            continue
        if cells is None:
            return
        if not cells:
            continue
        number += 1
        if lines.is_torn:
            judged = _judged(table, lines, cells, number)
            if isinstance(judged, _Doubt):
                yield judged.bad
                doubt = judged
                continue
            if judged is not None:
                yield judged
                continue
        if len(cells) != width:
            reason = f"the row has {len(cells) - table.skipped} cells, the header {len(table.columns)}"
            yield table.bad(number, "", reason, cells)
        elif doubt is not None and lines.first <= doubt.until and not doubt.likeness.fits(cells):
            reason = f"stands below a quote that is never closed (line {doubt.line} of the file), and does not look like a row"
            yield table.bad(number, "", reason, cells)
        elif not table.skipped:
            raw = dict(zip(header, cells, strict=True))
            yield Row(number, raw, None, (raw,))
        else:
            yield table.mended(number, cells)


def _text(stream: io.BufferedReader) -> io.TextIOWrapper:
    encoding = text_encoding(stream.peek(LOOK)[:LOOK])
    return io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")


@dataclass(frozen=True, slots=True)
class _Table:
    """A header, of which the first columns are `skipped`: those of a quarantine are about the row."""

    header: tuple[str, ...]
    skipped: int

    @property
    def columns(self) -> tuple[str, ...]:
        return self.header[self.skipped :]

    def mended(self, number: int, cells: Sequence[str]) -> Row | BadRow:
        """Read a row of the quarantine that somebody mended: without what it was set aside for."""
        raw = named(self.columns, cells[self.skipped :])
        return json_row(number, raw["raw"]) if set(raw) == {"raw"} else Row(number, raw, None, (raw,))

    def bad(self, number: int, column: str, reason: str, cells: Sequence[str]) -> BadRow:
        """Set cells aside as they came, fewer or more than the header has."""
        return BadRow(
            number, column, reason, (named(self.columns, cells[self.skipped :]),), columns=self.columns
        )


# ── Quotes that are never closed ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Likeness:
    """What a line must look like to be a row of this table: so many cells, and first ones of these shapes."""

    width: int
    shapes: tuple[str, ...]
    spaced: bool

    def fits(self, cells: Sequence[str]) -> bool:
        """Return whether these cells look like a row; commas in prose are followed by blanks, those of tables are not."""
        if len(cells) != self.width or (not self.spaced and any(cell[:1].isspace() for cell in cells)):
            return False
        found = [_shape(cell) for cell in cells[: len(self.shapes)]]
        return any(found) and all(
            told == wanted or not told or not wanted for told, wanted in zip(found, self.shapes, strict=True)
        )


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A row whose quote is never closed, in `line` of the file; lines down to `until` are to be looked at twice."""

    bad: BadRow
    line: int
    until: int
    likeness: _Likeness


def _judged(table: _Table, lines: _Lines, cells: Sequence[str], number: int) -> BadRow | _Doubt | None:
    """Judge a record of several lines, or one within which the file ends; None where it is to be taken as it stands.

    Its lines below the first are given back to be read by themselves where its quote cannot be one around a cell, or
    where it has not as many cells as the header and they look like rows. A cell that is closed well but whose lines
    look like rows is set aside whole: what was meant is not ours to guess; out of the quarantine it is taken.
    """
    below, first, width = lines.held[1:], lines.first, len(table.header)
    is_sound = _is_sound(lines)
    if is_sound and not any(line.count(lines.delimiter) >= width - 1 for line in below):
        return None  # most texts: their lines have too few cells to be rows
    place = len(next(csv.reader(lines.held[:1], delimiter=lines.delimiter))) - 1
    alone = lines.split(lines.held[0])
    likeness = _Likeness(
        width,
        tuple(_shape(cell.lstrip('"')) for cell in alone[: min(max(place, 1), _TOLD_SHAPES, width)]),
        any(cell[:1].isspace() for cell in alone),
    )
    # The last line of a first cell has the other cells behind it, as every row has.
    inner = below[:-1] if is_sound and place == 0 and width > 1 and len(cells) == width else below
    alike = sum(likeness.fits(lines.split(line)) for line in inner)
    column = table.header[place] if table.skipped <= place < width else ""
    if is_sound:
        if len(cells) == width:
            if table.skipped or not alike or 2 * alike < len(inner):
                return None
            return table.bad(
                number,
                column,
                f"opens a quote in line {first} of the file that is closed in line {lines.number} only, and lines within look "
                "like rows: close it where it should be and take the file again; if it is one cell, retry it as it is",
                cells,
            )
        if not alike:
            return None
    rest = ""
    if below:
        rest = f" the {len(below):,} lines below were" if len(below) > 1 else " the line below was"
        rest += " read without it;"
    how = "the file ends within it" if lines.ended else "it closes nowhere that it could"
    reason = f"opens a quote in line {first} of the file that is never closed ({how});{rest} close it, or take it away"
    until = lines.number
    lines.give_back(below)
    return _Doubt(table.bad(number, column, reason, alone), first, until, likeness)


def _is_sound(lines: _Lines) -> bool:
    """Return whether the lines at hand are one row by the letter of CSV: quotes around whole cells, all closed."""
    try:
        return len(list(csv.reader(lines.held, delimiter=lines.delimiter, strict=True))) == 1
    except csv.Error:
        return False


def _shape(cell: str) -> str:
    """Return what kind of cell it is, by its letters alone.

    >>> _shape("c17"), _shape("ann@x.test"), _shape("Ann Lee"), _shape(" ")
    ('0', '@', 'a', '')
    """
    if "@" in cell:
        return "@"
    if any(sign.isdigit() for sign in cell):
        return "0"
    return "a" if cell.strip() else ""


class _Lines:
    """The lines of a table, and the records that they make: one that is too long is left out, with an error in its place.

    `first` and `number` (from 1) are the first and the last line of the record at hand, `held` its lines where it has
    quotes. It `is_torn` where it goes over several lines, or was not at its end where the file was (`ended`).
    """

    def __init__(self, text: io.TextIOWrapper, head: str) -> None:
        self.delimiter = max(",;\t", key=head.count)
        self.held: list[str] = []
        self.first = self.number = 0
        self.is_torn = self.ended = False
        self._given = ""
        self._readline = text.readline
        self._again: deque[str | None] = deque([head])
        self._reader = csv.reader(self, delimiter=self.delimiter)
        sign = re.escape(self.delimiter)
        self._cell = re.compile(rf'"((?:[^"]|"")*+)"(?={sign}|$)|([^{sign}]*)')

    def record(self) -> list[str] | None:
        """Return the cells of the next record, none for a blank line; None at the end. Raise csv.Error for what is too long."""
        line = self._line()
        self.first, self.is_torn = self.number, False
        if '"' not in line:  # most lines: nothing in them needs a second look
            plain = line.rstrip("\r\n")
            return plain.split(self.delimiter) if plain else [] if line else None
        self._given, self.held, self.ended = line, [line], False
        try:
            cells = next(self._reader)
        except csv.Error:  # within a quote, a line or all together are too long
            self.is_torn = True
            return [""]
        self.is_torn = self.ended or len(self.held) > 1
        return cells

    def split(self, line: str) -> list[str]:
        """Return the cells of a line by itself: a quote that is not closed within it is a sign like any other."""
        plain = line.rstrip("\r\n")
        cells, at = [], 0
        while at <= len(plain):
            found = self._cell.match(plain, at)
            assert found is not None  # a cell may be empty
            cells.append(found[2] if found[1] is None else found[1].replace('""', '"'))
            at = found.end() + 1
        return cells

    def give_back(self, lines: Sequence[str]) -> None:
        """Let lines be read again."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        """Return the next line of the record at hand, for what reads its cells."""
        line, self._given = self._given, ""
        if line:
            return line
        try:
            line = self._line()
        except csv.Error:
            self._again.appendleft(None)  # it comes after the lines that may be given back
            self.number -= 1
            raise
        if not line:
            self.ended = True
            raise StopIteration
        self.held.append(line)
        return line

    def _line(self) -> str:
        self.number += 1
        line = self._again.popleft() if self._again else self._readline(LARGEST_ROW)
        if line is None or (len(line) >= LARGEST_ROW and not line.endswith(_ENDS)):
            while line is not None and (line := self._readline(LARGEST_ROW)) and not line.endswith(_ENDS):
                pass
            raise csv.Error(f"it is longer than {LARGEST_ROW // 1024} KB")
        return line
