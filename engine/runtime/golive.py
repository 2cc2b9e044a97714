"""Going live: from the sandbox to customers, once for each installation.

Comes in: settings that say `mode = "live"`, and a database on real time. Goes out: what was checked, what was cancelled.
Promises: in one transaction the sandbox enrollments leave (`sandboxed`), what waits of them is dropped, and this
installation's fingerprint is stored; where anything is missing nothing is changed. Called again it changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from engine.diagnostics import Finding, has_errors
from engine.errors import FindingsError, UsageError
from engine.journeys import journal
from engine.outbox.ledger import drop_pending
from engine.runtime import problems, readiness, web_address
from engine.runtime.installation import LIVE_FINGERPRINT, fingerprint, on_virtual_clock
from engine.runtime.readiness import DnsRecord
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.dialect import among
from engine.store.tables import enrollments, messages

LIVE_SINCE = "live_since"
REASON = "sandboxed"
_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class WentLive:
    """What going live did; `since` is when this installation first was live, `already` whether it was before.

    `findings` are warnings: what is worth mending, and holds nothing up.
    """

    since: datetime
    already: bool
    enrollments: int
    messages: int
    dns: tuple[DnsRecord, ...]
    findings: tuple[Finding, ...] = ()


def go_live(
    settings: Settings, database: Database, now: datetime, environ: Mapping[str, str] = os.environ
) -> WentLive:
    """Leave the sandbox; raise FindingsError where something is missing, UsageError for a virtual database."""
    if on_virtual_clock(database):
        raise UsageError(
            "this database stands on a virtual clock and stays a sandbox for ever; make another one to go live"
        )
    if settings.delivery.mode != "live":
        raise FindingsError([problems.not_asked_to_be_live()])
    found = [*readiness.findings(settings, environ, live=True), *_links(settings, database)]
    if has_errors(found):
        raise FindingsError(found)
    dns = tuple(readiness.dns_records(settings))
    own = fingerprint(settings, database)
    with database.write() as connection:
        live_as = meta.get(connection, LIVE_FINGERPRINT)
        if live_as == own:
            since = datetime.fromisoformat(meta.get(connection, LIVE_SINCE))
            return WentLive(since, True, 0, 0, dns, tuple(found))
        left, dropped = _cancel(connection, _sandboxed(connection, ever_live=live_as is not None), now)
        meta.put(connection, LIVE_FINGERPRINT, own)
        meta.put(connection, LIVE_SINCE, now.isoformat())
    return WentLive(now, False, left, dropped, dns, tuple(found))


def _links(settings: Settings, database: Database) -> list[Finding]:
    """Return why links in mails would lead nowhere."""
    with database.write() as connection:
        meta.secret(connection)
        mark = web_address.installation(connection)
    return list(web_address.findings(settings, mark))


def _sandboxed(connection: Connection, *, ever_live: bool) -> list[Row[Any]]:
    """Return the enrollments that began in the sandbox.

    In a database that was never live that is everyone inside. One that was live elsewhere and moved here holds real
    enrollments: there only those leave of whom a mail went (or waits to go) into the sandbox.
    """
    own = enrollments.c
    query = select(own.id, own.flow, own.customer_id, own.position).where(
        own.state.in_(("active", "waiting"))
    )
    if ever_live:
        touched = select(messages.c.enrollment_id).where(messages.c.sandbox, messages.c.state != "dropped")
        query = query.where(own.id.in_(touched))
    return list(connection.execute(query.order_by(own.id)))


def _cancel(connection: Connection, rows: list[Row[Any]], now: datetime) -> tuple[int, int]:
    dropped = 0
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        ids = [row.id for row in part]
        connection.execute(
            update(enrollments)
            .where(among(connection, enrollments.c.id, ids))
            .values(state="exited", position=None, next_at=None, left_at=now, left_reason=REASON)
        )
        journal.write(
            connection,
            [
                journal.entry(
                    now, row.flow, row.customer_id, "exited", REASON, enrollment_id=row.id, step=row.position
                )
                for row in part
            ],
        )
        dropped += drop_pending(connection, dict.fromkeys(ids, REASON), now)
    return len(rows), dropped + _drop_orphans(connection, now)


def _drop_orphans(connection: Connection, now: datetime) -> int:
    """Drop what waits of enrollments that ended in the sandbox: their last mail is posted before they complete."""
    table = messages.c
    ids = list(
        connection.scalars(
            select(table.enrollment_id)
            .distinct()
            .where(table.state.in_(("pending", "claimed")), table.sandbox)
        )
    )
    return drop_pending(connection, dict.fromkeys(ids, REASON), now) if ids else 0
