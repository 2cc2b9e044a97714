"""Pages: Jinja templates in engine/web/pages, in the reader's language and the shop's colours.

Comes in: a page's name and its values. Goes out: an HTML answer. Everything is escaped; a page needs no script, and its
style comes from our own host. The language is the customer's, else the browser's, else the shop's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from engine.render.brand import palette
from engine.render.locales import direction, locale_chain
from engine.web.site import Site
from engine.web.words import WORDS, Words

FOLDER = Path(__file__).parent / "pages"
_LIGHT = ("background", "surface", "ink", "muted", "line", "accent", "on_accent", "accent_text", "soft")
_DARK = ("background", "surface", "ink", "muted", "line", "accent", "on_accent", "soft")
_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}|[a-z]{3,20}")
_RADIUS = re.compile(r"[0-9]{1,2}px")
_FONT = re.compile(r"[\w \-,.'\"]{1,300}")
_environment = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(
    request: Request, name: str, values: dict[str, Any], *, locale: str | None = None, status: int = 200
) -> HTMLResponse:
    """Return the page `name`; templates know `t` (the words), `shop`, `brand`, `up` and what `values` hold."""
    site: Site = request.app.state.site
    language = language_of(request, locale)
    shop = site.settings.shop
    known = {
        "t": WORDS[language], "lang": language, "dir": direction(language), "shop": shop, "up": _up(request),
        "logo": str(site.settings.brand.get("logo") or shop.extra.get("logo") or ""), "stamp": _stamp(),
    }  # fmt: skip
    body = _environment.get_template(f"{name}.html").render(known | values)
    return HTMLResponse(body, status, {"content-language": language})


def words_for(request: Request, locale: str | None) -> Words:
    """Return the words of the reader's language."""
    return WORDS[language_of(request, locale)]


def topic_title(site: Site, topic: str, language: str) -> str:
    """Return what a topic is called on a page of that language."""
    return site.settings.topic_title(topic, locale_chain(language))


def language_of(request: Request, locale: str | None) -> str:
    """Return the language of a page: the customer's, else the browser's, else the shop's, else English."""
    site: Site = request.app.state.site
    asked = [
        part.partition(";")[0].strip() for part in request.headers.get("accept-language", "").split(",")[:10]
    ]
    for wanted in (locale, *asked, site.settings.shop.locale):
        found = next((name for name in locale_chain(wanted) if name in WORDS), None)
        if found is not None:
            return found
    return "en"


def _up(request: Request) -> str:
    """Return the way from this page to the site's root, so that a proxy may serve it under any path."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return "../" * max(path.count("/") - 1, 0) or "./"


# ── style ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def routes() -> list[Route]:
    """Return the routes of the pages' style."""
    return [Route("/assets/pages.css", _style), Route("/assets/brand.css", _brand)]


async def _style(_request: Request) -> Response:
    return _css((FOLDER / "pages.css").read_text(encoding="utf-8"))


async def _brand(request: Request) -> Response:
    return _css(brand_style(request.app.state.site.settings.brand))


def _css(text: str) -> Response:
    return Response(text, media_type="text/css", headers={"cache-control": "public, max-age=3600"})


@lru_cache(maxsize=1)
def _stamp() -> str:
    """Return what changes with the style, so that a browser never shows an old one."""
    return hashlib.blake2b((FOLDER / "pages.css").read_bytes(), digest_size=4).hexdigest()


def brand_style(brand: Mapping[str, Any]) -> str:
    """Return the shop's colours and type as style; a value that is no colour or no font is left at its default."""
    given, usual = palette(brand), palette({})

    def colour(name: str) -> str:
        return str(given[name] if _COLOUR.fullmatch(str(given[name])) else usual[name])

    light = [f"--{name.replace('_', '-')}:{colour(name)}" for name in _LIGHT]
    fonts = {name: str(given[name]) for name in ("font", "heading_font")}
    light += [
        f"--{name.replace('_', '-')}:{font if _FONT.fullmatch(font) else usual[name]}"
        for name, font in fonts.items()
    ]
    radius = str(given["radius"])
    light.append(f"--radius:{radius if _RADIUS.fullmatch(radius) else usual['radius']}")
    dark = [f"--{name.replace('_', '-')}:{colour('dark_' + name)}" for name in _DARK]
    dark.append(f"--accent-text:{colour('dark_accent')}")
    return f":root{{{';'.join(light)}}}\n@media (prefers-color-scheme: dark){{:root{{{';'.join(dark)}}}}}\n"
