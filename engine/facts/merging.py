"""Two customers turn out to be one: everything of the one that goes moves to the one that stays.

Comes in: pairs (gone, stays) of customer ids, inside the caller's write transaction under the facts' lock. One
statement for each table, whatever the number of pairs. Unique keys stay: of two timers, segment memberships or scores
the staying customer's remains; an enrollment that collides with one of theirs is exited, its open messages dropped as
`superseded`. The stricter consent wins: what either of the two withdrew is withdrawn, and enrollments end with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, Text, case, cast, delete, select, update

from engine.facts import state_rows
from engine.facts.leaving import LIVE, end_enrollments
from engine.store.dialect import among, upsert
from engine.store.tables import (
    consent_state,
    consents,
    customer_scores,
    customers,
    enrollments,
    flow_versions,
    metadata,
    segment_members,
    suppressions,
    timers,
)

_MICROSECOND = timedelta(microseconds=1)
_SPECIAL = {"consent_state", "customer_scores", "enrollments", "segment_members", "timers"}


def merge_customers(connection: Connection, pairs: Sequence[tuple[int, int]], received: datetime) -> None:
    """Move everything of each first customer to the second, and delete the first."""
    into = dict(pairs)
    gone = sorted(into)
    states = _merge_consent(connection, into, received)
    _keep_theirs(connection, timers, (timers.c.flow, timers.c.trigger_no, timers.c.key), into)
    _keep_theirs(connection, segment_members, (segment_members.c.flow, segment_members.c.trigger_no), into)
    connection.execute(delete(customer_scores).where(among(connection, customer_scores.c.customer_id, gone)))
    _merge_enrollments(connection, into, received)
    # As the gate does before it looks at mails: what is told of either meanwhile waits, and then finds who stays. After the
    # enrollments, since whoever lets one take its steps has it before it writes of its customer.
    both = among(connection, customers.c.id, sorted({*into, *into.values()}))
    connection.execute(select(customers.c.id).where(both).order_by(customers.c.id).with_for_update())
    for table in metadata.sorted_tables:
        if "customer_id" in table.c and table.name not in _SPECIAL:
            _move(connection, table, into)
    connection.execute(delete(customers).where(among(connection, customers.c.id, gone)))
    _leave(connection, {stays: states[stays] for stays in into.values() if stays not in into}, received)


def _leave(connection: Connection, states: Mapping[int, state_rows.State], received: datetime) -> None:
    """End what either of the two had withdrawn from, or is suppressed for, with the fact that made them one."""
    table = enrollments
    wanted = (
        select(table.c.id, table.c.customer_id, flow_versions.c.definition)
        .join(flow_versions, flow_versions.c.hash == table.c.version)
        .where(among(connection, table.c.customer_id, sorted(states)), table.c.state.in_(LIVE))
    )
    told = select(suppressions.c.customer_id, suppressions.c.scope)
    told = told.where(among(connection, suppressions.c.customer_id, sorted(states)))
    suppressed = {(customer_id, scope) for customer_id, scope in connection.execute(told)}
    ending: dict[str, list[int]] = {"suppressed": [], "no_consent": []}
    for row in connection.execute(wanted).all():
        of_marketing = row.definition.get("kind", "marketing") == "marketing"
        scopes = {"all", "marketing"} if of_marketing else {"all"}
        if any((row.customer_id, scope) in suppressed for scope in scopes):
            ending["suppressed"].append(row.id)
        elif of_marketing and _is_withdrawn(states[row.customer_id], row.definition.get("topic")):
            ending["no_consent"].append(row.id)
    for reason, ids in ending.items():
        if ids:
            end_enrollments(connection, ids, received, reason, dropped=reason)


def _is_withdrawn(state: state_rows.State, topic: str | None) -> bool:
    return topic is not None and state_rows.standing(state, topic) == "withdrawn"


def _moved(column: Column[Any] | ColumnElement[Any], into: Mapping[int, int]) -> ColumnElement[Any]:
    return case(dict(into), value=column, else_=column)


def _move(connection: Connection, table: Table, into: Mapping[int, int]) -> None:
    column = table.c.customer_id
    moved = (
        update(table).where(among(connection, column, sorted(into))).values(customer_id=_moved(column, into))
    )
    connection.execute(moved)


def _keep_theirs(
    connection: Connection, table: Table, key: Sequence[Column[Any]], into: Mapping[int, int]
) -> None:
    """Delete the rows that would collide after the move, the staying customer's and the oldest apart; move the rest."""
    everyone = sorted({*into, *into.values()})
    column = table.c.customer_id
    rows = connection.execute(
        select(column, *key).where(among(connection, column, everyone)).order_by(column)
    ).all()
    taken = {(row[0], *row[1:]) for row in rows if row[0] not in into}
    for row in rows:
        if row[0] not in into:
            continue
        place = (into[row[0]], *row[1:])
        if place in taken:
            same = [one == value for one, value in zip(key, row[1:], strict=True)]
            connection.execute(delete(table).where(column == row[0], *same))
        taken.add(place)
    _move(connection, table, into)


def _merge_enrollments(connection: Connection, into: Mapping[int, int], received: datetime) -> None:
    table = enrollments
    wanted = select(
        table.c.id, table.c.customer_id, table.c.flow, table.c.occurrence, table.c.slot, table.c.state
    )
    everyone = sorted({*into, *into.values()})
    rows = connection.execute(
        wanted.where(among(connection, table.c.customer_id, everyone)).order_by(table.c.id)
    ).all()
    theirs = [row for row in rows if row.customer_id not in into]
    entries = {(row.customer_id, row.flow, row.occurrence) for row in theirs}
    live = {(row.customer_id, row.flow, row.slot) for row in theirs if row.state in LIVE}
    repeated, ended = [], []
    for row in rows:
        if row.customer_id not in into:
            continue
        stays = into[row.customer_id]
        if (stays, row.flow, row.occurrence) in entries:
            repeated.append(row.id)
        entries.add((stays, row.flow, row.occurrence))
        if row.state in LIVE:
            if row.id in repeated or (stays, row.flow, row.slot) in live:
                ended.append(row.id)
            live.add((stays, row.flow, row.slot))
    if repeated:
        mark = table.c.occurrence + ":merged:" + cast(table.c.id, Text)
        connection.execute(
            update(table).where(among(connection, table.c.id, repeated)).values(occurrence=mark)
        )
    if ended:
        end_enrollments(
            connection, ended, received, "exited: merged into another customer", dropped="superseded"
        )
    _move(connection, table, into)


def _merge_consent(
    connection: Connection, into: Mapping[int, int], received: datetime
) -> Mapping[int, state_rows.State]:
    """Fold the states of each pair and return them; a withdrawal of either holds against every grant so far of the other."""
    everyone = sorted({*into, *into.values()})
    table = consent_state
    states: dict[int, dict[str, dict[str, datetime | None]]] = {}
    for row in connection.execute(
        select(table).where(among(connection, table.c.customer_id, everyone))
    ).mappings():
        states.setdefault(row["customer_id"], {})[row["topic"]] = {
            name: row[name] for name in state_rows.TIMES
        }
    written: dict[int, None] = {}
    ledger: list[dict[str, Any]] = []
    for gone, stays in into.items():
        one, other = states.get(gone, {}), states.get(stays, {})
        folded, withdrawn = state_rows.fold_two(one, other)
        states[stays] = folded
        written[stays] = None
        ledger += [
            {
                "customer_id": stays, "topic": topic, "state": "withdrawn", "basis": "opt_in", "at": at, "received_at": received,
                "source": "two customers with one address became one", "wording": None,
            }
            for topic, at in withdrawn.items()
        ]  # fmt: skip
    connection.execute(delete(table).where(among(connection, table.c.customer_id, sorted(into))))
    rows = [
        {"customer_id": customer, "topic": topic, **times}
        for customer in written
        for topic, times in states[customer].items()
    ]
    upsert(connection, table, rows, update=state_rows.TIMES)
    if ledger:
        connection.execute(consents.insert(), ledger)
    return states
