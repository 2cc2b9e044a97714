"""Segment's HTTP API: `/v1/{identify,track,page,screen,group,alias,batch}` and the short paths of browsers.

Answers exactly 200 with a small JSON when everything is durable (some clients take any other 2xx for a failure and send
again), 400 and 413 for what breaks a limit, 401 and 403 for keys, 429 with Retry-After for too much. Content-Type is not
looked at: browsers send JSON as text to spare themselves a preflight.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.web.counts import LAG
from engine.web.intake.calls import SHORT, TYPES, Refused, as_kept, calls_of, parsed, too_large, unpacked
from engine.web.intake.inbox import Unread, as_text
from engine.web.intake.writer import Bundle, Full, Writer
from engine.web.keys import KeyRing, WriteKey
from engine.web.limits import Limits

PATHS = {**{name: name for name in (*TYPES, "batch")}, **SHORT, "import": "batch"}
_PREFLIGHT = {
    "access-control-allow-methods": "POST, OPTIONS",
    "access-control-allow-headers": "authorization, content-type, content-encoding",
    "access-control-max-age": "86400",
}


def routes() -> list[Route]:
    """Return the routes of Segment's API."""
    return [
        Route("/v1/{kind}", _take, methods=["POST"]),
        Route("/v1/{kind}", _preflight, methods=["OPTIONS"]),
    ]


async def _preflight(request: Request) -> Response:
    return Response(status_code=200, headers=_PREFLIGHT | _allowed(request))


def _allowed(request: Request) -> dict[str, str]:
    """Return the header that lets a page read the answer: keys say what a page may do, cookies say nothing here."""
    return {"access-control-allow-origin": request.headers.get("origin") or "*", "vary": "origin"}


async def _take(request: Request) -> Response:
    state = request.app.state
    try:
        count = await _taken(request)
    except Refused as refusal:
        state.counts.add("homing_intake_refused_total", status=str(refusal.status))
        headers = _allowed(request) | ({"retry-after": "1"} if refusal.status == 429 else {})
        return JSONResponse({"success": False, "error": refusal.reason}, refusal.status, headers)
    state.counts.add("homing_intake_calls_total", count)
    return JSONResponse({"success": True}, 200, _allowed(request))


async def _taken(request: Request) -> int:
    kind = PATHS.get(request.path_params["kind"])
    if kind is None:
        raise Refused(404, "there is no such call")
    body = unpacked(await request.body(), request.headers.get("content-encoding", ""))
    told = parsed(body)
    key = await _key(request, told)
    if too_large(told, body):
        raise Refused(400, "a call has at most 32 KB")
    received = await _now(request)
    calls, unusable = calls_of(kind, told, received)
    may_grant = "consent" in key.scopes
    calls = [replace(call, key=key.name, may_grant=may_grant) for call in calls]
    size = max(len(calls) + len(unusable), 1)
    limits: Limits = request.app.state.limits
    if limits.calls.wait(key.name, size):
        raise Refused(429, "too many calls; try again in a moment")
    unread = [
        Unread(
            "segment",
            kind,
            reason,
            as_text(as_kept(item, key.name, may_grant=may_grant) if isinstance(item, dict) else item),
        )
        for item, reason in unusable
    ]
    if calls or unread:
        writer: Writer = request.app.state.writer
        try:
            await asyncio.wrap_future(writer.submit(Bundle(calls, unread, received, key.name)))
        except Full:
            raise Refused(429, "too much waits to be written; try again in a moment") from None
    if calls:
        oldest = min(call.at for call in calls)
        request.app.state.counts.observe(LAG, (received - oldest).total_seconds(), source="segment")
    return len(calls)


async def _now(request: Request) -> Any:
    site = request.app.state.site
    return await run_in_threadpool(site.now) if site.virtual else site.now()


async def _key(request: Request, told: Mapping[str, Any]) -> WriteKey:
    ring: KeyRing = request.app.state.keys
    name = _told_key(request.headers.get("authorization", "")) or told.get("writeKey")
    if not isinstance(name, str) or not name:
        raise Refused(401, "a write key is missing")
    key = ring.find(name) if ring.is_fresh() else await run_in_threadpool(ring.find, name)
    if key is None or "write" not in key.scopes:
        raise Refused(401, "this write key is not known")
    origin = request.headers.get("origin")
    if key.origins and origin is not None and origin not in key.origins:
        raise Refused(403, "this write key may not be used from here")
    return key


def _told_key(authorization: str) -> str:
    scheme, _, word = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return word.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(word.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
