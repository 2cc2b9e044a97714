"""Flows: each drawn with live counts, its versions, what came of it, and the buttons that stop and start it.

Comes in: a request of a visitor. Goes out: pages. Counts are of everyone who ever entered; the holdout is compared by the
flow's goal. Pausing holds entries and mails; exits go on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, case, func, select
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engine.flows.model import Flow
from engine.journeys.versions import live_flows, programs
from engine.outbox.ledger import COUNTED
from engine.runtime import rails
from engine.runtime.status import status
from engine.runtime.story import reason_words
from engine.store.tables import applies, enrollments, flow_versions, flows, journal, messages
from engine.web.house.beside import arms, holdout
from engine.web.house.diagram import diagram
from engine.web.house.door import acting, house_path, looking
from engine.web.house.sheet import plain, sheet
from engine.web.house.step_list import step_list
from engine.web.house.step_words import Counts
from engine.web.house.worth import Sold, looked_at, sold
from engine.web.site import Site

log = logging.getLogger("homing.web")
_LOST = ("dropped", "skipped", "failed")
_CAME = ("due", "heard", "not_heard", "took")
WEEKS = timedelta(days=28)


def routes() -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/house/flows", looking(_flows), methods=["GET"]),
        Route("/house/flows/{flow}", looking(_flow), methods=["GET"]),
        Route("/house/flows/{flow}", acting(_switch), methods=["POST"]),
    ]


def _flows(request: Request) -> Response:
    site: Site = request.app.state.site
    with site.database.read() as connection:
        found = status(connection, site.now(), sandbox=True)
        live = live_flows(connection)
        goals = {name: number for name, number in connection.execute(
            select(enrollments.c.flow, func.count()).where(enrollments.c.goal_at.is_not(None), enrollments.c.state != "held_out").group_by(enrollments.c.flow)
        )}  # fmt: skip
    rows = [
        {
            **row, "summary": live[row["flow"]].flow.summary, "goal": goals.get(row["flow"]), "kind": live[row["flow"]].flow.kind,
            "entered": sum(number for state, number in row["enrollments"].items() if state != "held_out"),
            "inside": sum(row["enrollments"].get(state, 0) for state in ("active", "waiting")),
            "sent": sum(row["messages"].get(state, 0) for state in COUNTED), "has_goal": live[row["flow"]].flow.goal is not None,
        }
        for row in found["flows"]
    ]  # fmt: skip
    return sheet(request, "flows", {"rows": rows})


def _flow(request: Request) -> Response:
    site: Site = request.app.state.site
    name, now, shop = request.path_params["flow"], site.now(), site.settings.shop
    with site.database.read() as connection:
        row = connection.execute(select(flows).where(flows.c.flow == name)).first()
        if row is None:
            raise HTTPException(404)
        flow = programs(connection, [row.version])[row.version].flow
        states = _states(connection, name)
        why = lost(connection, name)
        counts = counted(connection, name, why)
        entered = sum(number for state, number in states.items() if state != "held_out")
        values = {
            "flow": flow, "row": row, "states": states, "entered": entered, "funnel": funnel(connection, flow, states),
            "drawing": diagram(flow, counts, entered, states.get("completed", 0)), "lost": why,
            "listed": step_list(flow, counts, entered, states.get("completed", 0)),
            "left": left(connection, name), "versions": versions(connection, name),
            "arms": arms(connection, flow, now, shop.currency), "holdout": holdout(connection, name, now, shop.currency),
            "month": month(connection, name, now, shop.currency), "currency": shop.currency, "paused_all": rails.paused_all(connection),
            "changes": changes(connection, name),
        }  # fmt: skip
    return sheet(request, "flow", values)


def month(connection: Connection, name: str, now: datetime, currency: str) -> dict[str, Any]:
    """Return what four weeks brought: mails, who opened and clicked, and sales after a mail of this flow."""
    since = now - WEEKS
    found = sold(connection, since, now, currency).get(name, Sold())
    return {
        "opened": 0,
        "clicked": 0,
        **looked_at(connection, name, since),
        "orders": found.orders,
        "value": found.value,
    }


def _states(connection: Connection, name: str) -> dict[str, int]:
    own = enrollments.c
    query = select(own.state, func.count()).where(own.flow == name).group_by(own.state)
    return {state: number for state, number in connection.execute(query)}


def counted(connection: Connection, name: str, why: Sequence[tuple[str, str, str, int]]) -> dict[str, Counts]:
    """Return what is known of each step; `why` is what `lost` found."""
    own, told = enrollments.c, journal.c
    standing = select(own.position, func.count()).where(
        own.flow == name, own.state.in_(("active", "waiting"))
    )
    here = {step: number for step, number in connection.execute(standing.group_by(own.position)) if step}
    came: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    # Every word in the order of the index, so that the journal itself is not read.
    steps = select(told.decision, told.step, func.count()).where(
        told.flow == name, told.decision.in_((*_CAME, *_LOST)), told.step.is_not(None)
    )
    for decision, step, number in connection.execute(steps.group_by(told.decision, told.step)):
        (came if decision in _CAME else missed)[step] += number
    mails = select(messages.c.step, func.count()).where(
        messages.c.flow == name, messages.c.state.in_(COUNTED)
    )
    sent = {step: number for step, number in connection.execute(mails.group_by(messages.c.step))}
    reasons: dict[str, list[str]] = {}
    for step, decision, reason, number in why:
        if decision in _LOST:
            reasons.setdefault(step, []).append(
                f"{number:,}: {reason_words(reason) if reason else plain(decision)}"
            )
    return {
        step: Counts(
            here.get(step, 0), came[step], sent.get(step, 0), missed[step], tuple(reasons.get(step, ()))
        )
        for step in {*here, *came, *missed, *sent}
    }


def funnel(connection: Connection, flow: Flow, states: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the stages from the door to the goal, each with how many customers or entries came so far."""
    own, sent, name = enrollments.c, messages.c, flow.name
    refused = connection.scalar(
        select(func.count())
        .select_from(journal)
        .where(journal.c.flow == name, journal.c.decision == "refused")
    )
    entered = sum(number for state, number in states.items() if state != "held_out")
    mailed = connection.scalar(
        select(func.count(sent.enrollment_id.distinct())).where(sent.flow == name, sent.state.in_(COUNTED))
    )
    goal = connection.scalar(
        select(func.count()).where(own.flow == name, own.goal_at.is_not(None), own.state != "held_out")
    )
    stages = [
        ("came to the door", entered + states.get("held_out", 0) + (refused or 0)),
        ("entered", entered), ("got a mail", mailed or 0),
    ]  # fmt: skip
    return [*stages, ("reached the goal", goal or 0)] if flow.goal is not None else stages


def lost(connection: Connection, name: str) -> list[tuple[str, str, str, int]]:
    """Return where mails were put off or not sent: step, decision, reason and count."""
    told = journal.c
    query = (
        select(told.step, told.decision, told.reason, func.count())
        .where(told.flow == name, told.decision.in_((*_LOST, "refused", "deferred")))
        .group_by(told.step, told.decision, told.reason)
        .order_by(func.count().desc())
        .limit(30)
    )
    return [
        (step or "", decision, reason or "", number)
        for step, decision, reason, number in connection.execute(query)
    ]


def left(connection: Connection, name: str) -> list[tuple[str, int]]:
    """Return why customers left before the end, with counts."""
    own = enrollments.c
    query = select(own.left_reason, func.count()).where(own.flow == name, own.state.in_(("exited", "failed")))
    query = query.group_by(own.left_reason).order_by(func.count().desc()).limit(20)
    return [(reason or "", number) for reason, number in connection.execute(query)]


def versions(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Return every version of the flow, the newest first, with who is inside."""
    own = enrollments.c
    inside = func.sum(case((own.state.in_(("active", "waiting")), 1), else_=0))
    query = select(own.version, func.count(), inside).where(own.flow == name).group_by(own.version)
    known = {version: (number, within) for version, number, within in connection.execute(query)}
    rows = connection.execute(
        select(flow_versions.c.hash, flow_versions.c.created_at)
        .where(flow_versions.c.flow == name)
        .order_by(flow_versions.c.created_at.desc())
        .limit(20)
    )
    return [
        {"hash": row.hash, "at": row.created_at, "entered": known.get(row.hash, (0, 0))[0], "inside": known.get(row.hash, (0, 0))[1]}
        for row in rows
    ]  # fmt: skip


def changes(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Return who applied what of this flow, the newest first."""
    rows = connection.execute(select(applies).order_by(applies.c.id.desc()).limit(50))
    return [
        {"at": row.at, "who": row.who, "change": change.get("change", "")}
        for row in rows
        for change in row.changes
        if change.get("flow") == name
    ][:10]


# ── buttons ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _switch(request: Request, form: FormData) -> Response:
    """Pause the flow, or let it go on."""
    site: Site = request.app.state.site
    name, now = request.path_params["flow"], site.now()
    with site.database.write() as connection:
        if connection.execute(select(flows.c.flow).where(flows.c.flow == name)).first() is None:
            raise HTTPException(404)
        if form.get("do") == "pause":
            rails.pause(connection, name, now)
        elif form.get("do") == "resume":
            rails.resume(connection, name)
    log.info(
        "a flow was switched in the house", extra={"told": {"flow": name, "do": str(form.get("do"))[:10]}}
    )
    return RedirectResponse(house_path(request, f"flows/{name}"), 303)
