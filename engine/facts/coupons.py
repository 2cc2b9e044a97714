"""Coupons: an order that carries a code, or several, uses each, and the holder's `offer_used` is raised.

Comes in: the ids of orders that were told in a chunk. Goes out: events, one for each code that is used for the first
time. A code that many customers were shown is used by its own holder's order only; one that was made for a single
customer is used by whoever brings it. Cancelling an order gives no code back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from engine.facts.fact import iso
from engine.facts.raised import Raised
from engine.store.dialect import among
from engine.store.tables import messages, offer_codes, orders

MOST_CODES = 50  # of one order
_BETWEEN = re.compile(r"[,;|\r\n\t]")


def use_codes(connection: Connection, told: Mapping[str, tuple[int, bool, datetime]]) -> list[Raised]:
    """Mark the codes that these orders carry as used.

    `told` maps order ids to the fact's place, whether it is backfilled, and when it was received.
    """
    carrying = [(order, codes_of(order.coupon)) for order in _orders(connection, sorted(told))]
    if not carrying:
        return []
    held: dict[str, list[Row[Any]]] = defaultdict(list)
    query = (
        select(offer_codes, messages.c.flow)
        .outerjoin(messages, messages.c.id == offer_codes.c.message_id)
        .where(
            among(
                connection,
                offer_codes.c.code,
                sorted({s for _, codes in carrying for code in codes for s in _spellings(code)}),
            )
        )
        .where(offer_codes.c.customer_id.is_not(None))
        .order_by(offer_codes.c.issued_at, offer_codes.c.id)
    )
    for code in connection.execute(query):
        held[_same(code.code)].append(code)
    used: dict[int, tuple[Row[Any], Row[Any]]] = {}
    for order, codes in carrying:
        for each in dict.fromkeys(map(_same, codes)):
            carried = _code_of(order, held[each])
            if carried is not None:
                used.setdefault(carried.id, (carried, order))
    _mark(connection, used)
    return [_event(code, order, *told[order.order_id]) for code, order in used.values()]


def _orders(connection: Connection, ids: Sequence[str]) -> Sequence[Row[Any]]:
    table = orders.c
    query = select(table.order_id, table.customer_id, table.coupon, table.placed_at, table.total).where(
        among(connection, table.order_id, ids), table.coupon.is_not(None), table.cancelled_at.is_(None)
    )
    return list(connection.execute(query.order_by(table.placed_at, table.order_id)))


def codes_of(coupon: str) -> tuple[str, ...]:
    """Return the codes that an order's `coupon` names, at most `MOST_CODES`; the whole of it first, since a code may hold a comma.

    >>> codes_of("TEA"), codes_of("B-1, CODE2;CODE3")
    (('TEA',), ('B-1, CODE2;CODE3', 'B-1', 'CODE2', 'CODE3'))
    """
    parts = [part.strip() for part in _BETWEEN.split(coupon)]
    return tuple(dict.fromkeys([coupon.strip(), *(part for part in parts if part)]))[: MOST_CODES + 1]


def _spellings(coupon: str) -> tuple[str, ...]:
    """Return how a code may have been typed: the index knows codes as they were made."""
    plain = coupon.strip()
    return plain, plain.upper(), plain.lower()


def _same(code: str) -> str:
    return code.strip().lower()


def _code_of(order: Row[Any], held: Sequence[Row[Any]]) -> Row[Any] | None:
    """Return the code that an order uses: its customer's own, else the only one there is; None where it is used."""
    if any(code.used_order_id == order.order_id for code in held):
        return None
    given = [code for code in held if code.used_at is None and code.issued_at <= order.placed_at]
    own = [code for code in given if code.customer_id == order.customer_id]
    if own:
        return own[0]
    return given[0] if len(held) == 1 and given else None


def _mark(connection: Connection, used: Mapping[int, tuple[Row[Any], Row[Any]]]) -> None:
    if used:
        statement = update(offer_codes).where(offer_codes.c.id == bindparam("which"))
        rows = [
            {"which": which, "moment": order.placed_at, "order": order.order_id}
            for which, (_, order) in used.items()
        ]
        connection.execute(
            statement.values(used_at=bindparam("moment"), used_order_id=bindparam("order")), rows
        )


def _event(code: Row[Any], order: Row[Any], index: int, backfill: bool, received: datetime) -> Raised:  # noqa: FBT001
    told = {"offer": code.offer, "code": code.code, "order_id": order.order_id, "at": iso(order.placed_at)}
    return Raised(
        place=index, key=f"offer_used:{code.id}", customer_id=code.customer_id, name="offer_used",
        occurred_at=order.placed_at, arrived_at=received,
        properties=told | ({"flow": code.flow} if code.flow else {}), value=order.total, order_id=order.order_id,
        backfill=backfill,
    )  # fmt: skip
