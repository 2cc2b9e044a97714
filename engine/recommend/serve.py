"""Serves recommendations to a batch of mails.

Comes in: requests (customer, context, chain of strategies, how many). Goes out: picks for each, with the strategy behind
every slot. Promises a fixed number of statements whatever the size of the batch; nothing that was not known at `now`; and
that no slot holds what is out of stock, lacks image or price, is in the context, was bought already (unless by `reorder`),
or is a variant of any of those or of another slot.

| strategy | order |
| --- | --- |
| bought_together, similar | affinity to the context's products, summed |
| for_you | affinity to what the customer bought, carted, wished for, viewed (weights 1, .8, .6, .4), summed |
| bestsellers, trending | the nightly ranks; where the request narrows to categories, the ranks of those |
| popular_in_category | the ranks of the request's category, else of the context's, else of what the customer bought |
| recently_viewed, wishlist, cart | the customer's own, newest first |
| reorder | what the customer bought, by how often and how lately (an order 180 days ago counts half) |
| newest | first seen last |
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from engine.flows.conditions import FieldTest
from engine.recommend.narrow import passes
from engine.recommend.popularity import Ranked
from engine.recommend.sales import presentable
from engine.recommend.shopper import Shopper, shoppers
from engine.store.dialect import among
from engine.store.tables import product_affinities, product_ranks, products

SEEDS = 20  # of a customer's own products, those that for_you starts from
NEWEST = 500  # newest products looked through
_AFFINE = {
    "bought_together": ("bought_together",),
    "similar": ("similar",),
    "for_you": ("bought_together", "similar"),
}
_SIMILAR_COUNTS = 0.25  # what likeness weighs in for_you beside being bought together


@dataclass(frozen=True, slots=True)
class Request:
    """What one mail asks for.

    `sku_context` holds the products of the trigger, its order and its cart; `chain` the strategies, first choice first;
    fewer than `at_least` picks are none; `where` tests the product; `category` is what popular_in_category is asked of.
    """

    customer_id: int
    sku_context: tuple[str, ...] = ()
    chain: tuple[str, ...] = ("bestsellers",)
    count: int = 4
    at_least: int = 1
    where: tuple[FieldTest, ...] = ()
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """One slot: the product as it is now, the strategy that put it there, and that strategy's score."""

    sku: str
    strategy: str
    score: float
    product: Mapping[str, Any]


def recommend(connection: Connection, requests: Sequence[Request], now: datetime) -> list[list[Pick]]:
    """Return the picks of each request, in its order; an empty list where fewer than `at_least` were found."""
    if not requests:
        return []
    shelf = _Shelf(connection, requests, now)
    return [shelf.fill(request) for request in requests]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with its shopper and the products it starts from, weighed."""

    request: Request
    shopper: Shopper
    categories: tuple[str, ...]
    narrowed: tuple[str, ...]  # categories that the request's `where` leaves

    def seeds(self, strategy: str) -> Mapping[str, float]:
        if strategy != "for_you":
            return dict.fromkeys(self.request.sku_context, 1.0)
        weights: Counter[str] = Counter()
        most = max(self.shopper.bought.values(), default=1.0)
        weights.update({sku: habit / most for sku, habit in self.shopper.bought.items()})
        for weight, skus in (
            (0.8, self.shopper.carted),
            (0.6, self.shopper.wished),
            (0.4, self.shopper.viewed),
        ):
            weights.update(dict.fromkeys(skus[:SEEDS], weight))
        return dict(nsmallest(SEEDS, weights.items(), key=lambda item: (-item[1], item[0])))


class _Shelf:
    """Everything that a batch can be served from, read once."""

    def __init__(self, connection: Connection, requests: Sequence[Request], now: datetime) -> None:
        self._now = now
        own = shoppers(connection, sorted({request.customer_id for request in requests}), now)
        mentioned = {sku for request in requests for sku in request.sku_context}
        mentioned.update(sku for shopper in own.values() for sku in shopper.bought)
        mentioned.update(
            sku for shopper in own.values() for sku in (*shopper.viewed, *shopper.wished, *shopper.carted)
        )
        self._products = _products(connection, mentioned)
        self._asked = {request: self._ask(request, own[request.customer_id]) for request in requests}
        self._affinities = self._read_affinities(connection)
        self._ranks = self._read_ranks(connection)
        self._newest = (
            _newest(connection, now) if any("newest" in request.chain for request in requests) else []
        )
        self._products.update(_products(connection, self._unread()))

    def _ask(self, request: Request, shopper: Shopper) -> _Asked:
        narrowed = _narrowed(request.where)
        if request.category:
            return _Asked(request, shopper, (request.category,), narrowed)
        in_context = self._categories(request.sku_context)
        return _Asked(request, shopper, narrowed or in_context or self._categories(shopper.bought), narrowed)

    def _categories(self, skus: Iterable[str]) -> tuple[str, ...]:
        """Return the categories of products, the most frequent first."""
        held = Counter(self._products[sku]["category"] for sku in skus if sku in self._products)
        return tuple(
            category
            for category, _ in sorted(held.items(), key=lambda item: (-item[1], str(item[0])))
            if category
        )

    def _read_affinities(self, connection: Connection) -> Mapping[tuple[str, str], list[Ranked]]:
        wanted = {
            (table, sku)
            for strategy, asked in self._uses(_AFFINE)
            for sku in asked.seeds(strategy)
            for table in _AFFINE[strategy]
        }
        table = product_affinities
        found: defaultdict[tuple[str, str], list[Ranked]] = defaultdict(list)
        if wanted:
            statement = select(table.c.strategy, table.c.sku, table.c.other, table.c.score).where(
                among(connection, table.c.strategy, sorted({strategy for strategy, _ in wanted})),
                among(connection, table.c.sku, sorted({sku for _, sku in wanted})),
            )
            for strategy, sku, other, score in connection.execute(statement).all():
                found[strategy, sku].append(Ranked(other, score))
        return found

    def _read_ranks(self, connection: Connection) -> Mapping[tuple[str, str], list[Ranked]]:
        scopes = {key for strategy, asked in self._uses(_RANKED) for key in _RANKED[strategy](asked)}
        table = product_ranks
        found: defaultdict[tuple[str, str], list[Ranked]] = defaultdict(list)
        if scopes:
            whole = sorted({strategy for strategy, scope in scopes if not scope})
            within = sorted({scope for _, scope in scopes if scope})
            statement = select(table.c.strategy, table.c.scope, table.c.sku, table.c.score).where(
                or_(
                    and_(table.c.scope == "", among(connection, table.c.strategy, whole)),
                    and_(table.c.strategy == "popular_in_category", among(connection, table.c.scope, within)),
                )
            )
            for strategy, scope, sku, score in connection.execute(statement.order_by(table.c.rank)):
                found[strategy, scope].append(Ranked(sku, score))
        return found

    def _uses(self, strategies: Iterable[str]) -> Iterator[tuple[str, _Asked]]:
        known = set(strategies)
        return (
            (name, asked) for request, asked in self._asked.items() for name in request.chain if name in known
        )

    def _unread(self) -> set[str]:
        found = {
            item.sku for ranked in (*self._affinities.values(), *self._ranks.values()) for item in ranked
        }
        return (found | {item.sku for item in self._newest}) - self._products.keys()

    # ── filling one block ────────────────────────────────────────────────────────────────────────────────────────────

    def fill(self, request: Request) -> list[Pick]:
        asked = self._asked[request]
        context, bought = self._articles(request.sku_context), self._articles(asked.shopper.bought)
        picks: list[Pick] = []
        taken: set[str] = set()
        for strategy in request.chain:
            barred = context if strategy == "reorder" else context | bought
            for item in self.candidates(strategy, asked):
                if len(picks) >= request.count:
                    break
                product = self._products.get(item.sku)
                if product is None or not _sellable(product) or not passes(product, request.where, self._now):
                    continue
                article = _article(product)
                if article not in barred and article not in taken:
                    taken.add(article)
                    picks.append(Pick(item.sku, strategy, item.score, product))
        return picks if len(picks) >= request.at_least else []

    def candidates(self, strategy: str, asked: _Asked) -> Sequence[Ranked]:
        if strategy in _AFFINE:
            return self._affine(strategy, asked)
        if strategy in _RANKED:
            return _merged([self._ranks.get(key, []) for key in _RANKED[strategy](asked)])
        if strategy == "newest":
            return self._newest
        return _OWN[strategy](asked.shopper) if strategy in _OWN else []

    def _affine(self, strategy: str, asked: _Asked) -> list[Ranked]:
        scores: defaultdict[str, float] = defaultdict(float)
        for sku, weight in asked.seeds(strategy).items():
            for table in _AFFINE[strategy]:
                share = _SIMILAR_COUNTS if strategy == "for_you" and table == "similar" else 1.0
                for item in self._affinities.get((table, sku), ()):
                    scores[item.sku] += weight * share * item.score
        best = sorted((-score, sku) for sku, score in scores.items())
        return [Ranked(sku, -negative) for negative, sku in best]

    def _articles(self, skus: Iterable[str]) -> set[str]:
        return {_article(self._products[sku]) if sku in self._products else f"sku {sku}" for sku in skus}


def _narrowed(where: Sequence[FieldTest]) -> tuple[str, ...]:
    """Return the categories that tests leave, where they name them (`category: tea`, `category: [tea, mugs]`)."""
    for named in where:
        for test in named.tests:
            if named.path == "category" and test.op in ("eq", "in"):
                operands = test.operand if isinstance(test.operand, tuple) else (test.operand,)
                return tuple(operand for operand in operands if isinstance(operand, str))
    return ()


def _in_categories(categories: Sequence[str]) -> list[tuple[str, str]]:
    return [("popular_in_category", category) for category in categories]


_RANKED: Mapping[str, Callable[[_Asked], list[tuple[str, str]]]] = {
    "bestsellers": lambda asked: _in_categories(asked.narrowed) or [("bestsellers", "")],
    "trending": lambda _asked: [("trending", "")],
    "popular_in_category": lambda asked: _in_categories(asked.categories),
}


def _in_order(skus: Sequence[str]) -> list[Ranked]:
    return [Ranked(sku, 1.0 / place) for place, sku in enumerate(skus, 1)]


_OWN: Mapping[str, Callable[[Shopper], list[Ranked]]] = {
    "recently_viewed": lambda shopper: _in_order(shopper.viewed),
    "wishlist": lambda shopper: _in_order(shopper.wished),
    "cart": lambda shopper: _in_order(shopper.carted),
    "reorder": lambda shopper: sorted(
        (Ranked(sku, habit) for sku, habit in shopper.bought.items()),
        key=lambda item: (-item.score, item.sku),
    ),
}
STRATEGIES: tuple[str, ...] = (*_AFFINE, *_RANKED, *_OWN, "newest")


def _merged(lists: Sequence[Sequence[Ranked]]) -> Sequence[Ranked]:
    """Return the lists as one, in turns: the first of each, then the second of each and so on."""
    if len(lists) == 1:
        return lists[0]
    longest = max((len(ranked) for ranked in lists), default=0)
    return [ranked[place] for place in range(longest) for ranked in lists if place < len(ranked)]


def _sellable(product: Mapping[str, Any]) -> bool:
    stock = product["stock"]
    in_stock = product["available"] is not False and (stock is None or stock > 0)
    return in_stock and bool(product["image_url"]) and product["price"] is not None and product["price"] > 0


def _article(product: Mapping[str, Any]) -> str:
    """Return what variants of one article share."""
    return f"group {product['group']}" if product["group"] else f"sku {product['sku']}"


_COLUMNS = (
    products.c.sku, products.c.title, products.c.category, products.c.brand, products.c.price, products.c.currency,
    products.c.url, products.c.image_url, products.c.stock, products.c.available, products.c.days_of_supply,
    products.c.variant_group.label("group"), products.c.properties,
)  # fmt: skip


def _products(connection: Connection, skus: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    statement = select(*_COLUMNS).where(among(connection, products.c.sku, sorted(skus)))
    return {row["sku"]: dict(row) for row in connection.execute(statement).mappings()}


def _newest(connection: Connection, now: datetime) -> list[Ranked]:
    statement = (
        select(products.c.sku)
        .where(products.c.first_seen_at <= now, presentable())
        .order_by(products.c.first_seen_at.desc(), products.c.sku)
        .limit(NEWEST)
    )
    return _in_order(list(connection.execute(statement).scalars()))
