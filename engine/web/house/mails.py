"""Mails: every template for sample customers in every language, and each sent mail as it went out.

The templates are those that are applied; with `homing serve --dev` those of the folder as they lie there, and the pages
follow each save. Comes in: a request of a visitor. Goes out: pages, and mails in frames of their own: sandboxed, without scripts, whose links
open nothing. A sent mail is made again as of its hand-over, as `/v/TOKEN` does. Nothing is written.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from engine.delivery.claim import read_messages
from engine.delivery.mailroom import make_again
from engine.deploy.preview import CLIPPED_AT, Shot, Slot, Studio, open_studio, preview_sample
from engine.deploy.preview_cast import Role, cast
from engine.deploy.preview_cast import role as role_named
from engine.deploy.preview_page import offline
from engine.errors import HomingError
from engine.flows.load import Project
from engine.flows.model import Definitions
from engine.journeys.round import Round
from engine.journeys.versions import live_flows
from engine.runtime.applied import STAMP, applied_sources
from engine.settings import load
from engine.store import meta
from engine.store.tables import attempts, customers, delivery_events, messages
from engine.web.house.customers import name_of
from engine.web.house.door import looking
from engine.web.house.sheet import sheet
from engine.web.site import Site

FRAME = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox",
    "x-frame-options": "SAMEORIGIN",
}
NEWEST = 25
_DARK, _LIGHT = (re.compile(rf"\(\s*prefers-color-scheme\s*:\s*{word}\s*\)") for word in ("dark", "light"))
_TURNED = (
    "<style>html{filter:invert(.91) hue-rotate(180deg);background:#fff}"
    "img{filter:invert(1) hue-rotate(180deg)}</style></head>"
)
_KEPT = 256


def routes() -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/house/mails", looking(_gallery), methods=["GET"]),
        Route("/house/dev/version", looking(_version), methods=["GET"]),
        Route("/house/mails/{template}", looking(_template), methods=["GET"]),
        Route("/house/mails/{template}/frame", looking(_frame), methods=["GET"]),
        Route("/house/messages/{message:row}", looking(_message), methods=["GET"]),
        Route("/house/messages/{message:row}/frame", looking(_message_frame), methods=["GET"]),
    ]


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _gallery(request: Request) -> Response:
    site: Site = request.app.state.site
    told = request.query_params
    with site.database.read() as connection:
        problem, looking_at = _opened(connection, request)
        own = messages.c
        query = select(
            own.id, own.flow, own.step, own.subject, own.counted_at, own.state, own.customer_id, customers
        )
        query = query.join(customers, customers.c.id == own.customer_id).where(own.counted_at.is_not(None))
        newest = connection.execute(query.order_by(own.id.desc()).limit(NEWEST)).all()
    studio = looking_at.studio if looking_at is not None else None
    names = sorted(studio.library.names()) if studio is not None else []
    locales = (
        sorted({each for name in names for each in locales_of(studio, name)}) if studio is not None else []
    )
    values = {
        "names": names, "sent": [{"row": row, "who": name_of(row)} for row in newest], "problem": problem, "cast": cast(),
        "role": _role(told.get("as")), "locale": told.get("locale", "") if told.get("locale") in locales else "",
        "locales": locales, "wide": told.get("width") == "desktop", "dark": told.get("scheme") == "dark",
        "checked": bool(told.get("check")), "troubled": _troubled(looking_at, names) if looking_at is not None and told.get("check") else {},
    }  # fmt: skip
    return sheet(request, "mails", values)


def _troubled(looking_at: _Looking, names: Sequence[str]) -> dict[str, int]:
    """Return how many findings each of these templates has, for the usual customer; those without are left out."""
    shots = {name: _shot(looking_at, name, cast()[0].name, "", judged=True) for name in names}
    counts = {name: len(shot.findings) + bool(shot.error) for name, shot in shots.items()}
    return {name: number for name, number in counts.items() if number}


def _template(request: Request) -> Response:
    shot, role, locale, locales = _asked(request, judged=True)
    values = {
        "shot": shot, "name": request.path_params["template"], "role": role, "cast": cast(), "locale": locale,
        "locales": locales, "clipped_at": CLIPPED_AT,
    }  # fmt: skip
    return sheet(request, "mail", values)


def _frame(request: Request) -> Response:
    shot = _asked(request, judged=False)[0]
    if shot.mail is None:
        return HTMLResponse("", headers=FRAME)
    site: Site = request.app.state.site
    dark = request.query_params.get("scheme") == "dark"
    return HTMLResponse(offline(as_at(shot.mail.html, dark=dark), site.settings.link_base), headers=FRAME)


def as_at(markup: str, *, dark: bool) -> str:
    """Return a mail as it looks by night or by day, whatever the screen; one without rules of its own is turned, as programs do.

    >>> as_at("<style>@media (prefers-color-scheme: dark){p{color:#fff}}</style></head>", dark=False)
    '<style>@media (width:0){p{color:#fff}}</style></head>'
    """
    always, never = "(min-width:0)", "(width:0)"
    shown = _DARK.sub(always if dark else never, markup)
    shown = _LIGHT.sub(never if dark else always, shown)
    return shown.replace("</head>", _TURNED, 1) if dark and not _DARK.search(markup) else shown


def _role(name: str | None) -> Role:
    return next((each for each in cast() if each.name == name), cast()[0])


def _asked(request: Request, *, judged: bool) -> tuple[Shot, Role, str, list[str]]:
    """Return the mail that is asked for, for whom, and in which languages there is one."""
    site: Site = request.app.state.site
    name, told = request.path_params["template"], request.query_params
    role = _role(told.get("as"))
    with site.database.read() as connection:
        problem, looking_at = _opened(connection, request)
    if looking_at is None:
        return Shot(Slot(1, name, name), error=problem), role, "", []
    if name not in looking_at.studio.library.names():
        raise HTTPException(404)
    locales = locales_of(looking_at.studio, name)
    locale = told.get("locale", "") if told.get("locale", "") in locales else ""
    return _shot(looking_at, name, role.name, locale, judged=judged), role, locale, locales


def _opened(connection: Connection, request: Request) -> tuple[str, _Looking | None]:
    """Return what previews are made of: the folder as it is (`serve --dev`), else what is applied; or why there is nothing."""
    site: Site = request.app.state.site
    if site.watched is None:
        return "", _Looking(studio_of(connection, site), meta.get(connection, STAMP))
    stamp = request.state.version = _version_of(site.watched())
    try:
        return "", _Looking(_folder(site.settings.root, stamp), stamp)
    except HomingError as error:
        return str(error), None


@lru_cache(maxsize=1)
def _folder(root: Path, _stamp: str) -> Studio:
    return open_studio(load(root, strict=False))


def _version(request: Request) -> Response:
    """Tell what changes with each save."""
    site: Site = request.app.state.site
    if site.watched is None:
        raise HTTPException(404)
    return PlainTextResponse(_version_of(site.watched()))


def _version_of(files: Mapping[str, Any]) -> str:
    words = str(sorted(files.items()))
    return hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).hexdigest()


def studio_of(connection: Connection, site: Site) -> Studio:
    """Return what previews are made of: the flows, templates and offers that are applied."""
    applied = applied_sources(connection, meta.get(connection, STAMP))
    flows = {name: live.flow for name, live in sorted(live_flows(connection).items())}
    project = Project(site.settings.root, site.settings, Definitions(flows=flows, offers=applied.offers))
    return Studio(project, applied.library, site.settings, applied.offers)


def locales_of(studio: Studio, name: str) -> list[str]:
    """Return the languages that a template has copies for."""
    return sorted({path.partition("/")[0] for path in studio.library.paths(name) if "/" in path})


class _Looking:
    """A studio that a cache knows by the stamp of what was applied, or of the files."""

    def __init__(self, studio: Studio, stamp: Any) -> None:
        self.studio, self.stamp = studio, stamp

    def __hash__(self) -> int:
        return hash(str(self.stamp))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Looking) and self.stamp is not None and self.stamp == other.stamp


@lru_cache(maxsize=_KEPT)
def _shot(looking_at: _Looking, name: str, role_name: str, locale: str, *, judged: bool) -> Shot:
    shots = preview_sample(looking_at.studio, name, locale or None, role_named(role_name), judged=judged)
    return next(
        (shot for shot in shots if shot.slot.template == name), shots[0]
    )  # a flow may have the same name


# ── sent mails ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _message(request: Request) -> Response:
    site: Site = request.app.state.site
    number = request.path_params["message"]
    with site.database.read() as connection:
        row = connection.execute(select(messages).where(messages.c.id == number)).first()
        if row is None:
            raise HTTPException(404)
        owner = connection.execute(select(customers).where(customers.c.id == row.customer_id)).one()
        tried = connection.execute(
            select(attempts).where(attempts.c.message_id == number).order_by(attempts.c.id)
        ).all()
        told = delivery_events.c
        heard = connection.execute(
            select(delivery_events).where(told.message_id == number).order_by(told.at)
        ).all()
        mail, problem = _again(connection, site, number)
    values = {
        "row": row,
        "who": name_of(owner),
        "tried": tried,
        "heard": heard,
        "links": (row.content or {}).get("links") or [],
        "mail": mail,
        "problem": problem,
    }
    return sheet(request, "message", values)


def _message_frame(request: Request) -> Response:
    site: Site = request.app.state.site
    with site.database.read() as connection:
        mail, _ = _again(connection, site, request.path_params["message"])
    if mail is None:
        raise HTTPException(404)
    return HTMLResponse(offline(mail.html, site.settings.link_base), headers=FRAME)


def _again(connection: Connection, site: Site, number: int) -> tuple[Any, str]:
    """Return a mail as of its hand-over, or as it would be made now where it waits; or why it cannot be made."""
    found = read_messages(connection, [number])
    row = connection.execute(select(messages).where(messages.c.id == number)).first()
    if not found or row is None or row.channel != "email":
        return None, "This is no mail."
    if row.content is None:
        return None, "What it was made of is kept no more."
    applied = applied_sources(connection, meta.get(connection, STAMP))
    at = Round(row.counted_at or row.due_at, site.settings, offers=applied.offers)
    try:
        # Links are signed with a secret that nobody keeps: nothing that is clicked here is the customer's doing.
        return make_again(
            connection, found[0], at, applied.library, secrets.token_bytes(32), row.locale
        ).mail, ""
    except HomingError as error:
        return None, f"It cannot be made any more: {error}"
