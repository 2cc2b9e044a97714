"""Sheets: the pages of the house as Jinja templates, with how numbers, moments and reasons are written.

Comes in: a template's name and its values. Goes out: an HTML answer that loads one style of our own host and nothing else.
Everything is escaped; times stand on the shop's clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from engine.calendar import local
from engine.runtime.story import reason_words
from engine.web.site import Site

FOLDER = Path(__file__).parent / "pages"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
FOLLOWING = "script-src 'self'; connect-src 'self'"
PLACES = (
    ("", "Today"),
    ("flows", "Flows"),
    ("customers", "Customers"),
    ("mails", "Mails"),
    ("reports", "Reports"),
    ("files", "Files"),
)


def sheet(request: Request, name: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """Return the page `name`; templates know `up`, `mark`, `shop`, `now`, `places`, `here` and what `values` hold."""
    site: Site = request.app.state.site
    zone, now = site.settings.shop.timezone, site.now()
    known = {
        "up": request.scope.get("root_path", ""), "mark": getattr(request.state, "mark", ""), "shop": site.settings.shop,
        "now": now, "places": PLACES, "here": _here(request), "stamp": _stamp(), "visiting": hasattr(request.state, "mark"),
        "when": lambda moment: when(moment, zone), "day": lambda moment: f"{local(moment, zone):%a %d %b %Y}",
        "clock": lambda moment: f"{local(moment, zone):%H:%M}", "virtual": site.virtual, "follows": getattr(request.state, "version", ""),
    }  # fmt: skip
    body = _environment().get_template(f"{name}.html").render({**known, **values})
    # The one script of the house: pages of mails follow the files with `serve --dev`.
    policy = f"{POLICY}; {FOLLOWING}" if known["follows"] else POLICY
    # A file may be called, or hold, what is no text: its page says so and is shown for all that.
    return HTMLResponse(
        body.encode("utf-8", "replace"),
        status,
        {"content-security-policy": policy, "referrer-policy": "same-origin"},
    )


def _here(request: Request) -> str:
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    place = path.removeprefix("/house").strip("/").partition("/")[0]
    return {"messages": "mails"}.get(place, place)


def when(moment: Any, zone: str) -> str:
    """Return a moment on the shop's clock; nothing for None."""
    if moment is None:
        return "–"
    there = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{local(there, zone):%a %d %b %Y %H:%M}"


def span_words(seconds: float) -> str:
    """Return a stretch of time in its largest unit.

    >>> span_words(90), span_words(7_200), span_words(200_000)
    ('1 min', '2 h', '2 days')
    """
    for size, unit in ((172_800, "days"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // (86_400 if unit == 'days' else size))} {unit}"
    return f"{int(seconds)} s"


def held(decision: str) -> str:
    """Return a decision that held a mail or a customer back, as one says it.

    >>> held("refused"), held("unknown")
    ('not let in', 'unknown')
    """
    return {"deferred": "put off", "refused": "not let in", "dropped": "not sent"}.get(
        decision, plain(decision)
    )


def plain(word: str) -> str:
    """Return a name of the engine as words: `held_out` is held out."""
    return word.replace("_", " ")


def share(part: float, whole: float) -> str:
    """Return a share in percent.

    >>> share(1, 3), share(0, 0)
    ('33.3 %', '–')
    """
    return f"{part / whole:.1%}".replace("%", " %") if whole else "–"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    filters: dict[str, Callable[..., Any]] = {
        "count": lambda number: f"{number:,}", "plain": plain, "held": held, "reason": reason_words,
        "span": span_words, "money": lambda amount: f"{amount:,.2f}",
    }  # fmt: skip
    environment.filters.update(filters)
    environment.globals.update(share=share, Markup=Markup)
    return environment


# ── style ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def routes() -> list[Route]:
    """Return the routes of the style, and of the one script, which `serve --dev` alone has."""
    return [Route("/assets/house.css", _style), Route("/assets/follow.js", _script)]


async def _script(request: Request) -> Response:
    site: Site = request.app.state.site
    if site.watched is None:
        raise HTTPException(404)
    return Response((FOLDER / "follow.js").read_text(encoding="utf-8"), media_type="text/javascript")


async def _style(_request: Request) -> Response:
    text = (FOLDER / "house.css").read_text(encoding="utf-8")
    return Response(text, media_type="text/css", headers={"cache-control": "public, max-age=3600"})


@lru_cache(maxsize=1)
def _stamp() -> str:
    return hashlib.blake2b((FOLDER / "house.css").read_bytes(), digest_size=4).hexdigest()
