"""The door of the house: who comes in, and which POST is really theirs.

Comes in: a request. Goes out: the page, or the way to the login. A visit is 32 bytes of chance in a cookie that scripts
cannot read; the database keeps its hash and until when it is good. Each POST must come from our own pages (Origin and
Sec-Fetch-Site) and carry a mark that only this visit's pages hold. GET changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engine.clock import machine_now
from engine.store import meta
from engine.store.tables import meta as meta_table
from engine.web.house.password import VISIT, has_password, is_password
from engine.web.house.sheet import sheet
from engine.web.limits import Limits
from engine.web.site import Site

log = logging.getLogger("homing.web")
COOKIE, DOOR_COOKIE = "homing_house", "homing_door"
VISIT_HOURS = 12

View = Callable[[Request], Response]
Act = Callable[[Request, FormData], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class _RowConvertor(IntegerConvertor):
    """The number of a row in a path; what no database could count to is no row, and no page."""

    regex = "[0-9]{1,18}"


register_url_convertor("row", _RowConvertor())  # `{customer:row}`, in the routes of the house


def routes() -> list[Route]:
    """Return the routes of the door."""
    return [
        Route("/house/login", _login, methods=["GET", "POST"], name="house-login"),
        Route("/house/logout", acting(_leave), methods=["POST"]),
    ]


def looking(view: View) -> Endpoint:
    """Return an endpoint that shows a page to visitors and sends everybody else to the login."""

    async def endpoint(request: Request) -> Response:
        if not await run_in_threadpool(_is_visit, request):
            return RedirectResponse(house_path(request, "login"), 303)
        return await run_in_threadpool(view, request)

    return endpoint


def acting(act: Act, *, files: int = 0, fields: int = 50) -> Endpoint:
    """Return an endpoint for a POST of a visitor's own page; everything else is refused with 403.

    Nothing of the body is read for somebody else, however large a file it may carry.
    """

    async def endpoint(request: Request) -> Response:
        if not await run_in_threadpool(_is_visit, request):
            return RedirectResponse(house_path(request, "login"), 303)
        if not _is_ours(request):
            raise HTTPException(403)
        async with request.form(max_files=files, max_fields=fields) as form:
            token = request.cookies.get(COOKIE, "")
            if not hmac.compare_digest(_told(form, "mark"), mark_of(token)):
                raise HTTPException(403)
            return await run_in_threadpool(act, request, form)

    return endpoint


def house_path(request: Request, page: str = "") -> str:
    """Return the path of a page of the house, wherever a proxy serves it."""
    return f"{request.scope.get('root_path', '')}/house/{page}".removesuffix("/")


def mark_of(token: str) -> str:
    """Return the mark that the forms of a visit carry; it says nothing about the visit's own token."""
    return hmac.new(token.encode(), b"homing-house-form", hashlib.sha256).hexdigest()


# ── coming and going ─────────────────────────────────────────────────────────────────────────────────────────────────


async def _login(request: Request) -> Response:
    if request.method != "POST":
        return await run_in_threadpool(_ask, request)
    form = await request.form(max_files=0, max_fields=10)
    token = request.cookies.get(DOOR_COOKIE, "")
    if not token or not _is_ours(request) or not hmac.compare_digest(_told(form, "mark"), mark_of(token)):
        return await run_in_threadpool(_ask, request, "This form was too old. Please try once more.", 403)
    limits: Limits = request.app.state.limits
    wait = await run_in_threadpool(limits.try_password, request.client.host if request.client else "?")
    if wait:
        answer = await run_in_threadpool(_ask, request, "Too many tries. Please wait a few minutes.", 429)
        answer.headers["retry-after"] = str(int(wait) + 1)
        return answer
    return await run_in_threadpool(_enter, request, _told(form, "password"))


def _ask(request: Request, problem: str = "", status: int = 200) -> Response:
    site: Site = request.app.state.site
    with site.database.read() as connection:
        locked = not has_password(connection)
    token = secrets.token_urlsafe(32)
    answer = sheet(
        request, "login", {"problem": problem, "locked": locked, "mark": mark_of(token)}, status=status
    )
    _give(request, answer, DOOR_COOKIE, token, timedelta(hours=1))
    return answer


def _enter(request: Request, password: str) -> Response:
    site: Site = request.app.state.site
    with site.database.read() as connection:
        good = is_password(connection, password)
    if not good:
        log.warning("a wrong password for the house")
        return _ask(request, "That is not the password.", 403)
    token, now = secrets.token_urlsafe(32), machine_now()
    with site.database.write() as connection:
        _forget_old(connection, now)
        until = now + timedelta(hours=VISIT_HOURS)
        meta.put(connection, _name(token), until.isoformat())
    answer = RedirectResponse(house_path(request), 303)
    _give(request, answer, COOKIE, token, timedelta(hours=VISIT_HOURS))
    answer.delete_cookie(DOOR_COOKIE, path=_cookie_path(request))
    log.info("somebody came into the house")
    return answer


def _leave(request: Request, _form: FormData) -> Response:
    site: Site = request.app.state.site
    with site.database.write() as connection:
        meta.drop(connection, _name(request.cookies.get(COOKIE, "")))
    answer = RedirectResponse(house_path(request, "login"), 303)
    answer.delete_cookie(COOKIE, path=_cookie_path(request))
    return answer


def _is_visit(request: Request) -> bool:
    token = request.cookies.get(COOKIE, "")
    if not token or len(token) > 100:
        return False
    site: Site = request.app.state.site
    with site.database.read() as connection:
        until = meta.get(connection, _name(token))
    if until is None or datetime.fromisoformat(until) <= machine_now():
        return False
    request.state.mark = mark_of(token)
    return True


def _forget_old(connection: Connection, now: datetime) -> None:
    table = meta_table
    rows = connection.execute(
        table.select().where(table.c.name.startswith(VISIT, autoescape=True)).limit(1_000)
    )
    for name, until in rows.all():
        if datetime.fromisoformat(until) <= now:
            meta.drop(connection, name)


def _name(token: str) -> str:
    return VISIT + hashlib.sha256(token.encode()).hexdigest()


def _give(request: Request, answer: Response, name: str, token: str, good: timedelta) -> None:
    site: Site = request.app.state.site
    near = request.url.hostname in ("127.0.0.1", "localhost", "::1")
    secure = request.url.scheme == "https" or (site.settings.web_url.startswith("https://") and not near)
    answer.set_cookie(
        name, token, max_age=int(good.total_seconds()), path=_cookie_path(request), secure=secure,
        httponly=True, samesite="lax",
    )  # fmt: skip


def _cookie_path(request: Request) -> str:
    return house_path(request)


def _told(form: FormData, name: str) -> str:
    """Return a field of a form as text; bytes that are no text count as nothing."""
    value = form.get(name, "")
    return value if isinstance(value, str) and (name != "mark" or value.isascii()) else ""


def _is_ours(request: Request) -> bool:
    """Return whether a POST comes from a page of ours, as far as the browser tells."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return True  # no browser of today; the form's mark decides
    site: Site = request.app.state.site
    known = {request.headers.get("host", ""), urlsplit(site.settings.web_url).netloc} - {""}
    return urlsplit(origin).netloc in known
