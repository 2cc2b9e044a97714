"""`validate --watch`: the project looked at again whenever one of its files was saved.

Comes in: a folder and what to do. Goes out: nothing; it goes on until Ctrl-C. Promises: a save is seen within 100 ms, once
it is whole, and only what has changed is looked at again, so that findings stand there before the eye is back from the keyboard.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.clock import sleep
from engine.settings import FILE

BEAT = 0.05  # seconds
FOLDERS = ("flows", "templates", "tests")

Stamps = dict[str, tuple[int, int]]


def stamps(root: Path) -> Stamps:
    """Return when each file that `validate` reads was last written, and its size."""
    found: Stamps = {}
    for place in (root / FILE, *(root / folder for folder in FOLDERS)):
        for entry in _files(place):
            try:
                status = entry.stat()
            except OSError:  # an editor replaces a file by removing it first
                continue
            found[str(entry)] = (status.st_mtime_ns, status.st_size)
    return found


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        yield from (Path(folder, name) for name in names)


def on_each_save(
    root: Path, look: Callable[[], bool | None], stop: Callable[[], bool] = lambda: False
) -> None:
    """Call `look` now, and again after each save, until `stop` says so.

    A look that returns true has not seen everything: it goes on at once, unless a file is saved in the meantime. A file
    that is still being written, which many editors do in two steps, is waited for.
    """
    seen: Stamps | None = None
    before: Stamps = {}
    unfinished: bool | None = False
    while not stop():
        now = stamps(root)
        if seen is None or (now != seen and now == before) or (unfinished and now == seen):
            seen = now
            unfinished = look()
        before = now
        if not unfinished:
            sleep(BEAT)
