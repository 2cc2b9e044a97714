"""The rights of the person: to consent and withdraw, not to be mailed, and to be forgotten.

Everything here happens at once and in the caller's write transaction, under the facts' and the customer's lock: when
it commits, no hand-over begins any more. Erasing leaves keyed hashes of the ids and the address, by which later files
about that person are recognised and dropped; the person's orders stay as anonymous sales.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

from sqlalchemy import Connection, delete, func, or_, select, update

from engine.errors import UsageError
from engine.facts.fact import BadRow
from engine.facts.fields import Reading
from engine.facts.leaving import drop_messages, end_enrollments, live_enrollments
from engine.facts.normalise import normalise
from engine.facts.people import lock_customers, lock_facts
from engine.facts.project import project
from engine.facts.raised import Told
from engine.store import meta
from engine.store.dialect import insert_new
from engine.store.tables import (
    arrivals,
    cart_lines,
    carts,
    consent_state,
    consents,
    customer_ids,
    customer_scores,
    customers,
    delivery_events,
    enrollments,
    erased,
    events,
    fact_inbox,
    flow_versions,
    held_facts,
    journal,
    messages,
    orders,
    quarantine,
    raw_inbox,
    segment_members,
    staged_facts,
    suppressions,
    timers,
    visitors,
)

Scope = Literal["all", "marketing"]
_KINDS: Mapping[Scope, tuple[str, ...]] = {"all": ("marketing", "transactional"), "marketing": ("marketing",)}


def lock(connection: Connection, customer_id: int) -> None:
    """Take the lock under which a customer's gate is asked; opt-outs take it too."""
    lock_facts(connection)
    lock_customers(connection, [customer_id])


def record_consent(
    connection: Connection,
    customer_id: int,
    topic: str,
    state: Literal["granted", "withdrawn", "pending"],
    *,
    now: datetime,
    at: datetime | None = None,
    basis: Literal["opt_in", "soft_opt_in"] = "opt_in",
    source: str | None = None,
    wording: str | None = None,
) -> None:
    """Take a customer's own word on a topic (or `all`): ledger, state and event, as for any consent fact."""
    wanted = select(customers.c.external_id, customers.c.email).where(customers.c.id == customer_id)
    external_id, address = connection.execute(wanted).one()
    row = {
        "customer": external_id or address,
        "topic": topic,
        "state": state,
        "basis": basis,
        "at": at or now,
    }
    row |= {"source": source, "wording": wording}
    told = {name: value for name, value in row.items() if value is not None}
    facts = normalise("consents", told, Reading("UTC", now))
    if isinstance(facts, BadRow):
        raise UsageError(f"the consent cannot be recorded: {facts.column} {facts.reason}")
    project(connection, [Told(fact, min(fact.at or now, now), now) for fact in facts], "")


def suppress(
    connection: Connection, customer_id: int, *, now: datetime, scope: Scope = "all", reason: str = "asked"
) -> None:
    """Never mail a customer again (`all`), or no marketing: live enrollments end, waiting messages are dropped."""
    lock(connection, customer_id)
    address: str | None = connection.scalar(select(customers.c.email).where(customers.c.id == customer_id))
    hashed = meta.keyed_hash(meta.secret(connection), address or f"customer:{customer_id}")
    row = {"address_hash": hashed, "customer_id": customer_id, "scope": scope, "reason": reason, "at": now}
    insert_new(connection, suppressions, [row])
    _leave(connection, customer_id, now, scope)


def _leave(
    connection: Connection, customer_id: int, now: datetime, scope: Scope, reason: str = "suppressed"
) -> None:
    live = live_enrollments(connection, customer_id)
    versions = select(flow_versions.c.hash, flow_versions.c.definition).where(
        flow_versions.c.hash.in_({hash_ for _, hash_ in live})
    )
    kinds = {hash_: definition.get("kind", "marketing") for hash_, definition in connection.execute(versions)}
    ending = [enrollment for enrollment, version in live if kinds[version] in _KINDS[scope]]
    if ending:
        end_enrollments(connection, ending, now, reason, dropped="suppressed")
    drop_messages(connection, customer_id, now, "suppressed", _KINDS[scope])


def erase(connection: Connection, customer_id: int, *, now: datetime) -> None:
    """Forget a person: everything personal goes, and what later files tell about them is dropped."""
    lock(connection, customer_id)
    row = connection.execute(
        select(customers.c.external_id, customers.c.email).where(customers.c.id == customer_id)
    ).one()
    others = connection.scalars(
        select(customer_ids.c.external_id).where(customer_ids.c.customer_id == customer_id)
    )
    names = {name for name in (*row, *others) if name}
    key = meta.secret(connection)
    insert_new(
        connection, erased, [{"hash": meta.keyed_hash(key, name), "at": now} for name in sorted(names)]
    )
    _leave(connection, customer_id, now, "all")
    _forget_facts(connection, customer_id, names)
    _forget_story(connection, customer_id)
    blank = {column.name: None for column in customers.c if column.nullable}
    kept = {"erased_at": now, "orders": 0, "spent": Decimal(0)}
    connection.execute(update(customers).where(customers.c.id == customer_id).values({**blank, **kept}))


def _forget_facts(connection: Connection, customer_id: int, names: set[str]) -> None:
    """Delete what was told about the person; orders stay, as sales to nobody."""
    happened = select(events.c.id).where(events.c.customer_id == customer_id)
    for waiting in (fact_inbox, arrivals):
        connection.execute(delete(waiting).where(waiting.c.event_id.in_(happened)))
    theirs = select(carts.c.cart_id).where(carts.c.customer_id == customer_id)
    connection.execute(delete(cart_lines).where(cart_lines.c.cart_id.in_(theirs)))
    for table in (
        carts,
        events,
        consents,
        consent_state,
        timers,
        segment_members,
        customer_scores,
        customer_ids,
    ):
        connection.execute(delete(table).where(table.c.customer_id == customer_id))
    anonymous = {"customer_id": None, "shipments": None, "refunds": None, "returns": None, "properties": None}
    connection.execute(update(orders).where(orders.c.customer_id == customer_id).values(anonymous))
    known = select(visitors.c.visitor).where(visitors.c.customer.in_(sorted(names)))
    connection.execute(delete(held_facts).where(held_facts.c.visitor.in_(known)))
    connection.execute(delete(visitors).where(visitors.c.customer.in_(sorted(names))))
    for name in sorted(names):
        # An id of a few digits would be found in everything; an address never is by accident.
        part = name.lower() if "@" in name else f'"{name.lower()}"'
        connection.execute(
            delete(raw_inbox).where(func.lower(raw_inbox.c.payload).contains(part, autoescape=True))
        )
    payload = staged_facts.c.payload
    named = or_(
        *(payload[name].as_string().in_(sorted(names)) for name in ("customer", "external_id", "email"))
    )
    connection.execute(delete(staged_facts).where(named))
    connection.execute(
        delete(quarantine).where(
            quarantine.c.kind == "customer", quarantine.c.subject.in_([*sorted(names), str(customer_id)])
        )
    )


def _forget_story(connection: Connection, customer_id: int) -> None:
    """Empty what the engine wrote about the person; that something was sent, and why, stays as numbers."""
    theirs = select(messages.c.id).where(messages.c.customer_id == customer_id)
    connection.execute(
        update(delivery_events).where(delivery_events.c.message_id.in_(theirs)).values(raw=None)
    )
    connection.execute(
        update(messages).where(messages.c.customer_id == customer_id).values(subject=None, content=None)
    )
    connection.execute(update(enrollments).where(enrollments.c.customer_id == customer_id).values(context={}))
    connection.execute(update(journal).where(journal.c.customer_id == customer_id).values(detail=None))
