"""What came of a simulated stretch of time, counted: small enough to carry between processes, and to add up.

Comes in: a store that was driven (one of SQLite's), and from when. Goes out: a `Tally`. Promises that tallies of parts of the customers add
up to that of all of them, and that nothing in it depends on ids, on the database or on the order of parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import nlargest
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, literal, not_, or_, select, union_all

from engine.calendar import local
from engine.errors import HomingError
from engine.outbox.ledger import COUNTED
from engine.outbox.own_facts import NAMES as OWN
from engine.render.library import TemplateLibrary
from engine.store.database import from_json
from engine.store.dialect import among, within
from engine.store.prepared import Prepared
from engine.store.tables import customers, enrollments, events, journal, messages
from engine.store.types import Instant, from_micros, money, to_micros

EXAMPLES = 3
WORST = 20
NEAR = timedelta(days=7)
_NEAR = NEAR // timedelta(microseconds=1)
DAY = timedelta(days=1)
BOUGHT = "order_placed"
Example = tuple[str, str, str, str]  # when, who, flow, step
Purchase = tuple[int, Decimal]  # microseconds since 1970, what was paid


@dataclass(slots=True)
class Tally:
    """Everything a report is made of, countable and addable."""

    customers: int = 0
    facts: Counter[str] = field(default_factory=Counter)
    mails: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: Counter[tuple[str, str]] = field(default_factory=Counter)
    hours: Counter[tuple[int, int]] = field(default_factory=Counter)
    first_day: Counter[tuple[str, str, int]] = field(
        default_factory=Counter
    )  # mails and entries of the first 24 hours, by moment
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


@dataclass(frozen=True, slots=True)
class Before:
    """Mails that had gone, and enrollments that were left, at the very moment at which a forecast begins: by id."""

    mails: Sequence[int] = ()
    left: Sequence[int] = ()


def gone_before(connection: Connection, since: datetime) -> Before:
    """Return what a forecast that begins at this moment finds done: its clock stops there first, too."""
    mails = select(messages.c.id).where(messages.c.counted_at >= since)
    left = select(enrollments.c.id).where(enrollments.c.left_at >= since)
    return Before(connection.scalars(mails).all(), connection.scalars(left).all())


def count(
    connection: Connection,
    since: datetime,
    until: datetime,
    shop_zone: str,
    library: TemplateLibrary,
    before: Before,
) -> Tally:
    """Return what came of the time from `since` until and with `until`, but for what was done before."""
    tally = Tally(customers=connection.scalar(select(func.count()).select_from(customers)) or 0)
    _count_facts(connection, tally, since, until)
    _count_mails(connection, tally, since, until, shop_zone, library, before)
    _count_entries(connection, tally, since, before)
    _count_reasons(connection, tally, since, before)
    return tally


def _count_facts(connection: Connection, tally: Tally, since: datetime, until: datetime) -> None:
    table = events.c
    query = select(table.name, func.count()).where(
        table.arrived_at > since, table.arrived_at <= until, table.name.not_in(OWN)
    )
    for name, number in connection.execute(query.group_by(table.name)):
        tally.facts[name] += number


def _count_entries(connection: Connection, tally: Tally, since: datetime, before: Before) -> None:
    table = enrollments.c
    query = select(table.flow, func.count()).where(table.state != "held_out", _made_after(since))
    for flow, number in connection.execute(query.group_by(table.flow)):
        tally.entered[flow] += number
    told = journal.c
    at_once = select(told.flow, told.at, func.count()).where(
        told.decision == "entered", told.at >= since, told.at <= since + DAY
    )
    for flow, at, number in connection.execute(at_once.group_by(told.flow, told.at)):
        tally.first_day[flow, "entries", to_micros(at)] += number
    reached = select(table.flow, func.count()).where(table.goal_at > since).group_by(table.flow)
    for flow, number in connection.execute(reached):
        tally.goals[flow] += number
    left = select(table.flow, table.left_reason, func.count()).where(
        _left(connection, since, before), table.left_reason.is_not(None)
    )
    for flow, reason, number in connection.execute(left.group_by(table.flow, table.left_reason)):
        tally.exits[flow, reason] += number


def _left(connection: Connection, since: datetime, before: Before) -> Any:
    """Return the condition that an enrollment was left in this stretch."""
    own = enrollments.c
    return and_(own.left_at >= since, not_(among(connection, own.id, before.left)))


def _made_after(since: datetime) -> Any:
    """Return the condition that an enrollment was made in this stretch: its entry is in the journal, which began empty."""
    entered = select(journal.c.enrollment_id).where(journal.c.decision == "entered", journal.c.at >= since)
    return enrollments.c.id.in_(entered)


# ── mails ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Mail(NamedTuple):
    """A mail that went, as the store tells it: moments are microseconds since 1970, what its slots held is a document."""

    customer_id: int
    at: int
    flow: str
    step: str
    zone: str | None
    template: str | None
    slots: str


_SENT = Prepared(
    select(
        messages.c.customer_id, messages.c.counted_at, messages.c.flow, messages.c.step, customers.c.zone,
        messages.c.template, messages.c.content["slots"],
    )
    .join(customers, customers.c.id == messages.c.customer_id)
    .where(
        messages.c.counted_at.between(bindparam("since", type_=Instant()), bindparam("until", type_=Instant())),
        messages.c.state.in_(COUNTED), messages.c.channel == "email", not_(within(messages.c.id, "before")),
    )
    .order_by(messages.c.customer_id, messages.c.counted_at, messages.c.id)
)  # fmt: skip
_BOUGHT = Prepared(
    select(events.c.customer_id, events.c.occurred_at, events.c.value)
    .where(
        events.c.name == BOUGHT,
        events.c.occurred_at > bindparam("since", type_=Instant()),
        events.c.occurred_at <= bindparam("until", type_=Instant()),
    )
    .order_by(events.c.occurred_at, events.c.id)
)


def _bought(connection: Connection, since: datetime, until: datetime) -> dict[int, list[Purchase]]:
    found: dict[int, list[Purchase]] = {}
    for customer_id, at, units in _BOUGHT.each(connection, since=since, until=until):
        found.setdefault(customer_id, []).append((at, money(units or 0)))
    return found


def _count_mails(
    connection: Connection,
    tally: Tally,
    since: datetime,
    until: datetime,
    shop_zone: str,
    library: TemplateLibrary,
    before: Before,
) -> None:
    bought = _bought(connection, since, until)
    sent: Counter[tuple[int, str, str, str | None]] = Counter()
    filled: Counter[tuple[str | None, str]] = Counter()
    most: list[tuple[int, int]] = []
    rows = map(_Mail._make, _SENT.each(connection, since=since, until=until, before=before.mails))
    for customer_id, mails in groupby(rows, key=itemgetter(0)):
        own = list(mails)
        sent.update([mail[1:5] for mail in own])
        filled.update([mail[5:] for mail in own])
        most.append((len(own), customer_id))
        if customer_id in bought:
            count_near(tally, [(mail.at, mail.flow) for mail in own], bought.pop(customer_id))
    for orders in bought.values():
        count_near(tally, (), orders)
    tally.per_customer.update(number for number, _ in most)
    tally.per_customer[0] += tally.customers - len(most)
    tally.worst = _most_mailed(connection, most)
    _count_moments(tally, sent, since, shop_zone)
    _count_slots(tally, filled, library)


def _most_mailed(connection: Connection, most: Sequence[tuple[int, int]]) -> list[tuple[int, str]]:
    """Return who got the most mails, from everybody's number of them."""
    least = min(nlargest(WORST, (number for number, _ in most)), default=0)
    numbers = {customer_id: number for number, customer_id in most if number >= least}
    table = customers.c
    query = select(table.id, table.external_id, table.email).where(among(connection, table.id, numbers))
    return _worst([(numbers[which], name or email or "") for which, name, email in connection.execute(query)])


def _count_moments(
    tally: Tally, sent: Mapping[tuple[int, str, str, str | None], int], since: datetime, shop_zone: str
) -> None:
    """Count mails by what only their moment, step and customer's zone decide: thousands share those."""
    ends = to_micros(since + DAY)
    days: dict[int, str] = {}  # by moment
    hours: dict[tuple[int, str], tuple[int, int]] = {}
    for (at, flow, step, zone), number in sent.items():
        tally.mails[flow, step] += number
        if at not in days:
            days[at] = local(from_micros(at), shop_zone).date().isoformat()
        tally.days[days[at], flow] += number
        here = (at, zone or shop_zone)
        if here not in hours:
            there = local(from_micros(at), here[1])
            hours[here] = there.weekday(), there.hour
        tally.hours[hours[here]] += number
        if at <= ends:
            tally.first_day[flow, "mails", at] += number


def _count_slots(
    tally: Tally, filled: Mapping[tuple[str | None, str], int], library: TemplateLibrary
) -> None:
    for (template, told), number in filled.items():
        for block, slots in (from_json(told) or {}).items():
            name = f"{template}: {block}"
            tally.blocks[name, "mails"] += number
            tally.blocks[name, "wanted"] += number * _wanted(library, template, block)
            tally.blocks[name, "filled"] += number * len(slots)
            tally.blocks[name, "empty"] += number * (not slots)
            for slot in slots:
                tally.slots[name, slot["strategy"]] += number


def _wanted(library: TemplateLibrary, template: str | None, block: str) -> int:
    try:
        found = {each.name: each.count for each in library.template(template or "").recommend}
    except HomingError:
        return 0
    return found.get(block, 0)


def count_near(tally: Tally, mails: Sequence[tuple[int, str]], bought: Sequence[Purchase]) -> None:
    """Count the purchases, and those with a mail within a week before, by the last mail's flow.

    Mails are moments with flows; moments are microseconds since 1970. A mail of the very moment is no mail before: it
    thanks for this purchase.
    """
    for moment, value in bought:
        cents = round(value * 100)
        tally.orders["all"] += 1
        tally.revenue["all"] += cents
        before = [flow for at, flow in mails if moment - _NEAR <= at < moment]
        if before:
            tally.orders["after a mail"] += 1
            tally.revenue["after a mail"] += cents
            tally.revenue[before[-1]] += cents
            for flow in sorted(set(before)):
                tally.near[flow] += 1


# ── reasons ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _count_reasons(connection: Connection, tally: Tally, since: datetime, before: Before) -> None:
    table = journal.c
    where = and_(table.decision == "deferred", table.at >= since)
    query = select(table.flow, table.reason, func.count()).where(where).group_by(table.flow, table.reason)
    for flow, reason, number in connection.execute(query):
        tally.deferred[flow, reason] += number
    reasons = _reasons(since, _left(connection, since, before)).cte("reasons")
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


def _reasons(since: datetime, left_now: Any) -> Any:
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
    ).where(left_now, own.left_reason.is_not(None))
    return union_all(kept_out, dropped, left)


def plain(tally: Tally) -> Mapping[str, Any]:
    """Return the tally's plain numbers, for tests."""
    return {each.name: getattr(tally, each.name) for each in fields(tally)}
