"""Carts: facts about them become one row with its lines, and an event for each telling.

The newest telling by its own time is the cart's state; each fact of a customer's cart raises `cart_updated`, or
`cart_emptied` where it says `lines: []`. A cart whose lines were never told is not taken for empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from engine.facts.fact import Line, iso, short_hash
from engine.facts.line_tables import LineTable
from engine.facts.raised import Raised, Told
from engine.facts.record import Record
from engine.store.bulk import upsert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import cart_lines, carts
from engine.store.types import from_micros, to_micros

FIELDS = ("customer_id", "url", "checkout_url", "currency", "value")


class Cart:
    """What is known of one cart within a chunk."""

    __slots__ = ("changed", "fresh_lines", "id", "record", "stored")

    def __init__(
        self, cart_id: str, row: Mapping[str, Any] | None = None, lines: tuple[Line, ...] = ()
    ) -> None:
        self.id = cart_id
        self.stored = row is not None
        self.changed = self.fresh_lines = False
        self.record = Record()
        if row is not None:
            values = {name: row[name] for name in FIELDS} | {"lines": lines or None}
            self.record = Record.stored(
                values, row["properties"], to_micros(row["updated_at"]), row["told_at"]
            )

    def tell(self, told: Told, customer_id: int | None) -> str:
        """Take a fact; return `new`, `unchanged` or `stale`."""
        fact, own = told.fact, to_micros(told.at)
        fields = {name: value for name, value in fact.fields.items() if name not in ("cart_id", "updated_at")}
        if customer_id is not None:
            fields["customer_id"] = customer_id
        if fact.lines is not None:
            fields["lines"] = fact.lines
        new, stale, before = (
            self.record.updated is None,
            self.record.is_older(own),
            self.record.values.get("lines"),
        )
        newer = not new and self.record.updated is not None and own > self.record.updated
        changed = self.record.tell(fields, fact.properties, own) or new
        self.fresh_lines = self.fresh_lines or self.record.values.get("lines") != before
        self.changed = self.changed or changed or newer
        return "new" if changed or newer else "stale" if stale else "unchanged"

    def row(self) -> dict[str, Any]:
        """Return the columns of the cart."""
        record = self.record
        row: dict[str, Any] = {name: record.values.get(name) for name in FIELDS}
        assert record.updated is not None
        row |= {"cart_id": self.id, "properties": record.properties(), "told_at": record.told()}
        row["updated_at"] = from_micros(record.updated)
        return row


_CARTS = Prepared(select(carts).where(within(carts.c.cart_id, "ids")))
_LINES = LineTable(cart_lines, "cart_id")


def load_carts(connection: Connection, ids: Sequence[str]) -> dict[str, Cart]:
    """Return the carts of those ids that are known."""
    rows = _CARTS.dicts(connection, ids=ids)
    if not rows:
        return {}
    lines = _LINES.read(connection, [row["cart_id"] for row in rows])
    return {row["cart_id"]: Cart(row["cart_id"], row, tuple(lines[row["cart_id"]])) for row in rows}


def project_carts(
    connection: Connection, told: Sequence[tuple[int, Told, int | None]]
) -> tuple[dict[int, str], list[Raised]]:
    """Fold facts about carts; return each fact's outcome by index, and the events raised."""
    known = load_carts(connection, sorted({item.fact.key for _, item, _ in told}))
    outcomes: dict[int, str] = {}
    raised: list[Raised] = []
    for index, item, customer_id in told:
        cart = known.setdefault(item.fact.key, Cart(item.fact.key))
        outcomes[index] = cart.tell(item, customer_id)
        owner = customer_id if customer_id is not None else cart.record.values.get("customer_id")
        if owner is not None:
            raised.append(_event(index, item, owner))
    _write(connection, [cart for cart in known.values() if cart.changed or cart.record.moved])
    return outcomes, raised


def _event(index: int, told: Told, owner: int) -> Raised:
    fact = told.fact
    emptied = fact.lines == ()
    return Raised(
        place=index, key=f"cart:{fact.key}:{to_micros(told.at)}:{short_hash(fact.content)}", customer_id=owner,
        name="cart_emptied" if emptied else "cart_updated", occurred_at=told.at, arrived_at=told.received,
        properties={**fact.document, "updated_at": iso(told.at)}, value=fact.fields.get("value"), cart_id=fact.key,
        backfill=fact.backfill,
    )  # fmt: skip


def _write(connection: Connection, changed: Sequence[Cart]) -> None:
    if not changed:
        return
    rows = [cart.row() for cart in changed]
    upsert_rows(connection, carts, rows)
    stale = [cart.id for cart in changed if cart.stored and cart.fresh_lines]
    fresh = [(cart.id, cart.record.values.get("lines") or ()) for cart in changed if cart.fresh_lines]
    _LINES.write(connection, stale, fresh)
