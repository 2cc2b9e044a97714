"""Delivery events settle messages, suppress addresses, withdraw consents and pull the brake.

Comes in: events, inside a write transaction. Goes out: a count of what was new. Promises: an event told again changes
nothing; events may come in any order, a message only ever moves forward (unknown → accepted → delivered → bounced, failed);
what a machine did is kept and decides nothing; an event of a mail that is not ours speaks for its address alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from engine.facts import rights
from engine.facts.finding import find_customer
from engine.facts.profile import consent_standing
from engine.feedback import brake
from engine.feedback.event import SOFT_IN_A_ROW, DeliveryEvent, Kind
from engine.journeys import journal
from engine.outbox import own_facts
from engine.render.compose import message_id as message_id_of
from engine.store import meta
from engine.store.bulk import insert_new
from engine.store.dialect import among
from engine.store.tables import attempts, customers, delivery_events, messages, suppressions

LOOK_BACK = timedelta(days=30)  # a report of a mail server is about a mail of these days
SOON = timedelta(seconds=5)  # who clicks sooner after the delivery is a scanner
SOURCE = "mail provider"
_ORDER = ("handing_over", "unknown", "accepted", "delivered", "bounced")
_AFTER = {
    "processed": "accepted", "deferred": "accepted", "delivered": "delivered", "opened": "delivered", "clicked": "delivered",
    "complained": "delivered", "unsubscribed": "delivered", "bounced": "bounced", "dropped": "failed",
}  # fmt: skip
_DROPPED_FOR: Mapping[str, Kind] = {"unsubscribed": "unsubscribed", "spam report": "complained"}


def settle(
    connection: Connection, events: Sequence[DeliveryEvent], now: datetime, listened: Collection[str], senders: Sequence[str]
) -> Counter[str]:  # fmt: skip
    """Take events; return how many of each kind were new, and `foreign` ones.

    `listened` are the events that flows listen to; `senders` the addresses that mails come from, by which a Message-ID is
    recognised.
    """
    counts: Counter[str] = Counter()
    found = _messages(connection, events, now, senders)
    ours = [event for event in events if event.key in found]
    for event in events:
        if event.key not in found:
            counts["foreign"] += 1
            _for_address(connection, event, _owner(connection, event.address), None, now)
    machines = _by_machines(connection, ours, found)
    new = _write(connection, ours, found, machines)
    for event in new:
        counts[event.kind] += 1
    _advance(connection, new, found, now, listened)
    people = [event for event in new if event.kind in ("opened", "clicked") and event.key not in machines]
    own_facts.record(connection, [_looked_at(event, found[event.key]) for event in people], listened)
    for event in new:
        message = found[event.key]
        _for_address(connection, event, message.customer_id, message.topic, now)
    if any(event.kind == "complained" for event in new):
        brake.look(connection, now)
    return counts


# ── which message ────────────────────────────────────────────────────────────────────────────────────────────────────


def _messages(
    connection: Connection, events: Sequence[DeliveryEvent], now: datetime, senders: Sequence[str]
) -> dict[str, Row[Any]]:
    """Return for each event (by key) the message that it is about, where it is one of ours."""
    by_key = {event.message_key for event in events if event.message_key}
    rows = connection.execute(select(messages).where(among(connection, messages.c.key, sorted(by_key)))).all()
    known = {row.key: row for row in rows}
    found = {event.key: known[event.message_key] for event in events if event.message_key in known}
    for event in events:
        if event.key not in found and event.message_id and event.address:
            row = _by_message_id(connection, event, now, senders)
            if row is not None:
                found[event.key] = row
    return found


def _by_message_id(
    connection: Connection, event: DeliveryEvent, now: datetime, senders: Sequence[str]
) -> Row[Any] | None:
    """Return the message whose Message-ID came back, among the recent ones of the address's owner."""
    owner = _owner(connection, event.address)
    if owner is None:
        return None
    recent = select(messages).where(
        messages.c.customer_id == owner,
        messages.c.counted_at > now - LOOK_BACK,
        messages.c.channel == "email",
    )
    for row in connection.execute(recent):
        if any(message_id_of(row.key, sender) == event.message_id for sender in senders):
            return row
    return None


def _owner(connection: Connection, address: str) -> int | None:
    return find_customer(connection, address) if address else None


def _write(
    connection: Connection,
    events: Sequence[DeliveryEvent],
    found: Mapping[str, Row[Any]],
    machines: Collection[str],
) -> list[DeliveryEvent]:
    """Keep the events; return those that were not told before."""
    listed = list({event.key: event for event in events}.values())
    rows = [
        {
            "key": event.key, "message_id": found[event.key].id, "kind": event.kind, "at": event.at,
            "machine": event.key in machines, "raw": dict(event.raw),
        }
        for event in listed
    ]  # fmt: skip
    ids = insert_new(connection, delivery_events, rows)
    return [event for event, identity in zip(listed, ids, strict=True) if identity is not None]


def _by_machines(
    connection: Connection, events: Sequence[DeliveryEvent], found: Mapping[str, Row[Any]]
) -> frozenset[str]:
    """Return the keys of the events that no person made: flagged ones, and clicks right after the delivery."""
    clicked = sorted({found[event.key].id for event in events if event.kind == "clicked"})
    table = delivery_events.c
    wanted = select(table.message_id, table.at).where(
        among(connection, table.message_id, clicked), table.kind == "delivered"
    )
    delivered = {row.message_id: row.at for row in connection.execute(wanted)} if clicked else {}
    delivered |= {found[event.key].id: event.at for event in events if event.kind == "delivered"}
    machines = {event.key for event in events if event.machine}
    for event in events:
        at = delivered.get(found[event.key].id)
        if event.kind == "clicked" and at is not None and event.at - at < SOON:
            machines.add(event.key)
    return frozenset(machines)


# ── states ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _advance(
    connection: Connection, events: Sequence[DeliveryEvent], found: Mapping[str, Row[Any]], now: datetime, listened: Collection[str]
) -> None:  # fmt: skip
    """Move messages forward; one whose fate was unknown gets the fact of its sending now."""
    states = {found[event.key].id: found[event.key].state for event in events}
    sent: list[Mapping[str, Any]] = []
    for event in events:
        message = found[event.key]
        before, after = states[message.id], _AFTER.get(event.kind)
        if after is not None and _is_forward(before, after):
            states[message.id] = after
            _set(connection, message, event, before, after, now)
            if before in ("unknown", "handing_over") and after != "failed":
                sent.append(_mail_sent(message))
    own_facts.record(connection, sent, listened)


def _is_forward(before: str, after: str) -> bool:
    if after == "failed":
        return before in ("handing_over", "unknown", "accepted")
    return before in _ORDER and _ORDER.index(after) > _ORDER.index(before)


def _set(
    connection: Connection, message: Row[Any], event: DeliveryEvent, before: str, after: str, now: datetime
) -> None:
    values: dict[str, Any] = {"state": after, "settled_at": now, "lease_until": None}
    if after in ("bounced", "failed"):
        values["reason"] = event.reason or event.kind
    if before in ("unknown", "handing_over"):
        values |= {"accepted_at": message.counted_at or event.at, "reason": values.get("reason")}
        if event.provider_id and message.provider_id is None:
            values["provider_id"] = event.provider_id
    connection.execute(update(messages).where(messages.c.id == message.id).values(**values))
    if before == "unknown":
        outcome = "failed" if after == "failed" else "accepted"
        told = update(attempts).where(
            attempts.c.message_id == message.id,
            or_(attempts.c.outcome.is_(None), attempts.c.outcome == "unknown"),
        )
        connection.execute(told.values(outcome=outcome, detail=f"the provider told: {event.kind}"))
    if before == "unknown" or after in ("bounced", "failed"):
        what = "sent" if after in ("accepted", "delivered") else after
        entry = journal.entry(
            now, message.flow, message.customer_id, what, f"the provider told: {event.kind}",
            enrollment_id=message.enrollment_id, message_id=message.id, step=message.step,
        )  # fmt: skip
        journal.write(connection, [entry])


def _mail_sent(message: Row[Any]) -> dict[str, Any]:
    """Return the fact that dispatch writes where the answer came at once: the same key makes it one."""
    told = {
        "flow": message.flow, "step": message.step, "template": message.template, "topic": message.topic,
        "message": message.key,
    }  # fmt: skip
    at = message.counted_at or message.due_at
    return own_facts.fact(f"mail_sent:{message.id}", message.customer_id, "mail_sent", at, told)


def _looked_at(event: DeliveryEvent, message: Row[Any]) -> dict[str, Any]:
    told = {"flow": message.flow, "step": message.step, "topic": message.topic, "message": message.key}
    name = "mail_opened" if event.kind == "opened" else "mail_clicked"
    return own_facts.fact(f"{name}:{event.key}", message.customer_id, name, event.at, told)


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _for_address(
    connection: Connection, event: DeliveryEvent, customer_id: int | None, topic: str | None, now: datetime
) -> None:
    """Do what an event means for the address and its owner."""
    kind: Kind = event.kind
    if kind == "dropped":
        reason = event.reason.lower()
        kind = next((meaning for start, meaning in _DROPPED_FOR.items() if reason.startswith(start)), kind)
    if event.hard:
        _suppress(connection, event.address, customer_id, "all", "hard_bounce", now)
    elif kind == "bounced" and customer_id is not None and _is_too_soft(connection, customer_id):
        _suppress(connection, event.address, customer_id, "all", "soft_bounces", now)
    elif kind == "complained":
        _suppress(connection, event.address, customer_id, "marketing", "complaint", now)
        _consent(connection, customer_id, "all", "withdrawn", event, now)
    elif kind == "unsubscribed":
        _consent(connection, customer_id, topic or "all", "withdrawn", event, now)
    elif kind == "resubscribed" and topic is not None:
        _consent(connection, customer_id, topic, "granted", event, now)


def _consent(
    connection: Connection,
    customer_id: int | None,
    topic: str,
    state: Any,
    event: DeliveryEvent,
    now: datetime,
) -> None:
    if customer_id is None or not _is_there(connection, customer_id):
        return
    if consent_standing(connection, customer_id).get(topic) == state:
        return
    at = min(event.at, now)
    rights.record_consent(
        connection, customer_id, topic, state, now=now, at=at, source=f"{SOURCE}: {event.kind}"
    )


def _is_there(connection: Connection, customer_id: int) -> bool:
    wanted = select(customers.c.id).where(customers.c.id == customer_id, customers.c.erased_at.is_(None))
    return connection.execute(wanted).first() is not None


def _suppress(
    connection: Connection, address: str, customer_id: int | None, scope: Any, reason: str, now: datetime
) -> None:
    """Suppress an address; its owner's journeys end where it still is the address that they have."""
    wanted = select(customers.c.email).where(customers.c.id == customer_id)
    current = connection.scalar(wanted) if customer_id is not None else None
    if customer_id is not None and current is not None and address in ("", current):
        rights.suppress(connection, customer_id, now=now, scope=scope, reason=reason)
        return
    if address:
        hashed = meta.keyed_hash(meta.secret(connection), address)
        there = select(suppressions.c.id).where(
            suppressions.c.address_hash == hashed, suppressions.c.scope == scope
        )
        if connection.execute(there).first() is None:
            row = {"address_hash": hashed, "customer_id": None, "scope": scope, "reason": reason, "at": now}
            connection.execute(suppressions.insert(), [row])


def _is_too_soft(connection: Connection, customer_id: int) -> bool:
    """Return whether the last mails to a customer all bounced softly, without one that arrived between."""
    joined = delivery_events.join(messages, messages.c.id == delivery_events.c.message_id)
    newest = (
        select(delivery_events.c.kind)
        .select_from(joined)
        .where(messages.c.customer_id == customer_id, delivery_events.c.kind.in_(("bounced", "delivered")))
        .order_by(delivery_events.c.at.desc(), delivery_events.c.id.desc())
        .limit(SOFT_IN_A_ROW)
    )
    kinds = list(connection.scalars(newest))
    return len(kinds) == SOFT_IN_A_ROW and set(kinds) == {"bounced"}
