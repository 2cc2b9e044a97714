"""A link's token becomes the customer and the message that it is about.

Comes in: a token and the letter of its path. Goes out: a `Reader`, or None for a token that was not made with any of our
secrets. The message knows its customer best: two customers who became one are found by either's mail. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from engine.render.links import SignedLinks, Token, read_token
from engine.store import meta
from engine.store.tables import customers, enrollments, messages
from engine.web.site import Site


@dataclass(frozen=True, slots=True)
class Reader:
    """Who opened a link: the token, the customer's row (empty where it is gone), and the message and its enrollment."""

    token: Token
    customer: Mapping[str, Any]
    message: Mapping[str, Any]
    enrollment: Mapping[str, Any]
    secret: bytes

    @property
    def known(self) -> bool:
        """Whether this customer is still there and was not erased."""
        return bool(self.customer) and self.customer["erased_at"] is None

    @property
    def locale(self) -> str | None:
        """The customer's language, else that of the mail."""
        return self.customer.get("locale") or self.message.get("locale")

    @property
    def reference(self) -> str:
        """What facts call this customer."""
        return str(self.customer["external_id"] or self.customer["email"])

    def links(self, site: Site) -> SignedLinks:
        """Return what makes further links of the same mail."""
        return SignedLinks(
            site.settings.link_base,
            self.secret,
            self.token.message_key,
            self.token.customer_id,
            self.token.topic,
        )


def read(connection: Connection, token: str, action: str) -> Reader | None:
    """Return who holds this token, or None where it is none of ours."""
    known = meta.link_secrets(connection)
    found = read_token(known, token, action)
    if found is None or not known:
        return None
    message = _row(connection, select(messages).where(messages.c.key == found.message_key))
    enrollment: Mapping[str, Any] = {}
    if message:
        enrollment = _row(connection, select(enrollments).where(enrollments.c.id == message["enrollment_id"]))
    owner = message.get("customer_id", found.customer_id)
    customer = _row(connection, select(customers).where(customers.c.id == owner))
    return Reader(found, customer, message, enrollment, known[0])


def name_of(reader: Reader) -> dict[str, str]:
    """Return what a row about the customer names them by."""
    known = reader.customer
    return {"external_id": known["external_id"]} if known["external_id"] else {"email": known["email"]}


def _row(connection: Connection, query: Any) -> Mapping[str, Any]:
    row = connection.execute(query).mappings().first()
    return dict(row) if row is not None else {}
