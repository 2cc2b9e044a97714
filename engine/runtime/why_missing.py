"""Who had a flow's trigger and got nothing, grouped by reason: the question behind "why so few mails?".

Comes in: a flow, since when. Goes out: reasons with counts and a few customers each, largest first; every customer is in
one group, by the last thing that was decided. The journal knows all who came as far as the trigger's `where`; those whom
the `where` turned away are found by asking it again of the facts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from engine.audience.sql import truths
from engine.audience.subjects import Ask, Subject
from engine.flows.conditions import Clause, Of
from engine.flows.model import EventTrigger
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow, live_flows
from engine.outbox.ledger import COUNTED
from engine.runtime.why import known_flow
from engine.store.dialect import among
from engine.store.tables import customers, events, journal, messages

EXAMPLES = 5
CHUNK = 5_000
WHERE = "condition_false: where"
_REASONED = ("refused", "skipped", "dropped", "deferred")


def missing(connection: Connection, flow: str, since: datetime, at: Round) -> dict[str, Any]:
    """Return who had the trigger since then and was sent nothing by the flow, grouped by reason."""
    known_flow(connection, flow)
    table = messages.c
    got = set(
        connection.scalars(
            select(table.customer_id).where(
                table.flow == flow, table.counted_at >= since, table.state.in_(COUNTED)
            )
        )
    )
    last = _decided(connection, flow, since, got)
    had = len(last.keys() | got)
    for customer_id in _turned_away(connection, live_flows(connection)[flow], since, at):
        if customer_id not in got and customer_id not in last:
            last[customer_id] = WHERE
            had += 1
    groups: dict[str, list[int]] = defaultdict(list)
    for customer_id, reason in last.items():
        groups[reason].append(customer_id)
    return {
        "flow": flow, "since": since, "had_the_trigger": had, "got_a_mail": had - len(last), "got_nothing": len(last),
        "reasons": [
            {"reason": reason, "customers": len(ids), "examples": _names(connection, sorted(ids)[:EXAMPLES])}
            for reason, ids in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        ],
    }  # fmt: skip


def _decided(connection: Connection, flow: str, since: datetime, got: set[int]) -> dict[int, str]:
    """Return the last reason of each customer whom the journal knows and who got nothing."""
    table = journal.c
    query = (
        select(table.customer_id, table.decision, table.reason)
        .where(table.flow == flow, table.at >= since)
        .order_by(table.at, table.id)
    )
    found: dict[int, str] = {}
    for customer_id, decision, reason in connection.execution_options(yield_per=CHUNK).execute(query):
        if customer_id in got:
            continue
        if decision == "held_out":
            found[customer_id] = "holdout"
        elif customer_id in found and decision == "refused" and (reason or "").startswith("re_entry"):
            continue  # what became of the entry before says more than that there is no second one
        elif decision == "exited" or (decision in _REASONED and reason):
            found[customer_id] = reason or "left"
        elif decision == "completed":
            found.setdefault(customer_id, "reached the end without a mail")
        else:
            found.setdefault(customer_id, "still on the way")
    return found


def _turned_away(connection: Connection, live: LiveFlow, since: datetime, at: Round) -> Iterator[int]:
    """Yield the customers whose facts came to the door and did not pass the trigger's `where`."""
    table = events.c
    for trigger in live.flow.triggers:
        if not isinstance(trigger, EventTrigger) or not trigger.where:
            continue
        query = select(table.id, table.customer_id, table.occurred_at, table.properties).where(
            table.name == trigger.event, table.arrived_at >= max(since, live.applied_at), table.arrived_at <= at.now,
            table.backfill.is_(False),
        )  # fmt: skip
        ask = Ask(Clause(Of("trigger", trigger.where), "where"))
        found = connection.execute(query.order_by(table.id)).all()
        for start in range(0, len(found), CHUNK):
            rows = found[start : start + CHUNK]
            subjects = [
                Subject(
                    row.customer_id, row.occurred_at, row.occurred_at, row.id, trigger=row.properties or {}
                )
                for row in rows
            ]
            held = truths(
                connection, [ask], subjects, now=at.now, segments=live.flow.segments, shop_zone=at.shop_zone
            )
            yield from (row.customer_id for row, (holds,) in zip(rows, held, strict=True) if not holds)


def _names(connection: Connection, ids: list[int]) -> list[str]:
    query = select(customers.c.external_id, customers.c.email).where(among(connection, customers.c.id, ids))
    return [
        external_id or email or ""
        for external_id, email in connection.execute(query.order_by(customers.c.id))
    ]
