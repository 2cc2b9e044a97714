"""The rights of the person: find, show, export, erase, suppress, and record a consent.

Everything here happens at once and in the caller's write transaction, under the facts' and the customer's lock: when
it commits, no hand-over begins any more. Erasing leaves keyed hashes of the ids and the address, by which later files
about that person are recognised and dropped; the person's orders stay as anonymous sales.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal

from sqlalchemy import Connection, Table, delete, func, or_, select, update

from engine.errors import UsageError
from engine.facts.days import value_of
from engine.facts.fact import BadRow, iso, plain_number
from engine.facts.fields import Reading, normal_email
from engine.facts.leaving import drop_messages, end_enrollments, live_enrollments
from engine.facts.normalise import normalise
from engine.facts.people import lock_customers, lock_facts
from engine.facts.project import project
from engine.facts.raised import Told
from engine.facts.state_rows import TIMES, standing
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
    offer_codes,
    order_lines,
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
_TOLD = (
    "external_id", "email", "first_name", "last_name", "locale", "timezone", "country", "birthday", "created_at", "tags", "points",
    "points_expire_at", "tier", "referral_code", "referral_url", "subscription_status", "properties", "updated_at",
)  # fmt: skip
_COUNTED = (
    "orders",
    "spent",
    "first_order_at",
    "last_order_at",
    "average_gap_days",
    "usual_gap_days",
    "last_activity_at",
)


def find_customer(connection: Connection, reference: str) -> int | None:
    """Return the customer of an external id (also one that was merged) or an email, or None."""
    wanted = select(customer_ids.c.customer_id).where(customer_ids.c.external_id == reference)
    found: int | None = connection.scalar(wanted)
    if found is None and (address := normal_email(reference)) is not None:
        found = connection.scalar(select(customers.c.id).where(customers.c.email == address))
    return found


def likely_customer(connection: Connection, reference: str) -> str | None:
    """Return the id or address that somebody probably meant; only for those who may see all customers."""
    start = reference.strip()[:3].lower()
    found: list[str] = []
    for column in (customers.c.email, customer_ids.c.external_id):
        found += connection.scalars(
            select(column).where(func.lower(column).startswith(start, autoescape=True)).limit(500)
        )
    matches = get_close_matches(reference.lower(), found, n=1, cutoff=0.75) if start else []
    return matches[0] if matches else None


def need_customer(connection: Connection, reference: str) -> int:
    """Return the customer of an external id or an email; raise UsageError where there is none."""
    found = find_customer(connection, reference)
    if found is None:
        raise UsageError("no customer has that id or address")
    return found


def customer_record(connection: Connection, customer_id: int) -> dict[str, Any]:
    """Return what is known of a customer: the fields of FACTS, counts, `events` [{event, at}], `consents`, `topics`."""
    row = connection.execute(select(customers).where(customers.c.id == customer_id)).mappings().one()
    columns = dict(row)
    record = {name: _plain(value_of(name, columns)) for name in (*_TOLD, *_COUNTED)}
    record["ids"] = list(_column(connection, customer_ids, "external_id", customer_id))
    happened = select(events.c.name, events.c.occurred_at).where(events.c.customer_id == customer_id)
    ordered = connection.execute(happened.order_by(events.c.occurred_at, events.c.id))
    record["events"] = [{"event": name, "at": iso(at)} for name, at in ordered]
    told = ("topic", "state", "basis", "at", "received_at", "source", "wording")
    record["consents"] = [
        {name: consent[name] for name in told} for consent in _rows(connection, consents, customer_id)
    ]
    record["topics"] = consent_standing(connection, customer_id)
    record["suppressed"] = sorted(_column(connection, suppressions, "scope", customer_id))
    return record


def consent_standing(connection: Connection, customer_id: int) -> dict[str, str]:
    """Return by topic how the customer stands to it: granted, soft, pending, withdrawn or none."""
    wanted = select(consent_state).where(consent_state.c.customer_id == customer_id)
    state = {
        row["topic"]: {name: row[name] for name in TIMES} for row in connection.execute(wanted).mappings()
    }
    return {topic: standing(state, topic) for topic in sorted(state)}


def export(connection: Connection, customer_id: int) -> dict[str, Any]:
    """Return everything that is kept about a customer, as one document."""
    record = customer_record(connection, customer_id)
    record["events"] = _rows(connection, events, customer_id)
    record["orders_placed"] = _with_lines(connection, orders, order_lines, "order_id", customer_id)
    record["carts"] = _with_lines(connection, carts, cart_lines, "cart_id", customer_id)
    for table in (enrollments, messages, offer_codes, journal, customer_scores):
        record[table.name] = _rows(connection, table, customer_id)
    record["delivery_events"] = _delivery_rows(connection, customer_id)
    return record


def _delivery_rows(connection: Connection, customer_id: int) -> list[dict[str, Any]]:
    joined = delivery_events.join(messages, messages.c.id == delivery_events.c.message_id)
    wanted = select(delivery_events).select_from(joined).where(messages.c.customer_id == customer_id)
    return [
        {name: _plain(value) for name, value in row.items()} for row in connection.execute(wanted).mappings()
    ]


def _rows(connection: Connection, table: Table, customer_id: int) -> list[dict[str, Any]]:
    wanted = select(table).where(table.c.customer_id == customer_id).order_by(*table.primary_key.columns)
    hidden = {"customer_id", "claimed_by", "fence", "lease_until"}
    found = connection.execute(wanted).mappings()
    return [{name: _plain(value) for name, value in row.items() if name not in hidden} for row in found]


def _with_lines(
    connection: Connection, table: Table, lines: Table, key: str, customer_id: int
) -> list[dict[str, Any]]:
    found = _rows(connection, table, customer_id)
    for row in found:
        wanted = select(lines).where(lines.c[key] == row[key]).order_by(lines.c.line_no)
        row["lines"] = [
            {"sku": line.sku, "quantity": line.quantity, "price": _plain(line.price)}
            for line in connection.execute(wanted)
        ]
    return found


def _column(connection: Connection, table: Table, name: str, customer_id: int) -> list[Any]:
    return list(connection.scalars(select(table.c[name]).where(table.c.customer_id == customer_id)))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    return plain_number(value) if isinstance(value, Decimal) else value


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
    names = {name for name in (*row, *_column(connection, customer_ids, "external_id", customer_id)) if name}
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
