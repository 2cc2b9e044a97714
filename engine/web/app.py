"""The application: every module brings its own routes, and this page puts them together.

Comes in: a `Site`. Goes out: an ASGI application. Errors are told in the language of whoever asks: programs get JSON,
people a page; nobody gets a traceback. A new part of the house (`engine/web/house`) adds its routes to `ROUTES`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from engine.errors import HomingError
from engine.web import health, openapi, paper, pictures, provider_events
from engine.web.counts import Counts, own_labels
from engine.web.guard import Guard, shown_path
from engine.web.house import customers, door, files, flows, mails, reports, sheet, today
from engine.web.intake import segment, shops
from engine.web.intake.writer import Writer
from engine.web.keys import KeyRing
from engine.web.limits import Limits
from engine.web.links import answers, browser, data, looks, preferences, signup, unsubscribe
from engine.web.links.gone import gone
from engine.web.site import Site

log = logging.getLogger("homing.web")
ROUTES: tuple[Callable[[], Sequence[BaseRoute]], ...] = (
    paper.routes, pictures.routes, health.routes, openapi.routes, unsubscribe.routes, preferences.routes, browser.routes, answers.routes, looks.routes,
    data.routes, signup.routes, segment.routes, provider_events.routes, shops.routes, sheet.routes, door.routes, today.routes,
    customers.routes,
    flows.routes,
    mails.routes,
    reports.routes,
    files.routes,
)  # fmt: skip
_MACHINES = ("/v1/", "/webhooks/", "/healthz", "/readyz", "/metrics", "/openapi.json")
_WORDS = {404: ("missing_title", "missing"), 405: ("refused_title", "refused"), 400: ("refused_title", "refused"),
          413: ("refused_title", "refused"), 408: ("refused_title", "refused"), 429: ("refused_title", "failed")}  # fmt: skip


def create_app(site: Site) -> Guard:
    """Return the application for a site, behind its guard."""
    limits, seen, taking = Limits(site.database), looks.Looks(site), files.Taking(site)
    writer = Writer(site, limits.calls)

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        writer.start()
        seen.start()
        taking.start()
        try:
            yield
        finally:
            await run_in_threadpool(taking.stop)
            await run_in_threadpool(writer.stop)
            await run_in_threadpool(seen.stop)

    app = Starlette(
        lifespan=running,
        routes=[route for routes in ROUTES for route in routes()],
        exception_handlers={
            HTTPException: _refused, HomingError: _failed, DBAPIError: _failed, Exception: _failed,
        },
    )  # fmt: skip
    app.router.redirect_slashes = False  # it would name the host that the request names
    app.state.site, app.state.counts, app.state.writer = site, Counts(**own_labels()), writer
    app.state.keys, app.state.limits, app.state.looks = KeyRing(site.database), limits, seen
    app.state.taking, app.state.seldom = taking, health.Seldom()
    return Guard(app, https=site.settings.link_base.startswith("https://"))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if _is_machine(request):
        headers = dict(error.headers or {})
        return JSONResponse({"success": False, "error": error.detail}, error.status_code, headers)
    heading, words = _WORDS.get(error.status_code, ("refused_title", "refused"))
    answer = gone(request, heading, words, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _failed(request: Request, error: Exception) -> Response:
    """Answer what nobody expected; what it was stands in the log, without any value that may be a customer's."""
    status = 503 if isinstance(error, DBAPIError | HomingError) else 500
    told = {"request": request.scope["state"].get("request_id"), "path": shown_path(request.scope)}
    told |= {"what": type(error).__name__, "at": _place(error)}
    log.error("a request failed", extra={"told": told})
    if _is_machine(request):
        return JSONResponse({"success": False, "error": "it failed here; please try again"}, status)
    return gone(request, "failed_title", "failed", status)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else "?"


def _is_machine(request: Request) -> bool:
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return path.startswith(_MACHINES)
