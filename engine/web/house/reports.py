"""Reports: what four weeks brought by flow, what held mails back, how customers stand to topics, how they buy; looking ahead.

Comes in: a request of a visitor. Goes out: a page of counts; nobody is named on it. Reports of `homing simulate` and `plan` stand
in a frame of their own, in which nothing runs. Who reached a flow's goal is counted by
the goal's own moment, beside those who entered in the same weeks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from engine.outbox.ledger import COUNTED
from engine.store.tables import consent_state, customer_scores, enrollments, events, flows, messages
from engine.web.house.charts import grid_chart
from engine.web.house.customers import OWN_EVENTS
from engine.web.house.door import acting, house_path, looking
from engine.web.house.mails import FRAME
from engine.web.house.outlooks import MADE, Report, ReportFolder
from engine.web.house.sheet import sheet
from engine.web.house.today import put_off
from engine.web.house.worth import sold
from engine.web.site import Site

WEEKS = timedelta(days=28)


def routes() -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/house/reports", looking(_reports), methods=["GET"]),
        Route("/house/reports", acting(_make), methods=["POST"]),
        Route("/house/reports/{report}", looking(_report), methods=["GET"]),
        Route("/house/reports/{report}/frame", looking(_frame), methods=["GET"]),
    ]


def _reports(request: Request) -> Response:
    site: Site = request.app.state.site
    now, currency = site.now(), site.settings.shop.currency
    with site.database.read() as connection:
        scored = connection.scalar(select(func.max(customer_scores.c.at)))
        values = {
            "since": now - WEEKS, "flows": by_flow(connection, now - WEEKS, now), "currency": currency,
            "sold": sold(connection, now - WEEKS, now, currency), "reasons": put_off(connection, now - WEEKS, now),
            "topics": topics(connection), "grid": grid_chart(rfm(connection)) if scored else None, "scored": scored,
            "facts": facts(connection, now - WEEKS, now), "risk": risk(connection), "value": value(connection),
        }  # fmt: skip
    folder = ReportFolder(site)
    busy = folder.is_busy()
    answer = sheet(request, "reports", {**values, "made": MADE, "kept": folder.all(), "busy": busy})
    if busy:
        answer.headers["refresh"] = "5"
    return answer


# ── looking ahead ────────────────────────────────────────────────────────────────────────────────────────────────────


def _make(request: Request, form: FormData) -> Response:
    """Begin a report; while another one is being made, nothing happens."""
    kind = form.get("kind")
    if isinstance(kind, str) and kind in MADE:
        request.app.state.report = ReportFolder(request.app.state.site).make(kind)
    return RedirectResponse(house_path(request, "reports"), 303)


def _read(request: Request) -> tuple[Report, str]:
    folder, name = ReportFolder(request.app.state.site), request.path_params["report"]
    report, text = folder.find(name), folder.read(name)
    if report is None or text is None:
        raise HTTPException(404)
    return report, text


def _report(request: Request) -> Response:
    report, text = _read(request)
    return sheet(
        request, "report", {"report": report, "text": None if report.name.endswith(".html") else text}
    )


def _frame(request: Request) -> Response:
    report, text = _read(request)
    if not report.name.endswith(".html"):
        raise HTTPException(404)
    return HTMLResponse(text, headers=FRAME)


# ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def by_flow(connection: Connection, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Return for each flow how many entered, were mailed, reached the goal and left in a stretch of time."""
    own, sent = enrollments.c, messages.c

    def counts(column: Any, *where: Any) -> dict[str, int]:
        query = select(column.table.c.flow, func.count()).where(column > since, column <= until, *where)
        return {name: number for name, number in connection.execute(query.group_by(column.table.c.flow))}

    free = own.state != "held_out"
    entered, mailed = counts(own.entered_at, free), counts(sent.counted_at, sent.state.in_(COUNTED))
    goals, gone = counts(own.goal_at, free), counts(own.left_at, own.state == "exited")
    return [
        {"flow": name, "entered": entered.get(name, 0), "mails": mailed.get(name, 0), "goals": goals.get(name, 0), "left": gone.get(name, 0)}
        for name in connection.scalars(select(flows.c.flow).order_by(flows.c.flow))
    ]  # fmt: skip


def topics(connection: Connection) -> list[dict[str, Any]]:
    """Return for each topic how many customers agreed and withdrew, by the newest word on it."""
    own = consent_state.c
    agreed = own.granted_at.is_not(None) & (own.withdrawn_at.is_(None) | (own.granted_at > own.withdrawn_at))
    query = select(own.topic, agreed, own.withdrawn_at.is_not(None), func.count()).group_by(
        own.topic, agreed, own.withdrawn_at.is_not(None)
    )
    found: dict[str, dict[str, Any]] = {}
    for topic, yes, withdrew, number in connection.execute(query):
        row = found.setdefault(topic, {"topic": topic, "agreed": 0, "withdrew": 0, "waiting": 0})
        row["agreed" if yes else "withdrew" if withdrew else "waiting"] += number
    return [found[topic] for topic in sorted(found)]


def rfm(connection: Connection) -> dict[tuple[int, int], int]:
    """Return how many customers stand at each recency (1 long ago, 5 lately) and frequency (1 seldom, 5 often)."""
    own = customer_scores.c
    query = select(own.rfm_r, own.rfm_f, func.count()).where(own.rfm_r.is_not(None), own.rfm_f.is_not(None))
    return {(r, f): number for r, f, number in connection.execute(query.group_by(own.rfm_r, own.rfm_f))}


RISKS = (("0–20 %", 0.2), ("20–40 %", 0.4), ("40–60 %", 0.6), ("60–80 %", 0.8), ("80–100 %", 2.0))


def risk(connection: Connection) -> list[tuple[str, int]]:
    """Return how many customers are how likely to have left for good; those with one purchase have no such number."""
    own, found = customer_scores.c, []
    below = 0.0
    for words, end in RISKS:
        query = select(func.count()).where(own.churn_risk >= below, own.churn_risk < end)
        found.append((words, connection.scalar(query) or 0))
        below = end
    return found if any(number for _, number in found) else []


def value(connection: Connection) -> dict[str, Any] | None:
    """Return what is expected of customers in twelve months: of how many it is known, the sum, and the best tenth's part."""
    own = customer_scores.c
    known = own.predicted_value.is_not(None)
    number, total = connection.execute(select(func.count(), func.sum(own.predicted_value)).where(known)).one()
    if not number or not total:
        return None
    best = (
        select(own.predicted_value)
        .where(known)
        .order_by(own.predicted_value.desc())
        .limit(max(number // 10, 1))
    )
    top = connection.scalar(select(func.sum(best.subquery().c.predicted_value)))
    return {"customers": number, "total": total, "top": top}


def facts(connection: Connection, since: datetime, until: datetime) -> list[tuple[str, int]]:
    """Return what happened how often, the most frequent first."""
    own = events.c
    query = select(own.name, func.count()).where(
        own.occurred_at > since, own.occurred_at <= until, own.name.not_in(OWN_EVENTS)
    )
    rows = connection.execute(query.group_by(own.name).order_by(func.count().desc(), own.name).limit(15))
    return [(name, number) for name, number in rows]
