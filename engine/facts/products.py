"""Products: facts about the catalogue become rows, a history of prices, and changes that customers may care about.

Comes in: facts about products in order of arrival. Goes out: rows of `product_changes` (with an inbox row each) where
a product that was known comes back in stock, gets cheaper, or falls to a low stock. The first load of a product
changes nothing, and neither does a fact older than what is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from engine.facts.people import next_ids
from engine.facts.raised import Told, flows_are_applied
from engine.facts.record import Record
from engine.flows.model import ProductTrigger
from engine.flows.parse import flow_from_definition
from engine.store.dialect import among, upsert
from engine.store.tables import fact_inbox, flow_versions, flows, product_changes, product_prices, products
from engine.store.types import from_micros, to_micros

FIELDS = (
    "title",
    "category",
    "brand",
    "price",
    "currency",
    "url",
    "image_url",
    "stock",
    "available",
    "days_of_supply",
    "group",
)
# A fall to this level or below is a change for whoever comes later; flows that say `below: N` make N one, too.
LOW_STOCK = 20


class Product:
    """What is known of one product within a chunk."""

    __slots__ = ("changed", "first_seen", "record", "sku")

    def __init__(self, sku: str, row: RowMapping | None = None) -> None:
        self.sku = sku
        self.record = Record()
        self.changed = False
        self.first_seen = None if row is None else row["first_seen_at"]
        if row is not None:
            values = {name: row["variant_group" if name == "group" else name] for name in FIELDS}
            updated = None if row["updated_at"] is None else to_micros(row["updated_at"])
            self.record = Record.stored(values, row["properties"], updated, row["told_at"])

    @property
    def in_stock(self) -> bool:
        """Whether it can be bought, as far as is known."""
        values = self.record.values
        return values.get("available") is not False and values.get("stock") != 0

    def tell(self, told: Told) -> tuple[str, list[dict[str, Any]], dict[str, Any] | None]:
        """Take a fact; return the outcome, the catalogue's changes, and the price to keep in the history."""
        fact, own = told.fact, to_micros(told.at)
        new, stale = self.record.updated is None, self.record.is_older(own)
        before, was_in_stock = dict(self.record.values), self.in_stock
        fields = {name: value for name, value in fact.fields.items() if name not in ("sku", "updated_at")}
        changed = self.record.tell(fields, fact.properties, own) or new
        self.changed = self.changed or changed
        self.first_seen = told.received if self.first_seen is None else min(self.first_seen, told.received)
        price: Decimal | None = fact.fields.get("price")
        kept = None
        if price is not None and (new or price != before.get("price")):
            kept = {"sku": self.sku, "since": told.at, "price": price}
        changes = [] if new or stale or not changed else self._changes(before, was_in_stock=was_in_stock)
        return (
            "new" if changed else "stale" if stale else "unchanged",
            [{**change, "at": told.at} for change in changes],
            kept,
        )

    def _changes(self, before: Mapping[str, Any], *, was_in_stock: bool) -> list[dict[str, Any]]:
        values = self.record.values
        old_price, price, old_stock, stock = (
            before.get("price"),
            values.get("price"),
            before.get("stock"),
            values.get("stock"),
        )
        happened = []
        if self.in_stock and not was_in_stock:
            happened.append("back_in_stock")
        same_currency = before.get("currency") == values.get("currency")
        if old_price is not None and price is not None and price < old_price and same_currency:
            happened.append("price_drop")
        if old_stock is not None and stock is not None and 0 < stock < old_stock and self.in_stock:
            happened.append("low_stock")
        levels = {"old_price": old_price, "new_price": price, "old_stock": old_stock, "new_stock": stock}
        return [{"sku": self.sku, "change": change, **levels} for change in happened]

    def row(self) -> dict[str, Any]:
        """Return the columns of the product."""
        record = self.record
        row: dict[str, Any] = {name: record.values.get(name) for name in FIELDS}
        row["variant_group"] = row.pop("group")
        row |= {
            "sku": self.sku,
            "properties": record.properties(),
            "first_seen_at": self.first_seen,
            "told_at": record.told(),
        }
        assert record.updated is not None
        row["updated_at"] = from_micros(record.updated)
        return row


def project_products(connection: Connection, told: Sequence[tuple[int, Told]]) -> dict[int, str]:
    """Fold facts about products; return each fact's outcome by index."""
    skus = sorted({item.fact.key for _, item in told})
    rows = connection.execute(select(products).where(among(connection, products.c.sku, skus))).mappings()
    known = {row["sku"]: Product(row["sku"], row) for row in rows}
    outcomes: dict[int, str] = {}
    levels: list[int] | None = None  # read only where somebody may ask for them
    changes: list[dict[str, Any]] = []
    waking: list[bool] = []
    prices: dict[tuple[str, Any], dict[str, Any]] = {}
    for index, item in told:
        product = known.setdefault(item.fact.key, Product(item.fact.key))
        outcomes[index], changed, price = product.tell(item)
        if any(_is_a_higher_fall(change) for change in changed):
            levels = _levels(connection) if levels is None else levels
            changed = [each for each in changed if not _is_a_higher_fall(each) or _met(each, levels)]
        changes += changed
        waking += [not item.fact.backfill] * len(changed)
        if price is not None:
            prices[price["sku"], price["since"]] = price
    written = [product.row() for product in known.values() if product.changed or product.record.moved]
    if written:
        upsert(connection, products, written, update=[name for name in written[0] if name != "sku"])
    upsert(connection, product_prices, list(prices.values()), update=["price"])
    _write_changes(connection, changes, waking)
    return outcomes


def _is_a_higher_fall(change: Mapping[str, Any]) -> bool:
    return bool(change["change"] == "low_stock" and change["new_stock"] > LOW_STOCK)


def _met(change: Mapping[str, Any], levels: Sequence[int]) -> bool:
    """Return whether the stock fell below one of these levels."""
    return any(change["new_stock"] < level <= change["old_stock"] for level in levels)


def _levels(connection: Connection) -> list[int]:
    """Return how low is low for the flows that are active, where that is above LOW_STOCK."""
    query = select(flow_versions.c.definition).join(flows, flows.c.version == flow_versions.c.hash)
    found = connection.scalars(query.where(flows.c.active))
    triggers = [trigger for each in found for trigger in flow_from_definition(each).triggers]
    return [t.below for t in triggers if isinstance(t, ProductTrigger) and t.below and t.below > LOW_STOCK]


def _write_changes(connection: Connection, changes: Sequence[dict[str, Any]], waking: Sequence[bool]) -> None:
    """Write the changes, and an inbox row for each that was not backfilled."""
    ids = next_ids(connection, product_changes, len(changes))
    if not changes:
        return
    connection.execute(
        product_changes.insert(), [{"id": id_, **change} for id_, change in zip(ids, changes, strict=True)]
    )
    inbox = [{"change_id": id_} for id_, wakes in zip(ids, waking, strict=True) if wakes]
    if inbox and flows_are_applied(connection):
        connection.execute(fact_inbox.insert(), inbox)
