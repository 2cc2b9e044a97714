"""Today: what is queued and what is put off and why, what stands still, how the provider answers, what was set aside.

Comes in: a request of a visitor. Goes out: the page, and what its buttons do: pause and resume everything, try again what
was set aside. Rates are over seven days, against what mailbox providers allow.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engine.calendar import local
from engine.feedback.brake import STOPS, WARNS, WINDOW, complaints
from engine.runtime import rails, waiting
from engine.runtime.installation import why_sandbox
from engine.runtime.status import status
from engine.store.tables import UNSETTLED, attempts, customers, delivery_events, journal, messages
from engine.web.house.charts import days_chart
from engine.web.house.door import acting, house_path, looking
from engine.web.house.sheet import sheet
from engine.web.intake import inbox
from engine.web.intake.retrying import retry
from engine.web.site import Site

log = logging.getLogger("homing.web")
DAY = timedelta(days=1)
DAYS = 28
MOST_ROWS = 50
MOST_AT_ONCE = 500  # of the raw inbox, at one press of a button
LOST = ("bounced", "blocked")


def routes() -> list[Route]:
    """Return the routes of this page."""
    return [
        Route("/house", looking(_today), methods=["GET"]),
        Route(
            "/house/", looking(lambda request: RedirectResponse(house_path(request), 308)), methods=["GET"]
        ),
        Route("/house/everything", acting(_everything), methods=["POST"]),
        Route("/house/quarantine", acting(_again), methods=["POST"]),
        Route("/house/unread", acting(_read_again), methods=["POST"]),
    ]


def _today(request: Request) -> Response:
    site: Site = request.app.state.site
    now, zone = site.now(), site.settings.shop.timezone
    with site.database.read() as connection:
        because = why_sandbox(site.settings, site.database)
        found = status(
            connection,
            now,
            sandbox=site.settings.delivery.mode == "sandbox",
            why_sandbox=because,
            settings=site.settings,
        )
        values: dict[str, Any] = {
            "status": found, "queue": queued(connection, now), "reasons": put_off(connection, now - DAY, now),
            "provider": provider(connection, now), "rates": rates(connection, now),
            "aside": waiting.everything(connection, site.settings.root), "unread": inbox.waiting(connection),
            "chart": days_chart(mails_by_day(connection, now, zone), "Mails handed over, by day"),
            "sent_today": _handed_over(connection, now - DAY, now), "warns": WARNS, "stops": STOPS,
        }  # fmt: skip
    values["stopped"] = [
        flow
        for flow in found["flows"]
        if flow["active"] and (flow["paused"] or flow["frozen"] or flow.get("held"))
    ]
    return sheet(request, "today", values)


def queued(connection: Connection, now: datetime) -> list[dict[str, Any]]:
    """Return what waits to be sent, the earliest first, with the reason of the last time that it was put off."""
    table = messages.c
    query = select(
        table.id, table.flow, table.step, table.state, table.try_at, table.due_at, table.reason, table.customer_id,
        table.tries, customers.c.external_id, customers.c.email,
    ).join(customers, customers.c.id == table.customer_id)  # fmt: skip
    rows = connection.execute(query.where(UNSETTLED).order_by(table.try_at, table.id).limit(MOST_ROWS)).all()
    told = journal.c
    why = select(told.message_id, told.reason).where(
        told.customer_id.in_({row.customer_id for row in rows}),
        told.message_id.in_([row.id for row in rows]),
        told.decision.in_(("deferred", "retry")),
    )
    reasons = {number: reason for number, reason in connection.execute(why.order_by(told.id))}
    return [
        {
            "id": row.id, "flow": row.flow, "step": row.step, "state": row.state, "at": row.try_at, "customer": row.customer_id,
            "who": row.email or row.external_id or f"customer {row.customer_id}", "due": row.try_at <= now,
            "reason": row.reason or reasons.get(row.id),
        }
        for row in rows
    ]  # fmt: skip


def put_off(connection: Connection, since: datetime, until: datetime) -> list[tuple[str, str, int]]:
    """Return decision, reason and count of what was put off, refused or not sent in a stretch of time."""
    told = journal.c
    wanted = ("deferred", "dropped", "skipped", "refused", "retry", "unknown", "failed")
    query = (
        select(told.decision, told.reason, func.count())
        .where(told.at > since, told.at <= until, told.decision.in_(wanted))
        .group_by(told.decision, told.reason)
    )
    counts: Counter[tuple[str, str]] = Counter()
    for decision, reason, number in connection.execute(query):
        counts[decision, reason or ""] += number
    return [(decision, reason, number) for (decision, reason), number in counts.most_common(20)]


def provider(connection: Connection, now: datetime) -> dict[str, Any]:
    """Return how the provider answered in 24 hours: counts by outcome, and the newest trouble in its words."""
    table = attempts.c
    query = select(table.outcome, func.count()).where(table.at > now - DAY, table.at <= now)
    counts = {
        outcome or "begun": number for outcome, number in connection.execute(query.group_by(table.outcome))
    }
    trouble = connection.execute(
        select(table.at, table.outcome, table.detail)
        .where(table.at > now - DAY, table.at <= now, table.outcome.in_(("retry", "failed", "unknown")))
        .order_by(table.id.desc())
        .limit(1)
    ).first()
    return {"counts": counts, "trouble": trouble, "all": sum(counts.values())}


def rates(connection: Connection, now: datetime) -> dict[str, Any]:
    """Return bounces and complaints of seven days against what was delivered."""
    table = delivery_events.c
    query = select(table.kind, func.count()).where(table.at > now - WINDOW, table.at <= now)
    counts = {kind: number for kind, number in connection.execute(query.group_by(table.kind))}
    lost = sum(counts.get(kind, 0) for kind in LOST)
    delivered = counts.get("delivered", 0)
    return {
        "delivered": delivered, "bounced": lost, "bounce_rate": lost / (delivered + lost) if lost else 0.0,
        "complaints": complaints(connection, now), "told": bool(counts),
    }  # fmt: skip


def mails_by_day(connection: Connection, now: datetime, zone: str) -> list[tuple[date, int]]:
    """Return how many mails were handed over on each of the last days, on the shop's clock."""
    today = local(now, zone).date()
    counts = {today - timedelta(days=back): 0 for back in range(DAYS - 1, -1, -1)}
    query = select(messages.c.counted_at).where(
        messages.c.counted_at > now - (DAYS + 1) * DAY, messages.c.counted_at <= now
    )
    for moment in connection.scalars(query):
        day = local(moment, zone).date()
        if day in counts:
            counts[day] += 1
    return list(counts.items())


def _handed_over(connection: Connection, since: datetime, until: datetime) -> int:
    own = messages.c
    query = select(func.count()).select_from(messages).where(own.counted_at > since, own.counted_at <= until)
    return connection.scalar(query) or 0


# ── buttons ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _everything(request: Request, form: FormData) -> Response:
    """Pause everything, or let everything go on."""
    site: Site = request.app.state.site
    now = site.now()
    with site.database.write() as connection:
        if form.get("do") == "pause":
            rails.pause(connection, None, now)
        elif form.get("do") == "resume":
            rails.resume(connection, None)
    log.info("everything was switched in the house", extra={"told": {"do": str(form.get("do"))[:10]}})
    return RedirectResponse(house_path(request), 303)


def _number(form: FormData) -> int:
    told = str(form.get("entry", ""))
    return int(told) if told.isascii() and told.isdigit() and len(told) < 19 else 0


def _read_again(request: Request, form: FormData) -> Response:
    """Try again what could not be understood for one reason, or let go of it."""
    site: Site = request.app.state.site
    number = _number(form)
    if form.get("do") == "retry":
        with site.database.read() as connection:
            which = inbox.alike(connection, number)
        if which is not None:
            retry(site.database, site.settings, site.now(), which=which, most=MOST_AT_ONCE)
    elif form.get("do") == "drop":
        with site.database.write() as connection:
            inbox.let_go(connection, number)
    return RedirectResponse(house_path(request), 303)


def _again(request: Request, form: FormData) -> Response:
    """Try again one entry that was set aside, or let go of it."""
    site: Site = request.app.state.site
    number = _number(form)
    now = site.now()
    with site.database.write() as connection:
        if form.get("do") == "retry":
            waiting.retry(connection, [number], now)
        elif form.get("do") == "drop":
            waiting.resolve(connection, [number], now)
    return RedirectResponse(house_path(request), 303)
