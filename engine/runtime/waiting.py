"""What was set aside, wherever it lies: rows of facts in quarantine/, templates and flows in the database.

Comes in: the project's folder and a connection. Goes out: plain data, and what a person decides about it: try again, or
let go. Trying again puts a template's messages back into the outbox where they are not too late, and thaws a flow that
was frozen because it failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from engine.diagnostics import did_you_mean
from engine.errors import UsageError
from engine.facts.quarantine import FOLDER, set_aside
from engine.journeys import journal
from engine.journeys.candidates import Candidate
from engine.journeys.gathering import again
from engine.store.tables import INSIDE, customers, enrollments, fact_inbox, flows, messages, quarantine

MOST_ROWS = 10_000


def everything(connection: Connection, root: Path) -> dict[str, Any]:
    """Return what waits: `facts` [{file, row, column, reason, raw}], `entries` [{id, kind, subject, reason, tries, at}]."""
    rows = islice(set_aside(root), MOST_ROWS)
    facts = [
        {"file": row.file, "row": row.row, "column": row.column, "reason": row.reason, "raw": dict(row.raw)}
        for row in rows
    ]
    entries = [
        {
            "id": row.id,
            "kind": row.kind,
            "subject": row.subject,
            "reason": row.reason,
            "tries": row.tries,
            "at": row.at,
        }
        for row in _open(connection)
    ]
    return {"facts": facts, "entries": entries}


def choose(connection: Connection, root: Path, which: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Return the files and entries that names and numbers mean; none given: everything that waits."""
    files = {path.name: path for path in sorted((root / FOLDER).glob("*.csv"))}
    numbers = {str(row.id): row.id for row in _open(connection)}
    if not which:
        return list(files.values()), list(numbers.values())
    known = [*files, *numbers]
    for name in which:
        if Path(name).name not in files and name not in numbers:
            hint = did_you_mean(Path(name).name, known) or "`homing quarantine list` shows what is"
            raise UsageError(f'"{name}" is not set aside; {hint}')
    return (
        [files[Path(name).name] for name in which if name not in numbers],
        [numbers[name] for name in which if name in numbers],
    )


def retry(connection: Connection, numbers: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Try these entries again; return what became of each."""
    done = []
    for row in _open(connection, numbers):
        outcome = _AGAIN.get(row.kind, _let_go)(connection, row, now)
        done.append({"id": row.id, "kind": row.kind, "subject": row.subject, "outcome": outcome})
    resolve(connection, numbers, now)
    return done


def resolve(connection: Connection, numbers: Sequence[int], now: datetime) -> None:
    """Note that these entries are settled."""
    connection.execute(update(quarantine).where(quarantine.c.id.in_(list(numbers))).values(resolved_at=now))


def _open(connection: Connection, numbers: Sequence[int] | None = None) -> Sequence[Row[Any]]:
    query = select(quarantine).where(quarantine.c.resolved_at.is_(None)).order_by(quarantine.c.id)
    return connection.execute(
        query if numbers is None else query.where(quarantine.c.id.in_(list(numbers)))
    ).all()


def _mail_again(connection: Connection, row: Row[Any], now: datetime) -> str:
    """Put the message back: the gate judges it anew, so that nobody gets what no longer fits."""
    table = messages.c
    wanted = select(messages).where(table.key == (row.payload or {}).get("message"), table.state == "dropped")
    message = connection.execute(wanted.where(table.reason == "template_error")).first()
    if message is None:
        return "nothing to send"
    if message.expires_at is not None and message.expires_at < now:
        return "too late to send"
    values = {"state": "pending", "reason": None, "tries": 0, "try_at": now, "settled_at": None}
    connection.execute(update(messages).where(table.id == message.id).values(**values))
    again = journal.entry(
        now, message.flow, message.customer_id, "retry", "the template was mended", enrollment_id=message.enrollment_id,
        message_id=message.id, step=message.step,
    )  # fmt: skip
    journal.write(connection, [again])
    return "waits to be sent"


def _flow_again(connection: Connection, row: Row[Any], _now: datetime) -> str:
    known = connection.execute(select(flows).where(flows.c.flow == row.subject)).first()
    if known is None:
        return "is applied no more"
    if known.frozen_at is not None and str(known.frozen_reason or "").startswith("failed "):
        thawed = {"frozen_at": None, "frozen_reason": None}
        connection.execute(update(flows).where(flows.c.flow == row.subject).values(**thawed))
    return "goes on"


def _fact_again(connection: Connection, row: Row[Any], _now: datetime) -> str:
    """Bring a fact, or somebody who stood at a flow's door, back to where it failed."""
    told = (row.payload or {}).get("candidate")
    if told is None:
        connection.execute(insert(fact_inbox).values(event_id=row.payload["event"], change_id=None))
        return "is taken in anew"
    since, entered_at = (datetime.fromisoformat(told[name]) for name in ("since", "entered_at"))
    candidate = Candidate(
        told["trigger_no"], told["customer"], told["occurrence"], entered_at, since, told["trigger"], told["event"],
        told["event_name"], told["order_id"], told["cart_id"], told["sku"], tuple(told["facts"]),
    )  # fmt: skip
    again(connection, told["flow"], [candidate])
    return "stands at the door again"


def _let_go(_connection: Connection, _row: Row[Any], _now: datetime) -> str:
    return "settled"


def _customer_again(connection: Connection, row: Row[Any], now: datetime) -> str:
    """Let the customer enter again, and the enrollments that failed take their steps once more."""
    table = enrollments.c
    who = (row.payload or {}).get("customer")
    connection.execute(update(customers).where(customers.c.id == who).values(quarantined_at=None))
    query = select(table.id, table.flow, table.slot).where(table.customer_id == who)
    failed = query.where(table.state == "failed", table.left_reason == "quarantined").order_by(table.id)
    inside = {(each.flow, each.slot) for each in connection.execute(query.where(INSIDE))}
    again = {(each.flow, each.slot): each.id for each in connection.execute(failed)}
    ids = [which for place, which in again.items() if place not in inside]
    values = {"state": "active", "next_at": now, "left_at": None, "left_reason": None}
    connection.execute(update(enrollments).where(table.id.in_(ids)).values(**values))
    return "goes on"


_AGAIN = {"template": _mail_again, "flow": _flow_again, "customer": _customer_again, "fact": _fact_again}
