"""Status: what is going on, in one look: flows, who is inside, the queue, lags, what is stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from engine.delivery.outcome import for_a_log, plain
from engine.journeys.versions import live_flows
from engine.runtime import rails
from engine.runtime.leader import LEADER, living_daemons
from engine.runtime.nightly import failures
from engine.runtime.work import exclusion_sentence, held_back
from engine.settings import Settings
from engine.store import meta
from engine.store.marks import NIGHT, TICK, marked
from engine.store.tables import (
    arrivals,
    attempts,
    customers,
    enrollments,
    events,
    fact_inbox,
    flows,
    leases,
    messages,
    quarantine,
    staged_facts,
)

LAST_ATTEMPTS = 100
"""So many of the newest hand-overs tell how the provider is."""


def status(
    connection: Connection,
    now: datetime,
    *,
    sandbox: bool,
    why_sandbox: str | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Return the state of the installation as plain data; `why_sandbox` says why it is not live.

    With `settings` a flow's `held` says why it waits though nobody stopped it.
    """
    return {
        "now": now,
        "virtual": meta.virtual_now(connection) is not None,
        "mode": "sandbox" if sandbox else "live",
        "sandbox_because": why_sandbox,
        "paused": rails.paused_all(connection),
        "customers": _count(connection, customers),
        "messages": _by_state(connection),
        "flows": _flows(connection, _held(connection, settings)),
        "queue": _queue(connection, now),
        "provider": _provider(connection, settings),
        "quarantine": _quarantine(connection),
        "daemon": _daemon(connection, now),
        "nightly": _nightly(connection),
    }


def _count(connection: Connection, table: Any) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _by_state(connection: Connection) -> dict[str, int]:
    query = select(messages.c.state, func.count()).group_by(messages.c.state).order_by(messages.c.state)
    return {row[0]: row[1] for row in connection.execute(query)}


def _held(connection: Connection, settings: Settings | None) -> dict[str, str]:
    if settings is None or not settings.policy.exclude:
        return {}
    held = held_back(live_flows(connection), settings)
    return {flow: exclusion_sentence(names) for flow, names in held.items()}


def _flows(connection: Connection, held: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return each applied flow with its enrollments by state and by the step they stand at, and its messages."""
    states: dict[str, dict[str, int]] = {}
    steps: dict[str, dict[str, int]] = {}
    query = select(
        enrollments.c.flow, enrollments.c.version, enrollments.c.state, enrollments.c.position, func.count()
    ).group_by(enrollments.c.flow, enrollments.c.version, enrollments.c.state, enrollments.c.position)
    for flow, _version, state, position, count in connection.execute(query):
        own = states.setdefault(flow, {})
        own[state] = own.get(state, 0) + count
        if state in ("active", "waiting"):
            at_step = steps.setdefault(flow, {})
            at_step[position or "end"] = at_step.get(position or "end", 0) + count
    sent: dict[str, dict[str, int]] = {}
    counts = select(messages.c.flow, messages.c.state, func.count()).group_by(
        messages.c.flow, messages.c.state
    )
    for flow, state, count in connection.execute(counts):
        sent.setdefault(flow, {})[state] = count
    return [
        {
            "flow": row.flow,
            "version": row.version,
            "active": row.active,
            "applied_at": row.applied_at,
            "paused": row.paused_at is not None,
            "frozen": row.frozen_reason if row.frozen_at is not None else None,
            "held": held.get(row.flow),
            "enrollments": dict(sorted(states.get(row.flow, {}).items())),
            "steps": dict(sorted(steps.get(row.flow, {}).items())),
            "messages": dict(sorted(sent.get(row.flow, {}).items())),
        }
        for row in connection.execute(select(flows).order_by(flows.c.flow))
    ]


def _queue(connection: Connection, now: datetime) -> dict[str, Any]:
    pending = messages.c.state == "pending"
    due = select(func.count(), func.min(messages.c.try_at)).where(pending, messages.c.try_at <= now)
    count, oldest = connection.execute(due).one()
    deferred = select(func.count()).select_from(messages).where(pending, messages.c.try_at > now)
    last_event = connection.scalar(select(func.max(events.c.id)))
    return {
        "due": count,
        "oldest_seconds": (now - oldest).total_seconds() if oldest is not None else 0,
        "later": connection.scalar(deferred) or 0,
        "unread_facts": _count(connection, fact_inbox),
        "kept_for_closed_flows": _count(connection, arrivals),
        "staged_facts": _count(connection, staged_facts),
        "events": last_event or 0,
    }


def _provider(connection: Connection, settings: Settings | None) -> dict[str, Any]:
    """Return what the provider said to the newest hand-overs: how many by outcome, and the last word of all."""
    own = attempts.c
    query = (
        select(own.outcome, own.detail, own.finished_at)
        .where(own.outcome.is_not(None))
        .order_by(own.id.desc())
        .limit(LAST_ATTEMPTS)
    )
    newest = connection.execute(query).all()
    last = newest[0] if newest else None
    return {
        "name": settings.delivery.provider if settings is not None else None,
        "last": {
            "at": last.finished_at,
            "outcome": last.outcome,
            "reason": for_a_log(plain(last.detail)) if last.detail else None,
        }
        if last is not None
        else None,
        "newest": dict(sorted(Counter(row.outcome for row in newest).items())),
    }


def _quarantine(connection: Connection) -> dict[str, int]:
    query = (
        select(quarantine.c.kind, func.count())
        .where(quarantine.c.resolved_at.is_(None))
        .group_by(quarantine.c.kind)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _daemon(connection: Connection, now: datetime) -> dict[str, Any]:
    lease = connection.execute(select(leases).where(leases.c.name == LEADER, leases.c.until > now)).first()
    last = marked(connection, TICK)
    return {
        "leader": lease.owner if lease is not None else None,
        "lease_until": lease.until if lease is not None else None,
        "daemons": living_daemons(connection, now),
        "last_tick": last,
    }


def _nightly(connection: Connection) -> dict[str, Any]:
    """Return when the night's work was done last, and the parts of it that failed and are tried again."""
    failed = [
        {"part": part, "reason": each.reason, "tries": each.tries, "again_at": each.again_at}
        for part, each in failures(connection).items()
    ]
    return {"last": marked(connection, NIGHT), "failed": failed}
