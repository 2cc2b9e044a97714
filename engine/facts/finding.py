"""Whom a name means: the customer of an external id or an address, also of one that was merged.

Comes in: what a person typed or a fact names. Goes out: the customer's id in the database, or None.
"""

from __future__ import annotations

from difflib import get_close_matches

from sqlalchemy import Connection, func, select

from engine.facts.fields import normal_email
from engine.store.tables import customer_ids, customers


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
