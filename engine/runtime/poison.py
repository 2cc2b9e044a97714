"""Poison: an enrollment whose steps cannot be taken is set aside after three tries, and the others go on.

Comes in: due enrollments, or those who were let in just now. Goes out: their steps taken; one whose decision fails stands
still and is tried again later, the others of its batch go on. Where something else fails, the batch is halved until the one
stands alone that fails. After the third time it ends as `failed`, its customer enters nothing until somebody has looked
(`homing quarantine`), and the error's place stands in the quarantine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import OperationalError

from engine.errors import place, sentence_of
from engine.journeys import journal
from engine.journeys.advance import BATCH, Failed, advance, begin
from engine.journeys.candidates import candidate_of_row
from engine.journeys.enter import Newcomer
from engine.journeys.round import Round
from engine.runtime.setting_aside import set_candidate_aside
from engine.store.bulk import insert_rows, update_rows
from engine.store.dialect import within
from engine.store.keys import KeyRange
from engine.store.prepared import Prepared, undoing
from engine.store.sifting import sift
from engine.store.tables import INSIDE, customers, enrollments, quarantine

log = logging.getLogger("homing.pass")
_WHOSE = Prepared(
    select(
        enrollments.c.id,
        enrollments.c.flow,
        enrollments.c.position,
        enrollments.c.customer_id,
        customers.c.external_id,
    )
    .join(customers, customers.c.id == enrollments.c.customer_id)
    .where(within(enrollments.c.id, "ids"))
    .order_by(enrollments.c.id)
)
_STANDING = Prepared(
    select(quarantine.c.id, quarantine.c.subject, quarantine.c.tries).where(
        quarantine.c.kind == "customer",
        within(quarantine.c.subject, "subjects"),
        quarantine.c.resolved_at.is_(None),
    )
)
TRIES = 3
AGAIN = timedelta(minutes=10)


def begin_all(connection: Connection, newcomers: Sequence[Newcomer], at: Round) -> int:
    """Write those who were let in; where their first steps fail, these are left to `advance_all`."""
    stuck: Failed = {}
    try:
        begun = undoing(connection, lambda: begin(connection, newcomers, at, failed=stuck))
        _set_all_aside(connection, stuck, at)
        return begun
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, it is looked for one by one
        log.error("first steps failed: %s at %s", type(error).__name__, place(error))
        done, failed = sift(connection, newcomers, lambda some: begin(connection, some, at, steps=False))
        for newcomer, why in failed:
            row = newcomer.row
            set_candidate_aside(connection, row["flow"], candidate_of_row(row), why, at.now)
        return sum(done)


def advance_all(
    connection: Connection, at: Round, closed: Sequence[str], keys: KeyRange | None = None
) -> int:
    """Let due enrollments (of a range of customers) take their steps; return how many were due.

    What the database itself refuses ends the pass.
    """
    stuck: Failed = {}
    try:
        moved = undoing(connection, lambda: advance(connection, at, closed, keys=keys, failed=stuck))
        _set_all_aside(connection, stuck, at)
        return moved
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, the others go on
        log.error("a batch of steps failed: %s at %s", type(error).__name__, place(error))
        due = select(enrollments.c.id).where(INSIDE, enrollments.c.next_at <= at.now)
        if closed:
            due = due.where(enrollments.c.flow.not_in(sorted(closed)))
        if keys is not None:
            due = due.where(keys.holds(enrollments.c.customer_id))
        due = due.order_by(enrollments.c.next_at, enrollments.c.id).limit(BATCH)
        return _one_by_one(connection, at, closed, list(connection.scalars(due)))


def _one_by_one(connection: Connection, at: Round, closed: Sequence[str], ids: Sequence[int]) -> int:
    try:
        return undoing(connection, lambda: advance(connection, at, closed, only=ids)) if ids else 0
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        if len(ids) == 1:
            log.error("steps failed: %s at %s", type(error).__name__, place(error))
            _set_aside(connection, {ids[0]: sentence_of(error)}, at)
            return 1
        half = len(ids) // 2
        first = _one_by_one(connection, at, closed, ids[:half])
        return first + _one_by_one(connection, at, closed, ids[half:])


def _set_all_aside(connection: Connection, failed: Failed, at: Round) -> None:
    """Set those aside of whom nobody can say what they do next; the others of their batch have gone on."""
    for error in failed.values():
        log.error("steps failed: %s at %s", type(error).__name__, place(error))
    _set_aside(connection, {identity: sentence_of(error) for identity, error in failed.items()}, at)
    failed.clear()  # an error holds the frames it came through, and these hold the whole batch


def _set_aside(connection: Connection, reasons: Mapping[int, str], at: Round) -> None:
    """Let enrollments (id → reason) wait for their next try, or end after the third; the quarantine counts by customer."""
    if not reasons:
        return
    rows = _WHOSE.rows(connection, ids=list(reasons))
    subjects = sorted({_subject(row) for row in rows})
    standing = {row.subject: row for row in _STANDING.rows(connection, subjects=subjects)}
    tries = {subject: row.tries for subject, row in standing.items()}
    fresh: dict[str, dict[str, Any]] = {}
    again: list[Row[Any]] = []
    over: list[Row[Any]] = []
    for row in rows:
        subject, reason = _subject(row), reasons[row.id]
        log.error("an enrollment in %s failed: %s", row.flow, reason)
        tries[subject] = tries.get(subject, 0) + 1
        if subject not in standing:
            told = {"flow": row.flow, "customer": row.customer_id, "step": row.position}
            first = {"kind": "customer", "subject": subject, "at": at.now, "payload": told}
            fresh.setdefault(subject, first).update(reason=reason, tries=tries[subject])
        (again if tries[subject] < TRIES else over).append(row)
    insert_rows(connection, quarantine, list(fresh.values()))
    last = {_subject(row): reasons[row.id] for row in rows}
    counted = [
        {"tries": tries[subject], "reason": last[subject], "id": row.id} for subject, row in standing.items()
    ]
    update_rows(connection, quarantine, counted)
    update_rows(connection, enrollments, [{"next_at": at.now + AGAIN, "id": row.id} for row in again])
    _give_up(connection, over, reasons, at)


def _subject(row: Row[Any]) -> str:
    return str(row.external_id or row.customer_id)


def _give_up(connection: Connection, over: Sequence[Row[Any]], reasons: Mapping[int, str], at: Round) -> None:
    ended = {"state": "failed", "next_at": None, "left_at": at.now, "left_reason": "quarantined"}
    update_rows(connection, enrollments, [{**ended, "id": row.id} for row in over])
    who = sorted({row.customer_id for row in over})
    update_rows(connection, customers, [{"quarantined_at": at.now, "id": each} for each in who])
    entries = [
        journal.entry(
            at.now, row.flow, row.customer_id, "failed", "quarantined",
            enrollment_id=row.id, step=row.position, detail={"error": reasons[row.id]},
        )
        for row in over
    ]  # fmt: skip
    journal.write(connection, entries)
