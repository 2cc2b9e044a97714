"""What tests of offers share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, insert, select

from engine.calendar import Duration
from engine.flows.model import Offer
from engine.offers.issue import Issued, Wanted, issue
from engine.store.database import Database
from engine.store.tables import customers, offer_codes

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = b"k" * 32
WEEK = Duration(days=7)


class Till:
    """Gives offers to messages of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._messages = 0
        with database.write() as connection:
            connection.execute(insert(customers), [{"id": who, "first_seen_at": NOW} for who in range(1, 60)])

    def pool(self, offer: str, *codes: str) -> None:
        """Let codes wait in a pool."""
        with self.database.write() as connection:
            connection.execute(insert(offer_codes), [{"offer": offer, "code": code} for code in codes])

    def give(self, offers: list[Offer], *customer_ids: int, days: float = 0, name: str = "") -> list[Issued]:
        """Give the first of the offers (or the one named) to messages of these customers, in one transaction."""
        wanted = []
        for customer_id in customer_ids:
            self._messages += 1
            wanted.append(Wanted(name or offers[0].name, customer_id, self._messages, "UTC"))
        known = {offer.name: offer for offer in offers}
        with self.database.write() as connection:
            return issue(connection, wanted, known, NOW + timedelta(days=days), KEY)

    def rows(self, **where: Any) -> list[Row[Any]]:
        """Return the codes as they stand."""
        query = select(offer_codes).order_by(offer_codes.c.id)
        for name, value in where.items():
            query = query.where(offer_codes.c[name] == value)
        with self.database.read() as connection:
            return list(connection.execute(query))
