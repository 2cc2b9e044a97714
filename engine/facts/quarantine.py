"""Rows set aside: `quarantine/FILE.csv` in the project, each row whole, with its number, the column and the reason.

Comes in: bad rows of one reading. Goes out: a CSV file that starts with the columns row, column, reason and goes on
with the row as it came (rows of JSON Lines in one column `raw`). Mended, it is read like any other file. Rows that an
earlier reading set aside stay, unless this reading was of the quarantine file itself; the same row is kept once.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engine.facts.csv_tables import SET_ASIDE, named
from engine.facts.fact import BadRow

FOLDER = "quarantine"


@dataclass(frozen=True, slots=True)
class SetAside:
    """One row of a quarantine file; `columns` are those of the file, where it does not have as many cells."""

    file: str
    row: int
    column: str
    reason: str
    raw: Mapping[str, str]
    columns: tuple[str, ...] = ()


class QuarantineFile:
    """Collects the bad rows of one file; nothing is written before the first of them."""

    def __init__(self, root: Path, source: Path) -> None:
        self.path = file_for(root, source)
        self._replaces = source.resolve() == self.path.resolve()
        self._part = self.path.with_name(self.path.name + ".part")
        self._stream: IO[str] | None = None
        self._columns: tuple[str, ...] = ()
        self._seen: set[str] = set()
        self.count = 0

    def add(self, bad: BadRow) -> None:
        """Keep a row; of an order given in several lines all are kept, so that it can be told again whole."""
        raws = bad.raw or ({} if bad.columns else {"raw": ""},)
        for place, raw in enumerate(raws):
            reason = bad.reason if place == bad.line or len(raws) == 1 else f"belongs to row {bad.number}"
            column = bad.column if place == bad.line or len(raws) == 1 else ""
            cells = {name: _cell(value) for name, value in raw.items()}
            self._write((str(bad.number), column, reason), cells, bad.columns)

    def close(self) -> None:
        """Put the file in its place; a quarantine file whose rows all went in is gone."""
        if self._stream is not None:
            if not self._replaces and self.path.exists():
                for old in read_file(self.path):
                    self._write((str(old.row), old.column, old.reason), dict(old.raw), old.columns)
            self._stream.close()
            self._part.replace(self.path)
        elif self._replaces:
            self.path.unlink(missing_ok=True)

    def _write(self, why: tuple[str, str, str], raw: Mapping[str, str], columns: tuple[str, ...]) -> None:
        """Write a row below the columns of the first; one that had too few cells has no more of them here."""
        packed = json.dumps(raw) if raw else json.dumps(why)
        if packed in self._seen:
            return
        self._seen.add(packed)
        if self._stream is None:
            self.path.parent.mkdir(exist_ok=True)
            self._columns = columns or tuple(raw)
            self._stream = self._part.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            csv.writer(self._stream).writerow([*SET_ASIDE, *self._columns])
        others = [cell for name, cell in raw.items() if name not in self._columns]
        cells = [raw.get(name, "") for name in self._columns]
        if columns == self._columns and not others:
            cells = cells[: len(raw)]
        csv.writer(self._stream).writerow([*why, *cells, *others])
        self.count += 1


def file_for(root: Path, source: Path) -> Path:
    """Return where the bad rows of a file are set aside.

    >>> str(file_for(Path("shop"), Path("in/orders.jsonl.gz")))
    'shop/quarantine/orders.jsonl.csv'
    """
    name = source.name.removesuffix(".gz")
    return root / FOLDER / (name if name.endswith(".csv") else name + ".csv")


def set_aside(root: Path) -> Iterator[SetAside]:
    """Yield every row that waits in the project's quarantine, file by file."""
    for path in sorted((root / FOLDER).glob("*.csv")):
        yield from read_file(path)


def read_file(path: Path) -> Iterator[SetAside]:
    """Yield the rows of one quarantine file."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = csv.reader(stream)
        columns = tuple(next(rows, ()))[len(SET_ASIDE) :]
        for row in rows:
            if not row:
                continue
            number, column, reason, *cells = [*row, *[""] * (len(SET_ASIDE) - len(row))]
            ragged = columns if len(cells) != len(columns) else ()
            place = int(number) if number.isdigit() else 0
            yield SetAside(path.name, place, column, reason, named(columns, cells), ragged)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
