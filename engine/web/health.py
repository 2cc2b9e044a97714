"""`/healthz`, `/readyz`, `/metrics`: for load balancers and Prometheus. No customer and no secret in any of them.

`/healthz` says that this program answers, and which installation it is of (a hash), by which `homing live` recognises its
own web address. `/readyz` asks the database. `/metrics` counts what is queued, sent and late; behind a proxy keep it inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from threading import Lock

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engine.clock import machine_seconds
from engine.feedback import brake
from engine.runtime.web_address import installation
from engine.store import meta
from engine.store.marks import TICK, marked
from engine.store.tables import (
    delivery_events,
    fact_inbox,
    held_facts,
    marks,
    messages,
    quarantine,
    raw_inbox,
)
from engine.web.site import Site


def routes() -> list[Route]:
    """Return the routes of operation."""
    return [Route("/healthz", _health), Route("/readyz", _ready), Route("/metrics", _metrics)]


async def _health(request: Request) -> Response:
    site: Site = request.app.state.site

    def look() -> str:
        with site.database.read() as connection:
            return installation(connection)

    try:
        return JSONResponse({"status": "ok", "homing": await run_in_threadpool(look)})
    except DBAPIError:
        return JSONResponse({"status": "ok"})  # this program answers; whether it can work is readyz's


async def _ready(request: Request) -> Response:
    site: Site = request.app.state.site

    def ask() -> None:
        with site.database.read() as connection:
            connection.execute(select(marks.c.name).limit(1)).first()

    try:
        await run_in_threadpool(ask)
    except DBAPIError:
        return JSONResponse({"status": "the database does not answer"}, 503)
    return JSONResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    site: Site = request.app.state.site

    def read() -> str:
        seldom: Seldom = request.app.state.seldom
        with site.database.read() as connection:
            slow = seldom.get(lambda: [*_tables(connection)])
            lines = [*_lines(connection, site.now()), *slow, *request.app.state.counts.lines()]
            return "\n".join(lines) + "\n"

    return PlainTextResponse(
        await run_in_threadpool(read), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"}
    )


class Seldom:
    """What takes its time, made anew when it is older than a minute and fifty times as old as it took."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds, self._lock = seconds, Lock()
        self._kept: list[str] = []
        self._good_until = 0.0

    def get(self, make: Callable[[], list[str]]) -> list[str]:
        """Return the lines; only one caller at a time makes them."""
        with self._lock:
            started = machine_seconds()
            if started >= self._good_until:
                self._kept = make()
                took = machine_seconds() - started
                self._good_until = started + max(self._seconds, 50 * took)
            return self._kept


def _lines(connection: Connection, now: datetime) -> Iterator[str]:
    last = marked(connection, TICK)
    lag = (now - last).total_seconds() if last is not None else -1
    yield from _one(
        "homing_tick_lag_seconds", "gauge", "Seconds since the daemon's last tick; -1 before the first", lag
    )
    due = select(func.count(), func.min(messages.c.try_at)).where(
        messages.c.state == "pending", messages.c.try_at <= now
    )
    count, oldest = connection.execute(due).one()
    yield from _one("homing_queue_due", "gauge", "Messages that are due now", count)
    age = (now - oldest).total_seconds() if oldest is not None else 0
    yield from _one("homing_queue_age_seconds", "gauge", "How long the oldest due message waits", age)
    for table, name, words in (
        (fact_inbox, "homing_unread_facts", "Facts that no tick has looked at"),
        (held_facts, "homing_held_facts", "Facts of visitors who are not known yet"),
        (raw_inbox, "homing_raw_inbox", "Requests that could not be understood"),
    ):
        yield from _one(name, "gauge", words, connection.scalar(select(func.count()).select_from(table)) or 0)
    found = brake.complaints(connection, now)
    yield from _one(
        "homing_complaint_rate", "gauge", "Complaints of 7 days by mails delivered; 0.003 stops", found.rate
    )
    waiting = (
        select(quarantine.c.kind, func.count())
        .where(quarantine.c.resolved_at.is_(None))
        .group_by(quarantine.c.kind)
    )
    rows = connection.execute(waiting).all()
    if rows:
        yield from _head("homing_quarantine", "gauge", "What was set aside")
        yield from (f'homing_quarantine{{kind="{_label(kind)}"}} {number}' for kind, number in rows)

    hit = meta.get(connection, meta.MAILS_FILLED)
    if hit is not None:
        words = "Share of mails that were made from a structure known before, in the daemon"
        yield from _one("homing_mail_cache_hit_ratio", "gauge", words, float(hit))


def _tables(connection: Connection) -> Iterator[str]:
    """Yield what is counted over whole tables."""
    yield from _by(
        connection, "homing_messages", "Messages by state and reason", messages.c.state, messages.c.reason
    )
    yield from _by(
        connection,
        "homing_delivery_events",
        "Events of providers and of our own links, by kind and whether a machine made them",
        delivery_events.c.kind,
        delivery_events.c.machine,
    )


def _one(name: str, kind: str, words: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, words)
    yield f"{name} {value}"


def _by(connection: Connection, name: str, words: str, *columns: object) -> Iterator[str]:
    rows = connection.execute(select(*columns, func.count()).group_by(*columns)).all()  # type: ignore[call-overload]
    yield from _head(name, "gauge", words)
    counted: dict[str, int] = {}
    for *values, count in rows:
        named = zip((column.name for column in columns), values, strict=True)  # type: ignore[attr-defined]
        labels = ",".join(f'{label}="{_label(value)}"' for label, value in named)
        counted[labels] = counted.get(labels, 0) + count
    yield from (f"{name}{{{labels}}} {count}" for labels, count in sorted(counted.items()))


def _head(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP {name} {words}", f"# TYPE {name} {kind}"


def _label(value: object) -> str:
    """Return a label's value: the reason's first words only, since the rest differs from message to message."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value or "").partition(":")[0][:60]
    return text.replace("\\", "").replace('"', "").replace("\n", " ")
