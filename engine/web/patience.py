"""How long a connection may take to ask: uvicorn times what lies between requests, and this a request's head.

Comes in: uvicorn's own protocol. Goes out: the same, which closes a connection whose request has no whole head within
`HEAD_SECONDS`, however slowly it trickles: connections are few (`MOST_AT_ONCE`), and nobody shall hold them for nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits for a request's head no longer than `HEAD_SECONDS`."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """Take what came; the wait ends with a whole head, and begins anew with the next request's first byte."""
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self._is_busy():
            self._stop()
        elif self._limit is None:
            self._limit = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _is_busy(self) -> bool:
        cycle: Any = self.cycle  # None until the first request, whatever its type says
        return cycle is not None and not cycle.response_complete

    def _stop(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _give_up(self) -> None:
        self._limit = None
        if not self._is_busy() and not self.transport.is_closing():
            self.transport.close()
