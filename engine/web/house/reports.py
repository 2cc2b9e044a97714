"""Reports: what four weeks brought by flow, what held mails back, how customers stand to topics, and how they buy.

Comes in: a request of a visitor. Goes out: a page of counts; nobody is named on it. Who reached a flow's goal is counted by
the goal's own moment, beside those who entered in the same weeks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.outbox.ledger import COUNTED
from engine.store.tables import consent_state, customer_scores, enrollments, events, flows, messages
from engine.web.house.charts import grid_chart
from engine.web.house.customers import OWN_EVENTS
from engine.web.house.door import looking
from engine.web.house.sheet import sheet
from engine.web.house.today import put_off
from engine.web.house.worth import sold
from engine.web.site import Site

WEEKS = timedelta(days=28)


def routes() -> list[Route]:
    """Return the route of this page."""
    return [Route("/house/reports", looking(_reports), methods=["GET"])]


def _reports(request: Request) -> Response:
    site: Site = request.app.state.site
    now, currency = site.now(), site.settings.shop.currency
    with site.database.read() as connection:
        scored = connection.scalar(select(func.max(customer_scores.c.at)))
        values = {
            "since": now - WEEKS, "flows": by_flow(connection, now - WEEKS, now), "currency": currency,
            "sold": sold(connection, now - WEEKS, now, currency), "reasons": put_off(connection, now - WEEKS, now),
            "topics": topics(connection), "grid": grid_chart(rfm(connection)) if scored else None, "scored": scored,
            "facts": facts(connection, now - WEEKS, now),
        }  # fmt: skip
    return sheet(request, "reports", values)


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


def facts(connection: Connection, since: datetime, until: datetime) -> list[tuple[str, int]]:
    """Return what happened how often, the most frequent first."""
    own = events.c
    query = select(own.name, func.count()).where(
        own.occurred_at > since, own.occurred_at <= until, own.name.not_in(OWN_EVENTS)
    )
    rows = connection.execute(query.group_by(own.name).order_by(func.count().desc(), own.name).limit(15))
    return [(name, number) for name, number in rows]
