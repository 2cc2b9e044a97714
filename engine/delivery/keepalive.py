"""HTTP requests over connections that stay open, each ending in one of three ways.

A request goes in; an `Answer` comes out, or `NotSent` is raised (the server surely never had all of it), or `NoAnswer`
(it may have had all of it). The three must not be mixed up: they decide whether a mail may be sent again. Certificates
are verified; every request has one deadline over all its parts.
"""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from engine.clock import machine_seconds
from engine.delivery.deadline import Deadline, TimedReader
from engine.errors import UsageError

_MOST_BODY = 64 * 1024
# Load balancers drop connections that rest for a minute or so; one that rested less is worth asking.
_LONGEST_REST = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its status, its headers (names in lower case) and at most 64 KB of its body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class NotSent(Exception):
    """The request surely did not reach the server whole; `setup` says that the installation is at fault."""

    def __init__(self, reason: str, *, setup: bool = False) -> None:
        self.setup = setup
        super().__init__(reason)


class NoAnswer(Exception):
    """The request went out whole, and no answer that can be understood came back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: to connect, to answer, and how many connections may rest open."""

    connect: float = 10.0
    answer: float = 20.0
    connections: int = 4


class _Connection:
    """One connection, its deadline, and since when it rests."""

    def __init__(self, raw: http.client.HTTPConnection) -> None:
        self.raw = raw
        self.deadline = Deadline(0)
        self.rests_since = 0.0

    def is_usable(self) -> bool:
        """Whether the server has neither hung up nor spoken unasked, as far as can be seen without asking."""
        if self.raw.sock is None or machine_seconds() - self.rests_since > _LONGEST_REST:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self.raw.sock, selectors.EVENT_READ)
            return not selector.select(0)


class _TimedResponse(http.client.HTTPResponse):
    """An answer that is read against a deadline."""

    def __init__(self, connection: _Connection, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self._timed = TimedReader(sock, lambda: connection.deadline)
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        """Read status and headers; the parent takes headers that were cut off for whole ones."""
        super().begin()
        if self._timed.ended:
            raise http.client.RemoteDisconnected("the headers were cut off")


class KeepAlive:
    """Speaks to one base URL; safe to use from several threads, each request on a connection of its own."""

    def __init__(self, url: str, limits: Limits, ca_file: Path | None = None) -> None:
        self._host, self._port, self._prefix = _split(url)
        self._limits = limits
        self._tls = ssl.create_default_context(cafile=ca_file) if url.startswith("https:") else None
        self._resting: list[_Connection] = []
        self._lock = Lock()

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Send one request and return its answer; raises NotSent or NoAnswer."""
        connection = self._take() or self._connect()
        connection.deadline = Deadline(self._limits.answer)
        try:
            connection.deadline.arm(connection.raw.sock, self._limits.answer)
            connection.raw.request(method, self._prefix + path, body, dict(headers))
        except (OSError, http.client.HTTPException) as error:
            # The request's length was announced: a server cannot take what did not arrive to the end.
            connection.raw.close()
            raise NotSent(f"the connection broke while sending: {wording(error)}") from None
        try:
            answer, keeps = _read(connection)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.raw.close()
            raise NoAnswer(f"no answer after sending: {wording(error)}") from None
        if keeps:
            self._put(connection)
        else:
            connection.raw.close()
        return answer

    def close(self) -> None:
        """Close what rests."""
        with self._lock:
            resting, self._resting = self._resting, []
        for connection in resting:
            connection.raw.close()

    def _take(self) -> _Connection | None:
        while True:
            with self._lock:
                if not self._resting:
                    return None
                connection = self._resting.pop()
            if connection.is_usable():
                return connection
            connection.raw.close()

    def _put(self, connection: _Connection) -> None:
        connection.rests_since = machine_seconds()
        with self._lock:
            if len(self._resting) < self._limits.connections:
                self._resting.append(connection)
                return
        connection.raw.close()

    def _connect(self) -> _Connection:
        raw: http.client.HTTPConnection
        if self._tls is None:
            raw = http.client.HTTPConnection(self._host, self._port, timeout=self._limits.connect)
        else:
            raw = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._limits.connect, context=self._tls
            )
        connection = _Connection(raw)
        raw.response_class = partial(_TimedResponse, connection)  # type: ignore[assignment]  # it is only called
        try:
            raw.connect()
        except ssl.SSLError as error:
            raw.close()
            raise NotSent(
                f"no trusted TLS connection to {self._host}: {wording(error)}", setup=True
            ) from None
        except (OSError, UnicodeError) as error:
            raw.close()
            raise NotSent(f"cannot connect to {self._host}: {wording(error)}") from None
        return connection


def _split(url: str) -> tuple[str, int | None, str]:
    """Return host, port and path of a base URL; raises UsageError."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and url.isascii() and url.isprintable():
            return parts.hostname, parts.port, parts.path.rstrip("/")
    except ValueError:
        pass
    raise UsageError(f'"{url}" is not the web address of a provider, such as https://api.example.com')


def _read(connection: _Connection) -> tuple[Answer, bool]:
    """Read the answer; the flag says whether the connection can be used again."""
    response = connection.raw.getresponse()
    body = response.read(_MOST_BODY)
    whole = response.isclosed() or not response.read(1)
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
    if not whole:
        response.close()
    return answer, whole and not response.will_close


def wording(error: Exception) -> str:
    """Return what went wrong on a connection in a few plain words."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted ({error.verify_message})"
        case TimeoutError():
            return "it took too long"
        case socket.gaierror():
            return "the name is not known"
        case ConnectionRefusedError():
            return "it was refused"
        case ConnectionError():
            return "the other side closed the connection"
        case OSError() if error.strerror:
            return error.strerror
    return "the answer made no sense"
