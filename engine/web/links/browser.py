"""`/v/TOKEN`: a sent mail as a page.

The mail is made again as of its hand-over: the same moment, language, subject, offer and recommended products, from the
facts and templates of today. It is shown with no script and in a sandbox of its own, whatever a template holds.
"""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from engine.delivery.claim import read_messages
from engine.delivery.mailroom import make_again
from engine.errors import HomingError
from engine.journeys.round import Round
from engine.render.mail import Mail
from engine.runtime.applied import STAMP, applied_sources
from engine.store import meta
from engine.web.links.gone import gone
from engine.web.links.reading import Reader, read
from engine.web.site import Site

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src https: http: data:; font-src https:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation"
)


def routes() -> list[Route]:
    """Return the route of mails in the browser."""
    return [Route("/v/{token}", _show, methods=["GET"])]


async def _show(request: Request) -> Response:
    site: Site = request.app.state.site
    mail = await run_in_threadpool(sent_mail, site, request.path_params["token"])
    if mail is None:
        return gone(request, words="gone_mail")
    return HTMLResponse(mail.html, headers={"content-security-policy": POLICY})


def sent_mail(site: Site, token: str) -> Mail | None:
    """Return the mail that a link was sent in, or None where it cannot be made any more."""
    with site.database.read() as connection:
        reader = read(connection, token, "v")
        return None if reader is None or not reader.known else mail_of(connection, site, reader)


def mail_of(connection: Connection, site: Site, reader: Reader) -> Mail | None:
    """Return the mail that a reader's link was sent in, or None where it cannot be made any more."""
    message = reader.message
    if not message or message["channel"] != "email" or message["content"] is None:
        return None
    applied = applied_sources(connection, meta.get(connection, STAMP))
    at = Round(message["counted_at"] or message["due_at"], site.settings, offers=applied.offers)
    (held,) = read_messages(connection, [message["id"]])
    try:
        return make_again(connection, held, at, applied.library, reader.secret, message["locale"]).mail
    except HomingError:  # what it was made of is not here any more
        return None
