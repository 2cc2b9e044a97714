"""Files that are not UTF-8: which encodings they may have, how they read in each, and the same file as UTF-8.

Comes in: a path, perhaps gzipped. Goes out: nothing for UTF-8 and UTF-16, else the encodings in which its first foreign
lines are text, the likeliest first. Bytes alone do not say which is meant: a person looks at the lines and says it.
"""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from engine.facts.openings import GZIP, LOOK, text_encoding
from engine.facts.readers import open_binary

NAMES: Mapping[str, str] = {
    "cp1252": "Windows-1252 (Western Europe)",
    "cp932": "Shift-JIS (cp932, Japanese)",
    "gb18030": "GB 18030 or GBK (Chinese)",
    "cp1250": "Windows-1250 (Central Europe)",
    "cp1251": "Windows-1251 (Cyrillic)",
}
_PIECE = 1 << 20
_ENOUGH = 64 * 1024  # bytes of foreign lines that are looked at
_LONGEST_LINE, _LONGEST_SHOWN = 4_096, 120
_FOREIGN = re.compile(rb"[\x80-\xff]")
_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_UNASSIGNED = re.compile("[\ue000-\uf8ff\x80-\x9f]")
_KANA_LEAD = re.compile(rb"[\x81-\x9f][\x40-\x7e\x80-\xfc]")


@dataclass(frozen=True, slots=True)
class Guess:
    """One encoding that a file may have: its name in Python, its name for people, and how a line of the file reads in it."""

    encoding: str
    name: str
    line: str


def foreign(path: Path) -> Sequence[Guess]:
    """Return which encodings a file may have, the likeliest first; none where it is UTF-8 or UTF-16, or nothing fits.

    A file that is neither and fits nothing gives one guess without an encoding.
    """
    if is_utf(path):
        return ()
    lines = _foreign_lines(path)
    whole = b"\n".join(lines)
    guesses = [Guess(each, NAMES[each], _line(lines, each)) for each in _likely(whole) if _fits(whole, each)]
    return guesses or [Guess("", "no encoding that is known here", "")]


def is_utf(path: Path) -> bool:
    """Return whether a file is UTF-8 to its end, or UTF-16."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    with open_binary(path) as (stream, _):
        if text_encoding(stream.peek(LOOK)[:LOOK]).startswith("utf-16"):
            return True
        try:
            while piece := stream.read(_PIECE):
                decode(piece)
            decode(b"", True)
        except UnicodeDecodeError:
            return False
    return True


def rewrite(path: Path, encoding: str) -> None:
    """Write a file anew as UTF-8; raise UsageError where it is not text of that encoding to its end."""
    if encoding not in NAMES:
        raise UsageError(f'"{encoding}" is none of {", ".join(NAMES)}')
    decode = codecs.getincrementaldecoder(encoding)().decode
    part = path.with_name(path.name + ".part")
    packed = _is_packed(path)
    try:
        with (
            open_binary(path) as (stream, _),
            gzip.open(part, "wb") if packed else part.open("wb") as written,
        ):
            while piece := stream.read(_PIECE):
                written.write(decode(piece).encode())
            written.write(decode(b"", True).encode())
    except UnicodeDecodeError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path.name} is not {NAMES[encoding]} to its end") from error
    part.replace(path)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _foreign_lines(path: Path) -> list[bytes]:
    """Return the first lines that hold more than ASCII."""
    found: list[bytes] = []
    with open_binary(path) as (stream, _):
        while sum(map(len, found)) < _ENOUGH and (line := stream.readline(_PIECE)):
            if _FOREIGN.search(line):
                found.append(line.rstrip(b"\r\n")[:_LONGEST_LINE])
    return found


def _likely(raw: bytes) -> list[str]:
    """Return the encodings by how they write: letters with marks stand alone between plain ones, Japanese begins low.

    >>> _likely("Jürgen Groß".encode("cp1252"))[0], _likely("東京,はな".encode("cp932"))[0]
    ('cp1252', 'cp932')
    """
    marks = len(_FOREIGN.findall(raw))
    alone = len([byte for byte in _ALONE.findall(raw) if byte >= b"\xc0"])
    if alone * 2 >= marks:
        first = "cp1252"
    elif len(_KANA_LEAD.findall(raw)) * 3 >= marks:
        first = "cp932"
    else:
        first = "cp1251" if _is_cyrillic(raw) else "gb18030"
    return [first, *(name for name in NAMES if name != first)]


def _is_cyrillic(raw: bytes) -> bool:
    """Return whether runs of letters begin large and go on small, as names in Cyrillic do."""
    runs = re.findall(rb"[\xc0-\xff]{3,}", raw)
    named = [run for run in runs if run[0] < 0xE0 and all(byte >= 0xE0 for byte in run[1:])]
    return bool(runs) and len(named) * 2 >= len(runs)


def _fits(raw: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)  # a long line was cut, perhaps within a sign
    try:
        text = "".join(decoder().decode(line) for line in raw.split(b"\n"))
    except UnicodeDecodeError:
        return False
    return not _UNASSIGNED.search(text)


def _line(lines: Sequence[bytes], encoding: str) -> str:
    return lines[0].decode(encoding, "replace")[:_LONGEST_SHOWN]
