"""Ports of this machine for programs that are told theirs before they start, and ports at which nobody listens.

A port that the system gives away is anybody's again a moment later: beside other tests, the next connection out of this
machine may get it before the program that was promised it listens. Ours lie below those that connections get, and each
process of a run begins elsewhere among them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

_FIRST, _LAST = 20_000, 32_000  # connections get theirs from 32768 on (Linux), or 49152 (macOS)
_APART = 61  # ports for each process of a run, whose numbers follow each other
_numbers = count(os.getpid() * _APART)


def free_port() -> int:
    """Return a port that nobody has, and that no connection is given."""
    for _ in range(_FIRST, _LAST):
        port = _FIRST + next(_numbers) % (_LAST - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


@contextmanager
def deaf_port() -> Iterator[int]:
    """Give a port that is held and at which nobody listens: whoever connects is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port
