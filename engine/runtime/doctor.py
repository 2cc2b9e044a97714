"""The doctor: settings, provider, database, clocks, what is stopped, and whether the data hold what they must.

Comes in: settings, the environment, the present. Goes out: a `Diagnosis`: findings, DNS records to set, and what was
looked at. Promises: it repairs nothing; each invariant is one statement over the whole table; no
address and no secret stands in what it says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, and_, exists, func, or_, select, text

from engine.calendar import is_zone
from engine.diagnostics import Finding, Severity, has_errors
from engine.errors import OutsideError
from engine.journeys.versions import live_flows
from engine.offers.pools import pools_left
from engine.runtime import problems, rails, readiness
from engine.runtime.applied import STAMP, applied_sources
from engine.runtime.installation import on_virtual_clock, why_sandbox
from engine.runtime.leader import LEADER
from engine.runtime.nightly import JOURNAL_DAYS
from engine.runtime.readiness import DnsRecord
from engine.runtime.work import held_back
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.marks import TICK, marked
from engine.store.migrate import check
from engine.store.tables import (
    attempts,
    customers,
    enrollments,
    fact_inbox,
    flows,
    journal,
    leases,
    messages,
    quarantine,
    suppressions,
)

ENROLLMENT_STATES = ("active", "waiting", "completed", "exited", "held_out", "failed")
MESSAGE_STATES = (
    "pending", "claimed", "handing_over", "accepted", "delivered", "bounced", "failed", "dropped", "unknown",
)  # fmt: skip
LIVE = ("active", "waiting")
ACCEPTED = ("accepted", "delivered", "bounced")
SILENCE = timedelta(minutes=2)
IN_PASSING = timedelta(minutes=5)  # what happens between two commits is no mistake yet
DRIFT_WORTH_A_WORD, DRIFT_TOO_MUCH = 2.0, 30.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the doctor found; `looked_at` names what could be looked at."""

    findings: tuple[Finding, ...]
    dns: tuple[DnsRecord, ...]
    looked_at: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing keeps mails from going out as promised."""
        return not has_errors(self.findings)


def examine(
    settings: Settings,
    machine_now: datetime,
    environ: Mapping[str, str] = os.environ,
    database: Database | None = None,
) -> Diagnosis:
    """Look at everything; the database is opened (and closed) here unless one is given."""
    found = [
        *settings.findings,
        *readiness.findings(settings, environ, live=settings.delivery.mode == "live"),
    ]
    looked_at = ["settings", "provider"]
    opened = database
    try:
        opened = database or connect(settings.database_url, settings.root)
        found += _database(opened, settings, machine_now, looked_at)
    except OutsideError as error:
        found.append(problems.database_away(str(error)))
    finally:
        if opened is not None and database is None:
            opened.close()
    return Diagnosis(tuple(found), tuple(readiness.dns_records(settings)), tuple(looked_at))


def _database(
    database: Database, settings: Settings, machine_now: datetime, looked_at: list[str]
) -> list[Finding]:
    status = check(database)
    found = list(_durability(database))
    looked_at += ["durability", "schema"]
    if status.empty:
        return found  # the first command that needs it makes the tables
    if status.behind or not status.known:
        return [*found, problems.database_behind(str(status), status.advice)]
    virtual = on_virtual_clock(database)
    with database.read() as connection:
        found += _clock(connection, machine_now)
        found += _stopped(connection, machine_now)
        found += _held_back(connection, settings)
        found += _zones(connection, settings.shop.timezone)
        if not virtual:
            found += _beats(connection, machine_now)
        found += invariants(connection, machine_now)
    looked_at += ["clock", "beats", "data"]
    if settings.delivery.mode == "live" and (reason := why_sandbox(settings, database)) is not None:
        found.append(problems.still_sandbox(reason))
    return found


# ── the database itself ──────────────────────────────────────────────────────────────────────────────────────────────


def _durability(database: Database) -> Iterator[Finding]:
    with database.read() as connection:
        if database.is_sqlite:
            yield from _sqlite(connection)
            return
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            value = str(connection.scalar(text("SELECT current_setting(:name)"), {"name": setting}))
            # remote_apply waits for even more than on does.
            if value not in ("on", "remote_apply"):
                yield problems.not_durable(setting, value, "on")


def _sqlite(connection: Connection) -> Iterator[Finding]:
    mode = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
    if mode not in ("wal", "memory"):
        yield problems.not_durable("journal_mode", mode, "WAL")
    synchronous = int(connection.exec_driver_sql("PRAGMA synchronous").scalar() or 0)
    if synchronous < 2:
        yield problems.not_durable("synchronous", ("OFF", "NORMAL")[synchronous], "FULL")
    damage = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(3)").all()]
    if damage != ["ok"]:
        yield problems.file_damaged(damage[0])


def _clock(connection: Connection, machine_now: datetime) -> Iterator[Finding]:
    if connection.dialect.name == "sqlite":
        return
    theirs = connection.scalar(text("SELECT clock_timestamp()"))
    drift = abs((theirs - machine_now).total_seconds()) if theirs is not None else 0.0
    if drift > DRIFT_WORTH_A_WORD:
        yield problems.clocks_differ(drift, "error" if drift > DRIFT_TOO_MUCH else "warning")


# ── what is stopped ──────────────────────────────────────────────────────────────────────────────────────────────────


def _beats(connection: Connection, machine_now: datetime) -> Iterator[Finding]:
    last = marked(connection, TICK)
    silent = last is None or machine_now - last > SILENCE
    led = connection.scalar(
        select(leases.c.owner).where(leases.c.name == LEADER, leases.c.until > machine_now)
    )
    due = messages.c.state == "pending"
    waiting = _count(
        connection, select(messages.c.id).where(due, messages.c.try_at < machine_now - IN_PASSING)
    )
    unread = connection.scalar(select(fact_inbox.c.id).limit(1)) is not None
    if not silent:
        return
    since = (
        "nothing has ever looked at what is due"
        if last is None
        else f"the last tick was at {last:%Y-%m-%d %H:%M:%S} UTC"
    )
    if led:
        severity: Severity = "error" if last is not None else "warning"
        yield problems.no_beat(f"a daemon holds the lease and does not beat: {since}", severity)
    elif waiting or unread:
        yield problems.no_beat(f"{since}, and {waiting:,} messages are due", "warning")


def _stopped(connection: Connection, machine_now: datetime) -> Iterator[Finding]:
    if rails.paused_all(connection):
        yield problems.paused("everything")
    for row in connection.execute(select(flows).where(flows.c.active).order_by(flows.c.flow)):
        if row.paused_at is not None:
            yield problems.paused(row.flow)
        if row.frozen_at is not None:
            yield problems.frozen(row.flow, row.frozen_reason or "failed")
    kinds = (
        select(quarantine.c.kind, func.count())
        .where(quarantine.c.resolved_at.is_(None))
        .group_by(quarantine.c.kind)
    )
    for kind, count in connection.execute(kinds):
        yield problems.quarantined(kind, count)
    for pool in pools_left(connection, applied_sources(connection, meta.get(connection, STAMP)).offers):
        if pool.runs_low:
            yield problems.pool_runs_low(pool.offer, pool.free)
    if unknown := _count(connection, select(messages.c.id).where(messages.c.state == "unknown")):
        yield problems.unknown_messages(unknown)
    held = messages.c.state.in_(("claimed", "handing_over")) & (messages.c.lease_until < machine_now)
    if expired := _count(connection, select(messages.c.id).where(held)):
        yield problems.expired_leases(expired)


def _held_back(connection: Connection, settings: Settings) -> Iterator[Finding]:
    for name, missing in held_back(live_flows(connection), settings).items():
        yield problems.exclusion_not_applied(name, _quoted(missing))


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(f'"{name}"' for name in names)


def _zones(connection: Connection, shop_zone: str) -> Iterator[Finding]:
    """Yield who is on another clock than their own: zones that this machine does not know, customers without one."""
    there = customers.c.erased_at.is_(None)
    query = select(customers.c.zone, func.count()).where(there).group_by(customers.c.zone)
    found = connection.execute(query.order_by(customers.c.zone)).all()
    for zone, count in found:
        if zone is not None and not is_zone(zone):
            yield problems.zone_not_known(zone, count)
        elif zone is None and len(found) > 1:  # where nobody has a zone, the shop sells in its own
            yield problems.zone_not_told(count, shop_zone)


# ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────────


def invariants(connection: Connection, machine_now: datetime) -> Iterator[Finding]:
    """Yield a finding for each thing in the data that does not hold and always must, with how many there are."""
    for what, query in {
        **_of_enrollments(machine_now),
        **_of_messages(),
        **_of_customers(machine_now),
    }.items():
        if count := _count(connection, query):
            yield problems.broken(what, count)


def _of_enrollments(machine_now: datetime) -> dict[str, Select[tuple[int]]]:
    own = enrollments.c
    inside, told = own.state.in_(LIVE), journal.c
    entered = exists().where(
        told.enrollment_id == own.id, told.customer_id == own.customer_id, told.flow == own.flow,
        told.decision.in_(("entered", "held_out")),
    )  # fmt: skip
    kept = own.entered_at > machine_now - timedelta(days=JOURNAL_DAYS - 1)
    return {
        "enrollments in no known state (entered is not the sum of the states)": select(own.id).where(
            own.state.not_in(ENROLLMENT_STATES)
        ),
        "enrollments that are inside and have no moment to look again": select(own.id).where(
            inside, own.next_at.is_(None)
        ),
        "enrollments that left and have no moment of leaving": select(own.id).where(
            own.state.in_(("completed", "exited", "failed")), own.left_at.is_(None)
        ),
        "enrollments that entered without a decision in the journal": select(own.id).where(kept, ~entered),
    }


def _of_messages() -> dict[str, Select[tuple[int]]]:
    own, tried = messages.c, attempts.c
    accepted = exists().where(tried.message_id == own.id, tried.outcome == "accepted")
    by_hand = func.coalesce(own.reason, "") == "settled by hand"
    twice = (
        select(tried.message_id)
        .where(tried.outcome == "accepted")
        .group_by(tried.message_id)
        .having(func.count() > 1)
    )
    begun = exists().where(tried.message_id == own.id)
    left = exists().where(enrollments.c.id == own.enrollment_id, enrollments.c.state == "exited")
    return {
        "messages in no known state": select(own.id).where(own.state.not_in(MESSAGE_STATES)),
        "messages accepted twice": twice,
        "accepted messages without an accepted attempt": select(own.id).where(
            own.state.in_(ACCEPTED), ~accepted, ~by_hand, ~exists().where(tried.message_id == own.id, tried.outcome == "unknown")
        ),
        "messages handed over without an attempt": select(own.id).where(
            own.state.in_(("handing_over", "unknown", *ACCEPTED)), ~begun, ~by_hand
        ),
        "dropped messages without a reason": select(own.id).where(own.state == "dropped", own.reason.is_(None)),
        "messages that wait though their customer left the flow": select(own.id).where(own.state == "pending", left),
        "messages held by nobody": select(own.id).where(
            own.state.in_(("claimed", "handing_over")), or_(own.claimed_by.is_(None), own.lease_until.is_(None))
        ),
    }  # fmt: skip


def _of_customers(machine_now: datetime) -> dict[str, Select[tuple[int]]]:
    own = messages.c
    since = machine_now - IN_PASSING
    suppressed = exists().where(
        suppressions.c.customer_id == own.customer_id, suppressions.c.at < since,
        or_(suppressions.c.scope == "all", own.kind == "marketing"),
    )  # fmt: skip
    erased = exists().where(customers.c.id == own.customer_id, customers.c.erased_at < since)
    unread = exists().where(fact_inbox.c.id.is_not(None))
    return {
        "messages that wait for suppressed customers": select(own.id).where(
            and_(own.state == "pending", suppressed, ~unread)
        ),
        "messages that wait for erased customers": select(own.id).where(own.state == "pending", erased),
    }


def _count(connection: Connection, query: Select[tuple[int]]) -> int:
    return connection.scalar(select(func.count()).select_from(query.subquery())) or 0
