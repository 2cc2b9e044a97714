"""What stands before every request: a size, a time, a name, safe headers and one log line.

Comes in: any ASGI request. Goes out: the application's answer with the headers of `SAFE` (unless the answer brought its
own) and `X-Request-Id`. Promises: a body over the limit is answered 413 and never held, a slow one 408, and
no log line holds an address, a token or a query: paths of links are cut to their first letter.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.clock import machine_seconds

log = logging.getLogger("homing.web")
LARGEST_BODY = 256 * 1024
LARGEST = {
    "/v1/": 1024 * 1024, "/webhooks/": 5 * 1024 * 1024, "/house/files": 201 * 1024 * 1024,
}  # where more may come  # fmt: skip
BODY_SECONDS = 20.0
# Up to how many times the limit, and how many bytes at least, a body is read and thrown away: who still writes when we
# close would see a broken connection instead of the answer, and send it all again.
READ_AWAY, READ_AWAY_LEAST = 8, 16 * 1024 * 1024
SLOW = {"/house/files": 900.0}  # seconds; its body is read for visitors only
SAFE = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' https: data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex, nofollow",
}


class Guard:
    """Wraps the application; `seconds` is the longest that sending a body may take."""

    def __init__(self, app: ASGIApp, *, seconds: float = BODY_SECONDS, https: bool = False) -> None:
        self.app, self.seconds = app, seconds
        safe = SAFE | ({"strict-transport-security": "max-age=31536000"} if https else {})
        self.safe = {name.encode(): value.encode() for name, value in safe.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name, started, status = secrets.token_hex(8), machine_seconds(), 500
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        largest = next((most for start, most in LARGEST.items() if path.startswith(start)), LARGEST_BODY)
        seconds = next((most for start, most in SLOW.items() if path.startswith(start)), self.seconds)
        scope.setdefault("state", {})["request_id"] = name
        body = _Limited(receive, largest, seconds, scope)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._headers(message["headers"], name)
                if body.too_much:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self.app(scope, body, answer)
        finally:
            told = {"request": name, "method": scope["method"], "path": shown_path(scope), "status": status}
            told["ms"] = round((machine_seconds() - started) * 1000, 1)
            log.log(logging.WARNING if status >= 500 else logging.DEBUG, "answered", extra={"told": told})

    def _headers(self, headers: Any, name: str) -> list[tuple[bytes, bytes]]:
        own = {key.lower() for key, _ in headers}
        safe = [(key, value) for key, value in self.safe.items() if key not in own]
        return [*headers, *safe, (b"x-request-id", name.encode())]


class _Limited:
    """Receives a body no longer and no larger than allowed; once it is whole, waits for as long as it likes."""

    def __init__(self, receive: Receive, largest: int, seconds: float, scope: Scope) -> None:
        self.receive, self.left, self.most = receive, largest, max(largest * READ_AWAY, READ_AWAY_LEAST)
        self.until = machine_seconds() + seconds
        self.whole = False
        headers = dict(scope["headers"])
        told = headers.get(b"content-length", b"0")
        self.told = int(told) if told.isdigit() else 0
        self.too_much = self.told > largest
        self.waits = headers.get(b"expect", b"").lower() == b"100-continue"  # for our word, before the body

    async def __call__(self) -> Message:
        if self.whole:
            return await self.receive()
        if self.too_much:
            await self._refuse()
        try:
            message = await asyncio.wait_for(self.receive(), max(self.until - machine_seconds(), 0.001))
        except TimeoutError:
            raise HTTPException(408) from None
        if message["type"] == "http.request":
            self.left -= len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
            if self.left < 0:
                await self._refuse()
        return message

    async def _refuse(self) -> NoReturn:
        """Take what is still sent and let it go, until it ends, or is too much, or takes too long; then refuse."""
        self.too_much, left = True, self.most
        while not self.whole and not self.waits and self.told <= self.most and left > 0:
            try:
                message = await asyncio.wait_for(self.receive(), max(self.until - machine_seconds(), 0.001))
            except TimeoutError:
                break
            left -= len(message.get("body", b""))
            self.whole = message["type"] != "http.request" or not message.get("more_body", False)
        self.whole = True
        raise HTTPException(413)


def shown_path(scope: Scope) -> str:
    """Return the path of a request that was answered, without tokens and names: what was asked for, not by whom.

    >>> shown_path({"path": "/u/eyJhbGciOi", "endpoint": object(), "path_params": {"token": "eyJhbGciOi"}})
    '/u/…'
    >>> shown_path({"path": "/ann@example.test"})
    '/…'
    """
    if "endpoint" not in scope:
        return "/…"
    path: str = scope["path"]
    for value in scope.get("path_params", {}).values():
        if isinstance(value, str) and value:
            path = path.replace(value, "…")
    return path
