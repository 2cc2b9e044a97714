"""Visitors: what somebody did before anybody knew who it was, told again once that is known.

Comes in: calls in the order of their time. Goes out: the calls that belong to a customer now: those that name one, those of
a visitor who is known, and what had been held of a visitor who becomes known by a call that names both. What a visitor did
before is the first customer's who is named with it; on a shared device, what comes after is the next one's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select

from engine.store.bulk import insert_new
from engine.store.dialect import among, upsert
from engine.store.tables import held_facts, receipts, visitors
from engine.web.intake.calls import Call, as_kept, kept_by

KEPT = timedelta(days=30)
MOST_HELD = 1_000  # calls of one visitor that are told again


def known_calls(connection: Connection, calls: Sequence[Call], now: datetime) -> list[Call]:
    """Return the calls of customers, older ones that were held included; hold those of visitors."""
    named = {call.visitor for call in calls if call.visitor} | {
        call.previous for call in calls if call.previous
    }
    if not named:
        return list(calls)
    wanted = select(visitors.c.visitor, visitors.c.customer).where(
        among(connection, visitors.c.visitor, sorted(named))
    )
    who = {row.visitor: row.customer for row in connection.execute(wanted)}
    links: dict[str, str] = {}
    for call in calls:
        for visitor in (call.visitor, call.previous if call.type == "alias" else ""):
            if visitor and call.person and who.get(visitor) != call.person:
                links[visitor] = who[visitor] = call.person
    told, held = _sorted_out(calls, who)
    if links:
        rows = [{"visitor": visitor, "customer": customer, "at": now} for visitor, customer in links.items()]
        upsert(connection, visitors, rows, update=["customer", "at"])
        told = [*_claimed(connection, links), *told]
    _hold(connection, held, now)
    return sorted(told, key=lambda call: call.at)


def _sorted_out(calls: Sequence[Call], who: dict[str, str]) -> tuple[list[Call], list[Call]]:
    told: list[Call] = []
    held: list[Call] = []
    for call in calls:
        if call.person:
            told.append(call)
        elif call.visitor in who:
            told.append(as_customer(call, who[call.visitor]))
        else:
            held.append(call)
    return told, held


def as_customer(call: Call, customer: str) -> Call:
    """Return a visitor's call as that of a customer."""
    return replace(call, person=customer, content={**call.content, "userId": customer})


def _hold(connection: Connection, calls: Sequence[Call], now: datetime) -> None:
    rows = [
        {
            "visitor": call.visitor,
            "key": call.message_id or _hash(call),
            "at": now,
            "payload": as_kept(call.content, call.key, may_grant=call.may_grant),
        }
        for call in calls
    ]
    insert_new(connection, held_facts, rows)


def _hash(call: Call) -> str:
    words = json.dumps(call.content, sort_keys=True, ensure_ascii=False, default=str)
    return "#" + hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=12).hexdigest()


def _claimed(connection: Connection, links: dict[str, str]) -> list[Call]:
    """Take what was held of these visitors."""
    which = among(connection, held_facts.c.visitor, sorted(links))
    rows = connection.execute(select(held_facts).where(which).order_by(held_facts.c.id)).all()
    if not rows:
        return []
    connection.execute(delete(held_facts).where(which))
    counted: dict[str, int] = {}
    calls = []
    for row in rows:
        counted[row.visitor] = counted.get(row.visitor, 0) + 1
        if counted[row.visitor] <= MOST_HELD:
            calls.append(_call(row, links[row.visitor]))
    return calls


def _call(row: Any, customer: str) -> Call:
    content = {**row.payload, "userId": customer}
    key, may_grant = kept_by(content)
    at = datetime.fromisoformat(content["timestamp"])
    return Call(
        content["type"], at, customer, row.visitor, content.get("messageId", ""), content, "", key, may_grant
    )


def forget_old(connection: Connection, now: datetime) -> None:
    """Let go of what was held for a month, and of the ids of webhooks that nobody sends again."""
    connection.execute(delete(held_facts).where(held_facts.c.at < now - KEPT))
    connection.execute(delete(receipts).where(receipts.c.at < now - KEPT))
