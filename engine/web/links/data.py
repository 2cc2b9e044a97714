"""`/d/TICKET`: a copy of one's data, or its erasure, by a link that was mailed to the address itself.

The preference page of any forwarded mail can ask for that link, but only the address's owner gets it. It works for seven
days. GET shows, POST acts; erasing wants a ticked box beside the button.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.facts import rights
from engine.facts.profile import export
from engine.store import meta
from engine.store.database import to_json
from engine.store.tables import customers
from engine.web import letters, tickets
from engine.web.limits import Limits
from engine.web.links.gone import gone
from engine.web.paper import page, words_for
from engine.web.site import Site
from engine.web.words import WORDS

DATA = "data"
VALID = timedelta(days=7)


def routes() -> list[Route]:
    """Return the routes of a person's own data."""
    return [Route("/d/{token}", _show, methods=["GET"]), Route("/d/{token}", _act, methods=["POST"])]


def ask_for_data(site: Site, customer: Mapping[str, Any], language: str, limits: Limits) -> None:
    """Mail the link to a customer's own address; at most three an hour."""
    address, now = customer["email"], site.now()
    if not address or limits.own_data.wait(str(customer["id"])):
        return
    with site.database.read() as connection:
        secret = meta.link_secrets(connection)[0]
        if not letters.may_write(connection, address):
            return
    ticket = tickets.Ticket(DATA, customer["id"], int((now + VALID).timestamp()))
    t, shop = WORDS[language], site.settings.shop.name
    link = f"{site.settings.link_base}/d/{tickets.write(secret, ticket)}"
    letters.send(
        site,
        address,
        letters.Letter(
            t["data_mail_subject"].format(shop=shop), t["data_mail_text"].format(shop=shop), t["your_data"], link,
            t["data_mail_ignore"], language,
        ),
    )  # fmt: skip


def _find(site: Site, token: str) -> tuple[tickets.Ticket | None, Mapping[str, Any]]:
    with site.database.read() as connection:
        ticket = tickets.read(meta.link_secrets(connection), token, DATA)
        if ticket is None:
            return None, {}
        row = (
            connection.execute(select(customers).where(customers.c.id == ticket.customer_id))
            .mappings()
            .first()
        )
    return ticket, {} if row is None or row["erased_at"] is not None else dict(row)


async def _open(request: Request) -> tuple[Mapping[str, Any], Response | None]:
    site: Site = request.app.state.site
    ticket, customer = await run_in_threadpool(_find, site, request.path_params["token"])
    if ticket is None or not customer:
        return {}, gone(request)
    if tickets.is_late(ticket, site.now()):
        return {}, gone(request, "late_title", "late", 410)
    return customer, None


async def _show(request: Request) -> Response:
    customer, refusal = await _open(request)
    return refusal or page(request, "data", {"problem": ""}, locale=customer["locale"])


async def _act(request: Request) -> Response:
    form = await request.form(max_files=0, max_fields=10)
    customer, refusal = await _open(request)
    if refusal is not None:
        return refusal
    site: Site = request.app.state.site
    t = words_for(request, customer["locale"])
    if form.get("do") == "copy":
        document = await run_in_threadpool(_copy, site, customer["id"])
        headers = {"content-disposition": 'attachment; filename="my-data.json"'}
        return Response(document, media_type="application/json", headers=headers)
    if form.get("do") != "erase" or form.get("sure") != "1":
        return page(request, "data", {"problem": t["data_erase_tick"]}, locale=customer["locale"], status=400)
    await run_in_threadpool(_erase, site, customer["id"])
    told = {"heading": t["data_erased_title"], "words": t["data_erased"], "link": ""}
    return page(request, "told", told, locale=customer["locale"])


def _copy(site: Site, customer_id: int) -> str:
    with site.database.read() as connection:
        return to_json(export(connection, customer_id))


def _erase(site: Site, customer_id: int) -> None:
    with site.database.write() as connection:
        rights.erase(connection, customer_id, now=site.now())
