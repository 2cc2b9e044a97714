"""Says when what a customer bought should run out.

Comes in: a batch of order lines. Goes out: days from the purchase to the run-out date, or None where nobody can say.
Promises three statements at most for a batch of any size, and that a line sees no purchase later than itself.

    stated     the product's days_of_supply × pieces
    learned    (own^m · product² · category)^(1 / (m + 3)) × pieces^e

`own` is the median of the customer's own m gaps between purchases of that product, `product` the middle of everybody's
(`products.learned_days`, from 5 repeats up), `category` the median of the learned days of its category; each in days a
piece. `e` says how far quantity counts in this shop (`engine.recommend.repeats`). A term that is not known drops out of
the product and its weight out of the root. The mean is geometric because pieces differ in size by orders of magnitude
within a category. With neither product nor category, own gaps count from 2 up: a single gap is no habit. How far off the
dates are is measured in docs/recommendations.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import exp, log

from sqlalchemy import Connection, bindparam, select

from engine.recommend.sales import median_or_none, paces
from engine.store import meta
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import order_lines, orders, products

# In `meta`, as the nightly rebuild learned it: {exponent: the power of pieces, categories: {category: days a piece}}.
SUPPLY = "supply"
PRODUCT_WEIGHT = 2.0
CATEGORY_WEIGHT = 1.0
OWN_GAPS_ALONE = 2  # own gaps needed where neither product nor category says anything

_SUPPLIES = Prepared(
    select(products.c.sku, products.c.days_of_supply, products.c.learned_days, products.c.category).where(
        within(products.c.sku, "skus")
    )
)
_OWN_PURCHASES = Prepared(
    select(orders.c.customer_id, order_lines.c.sku, orders.c.placed_at, order_lines.c.quantity)
    .join_from(orders, order_lines, order_lines.c.order_id == orders.c.order_id)
    .where(
        within(orders.c.customer_id, "ids"),
        within(order_lines.c.sku, "skus"),
        orders.c.cancelled_at.is_(None),
        orders.c.placed_at <= bindparam("until"),
    )
    .order_by(orders.c.placed_at)
)


@dataclass(frozen=True, slots=True)
class Line:
    """Pieces of one product that one customer bought at a moment."""

    customer_id: int
    sku: str
    quantity: float
    at: datetime


@dataclass(frozen=True, slots=True)
class _Known:
    stated: float | None
    learned: float | None
    category: str | None


_Purchases = Mapping[tuple[int, str], Sequence[tuple[datetime, float]]]


def run_out_days(connection: Connection, lines: Sequence[Line]) -> list[float | None]:
    """Return for each line the days after its purchase at which it should run out; None means never to be reminded."""
    if not lines:
        return []
    known = _products(connection, {line.sku for line in lines})
    unstated = [line for line in lines if not _has_stated(known.get(line.sku))]
    typical: Mapping[str, float] = {}
    purchases: _Purchases = {}
    exponent = 1.0
    if unstated:
        taught = meta.get(connection, SUPPLY, {})
        exponent = float(taught.get("exponent", 1.0))
        typical = taught.get("categories", {})
        purchases = _own_purchases(connection, unstated)
    return [_days(line, known.get(line.sku), typical, purchases, exponent) for line in lines]


def learned_pace(own: Sequence[float], product: float | None, category: float | None) -> float | None:
    """Return the days that one piece should last this customer, by the formula above.

    >>> learned_pace([10.0, 10.0], 40.0, None), learned_pace([10.0], None, None)
    (20.0, None)
    """
    centre = median_or_none(own)
    if product is None and category is None and len(own) < OWN_GAPS_ALONE:
        return None
    terms = [(float(len(own)), centre), (PRODUCT_WEIGHT, product), (CATEGORY_WEIGHT, category)]
    present = [(weight, log(value)) for weight, value in terms if value is not None and value > 0]
    total = sum(weight for weight, _ in present)
    return round(exp(sum(weight * value for weight, value in present) / total), 9) if total else None


def _has_stated(product: _Known | None) -> bool:
    return product is not None and product.stated is not None and product.stated > 0


def _days(
    line: Line,
    product: _Known | None,
    typical: Mapping[str, float],
    purchases: _Purchases,
    exponent: float,
) -> float | None:
    if line.quantity <= 0:
        return None
    if product is not None and product.stated is not None and product.stated > 0:
        return product.stated * line.quantity
    before = [item for item in purchases.get((line.customer_id, line.sku), ()) if item[0] <= line.at]
    own = paces(before, exponent)
    category = typical.get(product.category) if product is not None and product.category is not None else None
    pace = learned_pace(own, product.learned if product is not None else None, category)
    return None if pace is None else pace * line.quantity**exponent


def _products(connection: Connection, skus: set[str]) -> dict[str, _Known]:
    rows = _SUPPLIES.rows(connection, skus=sorted(skus))
    return {sku: _Known(stated, learned, category) for sku, stated, learned, category in rows}


def middle_days(connection: Connection) -> dict[str, float]:
    """Return the median of the learned days of each category that has any: what the nightly rebuild keeps in `meta`."""
    query = select(products.c.category, products.c.learned_days).where(
        products.c.category.is_not(None), products.c.learned_days.is_not(None)
    )
    found: defaultdict[str, list[float]] = defaultdict(list)
    for category, days in connection.execute(query):
        found[category].append(days)
    middles = {category: median_or_none(days) for category, days in sorted(found.items())}
    return {category: middle for category, middle in middles.items() if middle is not None}


def _own_purchases(connection: Connection, lines: Sequence[Line]) -> _Purchases:
    found: defaultdict[tuple[int, str], list[tuple[datetime, float]]] = defaultdict(list)
    for customer_id, sku, placed_at, quantity in _OWN_PURCHASES.rows(
        connection,
        ids=sorted({line.customer_id for line in lines}),
        skus=sorted({line.sku for line in lines}),
        until=max(line.at for line in lines),
    ):
        found[customer_id, sku].append((placed_at, quantity))
    return found
