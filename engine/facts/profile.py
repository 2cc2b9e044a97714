"""What is known of one customer, as plain documents: the record that a person reads, and the export that the law asks for.

Comes in: a customer's id. Goes out: dictionaries of text, numbers, lists and ISO 8601 times; nothing is written.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Table, select

from engine.facts.days import value_of
from engine.facts.fact import iso, plain_number
from engine.facts.state_rows import TIMES, standing
from engine.store.tables import (
    cart_lines,
    carts,
    consent_state,
    consents,
    customer_ids,
    customer_scores,
    customers,
    delivery_events,
    enrollments,
    events,
    journal,
    messages,
    offer_codes,
    order_lines,
    orders,
    suppressions,
)

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
