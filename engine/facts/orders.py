"""Orders: facts about them, in any order of arrival, become one row, its lines and its events.

Placed, cancelled and refunded may arrive in any order and more than once: each field keeps its newest telling, each
status its earliest moment; a cancellation holds for good. The events of an order are made from what is known of it
now, one for each status it ever had (`order:ID:STATUS`), and follow when more becomes known. Sales without a customer
are kept for popularity and raise nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from engine.facts.fact import Line, iso, plain_lines, plain_number
from engine.facts.fields import Reading, any_amount
from engine.facts.line_tables import LineTable
from engine.facts.normalise import lines_value
from engine.facts.people import customer_names
from engine.facts.raised import Raised, Told
from engine.facts.record import Record
from engine.store.bulk import upsert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import order_lines, orders
from engine.store.types import from_micros, to_micros

FIELDS = (
    "customer_id",
    "placed_at",
    "status",
    "currency",
    "total",
    "discount",
    "coupon",
    "shipments",
    "refunds",
    "returns",
)
MOMENTS = ("paid", "shipped", "delivered", "cancelled", "refunded", "returned")
EVENTS = ("shipped", "delivered", "cancelled", "refunded", "returned")
_NOTHING = Decimal(0)


class Order:
    """What is known of one order within a chunk."""

    __slots__ = ("changed", "events", "fresh_lines", "id", "moments", "placed", "record", "stored", "was_of")

    def __init__(
        self, order_id: str, row: Mapping[str, Any] | None = None, lines: tuple[Line, ...] = ()
    ) -> None:
        self.id = order_id
        self.stored = row is not None
        self.record = Record()
        self.moments: dict[str, datetime] = {}
        self.placed: datetime | None = (
            None  # the earliest moment known, for an order whose placing was not told
        )
        self.was_of: int | None = None
        self.changed = self.fresh_lines = False
        self.events: dict[
            str, tuple[int, datetime, bool]
        ] = {}  # status → index, arrival, backfill of the fact that raises it
        if row is not None:
            values = {name: row[name] for name in FIELDS} | {"lines": lines or None}
            self.record = Record.stored(
                values, row["properties"], to_micros(row["updated_at"]), row["told_at"]
            )
            self.moments = {name: row[f"{name}_at"] for name in MOMENTS if row[f"{name}_at"] is not None}
            self.placed, self.was_of = row["placed_at"], row["customer_id"]

    def tell(self, index: int, told: Told, customer_id: int | None) -> str:
        """Take a fact; return `new`, `unchanged` or `stale`."""
        fact, at = told.fact, told.at
        fields = {name: value for name, value in fact.fields.items() if name not in ("order_id", "status_at")}
        if fields.get("placed_at") is not None:
            fields["placed_at"] = min(fields["placed_at"], told.received)
        if customer_id is not None:
            fields["customer_id"] = customer_id
        if fact.lines is not None:
            fields["lines"] = fact.lines
        new, stale, before = (
            not self.stored and not self.changed,
            self.record.is_older(to_micros(at)),
            self.record.values.get("lines"),
        )
        changed = self.record.tell(fields, fact.properties, to_micros(at)) or new
        self.fresh_lines = self.fresh_lines or self.record.values.get("lines") != before
        if self.placed is None or at < self.placed:
            self.placed, self.record.moved = at, True
        changed = self._imply_placing(fields.get("status"), at, new=new) or changed
        changed = self._reach(fields.get("status"), fields.get("refunds"), at) or changed
        self.changed = self.changed or changed
        for status in ("placed", *EVENTS):
            if status in self.moments or (
                status == "placed" and self.record.values.get("placed_at") is not None
            ):
                self.events.setdefault(status, (index, told.received, fact.backfill))
        return "new" if changed else "stale" if stale else "unchanged"

    def _reach(self, status: str | None, refunds: Any, at: datetime) -> bool:
        """Note when the order came to a status: its earliest telling."""
        changed = False
        for name in {status, "refunded" if refunds else None} & set(MOMENTS):
            assert name is not None
            if name not in self.moments or at < self.moments[name]:
                self.moments[name] = at
                changed = True
        return changed

    def _imply_placing(self, status: str | None, at: datetime, *, new: bool) -> bool:
        """Take the earliest sign of life as the placing, until the placing itself is told."""
        if status not in ("placed", "paid") and not (new and status is None):
            return False
        values, times = self.record.values, self.record.times
        if values.get("placed_at") is not None and (times["placed_at"] != 0 or at >= values["placed_at"]):
            return False
        values["placed_at"], times["placed_at"] = at, 0
        return True

    @property
    def customer_id(self) -> int | None:
        """The customer who placed it."""
        found: int | None = self.record.values.get("customer_id")
        return found

    def row(self) -> dict[str, Any]:
        """Return the columns of the order; what was not told is derived."""
        values, record = self.record.values, self.record
        row: dict[str, Any] = {name: values.get(name) for name in FIELDS}
        derived = [name for name in ("placed_at", "status", "total") if row[name] is None]
        row["placed_at"] = row["placed_at"] or self.placed
        row["status"] = row["status"] or "placed"
        row["total"] = self._total() if row["total"] is None else row["total"]
        row["status_at"] = from_micros(record.times["status"]) if values.get("status") else row["placed_at"]
        row |= {f"{name}_at": self.moments.get(name) for name in MOMENTS}
        row["refunded"] = self._refunded(row["total"])
        assert record.updated is not None
        row |= {
            "order_id": self.id,
            "properties": record.properties(),
            "updated_at": from_micros(record.updated),
        }
        row["told_at"] = record.told(derived)
        return row

    def _total(self) -> Decimal:
        worth = lines_value(self.record.values.get("lines") or ()) or _NOTHING
        return max(worth - (self.record.values.get("discount") or _NOTHING), _NOTHING)

    def _refunded(self, total: Decimal) -> Decimal:
        refunds = self.record.values.get("refunds")
        if not refunds:
            return total if "refunded" in self.moments else _NOTHING
        if any(refund.get("full") is True for refund in refunds):
            return total
        return min(sum((_amount(refund) for refund in refunds), _NOTHING), total)

    def raise_events(self, row: Mapping[str, Any], names: Mapping[int, str]) -> list[Raised]:
        """Return the events of every status that the order had, made from what is known now."""
        if self.customer_id is None:
            return []
        base = self._document(row, names[self.customer_id])
        return [self._raise(status, base, row) for status in self.events]

    def _raise(self, status: str, base: Mapping[str, Any], row: Mapping[str, Any]) -> Raised:
        index, received, backfill = self.events[status]
        at = row["placed_at"] if status == "placed" else self.moments[status]
        # Shops that tell an order's cart let `same: cart_id` find it.
        cart = (row["properties"] or {}).get("cart_id")
        return Raised(
            place=index, key=f"order:{self.id}:{status}", customer_id=row["customer_id"], name=f"order_{status}", occurred_at=at,
            arrived_at=received, properties={**base, "status": status, "status_at": iso(at)}, value=row["total"],
            order_id=self.id, cart_id=None if cart is None else str(cart), backfill=backfill, refresh=True,
        )  # fmt: skip

    def _document(self, row: Mapping[str, Any], customer: str) -> dict[str, Any]:
        document: dict[str, Any] = {
            "order_id": self.id,
            "customer": customer,
            "placed_at": iso(row["placed_at"]),
            "status": "",
            "status_at": "",
        }
        document |= {
            "currency": row["currency"],
            "total": plain_number(row["total"]),
            "coupon": row["coupon"],
        }
        document["discount"] = None if row["discount"] is None else plain_number(row["discount"])
        document["lines"] = plain_lines(self.record.values.get("lines") or ())
        document |= {name: row[name] for name in ("shipments", "refunds", "returns", "properties")}
        return {name: value for name, value in document.items() if value is not None}


def _amount(refund: Mapping[str, Any]) -> Decimal:
    amount = refund.get("amount")
    return _NOTHING if amount is None else any_amount(amount, _READING)


_READING = Reading("UTC", from_micros(0))


_ORDERS = Prepared(select(orders).where(within(orders.c.order_id, "ids")))
_LINES = LineTable(order_lines, "order_id")


def load_orders(connection: Connection, ids: Sequence[str]) -> dict[str, Order]:
    """Return the orders of those ids that are known."""
    rows = _ORDERS.dicts(connection, ids=ids)
    if not rows:
        return {}
    lines = _LINES.read(connection, [row["order_id"] for row in rows])
    return {row["order_id"]: Order(row["order_id"], row, tuple(lines[row["order_id"]])) for row in rows}


def project_orders(
    connection: Connection, told: Sequence[tuple[int, Told, int | None]], names: dict[int, str]
) -> tuple[dict[int, str], list[Raised], set[int]]:
    """Fold facts about orders; return each fact's outcome by index, the events raised, and the customers concerned.

    `names` maps customers to what documents call them; whoever is missing is looked up.
    """
    known = load_orders(connection, sorted({fact.key for _, (fact, _, _), _ in told}))
    outcomes: dict[int, str] = {}
    for index, item, customer_id in told:
        order = known.get(item.fact.key)
        if order is None:
            order = known[item.fact.key] = Order(item.fact.key)
        outcomes[index] = order.tell(index, item, customer_id)
    moved = [(order, order.row()) for order in known.values() if order.changed or order.record.moved]
    _write(connection, moved)
    changed = [(order, row) for order, row in moved if order.changed]
    touched = {
        customer
        for order, _ in changed
        for customer in (order.was_of, order.customer_id)
        if customer is not None
    }
    names |= customer_names(connection, touched - names.keys())
    raised = [event for order, row in changed for event in order.raise_events(row, names)]
    return outcomes, raised, touched


def _write(connection: Connection, changed: Sequence[tuple[Order, dict[str, Any]]]) -> None:
    rows = [row for _, row in changed]
    if not rows:
        return
    upsert_rows(connection, orders, rows)
    stale = [order.id for order, _ in changed if order.stored and order.fresh_lines]
    fresh = [(order.id, order.record.values.get("lines") or ()) for order, _ in changed if order.fresh_lines]
    _LINES.write(connection, stale, fresh)
