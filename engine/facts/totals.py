"""What orders and events say about a customer: counts, sums, gaps, last activity, kept on the customer's row.

Recomputed from the orders of the customers whom a chunk touched: one statement reads them, one writes. Cancelled
orders count for nothing; `spent` is what was paid less what was refunded, in the shop's currency only (an order in
another currency counts as an order); the usual gap is the median of the gaps from 3 orders up, in days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby, pairwise
from statistics import median
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, or_, select, type_coerce, update

from engine.facts.fact import Fact
from engine.store.bulk import update_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import customers, orders
from engine.store.types import MONEY_SCALE

_DAY = 86_400
FEWEST_ORDERS_FOR_A_GAP = 3
NOTHING: Mapping[str, Any] = {
    "orders": 0,
    "spent": Decimal(0),
    "first_order_at": None,
    "last_order_at": None,
    "average_gap_days": None,
    "usual_gap_days": None,
}
_COUNTED = Prepared(
    select(
        orders.c.customer_id,
        orders.c.placed_at,
        type_coerce(orders.c.total, BigInteger).label("total"),
        type_coerce(orders.c.refunded, BigInteger).label("refunded"),
        orders.c.currency,
    )
    .where(within(orders.c.customer_id, "ids"), orders.c.cancelled_at.is_(None))
    .order_by(orders.c.customer_id, orders.c.placed_at)
)
_SEEN = Prepared(
    update(customers)
    .where(customers.c.id == bindparam("customer"))
    .where(or_(customers.c.last_activity_at.is_(None), customers.c.last_activity_at < bindparam("seen")))
    .values(last_activity_at=bindparam("seen"))
)


def count_orders(connection: Connection, touched: Collection[int], currency: str) -> int:
    """Recompute what the orders of these customers add up to; return how many orders are in another currency."""
    if not touched:
        return 0
    found = _COUNTED.rows(connection, ids=sorted(touched))
    counted = {customer: _add_up(list(rows), currency) for customer, rows in groupby(found, _customer)}
    rows = [
        {**(counted[customer][0] if customer in counted else NOTHING), "id": customer}
        for customer in sorted(touched)
    ]
    update_rows(connection, customers, rows)
    return sum(foreign for _, foreign in counted.values())


def foreign_sentence(currency: str) -> str:
    """Return what is said of orders in another currency than the shop's."""
    return f"is in another currency than {currency}: it counts as an order, and not in `spent`"


def count_foreign(facts: Iterable[Fact], currency: str, *, but: Collection[str]) -> int:
    """Return how many orders these facts tell in another currency, without those whose ids are in `but`."""
    found = {
        fact.key
        for fact in facts
        if fact.kind == "orders" and fact.fields.get("currency") not in (None, currency)
    }
    return len(found.difference(but))


def _customer(row: Any) -> int:
    found: int = row[0]
    return found


def _add_up(rows: Sequence[Any], currency: str) -> tuple[dict[str, Any], int]:
    moments: list[datetime] = [row[1] for row in rows]
    ours = [row for row in rows if row[4] is None or row[4] == currency]
    gaps = [(later - earlier).total_seconds() / _DAY for earlier, later in pairwise(moments)]
    return {
        "orders": len(rows),
        "spent": Decimal(sum(row[2] - row[3] for row in ours)) / MONEY_SCALE,
        "first_order_at": moments[0],
        "last_order_at": moments[-1],
        "average_gap_days": sum(gaps) / len(gaps) if gaps else None,
        "usual_gap_days": median(gaps) if len(rows) >= FEWEST_ORDERS_FOR_A_GAP else None,
    }, len(rows) - len(ours)


def note_activity(connection: Connection, seen: Mapping[int, datetime]) -> None:
    """Move customers' last activity forward to the given moments; it never goes back."""
    _SEEN.run_each(connection, [{"customer": customer, "seen": seen[customer]} for customer in sorted(seen)])
