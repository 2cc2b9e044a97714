"""`/u/TOKEN`: ends a topic, or all marketing, by POST; GET shows a page with a button and changes nothing.

RFC 8058: mail programs POST `List-Unsubscribe=One-Click`, as a form or as multipart, without cookies, and are answered
200 without a redirect. Every POST to a good link ends something, whatever its body says: the intent is plain.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.web.links.gone import gone
from engine.web.links.reading import Reader, read
from engine.web.paper import language_of, page, topic_title, words_for
from engine.web.site import Site
from engine.web.telling import withdraw

ONE_CLICK = "one-click unsubscribe (RFC 8058)"
PAGE = "unsubscribe page"


def routes() -> list[Route]:
    """Return the routes of unsubscribing."""
    return [Route("/u/{token}", _show, methods=["GET"]), Route("/u/{token}", _stop, methods=["POST"])]


def _reader(site: Site, token: str) -> Reader | None:
    with site.database.read() as connection:
        return read(connection, token, "u")


async def _show(request: Request) -> Response:
    site: Site = request.app.state.site
    reader = await run_in_threadpool(_reader, site, request.path_params["token"])
    if reader is None:
        return gone(request)
    title = topic_title(site, reader.token.topic, language_of(request, reader.locale))
    values = {"topic": title, "preferences": reader.links(site).preferences()}
    return page(request, "unsubscribe", values, locale=reader.locale)


async def _stop(request: Request) -> Response:
    site: Site = request.app.state.site
    try:
        form = await request.form(max_files=0, max_fields=20)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        form = None  # a body that nobody can read is still a press of the button
    reader = await run_in_threadpool(_reader, site, request.path_params["token"])
    if reader is None:
        return gone(request)
    one_click = form is not None and form.get("List-Unsubscribe") == "One-Click"
    everything = not reader.token.topic or (form is not None and form.get("stop") == "all")
    topic = "all" if everything else reader.token.topic
    words = words_for(request, reader.locale)
    title = topic_title(site, reader.token.topic, language_of(request, reader.locale))
    wording = words["stop_all"] if everything else words["stop_topic"].format(topic=title)
    if reader.known:
        await run_in_threadpool(_withdraw, site, reader, topic, ONE_CLICK if one_click else PAGE, wording)
    values = {
        "topic": "" if everything else title,
        "preferences": reader.links(site).preferences() if reader.known else "",
    }
    return page(request, "unsubscribed", values, locale=reader.locale)


def _withdraw(site: Site, reader: Reader, topic: str, source: str, wording: str) -> None:
    with site.database.write() as connection:
        withdraw(connection, reader.customer["id"], topic, now=site.now(), source=source, wording=wording)
