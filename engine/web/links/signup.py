"""`/signup` and `/c/TICKET`: a sign-up form with double opt-in.

A shop posts the form from its own page, which tells its words in a field `wording`, or links to ours. POST records a
pending consent with the words that were shown and mails a link; nothing is ticked beforehand, and no topic means none; pressing the button behind it grants. Who was already granted or is suppressed sees the same page and gets
no mail: nobody can find out by this form who is a customer. Somebody who was erased comes back by their own word alone:
the link, and the address typed behind it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.facts.fact import iso
from engine.facts.fields import normal_email
from engine.facts.finding import find_customer
from engine.facts.profile import consent_standing
from engine.facts.rights import record_consent
from engine.store import meta
from engine.store.tables import consent_state, customers, erased
from engine.web import letters, tickets
from engine.web.limits import Limits
from engine.web.links.gone import gone
from engine.web.paper import language_of, page, topic_title, words_for
from engine.web.site import Site
from engine.web.telling import tell
from engine.web.words import WORDS

CONFIRM, AGAIN = "confirm", "again"  # AGAIN: of an address that was erased
VALID = timedelta(days=14)
FORM = "sign-up form"
FOREIGN_FORM = "sign-up form of another page, in its own words"
NOT_TOLD = "the form did not tell its words"
LONGEST_WORDING = 1_000
CONFIRMED = "sign-up form, confirmed by mail"


def routes() -> list[Route]:
    """Return the routes of signing up."""
    return [
        Route("/signup", _show, methods=["GET"]),
        Route("/signup", _take, methods=["POST"]),
        Route("/c/{token}", _ask, methods=["GET"]),
        Route("/c/{token}", _confirm, methods=["POST"]),
    ]


def _form(request: Request, told: Mapping[str, Any], problem: str = "", status: int = 200) -> Response:
    site: Site = request.app.state.site
    language = language_of(request, None)
    offered = [key for key in site.settings.topics if key in told.get("offered", ())] or site.settings.topics
    values = {
        "topics": [(key, topic_title(site, key, language)) for key in offered], "chosen": told.get("topics", ()),
        "email": told.get("email", ""), "first_name": told.get("first_name", ""), "problem": problem,
        "consent": consent_words(site, language),
    }  # fmt: skip
    return page(request, "signup", values, status=status)


def consent_words(site: Site, language: str) -> str:
    """Return the sentence beside the box that a customer ticks on our own page."""
    return WORDS[language]["signup_consent"].format(shop=site.settings.shop.name)


def confirm_words(site: Site, language: str, topics: Sequence[str]) -> str:
    """Return the sentence above the button that confirms a sign-up."""
    titles = _titles(site, topics, language)
    return WORDS[language]["confirm_lead"].format(shop=site.settings.shop.name, topics=titles)


def _titles(site: Site, topics: Sequence[str], language: str) -> str:
    return WORDS[language]["comma"].join(topic_title(site, topic, language) for topic in topics)


async def _show(request: Request) -> Response:
    return _form(request, {"offered": request.query_params.getlist("topic")})


async def _take(request: Request) -> Response:
    site: Site = request.app.state.site
    form = await request.form(max_files=0, max_fields=50)
    t = words_for(request, None)
    asked = [topic for topic in map(str, form.getlist("topic")) if topic]
    told = {
        "email": str(form.get("email") or "")[:254], "topics": [key for key in site.settings.topics if key in asked],
        "first_name": " ".join(str(form.get("first_name") or "").split())[:100], **_words_of(site, form),
    }  # fmt: skip
    if set(asked) - set(site.settings.topics):
        return _form(request, told, t["signup_unknown"], 400)
    if not asked:
        return _form(request, told, t["signup_choose"], 400)
    address = normal_email(told["email"]) if "@" in str(told["email"]) else None
    if address is None:
        return _form(request, told, t["signup_bad_email"], 400)
    if form.get("consent") != "1":
        return _form(request, told, t["signup_tick"], 400)
    place = request.client.host if request.client else ""
    limits: Limits = request.app.state.limits
    crowded = await run_in_threadpool(limits.sign_up, place)
    if crowded:
        answer = gone(request, "refused_title", "failed", 429)
        answer.headers["retry-after"] = str(int(crowded) + 1)
        return answer
    if not form.get("website"):  # a field that people do not see: who fills it in is a program
        language = language_of(request, None)
        await run_in_threadpool(_sign_up, site, address, told, language, limits)
    heading = {"heading": t["signup_sent_title"], "words": t["signup_sent"], "link": ""}
    return page(request, "told", heading)


def _words_of(site: Site, form: FormData) -> dict[str, str]:
    """Return which words stood beside the button, and on what form: our page's own, or those that the form tells."""
    shown = str(form.get("shown") or "")
    if shown in WORDS:
        return {"wording": consent_words(site, shown), "source": FORM}
    told = " ".join(str(form.get("wording") or "").replace("\x00", " ").split())[:LONGEST_WORDING].rstrip()
    return {"wording": told or NOT_TOLD, "source": FOREIGN_FORM}


def _sign_up(site: Site, address: str, told: Mapping[str, Any], language: str, limits: Limits) -> None:
    now, t = site.now(), WORDS[language]
    if limits.form_address.wait(address):
        return
    with site.database.write() as connection:
        secret = meta.link_secrets(connection)[0]
        if letters.is_barred(connection, address):
            return
        until, topics = int((now + VALID).timestamp()), tuple(told["topics"])
        if letters.is_erased(connection, address):
            # Nothing is kept of who was erased, not even that they asked: the link and the reader's own word bring them back.
            ticket = tickets.Ticket(AGAIN, 0, until, (_hash_of(connection, address), *topics))
        else:
            customer_id = _pending(connection, site, address, told, language)
            if customer_id is None:
                return
            ticket = tickets.Ticket(CONFIRM, customer_id, until, topics)
    names = {"shop": site.settings.shop.name, "topics": _titles(site, told["topics"], language)}
    link = f"{site.settings.link_base}/c/{tickets.write(secret, ticket)}"
    letters.send(
        site,
        address,
        letters.Letter(
            t["confirm_subject"].format(**names), t["confirm_text"].format(**names), t["confirm_button"], link,
            t["confirm_ignore"], language,
        ),
    )  # fmt: skip


def _pending(
    connection: Connection, site: Site, address: str, told: Mapping[str, Any], language: str
) -> int | None:
    """Record what was asked for; return the customer, or None where everything is granted already."""
    now, known = site.now(), find_customer(connection, address)
    if known is None:
        row = {"email": address, "locale": language, "updated_at": iso(now)}
        row |= {"first_name": told["first_name"]} if told["first_name"] else {}
        tell(connection, site.settings, now, ("customers", row))
        known = find_customer(connection, address)
    if known is None:
        return None
    standing = consent_standing(connection, known)
    asked = [topic for topic in told["topics"] if standing.get(topic, standing.get("all")) != "granted"]
    for topic in asked:
        record_consent(
            connection, known, topic, "pending", now=now, source=told["source"], wording=told["wording"]
        )
    return known if asked else None


async def _read(request: Request) -> tuple[tickets.Ticket | None, str | None, Response | None]:
    """Return the ticket, the language of who holds it where that is known, and a page that refuses it."""
    site: Site = request.app.state.site

    def look() -> tuple[tickets.Ticket | None, str | None]:
        with site.database.read() as connection:
            known, token = meta.link_secrets(connection), request.path_params["token"]
            ticket = tickets.read(known, token, CONFIRM)
            if ticket is None:
                return tickets.read(known, token, AGAIN), None
            locale = select(customers.c.locale).where(customers.c.id == ticket.customer_id)
            return ticket, connection.scalar(locale)

    ticket, locale = await run_in_threadpool(look)
    if ticket is None:
        return None, None, gone(request)
    return (
        ticket,
        locale,
        gone(request, "late_title", "late", 410) if tickets.is_late(ticket, site.now()) else None,
    )


async def _ask(request: Request) -> Response:
    ticket, locale, refusal = await _read(request)
    if ticket is None or refusal is not None:
        return refusal or gone(request)
    return _question(request, ticket, locale)


def _question(
    request: Request, ticket: tickets.Ticket, locale: str | None, problem: str = "", status: int = 200
) -> Response:
    """Return the page with the button; who was erased also says the address, of which only a hash is kept."""
    site: Site = request.app.state.site
    t, language = words_for(request, locale), language_of(request, locale)
    values = {
        "heading": t["confirm_title"], "words": confirm_words(site, language, topics_of(ticket)), "button": t["confirm_button"],
        "field": t["email"] if ticket.purpose == AGAIN else "", "problem": problem,
    }  # fmt: skip
    return page(request, "ask", values, locale=locale, status=status)


def topics_of(ticket: tickets.Ticket) -> tuple[str, ...]:
    """Return what a ticket asks consent for."""
    return ticket.words[1:] if ticket.purpose == AGAIN else ticket.words


def _hash_of(connection: Connection, address: str) -> str:
    return meta.keyed_hash(meta.secret(connection), address).hex()


async def _confirm(request: Request) -> Response:
    ticket, locale, refusal = await _read(request)
    if ticket is None or refusal is not None:
        return refusal or gone(request)
    t, site, language = words_for(request, locale), request.app.state.site, language_of(request, locale)
    if ticket.purpose == AGAIN:
        form = await request.form(max_files=0, max_fields=10)
        address = normal_email(str(form.get("email") or "")[:254])
        if address is None or not await run_in_threadpool(_begin_again, site, ticket, address, language):
            return _question(request, ticket, locale, t["signup_bad_email"], 400)
    elif not await run_in_threadpool(_grant, site, ticket, language):
        return gone(request)
    told = {"heading": t["confirmed_title"], "words": t["confirmed"], "link": ""}
    return page(request, "told", told, locale=locale)


def _grant(site: Site, ticket: tickets.Ticket, language: str) -> bool:
    """Grant what was asked for; a person who withdrew since then is not brought back by an old mail."""
    with site.database.write() as connection:
        if not _is_there(connection, ticket.customer_id):
            return False
        standing = consent_standing(connection, ticket.customer_id)
        wording = confirm_words(site, language, ticket.words)
        for topic in ticket.words:
            if standing.get(topic) != "granted" and _asked_since(connection, ticket, topic):
                record_consent(
                    connection,
                    ticket.customer_id,
                    topic,
                    "granted",
                    now=site.now(),
                    source=CONFIRMED,
                    wording=wording,
                )
    return True


def _begin_again(site: Site, ticket: tickets.Ticket, address: str, language: str) -> bool:
    """Take somebody in who was erased and asks for it; return False where the address is not the one that was written to."""
    now = site.now()
    with site.database.write() as connection:
        hashed = meta.keyed_hash(meta.secret(connection), address)
        if not hmac.compare_digest(hashed.hex(), ticket.words[0]):
            return False
        connection.execute(delete(erased).where(erased.c.hash == hashed))
        row = {"email": address, "locale": language, "updated_at": iso(now)}
        tell(connection, site.settings, now, ("customers", row))
        found = find_customer(connection, address)
        assert found is not None, "the address was let in just now"
        standing = consent_standing(connection, found)
        for topic in topics_of(ticket):
            if standing.get(topic) is None:  # pressed twice, or withdrawn since then
                wording = confirm_words(site, language, topics_of(ticket))
                record_consent(
                    connection, found, topic, "granted", now=now, source=CONFIRMED, wording=wording
                )
    return True


def _is_there(connection: Connection, customer_id: int) -> bool:
    found = select(customers.c.id).where(customers.c.id == customer_id, customers.c.erased_at.is_(None))
    return connection.execute(found).first() is not None


def _asked_since(connection: Connection, ticket: tickets.Ticket, topic: str) -> bool:
    """Return whether the newest pending word on a topic is younger than its withdrawal."""
    table = consent_state.c
    rows = connection.execute(
        select(table.topic, table.pending_at, table.withdrawn_at).where(
            table.customer_id == ticket.customer_id, table.topic.in_([topic, "all"])
        )
    ).all()
    pending = max((row.pending_at for row in rows if row.pending_at), default=None)
    withdrawn = max((row.withdrawn_at for row in rows if row.withdrawn_at), default=None)
    return pending is not None and (withdrawn is None or pending > withdrawn)
