"""The products that a batch of mails may show, and what was read of the tables, for whoever asks again and again.

Comes in: SKUs. Goes out: products as blocks show them, each with its article and category, where a mail may show it at all.
Promises one statement for each `fetch`, and none for what is remembered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from engine.recommend.popularity import Ranked
from engine.recommend.sales import presentable
from engine.recommend.shown import COLUMNS, arrived, article, category, sellable, shown
from engine.recommend.strategies import in_order
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import products

NEWEST = 500  # newest products looked through
MOST_REMEMBERED = 100_000  # products or neighbours that a memory holds
BEGAN = select(func.min(products.c.first_seen_at)).scalar_subquery().label("began")
_PRODUCTS = Prepared(select(*COLUMNS, BEGAN).where(within(products.c.sku, "skus")))


class Offered(NamedTuple):
    """A product that a mail may show, with what its variants share and the category that limits count by."""

    product: Mapping[str, Any]
    article: str
    category: str | None


class Lineup(NamedTuple):
    """What may be shown of a list, in its order, and its categories; none where one of its products is in none."""

    offered: Sequence[Offered]
    categories: frozenset[str]


@dataclass(slots=True)
class Memory:
    """What was read of the tables, for whoever asks again and again and says when they change: `forget`.

    It holds as many products, lists and neighbours as were asked for, and begins anew beyond `MOST_REMEMBERED`.
    """

    unread: dict[str, Sequence[Any]] = field(default_factory=dict)
    shown: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    offered: dict[str, Offered | None] = field(default_factory=dict)
    affinities: defaultdict[str, dict[str, list[Ranked]]] = field(default_factory=lambda: defaultdict(dict))
    ranks: dict[tuple[str, str], list[Ranked]] = field(default_factory=dict)
    newest: list[Ranked] | None = None
    lineups: dict[tuple[str, str], Lineup] = field(default_factory=dict)
    is_plain: bool | None = None  # whether the variants of every article are in one category

    def forget(self) -> None:
        """Forget everything: the catalogue or the tables have changed."""
        for held in (self.unread, self.shown, self.offered, self.affinities, self.ranks, self.lineups):
            held.clear()
        self.newest = self.is_plain = None

    @property
    def full(self) -> bool:
        """Whether it holds more than it should."""
        neighbours = sum(map(len, self.affinities.values()))
        return max(len(self.unread), neighbours) > MOST_REMEMBERED


class Catalogue:
    """Products as blocks show them; each is made when it is first looked at, as most never are."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        self._connection = connection
        self._unread, self._shown, self._offered = memory.unread, memory.shown, memory.offered

    def fetch(self, skus: Iterable[str]) -> None:
        """Read more products, in one statement."""
        missing = sorted(set(skus).difference(self._unread).difference(self._shown))
        if missing:
            rows = _PRODUCTS.unread(self._connection, skus=missing)
            self._unread.update((row[0], row) for row in rows)  # the sku stands first

    def add(self, known: Iterable[Mapping[str, Any]]) -> None:
        """Take products that were read elsewhere."""
        self._shown.update((product["sku"], product) for product in known)
        self._offered.clear()

    def get(self, sku: str) -> Mapping[str, Any] | None:
        """Return a product, or None."""
        found = self._shown.get(sku)
        if found is None and sku in self._unread:
            row = _PRODUCTS.read(self._connection.dialect, self._unread[sku])
            found = self._shown[sku] = shown(arrived(row._asdict()))
        return found

    def offered(self, sku: str) -> Offered | None:
        """Return a product that a mail may show, or None."""
        try:
            return self._offered[sku]
        except KeyError:
            product = self.get(sku)
            if product is None:
                return None  # it may be read later
            may = sellable(product)
            found = Offered(product, article(product), category(product)) if may else None
            self._offered[sku] = found
            return found

    def __getitem__(self, sku: str) -> Mapping[str, Any]:
        found = self.get(sku)
        if found is None:
            raise KeyError(sku)
        return found

    def __contains__(self, sku: str) -> bool:
        return sku in self._unread or sku in self._shown


def as_shown(connection: Connection, skus: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return products by SKU as a block shows them, read by one statement; those that are gone are left out."""
    rows = _PRODUCTS.dicts(connection, skus=skus) if skus else ()
    return {row["sku"]: shown(arrived(dict(row))) for row in rows}


def newest(connection: Connection, now: datetime) -> list[Ranked]:
    """Return the newest products that a mail may show, in their order."""
    statement = (
        select(products.c.sku)
        .where(products.c.first_seen_at <= now, presentable())
        # A catalogue that came at once was first seen at once: then what the shop touched last comes first.
        .order_by(products.c.first_seen_at.desc(), products.c.updated_at.desc().nulls_last(), products.c.sku)
        .limit(NEWEST)
    )
    return in_order(list(connection.execute(statement).scalars()))
