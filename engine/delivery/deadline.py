"""A whole exchange gets so many seconds, however slowly the other side drips.

Socket timeouts start anew with every byte that arrives: a server that sends one byte every few seconds would hold a
hand-over for ever, and its lease would run out under it. `Deadline` counts machine seconds down; `TimedReader` reads
from a socket (plain or TLS) and raises TimeoutError when they are used up.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.clock import machine_seconds

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Deadline:
    """A moment by which something must have ended, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = machine_seconds() + seconds

    def left(self) -> float:
        """Return the seconds that are left, never less than 0."""
        return max(0.0, self._ends_at - machine_seconds())

    def arm(self, sock: socket.socket, at_most: float) -> None:
        """Let the socket's next operation take what is left, and no more than `at_most` seconds.

        Raises TimeoutError when nothing is left.
        """
        seconds = min(self.left(), at_most)
        if seconds <= 0:
            raise TimeoutError("the time for this exchange is used up")
        sock.settimeout(seconds)


class TimedReader(io.RawIOBase):
    """A raw file over a socket that obeys the deadline that holds at each read; `ended` says that the end was met."""

    def __init__(self, sock: socket.socket, deadline: Callable[[], Deadline]) -> None:
        self._sock = sock
        # The socket's own file, because it keeps the socket open until it is closed itself.
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline
        self.ended = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read what is there, waiting no longer than the deadline allows; raises TimeoutError."""
        deadline = self._deadline()
        deadline.arm(self._sock, deadline.left())
        count = self._raw.readinto(buffer)
        self.ended = count == 0
        return count

    def close(self) -> None:
        """Let go of the socket."""
        if not self.closed:
            self._raw.close()
        super().close()
