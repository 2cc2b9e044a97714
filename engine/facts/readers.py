"""Files as rows: CSV, JSON Lines and parquet, each also gzipped, read as a stream.

Comes in: a path, perhaps with what it holds (`kind`), how (`format`) and what its columns are called here (`mapping`).
Goes out: a `Source` whose `rows()` yields `Row` and `BadRow`; memory stays flat. The kind is taken from the file's
name, else from its columns. A row of JSON Lines may name its own `kind`.

Orders and carts in tables are given one line a row: rows with the same id (and status or time) in one file belong together,
wherever they stand. Rows that follow each other are grouped in passing; the others go through a temporary file.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.diagnostics import did_you_mean
from engine.errors import OutsideError, UsageError
from engine.facts.csv_tables import SET_ASIDE, csv_columns, csv_rows
from engine.facts.fact import KINDS, BadRow, Kind, Row
from engine.facts.fields import FIELDS
from engine.facts.formats import translate
from engine.facts.json_texts import json_rows
from engine.facts.openings import GZIP, LOOK, check_text, check_wrapping
from engine.facts.origins import FOREIGN, foreign_kind, other_than_said, shown, way_out

FORMATS = ("csv", "jsonl", "parquet", *FOREIGN)
_LINE = ("sku", "quantity", "price")
# Kinds whose tables may hold one line a row, with what the rows of one have in common: its id, and when it was like that.
_BY_LINE: Mapping[str, Sequence[str]] = {
    "orders": ("order_id", "status", "status_at"),
    "carts": ("cart_id", "updated_at"),
}
_TABLES = {
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
}
_BROKEN = (OSError, EOFError, zlib.error, UnicodeError)


@dataclass(slots=True)
class Source:
    """One file to be read: what it holds, how, and its rows."""

    path: Path
    kind: Kind
    format: str
    mapping: Mapping[str, str]
    shop_url: str = ""
    _position: Callable[[], int] | None = field(default=None, repr=False)

    @property
    def cells(self) -> bool:
        """Whether all values are text of a table."""
        return self.format in ("csv", "shopify", "klaviyo")

    def share(self) -> float:
        """Return how much of the file was read so far, between 0 and 1."""
        size = self.path.stat().st_size
        return min(self._position() / size, 1.0) if self._position is not None and size else 1.0

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield the file's rows in canonical names; raise OutsideError where it cannot be read to its end."""
        try:
            if self.format in FOREIGN:
                yield from translate(self.format, self.kind, self._renamed(), self.shop_url)
            elif self.kind in _BY_LINE and self._is_given_by_line():
                yield from group_lines(self._renamed, self.kind)
            else:
                yield from self._renamed()
        except _BROKEN as error:
            raise OutsideError(f"{self.path.name} cannot be read to its end: {_plain(error)}") from error

    def _is_given_by_line(self) -> bool:
        first = next((row for row in self._renamed() if isinstance(row, Row)), None)
        return first is not None and "lines" not in first.values and "sku" in first.values

    def _renamed(self) -> Iterator[Row | BadRow]:
        names = self.mapping
        for row in self.rows_as_told():
            if isinstance(row, BadRow) or not names:
                yield row
            else:
                yield Row(
                    row.number,
                    {names.get(name, name): value for name, value in row.values.items()},
                    row.kind,
                    row.raw,
                )

    def rows_as_told(self) -> Iterator[Row | BadRow]:
        """Yield the rows by the names of the file itself, before its columns are mapped."""
        if self.format == "parquet":
            yield from _parquet_rows(self.path, self)
            return
        with open_binary(self.path) as (stream, position):
            self._position = position
            check_text(self.path, self.format, stream.peek(LOOK)[:LOOK])
            if self.format in ("jsonl", "segment"):
                yield from json_rows(stream)
            else:
                yield from csv_rows(stream, self.path.name)


@contextmanager
def open_binary(path: Path) -> Iterator[tuple[io.BufferedReader, Callable[[], int]]]:
    """Open a file for reading bytes, through gzip where it is gzipped, and tell the position in the file itself."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise OutsideError(f"{path} cannot be read: {_plain(error)}") from error
    size = path.stat().st_size

    def position() -> int:
        return size if file.closed else file.tell()

    with file:
        start = file.peek(2)[:2]
        check_wrapping(path, start)
        if start != GZIP:
            yield file, position
            return
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield io.BufferedReader(unzipped, 1 << 18), position


def open_source(
    path: Path,
    *,
    kind: str | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    mapping: Mapping[str, str] | None = None,
) -> Source:
    """Return the file as a source; raise UsageError where it is not clear what it holds, OutsideError where it cannot be read."""
    if not path.is_file():
        raise OutsideError(f"{path} is no file")
    how = format or detect_format(path)
    if how not in FORMATS:
        raise UsageError(f'"{how}" is no format of {", ".join(FORMATS)}; {did_you_mean(how, FORMATS)}')
    if kind is not None and kind not in KINDS:
        raise UsageError(f'"{kind}" is none of {", ".join(KINDS)}; {did_you_mean(kind, KINDS)}')
    names = dict(mapping or {})
    source = Source(path, "events", how, names)
    columns = _columns(source)
    _check_mapping(names, columns)
    told = kind or (foreign_kind(how, columns) if how in FOREIGN else None) or detect_kind(path, columns)
    source.kind = next(known for known in KINDS if known == told)
    _check_columns(source, columns)
    return source


def _columns(source: Source) -> list[str]:
    """Return the columns of the first row, under the names that the file has for them."""
    try:
        first = next((row for row in source.rows_as_told() if isinstance(row, Row)), None)
    except _BROKEN as error:
        raise OutsideError(f"{source.path.name} cannot be read: {_plain(error)}") from error
    if first is None and source.cells:
        return _header(source.path)
    if first is None and source.format in ("jsonl", "segment"):
        _check_lines(source)
    return [] if first is None else [str(name) for name in first.values]


def _check_lines(source: Source) -> None:
    """Raise UsageError for a table that is read as JSON; a file of that name with broken lines is set aside line by line."""
    has_lines = any(True for _ in source.rows_as_told())
    if has_lines and detect_format(source.path) == "csv":
        instead = way_out(_header(source.path)) or "it looks like a table: leave --format away"
        raise UsageError(f"not one line of {source.path.name} is JSON: {instead}")


def _header(path: Path) -> list[str]:
    """Return the columns of a table that may hold no row."""
    with open_binary(path) as (stream, _):
        return csv_columns(stream, path.name)


def _check_columns(source: Source, columns: Sequence[str]) -> None:
    """Raise UsageError for a file that is plainly not what it was said to be.

    That is an export of somebody else, JSON Lines that are no calls of Segment, and a table in which not one column is what its
    kind holds: its first line is no header.
    """
    told = {source.mapping.get(name, name).partition(".")[0] for name in columns} | set(columns)
    name = source.path.name
    if source.format in FOREIGN:
        named = [source.mapping.get(each, each) for each in columns]
        problem = other_than_said(source.format, source.kind, named) if columns else ""
        if problem:
            raise UsageError(f"{name} {problem}")
        return
    if source.format == "jsonl" and way_out(columns):
        raise UsageError(f"{name} is no JSON Lines of ours: {way_out(columns)}")
    known = {"kind", *SET_ASIDE, *FIELDS[source.kind], *(_LINE if source.kind == "orders" else ())}
    if source.format == "csv" and columns and known.isdisjoint(told):
        raise UsageError(
            f"the first line of {name} names no column that {source.kind} have: {shown(columns)}; "
            + (way_out(columns) or "map them with --map theirs=ours")
        )


def _check_mapping(names: Mapping[str, str], columns: Sequence[str]) -> None:
    for theirs in names:
        if columns and theirs not in columns:
            raise UsageError(
                f'the file has no column "{theirs}"; {did_you_mean(theirs, columns)}'.rstrip("; ")
            )
    taken = [names.get(column, column) for column in columns]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise UsageError(f'two columns would be called "{twice[0]}"')


def detect_format(path: Path) -> str:
    """Return the format that a file's name tells, csv where it tells none.

    >>> detect_format(Path("orders.jsonl.gz"))
    'jsonl'
    """
    name = path.name.lower().removesuffix(".gz")
    return _TABLES.get(name.rpartition(".")[2], "csv")


def detect_kind(path: Path, columns: Sequence[str]) -> Kind:
    """Return what a file holds, by its name, else by its columns; raise UsageError where neither tells."""
    words = re.split(r"[^a-z]+", path.name.lower())
    for kind in KINDS:
        if kind in words or kind[:-1] in words:
            return kind
    has = set(columns)
    if "kind" in has:
        return "events"
    tells: tuple[tuple[Kind, set[str]], ...] = (
        ("orders", {"order_id"}),
        ("carts", {"cart_id"}),
        ("consents", {"topic", "state"}),
        ("events", {"event"}),
        ("products", {"sku"}),
        ("customers", {"email"}),
        ("customers", {"external_id"}),
    )
    for kind, needed in tells:
        if needed <= has:
            return kind
    raise UsageError(
        f"neither the name nor the columns of {path.name} tell what it holds; "
        + (way_out(columns) or "say so with --as")
    )


def _parquet_rows(path: Path, source: Source) -> Iterator[Row | BadRow]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("parquet needs another package: pip install 'homing[parquet]'") from error
    with open_binary(path) as (stream, position):
        source._position = position  # noqa: SLF001
        whole = io.BytesIO(stream.read()) if stream.raw.__class__ is gzip.GzipFile else stream
        try:
            yield from _batched(parquet.ParquetFile(whole).iter_batches(batch_size=2_000))
        except pa.ArrowException as error:
            raise OutsideError(
                f"{path.name} is no parquet file that can be read: {str(error).splitlines()[0]}"
            ) from error


def _batched(batches: Iterable[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            told = {name: value for name, value in values.items() if value is not None or name == "stock"}
            yield Row(number, told, None, (values,))


def _plain(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "it breaks off, perhaps because it was still being written"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return "its compressed part is damaged"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def group_lines(read: Callable[[], Iterator[Row | BadRow]], kind: Kind) -> Iterator[Row | BadRow]:
    """Yield orders or carts from rows that hold one line each; `read` is called twice, and gives the same rows each time."""
    told_together = _BY_LINE[kind]
    scattered = _scattered(read(), told_together)
    with closing(sqlite3.connect("")) as spool:
        spool.execute("CREATE TABLE line (grouping INTEGER, number INTEGER, row TEXT)")
        group: list[Row] = []
        current: tuple[str, ...] | None = None
        for row in read():
            if isinstance(row, BadRow):
                yield row
                continue
            key = _grouping(row.values, told_together)
            if hash(key) in scattered:
                spool.execute("INSERT INTO line VALUES (?, ?, ?)", (hash(key), row.number, _pack(row)))
                continue
            if key != current and group:
                yield _together(group, kind)
                group = []
            current = key
            group.append(row)
        if group:
            yield _together(group, kind)
        yield from _spooled(spool, kind)


def _grouping(values: Mapping[str, Any], told_together: Sequence[str]) -> tuple[str, ...]:
    """Return what the lines of one order or cart share: its id, and the status or moment that they tell of."""
    identity, *state = told_together
    return (
        str(values.get(identity, "")).strip(),
        *(str(values.get(name) or "") for name in state if state[0] in values),
    )


def _scattered(rows: Iterable[Row | BadRow], told_together: Sequence[str]) -> frozenset[int]:
    """Return the groups whose rows do not all follow each other."""
    seen: set[int] = set()
    scattered: set[int] = set()
    last: int | None = None
    for row in rows:
        if isinstance(row, BadRow):
            continue
        key = hash(_grouping(row.values, told_together))
        if key == last:
            continue
        if key in seen:
            scattered.add(key)
        seen.add(key)
        last = key
    return frozenset(scattered)


def _pack(row: Row) -> str:
    return json.dumps([row.values, row.raw], default=str, ensure_ascii=True)


def _spooled(spool: sqlite3.Connection, kind: Kind) -> Iterator[Row]:
    group: list[Row] = []
    current = None
    for grouping, number, packed in spool.execute(
        "SELECT grouping, number, row FROM line ORDER BY grouping, number"
    ):
        if grouping != current and group:
            yield _together(group, kind)
            group = []
        current = grouping
        values, raw = json.loads(packed)
        group.append(Row(number, values, kind, tuple(raw)))
    if group:
        yield _together(group, kind)


def _together(group: Sequence[Row], kind: Kind) -> Row:
    """Return one order or cart of its lines; of what stands on every line the first that is told holds.

    A cart's row without a product says that there is nothing in it any more.
    """
    if kind == "orders" and len(group) == 1 and not group[0].values.get("sku"):
        return group[0]
    values: dict[str, Any] = {}
    lines = []
    for row in group:
        told = row.values
        if told.get("sku"):
            lines.append({name: told.get(name) for name in _LINE})
        for name, value in told.items():
            if name not in _LINE and value not in ("", None) and name not in values:
                values[name] = value
    if lines or kind == "carts":
        values["lines"] = lines
    raw = tuple(line for row in group for line in row.raw)
    return Row(group[0].number, values, kind, raw, tuple(row.number for row in group))


assert all(set(_LINE).isdisjoint(FIELDS[kind]) for kind in _BY_LINE)
