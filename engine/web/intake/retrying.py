"""The raw inbox tried again, after a bug was mended or a payload corrected: what is understood now leaves it.

Comes in: a database. Goes out: how many were tried and how many remain. Each is taken in a transaction of its own, so that
one that still fails holds up nobody; what remains has a new reason and one more try.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select, update

from engine.feedback.sendgrid import events_of
from engine.feedback.settle import settle
from engine.journeys.versions import live_flows
from engine.runtime.work import listened_names
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import raw_inbox
from engine.web.intake.calls import Refused, calls_of, kept_by
from engine.web.intake.inbox import LONGEST_REASON, MOST, Unread
from engine.web.intake.shops import Delivery, take_body
from engine.web.intake.taking import take_calls

_CHUNK = 500

log = logging.getLogger("homing.web")


def retry(
    database: Database,
    settings: Settings,
    now: datetime,
    *,
    which: ColumnElement[bool] | None = None,
    most: int = MOST,
) -> tuple[int, int]:
    """Try everything again, or `which`, oldest first and `most` at once; return how many were tried and how many remain."""
    tried = remained = last = 0
    while True:
        wanted = select(raw_inbox).where(raw_inbox.c.id > last, *(() if which is None else (which,)))
        wanted = wanted.order_by(raw_inbox.c.id).limit(min(_CHUNK, most - tried))
        with database.read() as connection:
            rows = connection.execute(wanted).all()
        if not rows:
            return tried, remained
        last = rows[-1].id
        for row in rows:
            with database.write() as connection:
                remained += not _again(connection, settings, row, now)
            tried += 1


def _again(connection: Connection, settings: Settings, row: Row[Any], now: datetime) -> bool:
    """Try one; return whether it left the inbox."""
    savepoint = connection.begin_nested()
    try:
        aside = _take(connection, settings, row, now)
    except Exception as error:  # noqa: BLE001 - one that still fails must not stop the others
        log.error("a call could not be taken again", extra={"told": {"what": type(error).__name__}})
        aside = [Unread(row.source, row.topic, "failed here, by a mistake of ours: the log says more", "")]
    if not aside:
        savepoint.commit()
        connection.execute(delete(raw_inbox).where(raw_inbox.c.id == row.id))
        return True
    savepoint.rollback()
    tried = update(raw_inbox).where(raw_inbox.c.id == row.id)
    connection.execute(tried.values(tries=raw_inbox.c.tries + 1, reason=aside[0].reason[:LONGEST_REASON]))
    return False


def _take(connection: Connection, settings: Settings, row: Row[Any], now: datetime) -> Sequence[Unread]:
    if row.source == "segment":
        return _segment(connection, settings, row, now)
    if row.source == "sendgrid":
        events, unusable = events_of(row.payload.encode())
        senders = [each.email for each in (settings.sender, *settings.senders.values()) if each.email]
        settle(connection, events, now, listened_names(live_flows(connection).values()), senders)
        return [Unread("sendgrid", "", reason, "") for _, reason in unusable]
    delivery = Delivery(row.source, row.topic, (), row.payload.encode(), row.at)
    return take_body(connection, settings, delivery, now)


def _segment(connection: Connection, settings: Settings, row: Row[Any], now: datetime) -> Sequence[Unread]:
    """Take a call as it was received then: its time is in it, or it is that of the receipt, and its key may say as much."""
    told = json.loads(row.payload)
    key, may_grant = kept_by(told) if isinstance(told, dict) else ("", False)
    try:
        calls, unusable = calls_of("batch", {"batch": [told]}, row.at)
    except Refused as refusal:
        return [Unread("segment", "", refusal.reason, "")]
    if unusable:
        return [Unread("segment", "", unusable[0][1], "")]
    calls = [replace(call, key=key, may_grant=may_grant) for call in calls]
    return take_calls(connection, calls, settings, now)
