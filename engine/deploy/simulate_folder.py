"""The temporary folder of a simulation, and those that killed simulations left behind.

Comes in: nothing. Goes out: an empty folder for the length of a block. Promises: everything in it is gone afterwards; what
an earlier simulation could not remove, because it was killed, is removed when the next one begins; the folder of one that
still runs, on whatever number of processes, is left alone, and so is everybody else's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "homing-simulate-"
LOCK = "in-use"  # locked by each process of the simulation: the system lets go when the last of them ends, however it ends


@contextmanager
def own_folder() -> Iterator[Path]:
    """Give a new folder, and remove it at the end; remove those that nobody uses any more before."""
    remove_left_behind()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        held = os.open(folder / f"{LOCK}-soon", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
            (folder / f"{LOCK}-soon").rename(folder / LOCK)  # nobody finds it before it is locked
            yield folder
        finally:
            os.close(held)


@contextmanager
def used_too(folder: Path | None) -> Iterator[None]:
    """Keep a folder from being removed while another process of the same simulation works in it."""
    if folder is None or not (folder / LOCK).is_file():
        yield
        return
    held = os.open(folder / LOCK, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield
    finally:
        os.close(held)


def remove_left_behind() -> int:
    """Remove our own folders whose simulation has ended without doing so; return how many that were."""
    removed = 0
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if _is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _is_left_behind(folder: Path) -> bool:
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        held = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # gone meanwhile, no folder, or not one of ours
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(held)
    return True
