"""What came of a simulated stretch of time, counted: small enough to carry between processes, and to add up.

Comes in: a store that was driven, and from when. Goes out: a `Tally`. Promises that tallies of parts of the customers add
up to that of all of them, and that nothing in it depends on ids, on the database or on the order of parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, and_, func, literal, or_, select, union_all

from engine.calendar import local
from engine.errors import HomingError
from engine.outbox.ledger import COUNTED
from engine.outbox.own_facts import NAMES as OWN
from engine.render.library import TemplateLibrary
from engine.store.tables import customers, enrollments, events, journal, messages

EXAMPLES = 3
WORST = 20
NEAR = timedelta(days=7)
DAY = timedelta(days=1)
BOUGHT = "order_placed"
Example = tuple[str, str, str, str]  # when, who, flow, step


@dataclass(slots=True)
class Tally:
    """Everything a report is made of, countable and addable."""

    customers: int = 0
    facts: Counter[str] = field(default_factory=Counter)
    mails: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: Counter[tuple[str, str]] = field(default_factory=Counter)
    hours: Counter[tuple[int, int]] = field(default_factory=Counter)
    first_day: Counter[tuple[str, str]] = field(
        default_factory=Counter
    )  # mails and entries in the first 24 hours
    entered: Counter[str] = field(default_factory=Counter)
    goals: Counter[str] = field(default_factory=Counter)
    not_sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    deferred: Counter[tuple[str, str]] = field(default_factory=Counter)
    exits: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    per_customer: Counter[int] = field(default_factory=Counter)
    worst: list[tuple[int, str]] = field(default_factory=list)
    near: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    revenue: Counter[str] = field(default_factory=Counter)
    slots: Counter[tuple[str, str]] = field(default_factory=Counter)
    blocks: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add another part of the customers."""
        self.customers += other.customers
        for each in fields(self):
            mine = getattr(self, each.name)
            if isinstance(mine, Counter):
                mine.update(getattr(other, each.name))
        for reason, examples in other.examples.items():
            self.examples[reason] = sorted({*self.examples.get(reason, []), *examples})[:EXAMPLES]
        self.worst = _worst([*self.worst, *other.worst])


def _worst(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return sorted(found, key=lambda item: (-item[0], item[1]))[:WORST]


def count(
    connection: Connection, since: datetime, until: datetime, shop_zone: str, library: TemplateLibrary
) -> Tally:
    """Return what came of the time after `since`, until and with `until`."""
    tally = Tally(customers=connection.scalar(select(func.count()).select_from(customers)) or 0)
    _count_facts(connection, tally, since, until)
    _count_mails(connection, tally, since, until, shop_zone, library)
    _count_entries(connection, tally, since)
    _count_reasons(connection, tally, since)
    return tally


def _count_facts(connection: Connection, tally: Tally, since: datetime, until: datetime) -> None:
    table = events.c
    query = select(table.name, func.count()).where(
        table.arrived_at > since, table.arrived_at <= until, table.name.not_in(OWN)
    )
    for name, number in connection.execute(query.group_by(table.name)):
        tally.facts[name] += number


def _count_entries(connection: Connection, tally: Tally, since: datetime) -> None:
    table = enrollments.c
    query = select(table.flow, func.count()).where(table.state != "held_out", _made_after(since))
    for flow, number in connection.execute(query.group_by(table.flow)):
        tally.entered[flow] += number
    told = journal.c
    at_once = select(told.flow, func.count()).where(
        told.decision == "entered", told.at >= since, told.at <= since + DAY
    )
    for flow, number in connection.execute(at_once.group_by(told.flow)):
        tally.first_day[flow, "entries"] += number
    reached = select(table.flow, func.count()).where(table.goal_at > since).group_by(table.flow)
    for flow, number in connection.execute(reached):
        tally.goals[flow] += number
    left = select(table.flow, table.left_reason, func.count()).where(
        table.left_at >= since, table.left_reason.is_not(None)
    )
    for flow, reason, number in connection.execute(left.group_by(table.flow, table.left_reason)):
        tally.exits[flow, reason] += number


def _made_after(since: datetime) -> Any:
    """Return the condition that an enrollment was made in this stretch: its entry is in the journal, which began empty."""
    entered = select(journal.c.enrollment_id).where(journal.c.decision == "entered", journal.c.at >= since)
    return enrollments.c.id.in_(entered)


# ── mails ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sent(connection: Connection, since: datetime, until: datetime) -> Iterator[Any]:
    table = messages.c
    query = (
        select(
            table.customer_id, customers.c.external_id, customers.c.email, customers.c.zone, table.flow, table.step,
            table.counted_at, table.due_at, table.template, table.content,
        )
        .join(customers, customers.c.id == table.customer_id)
        .where(table.counted_at >= since, table.counted_at <= until, table.state.in_(COUNTED), table.channel == "email")
        .order_by(table.customer_id, table.counted_at, table.id)
    )  # fmt: skip
    for rows in connection.execution_options(yield_per=5_000).execute(query).partitions():
        yield from rows


def _bought(
    connection: Connection, since: datetime, until: datetime
) -> dict[int, list[tuple[datetime, Decimal]]]:
    table = events.c
    query = select(table.customer_id, table.occurred_at, table.value).where(
        table.name == BOUGHT, table.occurred_at > since, table.occurred_at <= until
    )
    found: dict[int, list[tuple[datetime, Decimal]]] = {}
    for customer_id, occurred_at, value in connection.execute(query.order_by(table.occurred_at, table.id)):
        found.setdefault(customer_id, []).append((occurred_at, value or Decimal(0)))
    return found


def _count_mails(
    connection: Connection,
    tally: Tally,
    since: datetime,
    until: datetime,
    shop_zone: str,
    library: TemplateLibrary,
) -> None:
    bought = _bought(connection, since, until)
    mailed = 0
    for customer_id, rows in groupby(_sent(connection, since, until), key=itemgetter(0)):
        own = list(rows)
        mailed += 1
        tally.per_customer[len(own)] += 1
        tally.worst.append((len(own), own[0].external_id or own[0].email or ""))
        if len(tally.worst) > 50 * WORST:
            tally.worst = _worst(tally.worst)
        for row in own:
            _count_mail(tally, row, shop_zone, library)
            if row.counted_at <= since + DAY:
                tally.first_day[row.flow, "mails"] += 1
        count_near(tally, own, bought.pop(customer_id, ()))
    for orders in bought.values():
        count_near(tally, (), orders)
    tally.per_customer[0] += tally.customers - mailed
    tally.worst = _worst(tally.worst)


def _count_mail(tally: Tally, row: Any, shop_zone: str, library: TemplateLibrary) -> None:
    tally.mails[row.flow, row.step] += 1
    tally.days[local(row.counted_at, shop_zone).date().isoformat(), row.flow] += 1
    there = local(row.counted_at, row.zone or shop_zone)
    tally.hours[there.weekday(), there.hour] += 1
    for block, slots in ((row.content or {}).get("slots") or {}).items():
        name = f"{row.template}: {block}"
        tally.blocks[name, "mails"] += 1
        tally.blocks[name, "wanted"] += _wanted(library, row.template, block)
        tally.blocks[name, "filled"] += len(slots)
        tally.blocks[name, "empty"] += not slots
        for slot in slots:
            tally.slots[name, slot["strategy"]] += 1


def _wanted(library: TemplateLibrary, template: str, block: str) -> int:
    try:
        found = {each.name: each.count for each in library.template(template).recommend}
    except HomingError:
        return 0
    return found.get(block, 0)


def count_near(tally: Tally, mails: Any, bought: Any) -> None:
    """Count the purchases, and those with a mail within a week before, by the last mail's flow.

    A mail of the very moment is no mail before: it thanks for this purchase.
    """
    for moment, value in bought:
        cents = round(value * 100)
        tally.orders["all"] += 1
        tally.revenue["all"] += cents
        before = [row for row in mails if moment - NEAR <= row.counted_at < moment]
        if before:
            tally.orders["after a mail"] += 1
            tally.revenue["after a mail"] += cents
            tally.revenue[before[-1].flow] += cents
            for flow in sorted({row.flow for row in before}):
                tally.near[flow] += 1


# ── reasons ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _count_reasons(connection: Connection, tally: Tally, since: datetime) -> None:
    table = journal.c
    where = and_(table.decision == "deferred", table.at >= since)
    query = select(table.flow, table.reason, func.count()).where(where).group_by(table.flow, table.reason)
    for flow, reason, number in connection.execute(query):
        tally.deferred[flow, reason] += number
    reasons = _reasons(since).cte("reasons")
    by_flow = select(reasons.c.flow, reasons.c.reason, func.count()).group_by(
        reasons.c.flow, reasons.c.reason
    )
    for flow, reason, number in connection.execute(by_flow):
        tally.not_sent[flow, reason] += number
    # One example a customer: the first.
    mine = func.row_number().over(
        partition_by=(reasons.c.reason, reasons.c.customer_id),
        order_by=(reasons.c.at, reasons.c.flow, reasons.c.step),
    )
    firsts = select(reasons, mine.label("mine")).subquery()
    who = func.coalesce(customers.c.external_id, customers.c.email, "")
    place = func.row_number().over(partition_by=firsts.c.reason, order_by=(firsts.c.at, who))
    ranked = (
        select(
            firsts.c.reason, firsts.c.at, who.label("who"), firsts.c.flow, firsts.c.step, place.label("place")
        )
        .join(customers, customers.c.id == firsts.c.customer_id)
        .where(firsts.c.mine == 1)
        .subquery()
    )
    for row in connection.execute(select(ranked).where(ranked.c.place <= EXAMPLES).order_by(ranked.c.place)):
        example = (row.at.isoformat(), row.who, row.flow, row.step)
        tally.examples[row.reason] = sorted({*tally.examples.get(row.reason, []), example})[:EXAMPLES]


def _reasons(since: datetime) -> Any:
    """Return one row for each mail or entry that did not come about, with its reason.

    What waited when an enrollment ended is the enrollment's own end, and counts once.
    """
    table, own = journal.c, enrollments.c
    kept_out = select(
        table.flow, func.coalesce(table.reason, "holdout").label("reason"), table.at, table.customer_id,
        func.coalesce(table.step, "").label("step"),
    ).where(table.at >= since, table.decision.in_(("skipped", "refused", "held_out")))  # fmt: skip
    dropped = (
        select(table.flow, table.reason, table.at, table.customer_id, func.coalesce(table.step, "").label("step"))
        .join(enrollments, own.id == table.enrollment_id)
        .where(
            table.at >= since, table.decision == "dropped", table.reason.is_not(None),
            or_(own.left_reason.is_(None), own.left_reason != table.reason),
        )
    )  # fmt: skip
    left = select(
        own.flow,
        own.left_reason.label("reason"),
        own.left_at.label("at"),
        own.customer_id,
        literal("").label("step"),
    ).where(own.left_at >= since, own.left_reason.is_not(None))
    return union_all(kept_out, dropped, left)


def plain(tally: Tally) -> Mapping[str, Any]:
    """Return the tally's plain numbers, for tests."""
    return {each.name: getattr(tally, each.name) for each in fields(tally)}
