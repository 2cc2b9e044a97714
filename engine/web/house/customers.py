"""Customers: finding one, and everything that happened with them as one line, with the reason of each decision.

Comes in: a request of a visitor; what is searched for comes in a POST, so that no address stands in a log of a proxy. Goes
out: pages. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engine.errors import UsageError
from engine.facts.finding import find_customer
from engine.facts.profile import consent_standing
from engine.full_names import full_name
from engine.journeys.post import AWAITED
from engine.journeys.round import Round
from engine.runtime.applied import STAMP, applied_sources
from engine.runtime.story import mail_words, next_words, reason_words, sentence
from engine.runtime.why import why
from engine.store import meta
from engine.store.tables import (
    consents,
    customer_ids,
    customers,
    delivery_events,
    events,
    journal,
    messages,
    suppressions,
    timers,
)
from engine.web.house.door import acting, house_path, looking
from engine.web.house.sheet import plain, sheet
from engine.web.site import Site

MOST_FOUND = 30
LONGEST_STORY = 120
OWN_EVENTS = (
    "mail_sent",
    "flow_entered",
    "flow_left",
    "mail_opened",
    "mail_clicked",
)  # told by decisions and mails
_SILENT = ("due", "waiting")  # decisions that the mail or what came tells better


def routes() -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/house/customers", looking(_newest), methods=["GET"]),
        Route("/house/customers", acting(_search), methods=["POST"]),
        Route("/house/customers/{customer:row}", looking(_customer), methods=["GET"]),
        Route("/house/customers/{customer:row}/why/{flow}", looking(_why), methods=["GET"]),
    ]


# ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _newest(request: Request) -> Response:
    site: Site = request.app.state.site
    with site.database.read() as connection:
        query = select(customers).where(customers.c.erased_at.is_(None))
        found = connection.execute(query.order_by(customers.c.id.desc()).limit(MOST_FOUND)).all()
    return sheet(request, "customers", {"asked": "", "found": _named(found), "most": MOST_FOUND})


def _search(request: Request, form: FormData) -> Response:
    site: Site = request.app.state.site
    asked = str(form.get("q", "")).strip()[:200]
    with site.database.read() as connection:
        exact = find_customer(connection, asked) if asked else None
        found = search(connection, asked) if exact is None and asked else []
    if exact is not None or len(found) == 1:
        return RedirectResponse(house_path(request, f"customers/{exact or found[0].id}"), 303)
    return sheet(request, "customers", {"asked": asked, "found": _named(found), "most": MOST_FOUND})


def _named(found: Sequence[Row[Any]]) -> list[tuple[Row[Any], str]]:
    return [(row, name_of(row)) for row in found]


def search(connection: Connection, asked: str) -> Sequence[Row[Any]]:
    """Return customers whose address, id or name begins so, at most `MOST_FOUND`."""
    own, low = customers.c, asked.lower()
    starts = [own.email.startswith(low, autoescape=True), own.external_id.startswith(asked, autoescape=True)]
    first, _, last = low.partition(" ")
    names = [
        func.lower(own.first_name).startswith(low, autoescape=True),
        func.lower(own.last_name).startswith(low, autoescape=True),
        (own.last_name + own.first_name).startswith(asked, autoescape=True),  # as names in Han are written
    ]
    if last:
        names += [
            func.lower(one).startswith(first, autoescape=True)
            & func.lower(other).startswith(last, autoescape=True)
            for one, other in ((own.first_name, own.last_name), (own.last_name, own.first_name))
        ]
    query = select(customers).where(own.erased_at.is_(None)).order_by(own.id)
    found = connection.execute(query.where(or_(*starts)).limit(MOST_FOUND)).all()
    if len(found) < MOST_FOUND:
        known = {row.id for row in found}
        more = connection.execute(query.where(or_(*names)).limit(MOST_FOUND)).all()
        found = [*found, *(row for row in more if row.id not in known)][:MOST_FOUND]
    return found


# ── one customer ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _customer(request: Request) -> Response:
    site: Site = request.app.state.site
    number, zone = request.path_params["customer"], site.settings.shop.timezone
    with site.database.read() as connection:
        row = _row(connection, number)
        own = consents.c
        ledger = connection.execute(
            select(consents)
            .where(own.customer_id == number)
            .order_by(own.received_at.desc(), own.id.desc())
            .limit(200)
        ).all()
        values = {
            "row": row, "who": name_of(row), "ledger": ledger, "topics": consent_standing(connection, number),
            "ids": list(connection.scalars(select(customer_ids.c.external_id).where(customer_ids.c.customer_id == number))),
            "suppressed": connection.execute(select(suppressions).where(suppressions.c.customer_id == number)).all(),
            "planned": planned(connection, number), "story": story(connection, number, zone), "longest": LONGEST_STORY,
            "flows": flows_of(connection, number),
        }  # fmt: skip
    return sheet(request, "customer", values)


def _row(connection: Connection, number: int) -> Row[Any]:
    row = connection.execute(select(customers).where(customers.c.id == number)).first()
    if row is None or row.erased_at is not None:
        raise HTTPException(404)
    return row


def name_of(row: Row[Any]) -> str:
    """Return what a customer is called on a page."""
    return full_name(row.first_name, row.last_name) or row.email or row.external_id or f"customer {row.id}"


def planned(connection: Connection, number: int) -> list[dict[str, Any]]:
    """Return the mails that wait for this customer, and the entries that may come, the earliest first."""
    own = messages.c
    waiting = select(own.id, own.flow, own.step, own.try_at, own.content).where(
        own.customer_id == number, own.state.in_(("pending", "claimed", "handing_over"))
    )
    found: list[dict[str, Any]] = [
        {
            "at": row.try_at,
            "flow": row.flow,
            "what": f"{row.step} {mail_words((row.content or {}).get(AWAITED))}",
            "message": row.id,
        }
        for row in connection.execute(waiting)
    ]
    timed = select(timers.c.flow, timers.c.due_at).where(timers.c.customer_id == number)
    found += [
        {
            "at": row.due_at,
            "flow": row.flow,
            "what": "may enter, if nothing newer comes before",
            "message": None,
        }
        for row in connection.execute(timed)
    ]
    return sorted(found, key=lambda each: each["at"])


def flows_of(connection: Connection, number: int) -> list[str]:
    """Return the flows that decided something about this customer."""
    query = select(journal.c.flow).where(journal.c.customer_id == number).distinct()
    return sorted(connection.scalars(query))


# ── the story ────────────────────────────────────────────────────────────────────────────────────────────────────────


def story(connection: Connection, number: int, zone: str) -> list[dict[str, Any]]:
    """Return what happened, the newest first: facts, decisions, mails, and what the provider told of them."""
    lines = [
        *_happened(connection, number),
        *_decided(connection, number, zone),
        *_mailed(connection, number),
    ]
    nothing = {"message": None, "flow": None}
    return [
        nothing | line for line in sorted(lines, key=lambda line: line["at"], reverse=True)[:LONGEST_STORY]
    ]


def _happened(connection: Connection, number: int) -> Iterator[dict[str, Any]]:
    own = events.c
    query = select(own.name, own.occurred_at, own.value, own.order_id, own.sku, own.backfill)
    query = query.where(own.customer_id == number, own.name.not_in(OWN_EVENTS)).order_by(
        own.occurred_at.desc(), own.id.desc()
    )
    for row in connection.execute(query.limit(LONGEST_STORY)):
        about = [f"order {row.order_id}"] if row.order_id else []
        about += [str(row.sku)] if row.sku else []
        about += [f"{row.value:,.2f}"] if row.value is not None else []
        kind = "order" if row.name.startswith("order_") else "fact"
        yield {"at": row.occurred_at, "kind": kind, "words": plain(row.name), "about": ", ".join(about)}


def _decided(connection: Connection, number: int, zone: str) -> Iterator[dict[str, Any]]:
    own = journal.c
    query = select(journal).where(own.customer_id == number, own.decision.not_in((*_SILENT, "sent")))
    for row in connection.execute(query.order_by(own.id.desc()).limit(LONGEST_STORY)):
        told = {"decision": row.decision, "step": row.step, "reason": row.reason, **(row.detail or {})}
        kind = "no" if row.decision in ("refused", "dropped", "skipped", "failed") else "decision"
        yield {"at": row.at, "kind": kind, "words": sentence(told, zone), "flow": row.flow, "about": ""}


def _mailed(connection: Connection, number: int) -> Iterator[dict[str, Any]]:
    own = messages.c
    query = select(own.id, own.flow, own.step, own.subject, own.counted_at, own.state)
    query = query.where(own.customer_id == number, own.counted_at.is_not(None)).order_by(own.id.desc())
    rows = connection.execute(query.limit(LONGEST_STORY)).all()
    for row in rows:
        yield {
            "at": row.counted_at, "kind": "mail", "words": row.subject or row.step, "flow": row.flow, "about": plain(row.state),
            "message": row.id,
        }  # fmt: skip
    told = delivery_events.c
    by_number = {row.id: row for row in rows}
    heard = select(told.message_id, told.kind, told.at, told.machine).where(
        told.message_id.in_(list(by_number))
    )
    for event in connection.execute(heard):
        mail = by_number[event.message_id]
        words = f"{plain(event.kind)}: {mail.subject or mail.step}"
        yield {
            "at": event.at,
            "kind": "heard",
            "words": words,
            "about": "by a machine" if event.machine else "",
            "message": mail.id,
        }


# ── why ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _why(request: Request) -> Response:
    site: Site = request.app.state.site
    number, flow, zone = (
        request.path_params["customer"],
        request.path_params["flow"],
        site.settings.shop.timezone,
    )
    with site.database.read() as connection:
        row = _row(connection, number)
        at = round_of(connection, site)
        try:
            found = why(connection, number, flow, at)[0]
        except UsageError:  # a flow that was never applied
            raise HTTPException(404) from None
    several = len(found["enrollments"]) > 1
    decisions = [_told(decision, zone, several=several) for decision in found["decisions"]]
    values = {
        "row": row, "who": name_of(row), "flow": flow, "decisions": decisions, "now_asked": found.get("now"),
        "next": next_words(found["next"], zone) if found["next"] else None, "mails": found["messages"],
    }  # fmt: skip
    return sheet(request, "why", values)


def round_of(connection: Connection, site: Site) -> Round:
    """Return the moment of a request as what decisions are asked with."""
    offers = applied_sources(connection, meta.get(connection, STAMP)).offers
    return Round(site.now(), site.settings, offers=offers)


def _told(decision: Mapping[str, Any], zone: str, *, several: bool) -> dict[str, Any]:
    """Return a decision with its sentence; a clause's value is left out where none was found."""
    return {
        "at": decision["at"], "words": sentence(decision, zone, several=several), "clauses": decision["clauses"],
        "message": decision.get("message"), "last_entry": decision.get("last_entry"),
        "kind": "no" if decision["decision"] in ("refused", "dropped", "skipped", "failed", "turned_away") else decision["decision"],
        "gate": _gate(decision), "reason": reason_words(decision["reason"], decision.get("cause")) if decision["reason"] else "",
    }  # fmt: skip


def _gate(decision: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how caps and hours stood, where they kept a mail back."""
    kept = decision["reason"] in ("capped", "outranked", "quiet_hours")
    return decision.get("gate") if kept else None
