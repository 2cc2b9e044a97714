"""What was read about customers, kept until one of them is written: for a store that one program drives alone.

Comes in: ids of customers and what reads them. Goes out: what is known of each, read when it is asked for the first time.
Promises: where nobody keeps anything (every store but a `Lone` one) each asking reads; a customer of whom a kept column is
written is forgotten by the database itself (triggers), and everything is where a part of a transaction is undone. Each kind
of knowledge holds `MOST` customers, and begins anew beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

KEPT = "homing_kept"
MOST = 200_000
# What may be kept: these columns of customers, what they are called, and all that says whom one may mail.
CUSTOMER = (
    "id", "zone", "external_id", "email", "first_seen_at", "locale", "erased_at", "quarantined_at", "properties",
    "birthday", "created_at", "created_on", "points_expire_at", "points_expire_on",
)  # fmt: skip
ABOUT = ("consent_state", "suppressions")
T = TypeVar("T")


class Unsure(BaseException):
    """A step failed that nothing could undo by itself: all that was done boldly is undone, and done again with care."""


class Kept:
    """What is known of customers, by kind; `bold` tells that steps are undone only together (`Lone.boldly`)."""

    __slots__ = ("_beside", "_kinds", "bold")

    def __init__(self) -> None:
        self.bold = False
        self._kinds: dict[Hashable, dict[int, Any]] = {}
        self._beside: dict[Hashable, dict[Any, Any]] = {}

    def of(self, kind: Hashable) -> dict[int, Any]:
        """Return what is known of one kind, by customer."""
        held = self._kinds.setdefault(kind, {})
        if len(held) > MOST:
            held.clear()
        return held

    def beside(self, kind: Hashable) -> dict[Any, Any]:
        """Return what is known of one kind by another id than a customer's: who keeps it says when it is over."""
        return self._beside.setdefault(kind, {})

    def forget(self, customer_id: int | None) -> None:
        """Forget one customer."""
        if customer_id is not None:
            for held in self._kinds.values():
                held.pop(customer_id, None)

    def clear(self) -> None:
        """Forget everybody, and everything."""
        for held in (*self._kinds.values(), *self._beside.values()):
            held.clear()

    def watch(self, connection: Any) -> None:
        """Let a connection of SQLite's driver forget whom it writes."""
        connection.create_function("homing_forget", 1, self.forget)
        columns = ", ".join(CUSTOMER)
        told: list[tuple[str, str, tuple[str, ...]]]
        told = [("customers", f"UPDATE OF {columns}", ("OLD.id",)), ("customers", "DELETE", ("OLD.id",))]
        told += [("customer_ids", deed, ("OLD.customer_id",)) for deed in ("UPDATE", "DELETE")]
        for table in ABOUT:
            told += [(table, "INSERT", ("NEW.customer_id",)), (table, "DELETE", ("OLD.customer_id",))]
            told.append((table, "UPDATE", ("OLD.customer_id", "NEW.customer_id")))
        told.append(("messages", "UPDATE OF customer_id", ("OLD.customer_id", "NEW.customer_id")))
        for number, (table, deed, ids) in enumerate(told):
            asked = " ".join(f"SELECT homing_forget({each});" for each in ids)
            connection.execute(
                f"CREATE TEMP TRIGGER forget_{number} AFTER {deed} ON main.{table} BEGIN {asked} END"
            )


def kept(connection: Connection) -> Kept | None:
    """Return what is kept here, or None where nothing is."""
    found: Kept | None = connection.get_execution_options().get(KEPT)
    return found


def known(
    connection: Connection,
    kind: Hashable,
    ids: Sequence[int],
    read: Callable[[Sequence[int]], Mapping[int, T]],
) -> Mapping[int, T]:
    """Return what `read` says of these customers, in the order of `ids`; those of whom it says nothing are left out."""
    memory = kept(connection)
    if memory is None:
        return read(ids)
    held = memory.of(kind)
    try:
        return {each: held[each] for each in ids}  # most batches hold nobody who is new
    except KeyError:
        held.update(read([each for each in ids if each not in held]))
        return {each: held[each] for each in ids if each in held}


def forget_all(connection: Connection) -> None:
    """Forget everybody: what was read of them may have been undone."""
    memory = kept(connection)
    if memory is not None:
        memory.clear()
