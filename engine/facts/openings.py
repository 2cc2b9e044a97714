"""What a file is by its first bytes, before its rows are read.

Comes in: a path, what its name says it is, and its first bytes after unzipping. Goes out: the encoding of its text.
Promises a plain sentence for a file that is none of what can be read: it would else look like a file without rows, or
like one whose every row is bad.
"""

from __future__ import annotations

from pathlib import Path

from engine.errors import OutsideError

LOOK = 4_096  # bytes that are looked at
GZIP = b"\x1f\x8b"
_OTHERS = (
    (b"PK\x03\x04", "a zip archive, as spreadsheets are: save the sheet as CSV, or unpack it first"),
    (b"PAR1", "a parquet file: add --format parquet"),
    (b"%PDF", "a PDF: export the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet: save the sheet as CSV"),
    (b"SQLite format 3\x00", "an SQLite database: export the table as CSV"),
    (b"BZh", "compressed with bzip2: unpack it, or use gzip"),
    (b"\xfd7zXZ", "compressed with xz: unpack it, or use gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it, or use gzip"),
    (GZIP, "compressed twice with gzip: unpack it once"),
)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def check_wrapping(path: Path, start: bytes) -> None:
    """Raise OutsideError for a file of no bytes, and for one that only its name calls gzipped."""
    if not start:
        raise OutsideError(f"{path.name} is empty: it holds not a single byte")
    if path.name.lower().endswith(".gz") and not start.startswith(GZIP):
        raise OutsideError(
            f"{path.name} is no gzip file, though its name says so: if it is plain, rename it to {path.stem}"
        )


def check_text(path: Path, how: str, start: bytes) -> None:
    """Raise OutsideError where these first bytes cannot be those of a table or of JSON Lines."""
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        raise OutsideError(f"{path.name} is empty: it holds no row and no header")
    for mark, what in _OTHERS:
        if start.startswith(mark):
            raise OutsideError(f"{path.name} is {what}")
    encoding = text_encoding(start)
    wide = encoding.startswith("utf-16")
    if wide and how in ("jsonl", "segment"):
        raise OutsideError(f"{path.name} is UTF-16; JSON is UTF-8: save it as that")
    if not wide and b"\x00" in start:
        raise OutsideError(f"{path.name} is no text: it holds bytes of zero, as programs' own files do")


def text_encoding(start: bytes) -> str:
    """Return the encoding of a text by its mark, or for UTF-16 without one by where its zeros stand.

    >>> text_encoding("sku".encode("utf-16-be"))
    'utf-16-be'
    """
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    even, odd = start[0::2].count(0), start[1::2].count(0)
    most = len(start) // 2 * 3 // 4  # three of four letters of a header are plain ones
    if odd > most and not even:
        return "utf-16-le"
    if even > most and not odd:
        return "utf-16-be"
    return "utf-8-sig"
