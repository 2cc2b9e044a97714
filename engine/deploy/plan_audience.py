"""Who could enter a flow at this moment, and what keeps the others out.

Comes in: the real database, one flow. Goes out: how many customers could be let in if the trigger came now, and for those
who could not the first reason. Clauses that ask about the trigger itself (its cart, order, product) are left open: nobody
can know them before it comes. One statement for each clause and for each 5,000 customers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from engine.audience.sql import customers_matching
from engine.flows.conditions import Clause, InSegment, needs_trigger
from engine.flows.model import Flow, ScheduleTrigger
from engine.journeys.enter import entry_clauses
from engine.journeys.round import Round
from engine.policy.consent import granted_topics, suppressed_kinds
from engine.store.tables import customers

CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Audience:
    """Who could enter now: `excluded` says by reason how many could not, `open` which clauses nobody can know yet."""

    customers: int
    size: int
    excluded: Mapping[str, int]
    open: tuple[str, ...] = ()


@dataclass(slots=True)
class Everybody:
    """All customers with what the law says of each, read once for a plan."""

    ids: tuple[int, ...]
    granted: Mapping[int, frozenset[str]]
    suppressed: Mapping[int, frozenset[str]]


def everybody(connection: Connection, flows: Sequence[Flow], at: Round) -> Everybody:
    """Read all customers with the topics and suppressions that these flows ask about."""
    ids = tuple(
        connection.scalars(
            select(customers.c.id).where(customers.c.erased_at.is_(None)).order_by(customers.c.id)
        )
    )
    topics = sorted({flow.topic for flow in flows if flow.topic})
    granted: dict[int, frozenset[str]] = {}
    suppressed: dict[int, frozenset[str]] = {}
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        granted |= granted_topics(connection, part, topics, at.settings.soft_opt_in)
        suppressed |= suppressed_kinds(connection, part)
    return Everybody(ids, granted, suppressed)


def audience(connection: Connection, flow: Flow, all_of_them: Everybody, at: Round) -> Audience:
    """Return who could enter a flow at this moment."""
    asked, left_open = _clauses(flow, at)
    left: set[int] = set()
    excluded: Counter[str] = Counter()
    for customer_id in all_of_them.ids:
        reason = _by_law(flow, customer_id, all_of_them)
        if reason is None:
            left.add(customer_id)
        else:
            excluded[reason] += 1
    for clause in asked:
        if not left:
            break
        matching = customers_matching([clause], now=at.now, segments=flow.segments, shop_zone=at.shop_zone)
        staying = left & set(connection.scalars(matching))
        if len(staying) < len(left):
            excluded[f"condition_false: {clause.text}"] += len(left) - len(staying)
        left = staying
    ordered = dict(sorted(excluded.items(), key=lambda item: (-item[1], item[0])))
    return Audience(len(all_of_them.ids), len(left), ordered, tuple(clause.text for clause in left_open))


def _by_law(flow: Flow, customer_id: int, all_of_them: Everybody) -> str | None:
    if flow.kind in all_of_them.suppressed.get(customer_id, ()):
        return "suppressed"
    if flow.kind == "marketing" and flow.topic not in all_of_them.granted.get(customer_id, ()):
        return "no_consent"
    return None


def _clauses(flow: Flow, at: Round) -> tuple[list[Clause], list[Clause]]:
    """Return the clauses that can be asked of customers alone, and those that depend on the trigger."""
    asked: list[Clause] = []
    left_open: list[Clause] = []
    single = len(flow.triggers) == 1
    for clause in entry_clauses(flow, 0 if single else len(flow.triggers), at):
        (left_open if needs_trigger(clause, flow.segments) else asked).append(clause)
    if single and isinstance(flow.triggers[0], ScheduleTrigger) and flow.triggers[0].segment:
        name = flow.triggers[0].segment
        asked.append(Clause(InSegment(name), f"segment: {name}"))
    return asked, left_open
