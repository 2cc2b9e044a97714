"""Consents: each fact is a row of the ledger, and the ledger is folded into one state for each customer and topic.

Comes in: consent facts with their customers. Goes out: ledger rows, the folded states and the events
`consent_granted`, `consent_withdrawn`. Promises: the order of arrival does not matter, and a grant that is not dated
after a withdrawal never overrides it: an undated grant stands at the beginning of time, an undated withdrawal at its
receipt. The caller holds the customers' locks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from engine.facts.fact import iso, short_hash
from engine.facts.raised import Raised, Told
from engine.facts.state_rows import TIMES, Times, column, newest
from engine.store.bulk import insert_rows, upsert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import consent_state, consents
from engine.store.types import EPOCH, to_micros

_STATES = Prepared(select(consent_state).where(within(consent_state.c.customer_id, "customers")))


def project_consents(
    connection: Connection, told: Sequence[tuple[int, Told, int]]
) -> tuple[dict[int, str], list[Raised]]:
    """Append the facts to the ledger and fold them; return each fact's outcome by index, and the events raised."""
    ledger: list[dict[str, Any]] = []
    raised: list[Raised] = []
    for index, item, customer_id in told:
        ledger.append(_ledger_row(item, customer_id))
        if item.fact.fields["state"] != "pending":
            raised.append(_event(index, item, customer_id))
    insert_rows(connection, consents, ledger)
    fold(connection, ledger)
    return dict.fromkeys((index for index, _, _ in told), "new"), raised


def fold(connection: Connection, ledger: Sequence[Mapping[str, Any]]) -> None:
    """Fold new rows of the ledger into the states of their customers."""
    whose = sorted({row["customer_id"] for row in ledger})
    states: dict[tuple[int, str], Times] = {
        (row["customer_id"], row["topic"]): {name: row[name] for name in TIMES}
        for row in _STATES.dicts(connection, customers=whose)
    }
    changed: dict[tuple[int, str], Times] = {}
    for row in ledger:
        key = (row["customer_id"], row["topic"])
        times = states.setdefault(key, dict.fromkeys(TIMES))
        name = column(row["state"], row["basis"])
        times[name] = newest(times[name], _effective(row))
        changed[key] = times
    rows = [
        {"customer_id": customer, "topic": topic, **times} for (customer, topic), times in changed.items()
    ]
    upsert_rows(connection, consent_state, rows)


def _effective(row: Mapping[str, Any]) -> datetime:
    """Return when a ledger row counts: as dated, else a grant at the beginning of time and all else at its receipt."""
    at: datetime | None = row["at"]
    received: datetime = row["received_at"]
    if at is not None:
        return at
    return EPOCH if row["state"] == "granted" else received


def _ledger_row(told: Told, customer_id: int) -> dict[str, Any]:
    fields = told.fact.fields
    return {
        "customer_id": customer_id, "topic": fields["topic"], "state": fields["state"], "basis": fields["basis"],
        "at": None if told.fact.at is None else told.at, "received_at": told.received, "source": fields.get("source"),
        "wording": fields.get("wording"),
    }  # fmt: skip


def _event(index: int, told: Told, customer_id: int) -> Raised:
    fact = told.fact
    told_hash = short_hash(f"{customer_id}\x1f{to_micros(told.at)}\x1f{fact.content}")
    return Raised(
        place=index, key=f"consent:{told_hash}", customer_id=customer_id, name=f"consent_{fact.fields['state']}",
        occurred_at=told.at, arrived_at=told.received, properties={**fact.document, "at": iso(told.at)},
        backfill=fact.backfill,
    )  # fmt: skip
