"""Where delivery reports lie: a Maildir, an mbox, one mail as a file, or one in a pipe.

Comes in: a place. Goes out: the bytes of each mail. A Maildir's new mails are moved to `cur` once all were taken in, so that
the next look begins after them; told again they would change nothing.
"""

from __future__ import annotations

import mailbox
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.errors import OutsideError, UsageError
from engine.feedback.dsn import LARGEST


@contextmanager
def reports(place: Path, pipe: BinaryIO) -> Iterator[Iterator[bytes]]:
    """Give the mails at a place; raise UsageError where it is none, OutsideError where it cannot be read."""
    try:
        if str(place) == "-":
            yield iter([pipe.read(LARGEST)])
        elif (place / "new").is_dir():
            yield from _maildir(place)
        elif place.is_dir():
            raise UsageError(f"{place} is no Maildir: it has no folder `new`")
        else:
            yield from _file(place)
    except OSError as error:
        raise OutsideError(f"{place} cannot be read: {error.strerror}") from error


def _maildir(place: Path) -> Iterator[Iterator[bytes]]:
    files = sorted((place / "new").iterdir())
    yield (_read(file) for file in files)
    (place / "cur").mkdir(exist_ok=True)
    for file in files:
        file.rename(place / "cur" / f"{file.name}:2,S")


def _file(place: Path) -> Iterator[Iterator[bytes]]:
    with place.open("rb") as stream:
        is_mbox = stream.read(5) == b"From "
    if not is_mbox:
        yield iter([_read(place)])
        return
    with closing(mailbox.mbox(place, create=False)) as box:
        yield (box.get_bytes(key) for key in box.iterkeys())


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(LARGEST)
