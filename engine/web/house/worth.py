"""What flows are worth: sales after a mail, and what customers spend beside those who get none.

Comes in: a connection, a flow, a stretch of time. Goes out: counts and amounts in the shop's currency; other currencies are
left out, and so is what was cancelled or paid back. A sale is that of the last mail within `NEAR` before it, the rule that
`homing simulate` counts by. Only a holdout tells what mails cause: that comparison comes with its interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import sqrt
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Interval,
    func,
    literal,
    or_,
    select,
    type_coerce,
)

from engine.deploy.simulate_tally import NEAR
from engine.outbox.ledger import COUNTED
from engine.store.dialect import among
from engine.store.tables import delivery_events, enrollments, journal, messages, orders

SPENDING = timedelta(days=28)  # what is spent this long after entering is compared
LOOKED_BACK = timedelta(days=90)
MOST = 20_000  # entries that are compared, the newest
_CHUNK = 2_000
Group = TypeVar("Group", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Sold:
    """Sales after a flow's mails: how many orders, and their value."""

    orders: int = 0
    value: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Mean:
    """An amount for each customer, and its 95 % interval."""

    count: int
    mean: float
    lower: float
    upper: float


def sold(connection: Connection, since: datetime, until: datetime, currency: str) -> dict[str, Sold]:
    """Return by flow what was sold within `NEAR` after its mails, each order once; a mail of the very moment thanks for it."""
    own, sent = orders.c, messages.c
    last = (
        select(sent.flow)
        .where(sent.customer_id == own.customer_id, sent.state.in_(COUNTED))
        .where(sent.counted_at < own.placed_at, _not_before(connection, sent.counted_at, own.placed_at))
        .order_by(sent.counted_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    placed = select(last.label("flow"), own.total, own.refunded).where(
        own.placed_at > since, own.placed_at <= until, own.customer_id.is_not(None), *_good(currency)
    )
    of = placed.subquery()
    query = select(of.c.flow, func.count(), func.sum(of.c.total), func.sum(of.c.refunded))
    rows = connection.execute(query.where(of.c.flow.is_not(None)).group_by(of.c.flow))
    return {flow: Sold(number, total - refunded) for flow, number, total, refunded in rows}


def _good(currency: str) -> tuple[ColumnElement[bool], ...]:
    own = orders.c
    return own.cancelled_at.is_(None), or_(own.currency.is_(None), own.currency == currency)


def _not_before(
    connection: Connection, moment: ColumnElement[Any], later: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Return whether a moment is not longer than `NEAR` before another."""
    if connection.dialect.name == "sqlite":  # which keeps microseconds
        span = int(NEAR / timedelta(microseconds=1))
        return type_coerce(moment, BigInteger) >= type_coerce(later, BigInteger) - span
    found: ColumnElement[bool] = moment >= later - literal(NEAR, Interval())
    return found


def looked_at(connection: Connection, flow: str, since: datetime) -> dict[str, int]:
    """Return how many mails of a flow went out since then, and how many people opened and clicked; no machine counts."""
    own, told = messages.c, delivery_events.c
    of = (own.flow == flow, own.counted_at > since, own.state.in_(COUNTED))
    found = {"mails": connection.scalar(select(func.count()).select_from(messages).where(*of)) or 0}
    query = select(told.kind, func.count(told.message_id.distinct())).join(
        messages, own.id == told.message_id
    )
    query = query.where(*of, told.kind.in_(("opened", "clicked")), told.machine.is_(False)).group_by(
        told.kind
    )
    return found | {kind: number for kind, number in connection.execute(query)}


# ── beside others ────────────────────────────────────────────────────────────────────────────────────────────────────


def spending_beside_holdout(
    connection: Connection, flow: str, now: datetime, currency: str
) -> Mapping[bool, Mean]:
    """Return what customers spent in the weeks after entering (False), and the holdout (True)."""
    own = enrollments.c
    query = select(own.customer_id, own.entered_at, own.state == "held_out")
    query = query.where(own.flow == flow, own.entered_at > now - LOOKED_BACK)
    rows = connection.execute(query.order_by(own.entered_at.desc()).limit(MOST)).all()
    return _means(connection, [(bool(held), who, at) for who, at, held in rows], currency)


def spending_by_arm(
    connection: Connection, flow: str, step: str, now: datetime, currency: str
) -> Mapping[str, Mean]:
    """Return what customers spent in the weeks after taking each arm of an experiment."""
    told = journal.c
    query = select(told.customer_id, told.at, told.detail).where(
        told.flow == flow, told.decision == "took", told.step == step, told.at > now - LOOKED_BACK
    )
    rows = connection.execute(query.order_by(told.id.desc()).limit(MOST)).all()
    return _means(
        connection, [(str((detail or {}).get("arm")), who, at) for who, at, detail in rows], currency
    )


def _means(
    connection: Connection, entries: Sequence[tuple[Group, int, datetime]], currency: str
) -> dict[Group, Mean]:
    bought = _bought(connection, {who for _, who, _ in entries}, currency)
    amounts: dict[Group, list[float]] = defaultdict(list)
    for group, who, at in entries:
        spent = sum(value for moment, value in bought.get(who, ()) if at < moment <= at + SPENDING)
        amounts[group].append(float(spent))
    return {group: mean_of(each) for group, each in amounts.items()}


def _bought(
    connection: Connection, who: Iterable[int], currency: str
) -> Mapping[int, list[tuple[datetime, float]]]:
    found: dict[int, list[tuple[datetime, float]]] = defaultdict(list)
    numbers, own = sorted(who), orders.c
    for start in range(0, len(numbers), _CHUNK):
        of = among(connection, own.customer_id, numbers[start : start + _CHUNK])
        query = select(own.customer_id, own.placed_at, own.total, own.refunded).where(of, *_good(currency))
        for customer, at, total, refunded in connection.execute(query):
            found[customer].append((at, float(total - refunded)))
    return found


def mean_of(amounts: Sequence[float]) -> Mean:
    """Return the mean of some amounts with its 95 % interval (normal); of fewer than two it says nothing.

    >>> found = mean_of([1.0, 2.0, 3.0])
    >>> found.count, found.mean, round(found.lower, 2), round(found.upper, 2)
    (3, 2.0, 0.87, 3.13)
    """
    count = len(amounts)
    mean = sum(amounts) / count if count else 0.0
    if count < 2:
        return Mean(count, mean, 0.0, mean)
    half = 1.96 * sqrt(sum((each - mean) ** 2 for each in amounts) / (count - 1) / count)
    return Mean(count, mean, mean - half, mean + half)
