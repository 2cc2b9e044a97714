"""Files that people of the shop upload: kept in the project's `uploads/` until they were taken in, whatever dies meanwhile.

Comes in: the stream of a file, what it holds and what its columns are called here. Goes out: a folder for each upload with
the file and `upload.json`, which says how it stands: looked at, confirmed, taken (with its report), failed (with the reason).
Promises: a confirmed file is on disk before the page says so; whichever process serves takes it in, one at a time, and after
a power cut again from the start, which changes nothing twice. Rows that cannot be read lie in `quarantine/`, as ever.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

from sqlalchemy.exc import DBAPIError

from engine.errors import HomingError, UsageError
from engine.facts.ingest import IngestReport, ingest_file
from engine.settings import Settings
from engine.store.backup import flush
from engine.store.database import Database
from engine.web.house.held_files import held

log = logging.getLogger("homing.web")
FOLDER = "uploads"
LARGEST = 200 * 1024 * 1024
LARGEST_UNPACKED = 2 * 1024 * 1024 * 1024
LARGEST_ARRAY = 20 * 1024 * 1024  # one JSON array is read whole
MOST_OPEN, MOST_KEPT = 10, 30
SHOWN_BAD_ROWS = 50
_PIECE = 1 << 20
_NAME = re.compile(r"[0-9a-f]{16}")
_STATES = ("looked", "confirmed", "taken", "failed")


@dataclass(frozen=True, slots=True)
class Upload:
    """One file: its folder's name, what it was called, how to read it, how it stands, and what became of it."""

    name: str
    file: str
    at: str
    state: str = "looked"
    kind: str = ""
    format: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    backfill: bool = False
    rows: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    foreign: bool = False  # not UTF-8: how it is to be read was not said yet


class Uploads:
    """The uploads of a project."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def add(self, stream: IO[bytes], file: str, now: datetime) -> Upload:
        """Keep a file; raise UsageError where it is too large, or too many wait."""
        if sum(each.state == "looked" for each in self.all()) >= MOST_OPEN:
            raise UsageError(f"{MOST_OPEN} files wait already: take them in, or let them go")
        upload = Upload(secrets.token_hex(8), file_name(file), now.isoformat())
        place = self._folder / upload.name
        place.mkdir(parents=True)
        try:
            _copy(stream, place / upload.file)
            _check_size(place / upload.file)
            self.keep(upload)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        self._tidy()
        return upload

    def all(self) -> list[Upload]:
        """Return every upload, the newest first."""
        found = [self.find(place.name) for place in self._folder.glob("*/") if _NAME.fullmatch(place.name)]
        return sorted((each for each in found if each is not None), key=lambda each: each.at, reverse=True)

    def find(self, name: str) -> Upload | None:
        """Return the upload of that name, or None."""
        if not _NAME.fullmatch(name):
            return None
        try:
            told = json.loads((self._folder / name / "upload.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Upload(**told)

    def path(self, upload: Upload) -> Path:
        """Return where the file lies."""
        return self._folder / upload.name / upload.file

    def keep(self, upload: Upload) -> None:
        """Write how an upload stands, durably."""
        assert upload.state in _STATES
        place = self._folder / upload.name / "upload.json"
        part = place.with_suffix(".part")
        with part.open("w", encoding="utf-8") as stream:
            json.dump(asdict(upload), stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(place)
        for folder in (place.parent, self._folder):
            flush(folder)

    def drop(self, upload: Upload) -> None:
        """Let go of an upload and its file."""
        shutil.rmtree(self._folder / upload.name, ignore_errors=True)

    def _tidy(self) -> None:
        for old in self.all()[MOST_KEPT:]:
            if old.state in ("taken", "failed"):
                self.drop(old)

    # ── taking in ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take_next(self, database: Database, settings: Settings, now: datetime) -> Upload | None:
        """Take in the confirmed file that waits longest and that no other process holds; return it as it stands then."""
        for upload in reversed(self.all()):
            if upload.state != "confirmed":
                continue
            with self.held(upload) as mine:
                current = self.find(upload.name)
                if mine and current is not None and current.state == "confirmed":
                    return self._take(current, database, settings, now)
        return None

    @contextmanager
    def held(self, upload: Upload) -> Iterator[bool]:
        """Hold an upload until the block ends or this process dies; give whether it could be had."""
        with held(self._folder / upload.name / "lock") as mine:
            yield mine

    def _take(self, upload: Upload, database: Database, settings: Settings, now: datetime) -> Upload:
        def told(rows: int, _share: float) -> None:
            self.keep(replace(upload, rows=rows))

        try:
            report = ingest_file(
                database, self.path(upload), settings=settings, now=now, kind=upload.kind or None,
                format=upload.format or None, mapping=upload.mapping, backfill=upload.backfill, progress=told,
            )  # fmt: skip
        except HomingError as error:
            done = replace(upload, state="failed", problem=str(error))
        except (DBAPIError, OSError):
            raise  # the database or the disk may be back soon
        except Exception as error:  # noqa: BLE001 - a bug of ours must not be met again and again
            log.error("a file could not be taken in", extra={"told": {"what": type(error).__name__}})
            done = replace(upload, state="failed", problem=f"it failed here ({type(error).__name__})")
        else:
            done = replace(upload, state="taken", rows=report.read, report=_as_data(report))
            self.path(upload).unlink(missing_ok=True)
        self.keep(done)
        return done


def _as_data(report: IngestReport) -> dict[str, Any]:
    names = ("read", "new", "unchanged", "stale", "staged", "erased", "quarantined")
    bad = [
        {"row": row.number, "column": row.column, "reason": row.reason}
        for row in report.bad_rows[:SHOWN_BAD_ROWS]
    ]
    return {**{name: getattr(report, name) for name in names}, "bad": bad, "warnings": list(report.warnings)}


def file_name(told: str) -> str:
    """Return a name under which a file can be kept: its own, without what could lead elsewhere.

    >>> file_name("../../orders März.csv"), file_name(".htaccess"), file_name("")
    ('orders-M-rz.csv', 'htaccess', 'file.csv')
    """
    last = told.replace("\\", "/").rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-")[-80:].lstrip(".-")
    return "file.csv" if plain in ("", "upload.json", "upload.part", "lock") else plain


def _copy(stream: IO[bytes], place: Path) -> None:
    size = 0
    with place.open("xb") as kept:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > LARGEST:
                raise UsageError(f"the file is larger than {LARGEST // 2**20} MB; use homing ingest for it")
            kept.write(piece)
        kept.flush()
        os.fsync(kept.fileno())
    if not size:
        raise UsageError("the file is empty")


def _check_size(path: Path) -> None:
    """Refuse what would fill the memory or never end once it is unpacked."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    size, first = path.stat().st_size, b""
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            first = stream.read(100).lstrip(b"\xef\xbb\xbf \r\n\t")[:1]
            size = _unpacked(stream) if packed else size
    except (OSError, EOFError) as error:
        raise UsageError("the file is broken: it cannot be unpacked to its end") from error
    if size > LARGEST_UNPACKED:
        raise UsageError("unpacked, the file is too large; use homing ingest for it")
    if first == b"[" and size > LARGEST_ARRAY:
        raise UsageError("one list of that size cannot be read: write one JSON object a line")


def _unpacked(stream: BufferedIOBase) -> int:
    size = 0
    while piece := stream.read(_PIECE):
        size += len(piece)
        if size > LARGEST_UNPACKED:
            break
    return size
