"""Issuing offers: a code belongs to its message from the transaction that made the message.

Comes in: a batch of messages that carry an offer. Goes out: for each either a code with its end, nothing (the mail goes
`without`), or the reason why the mail may not go now. Promises: the same offer sent again to its holder shows the same
code (`once_per: customer`), also where two programs send it at once, and once that is used or past its end the customer
gets no other; a code is never given to two messages; a pool that runs dry follows `when_empty`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, func, select, update

from engine.calendar import add
from engine.flows.model import Offer
from engine.store.bulk import insert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import offer_codes

OFFERS_LOCK = 0x0FFE  # first key of our advisory locks on PostgreSQL, the second is the customer's
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # nothing that reads like something else

_GIVEN = Prepared(
    select(*(offer_codes.c[name] for name in ("offer", "customer_id", "code", "expires_at", "used_at")))
    .where(within(offer_codes.c.customer_id, "ids"), offer_codes.c.issued_at.is_not(None))
    .order_by(offer_codes.c.issued_at, offer_codes.c.id)
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that carries an offer."""

    offer: str
    customer_id: int
    message_id: int
    zone: str


@dataclass(frozen=True, slots=True)
class Issued:
    """What a message got: the offer (perhaps another one than wanted), its code and end; `reason` forbids the mail.

    `cause` says why there is none: the customer's code was `used` or is `over`, the pool is `empty`, the offer is `gone`.
    """

    offer: str | None
    code: str | None = None
    expires_at: datetime | None = None
    fresh: bool = False
    wait: bool = False
    reason: str | None = None
    cause: str | None = None


def standing_in(name: str, offers: Mapping[str, Offer]) -> list[str]:
    """Return an offer and those that step in for it, in the order in which they are tried."""
    found: list[str] = []
    while name in offers and name not in found:
        found.append(name)
        name = offers[name].when_empty
    return found


def may_wait(name: str, offers: Mapping[str, Offer]) -> bool:
    """Return whether a mail with this offer may have to wait for a code."""
    last = [offers[each] for each in standing_in(name, offers)[-1:]]
    return any(offer.when_empty == "wait" and offer.pool is not None for offer in last)


def issue(
    connection: Connection,
    wanted: Sequence[Wanted],
    offers: Mapping[str, Offer],
    now: datetime,
    secret: bytes,
) -> list[Issued]:
    """Give each message its code; the result is in the order of `wanted`."""
    held = _held(connection, wanted, now)
    if _lock_holders(connection, wanted, offers, held):
        held = _held(
            connection, wanted, now
        )  # as it stands now that nobody else gives these customers anything
    result: list[Issued] = []
    made: list[Mapping[str, Any]] = []  # codes of no pool, written down together
    for want in wanted:
        issued = _one(connection, want, want.offer, offers, held, now, secret, frozenset(), made)
        if issued.fresh and issued.offer is not None:
            held[issued.offer, want.customer_id] = _Code(issued.code, issued.expires_at)
        result.append(issued)
    insert_rows(connection, offer_codes, made)
    return result


@dataclass(frozen=True, slots=True)
class _Code:
    code: str | None
    expires_at: datetime | None
    over: bool = False  # used, or past its end
    used: bool = False


_Held = dict[tuple[str, int], _Code]


def _lock_holders(
    connection: Connection, wanted: Sequence[Wanted], offers: Mapping[str, Offer], held: _Held
) -> bool:
    """Make others who would give the same customer a first code wait; return whether anything was locked.

    On PostgreSQL two programs may find at once that a customer holds no code yet; SQLite's writer is alone. The locks
    are taken in one order, by customer, and last as long as the transaction.
    """
    once = {name for name, offer in offers.items() if offer.once_per == "customer"}
    first = {want.customer_id for want in wanted if _may_be_given(want.offer, offers, once, want, held)}
    if not first or connection.dialect.name != "postgresql":
        return False
    listed = select(func.unnest(sorted(first), type_=BigInteger).label("id")).subquery()
    key = func.hashint8(listed.c.id)
    connection.execute(select(func.pg_advisory_xact_lock(OFFERS_LOCK, key)).select_from(listed)).all()
    return True


def _may_be_given(name: str, offers: Mapping[str, Offer], once: set[str], want: Wanted, held: _Held) -> bool:
    """Return whether the offer, or one that steps in for it, would give this customer a first code of once."""
    return any(each in once and (each, want.customer_id) not in held for each in standing_in(name, offers))


def _held(connection: Connection, wanted: Sequence[Wanted], now: datetime) -> _Held:
    ids = sorted({want.customer_id for want in wanted})
    found: _Held = {}
    for row in _GIVEN.rows(connection, ids=ids):
        over = row.used_at is not None or (row.expires_at is not None and row.expires_at <= now)
        known = found.get((row.offer, row.customer_id))
        if known is None or known.over or not over:
            found[row.offer, row.customer_id] = _Code(row.code, row.expires_at, over, row.used_at is not None)
    return found


def _one(
    connection: Connection,
    want: Wanted,
    name: str,
    offers: Mapping[str, Offer],
    held: _Held,
    now: datetime,
    secret: bytes,
    tried: frozenset[str],
    made: list[Mapping[str, Any]],
) -> Issued:
    offer = offers.get(name)
    if offer is None or name in tried:
        return Issued(None, reason="no_offer", cause="gone" if offer is None else "empty")
    known = held.get((name, want.customer_id))
    if offer.once_per == "customer" and known is not None:
        if known.over:
            return Issued(None, reason="no_offer", cause="used" if known.used else "over")
        return Issued(name, known.code, known.expires_at)
    expires_at = add(now, offer.valid_for, want.zone) if offer.valid_for is not None else None
    code = _take(connection, offer, want, now, expires_at, secret, made)
    if code is not None:
        return Issued(name, code or None, expires_at, fresh=True)
    if offer.when_empty == "wait":
        return Issued(name, wait=True, reason="no_offer", cause="empty")
    if offer.when_empty == "without":
        return Issued(None)
    return _one(connection, want, offer.when_empty, offers, held, now, secret, tried | {name}, made)


def _take(
    connection: Connection,
    offer: Offer,
    want: Wanted,
    now: datetime,
    expires_at: datetime | None,
    secret: bytes,
    made: list[Mapping[str, Any]],
) -> str | None:
    """Return the code ("" for an offer without one), or None where the pool is empty.

    That of a pool is written down; every other one is added to `made`. What another transaction is giving counts as gone:
    to wait for it could lock two programs that each hold what the other waits for.
    """
    values: dict[str, Any] = {
        "customer_id": want.customer_id,
        "message_id": want.message_id,
        "issued_at": now,
        "expires_at": expires_at,
    }
    if offer.pool is not None:
        free = (
            select(offer_codes.c.id, offer_codes.c.code)
            .where(
                offer_codes.c.offer == offer.name,
                offer_codes.c.customer_id.is_(None),
                offer_codes.c.issued_at.is_(None),
            )
            .order_by(offer_codes.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = connection.execute(free).first()
        if row is None:
            return None
        connection.execute(update(offer_codes).where(offer_codes.c.id == row.id).values(values))
        return str(row.code)
    code = offer.code or ""
    if offer.pattern is not None:
        code = pattern_code(offer.pattern, secret, want.message_id)
    made.append({"offer": offer.name, "code": code, **values})
    return code


def pattern_code(pattern: str, secret: bytes, number: int) -> str:
    """Return the code of a number: each `#` but the last is a sign that cannot be guessed, the last checks the others.

    >>> code = pattern_code("TEA-########", b"k" * 32, 7)
    >>> code.startswith("TEA-"), len(code), checks("TEA-########", code)
    (True, 12, True)
    """
    places = pattern.count("#")
    digest = int.from_bytes(hmac.new(secret, f"{pattern}:{number}".encode(), hashlib.sha256).digest(), "big")
    signs = []
    for _ in range(max(places - 1, 0)):
        digest, index = divmod(digest, len(ALPHABET))
        signs.append(ALPHABET[index])
    if places:
        signs.append(_check_sign("".join(signs)))
    filled = iter(signs)
    return "".join(next(filled) if sign == "#" else sign for sign in pattern)


def checks(pattern: str, code: str) -> bool:
    """Return whether a code of this pattern was typed without a slip in one sign."""
    if len(code) != len(pattern) or any(p not in ("#", c) for p, c in zip(pattern, code, strict=True)):
        return False
    signs = [c for p, c in zip(pattern, code, strict=True) if p == "#"]
    return all(sign in ALPHABET for sign in signs) and (
        not signs or signs[-1] == _check_sign("".join(signs[:-1]))
    )


def _check_sign(signs: str) -> str:
    # Weights are odd, so every single slip changes the sum in an alphabet of 32.
    total = sum((2 * place + 1) * ALPHABET.index(sign) for place, sign in enumerate(signs))
    return ALPHABET[total % len(ALPHABET)]
