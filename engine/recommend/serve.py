"""Serves recommendations to a batch of mails.

Comes in: requests (customer, context, chain of strategies, how many). Goes out: picks for each, with the strategy behind
every slot. Promises a fixed number of statements whatever the size of the batch; nothing that was not known at `now`; and
that no slot holds what is out of stock, lacks image or price, is in the context, was bought already (unless by `reorder`),
or is a variant of any of those or of another slot. The strategies: `engine.recommend.strategies`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import heapify, heappop
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, func, or_, select

from engine.flows.recommend_rules import ShopRules
from engine.recommend.block import Block, Pick
from engine.recommend.catalogue import BEGAN, Catalogue, Lineup, Memory, Offered, newest
from engine.recommend.narrow import passes, passes_any
from engine.recommend.popularity import Ranked
from engine.recommend.sales import presentable
from engine.recommend.shopper import Shopper, meet, shoppers
from engine.recommend.shown import COLUMNS, arrived, article, shown
from engine.recommend.strategies import (
    AFFINE,
    ALWAYS,
    BY_DEEDS,
    INTERESTED,
    OWN,
    RANKED,
    Asked,
    Request,
    head,
    in_order,
    narrowed,
)
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import product_affinities, product_ranks, products

PLAIN = ShopRules()
_NEWEST_KEY = ("newest", "")
_T = TypeVar("_T")


def recommend(
    connection: Connection,
    requests: Sequence[Request],
    now: datetime,
    rules: ShopRules = PLAIN,
    memory: Memory | None = None,
) -> list[list[Pick]]:
    """Return the picks of each request, in its order; an empty list where fewer than `at_least` were found.

    With a `memory` the tables are taken to be as they were when it was filled.
    """
    if not requests:
        return []
    return _filled(_shelf(connection, requests, now, rules, memory), requests)


def slots_of(
    connection: Connection,
    requests: Sequence[Request],
    now: datetime,
    rules: ShopRules = PLAIN,
    memory: Memory | None = None,
) -> list[list[str]]:
    """Return the strategy of each slot that `recommend` would fill, for who counts slots and shows none.

    Where a mail has a single block, and what fills it does not hang on an order, nothing is put in order.
    """
    if not requests:
        return []
    shelf = _shelf(connection, requests, now, rules, memory)
    asking = Counter(request.mail for request in requests)
    told = [
        shelf.counted(place) if request.mail is None or asking[request.mail] == 1 else None
        for place, request in enumerate(requests)
    ]
    rest = [place for place, slots in enumerate(told) if slots is None]
    slow = dict(zip(rest, _filled(shelf, requests, rest), strict=True))
    return [
        [pick.strategy for pick in slow[place]] if slots is None else slots
        for place, slots in enumerate(told)
    ]


def _shelf(
    connection: Connection,
    requests: Sequence[Request],
    now: datetime,
    rules: ShopRules,
    memory: Memory | None,
) -> _Shelf:
    memory = memory if memory is not None else Memory()
    if memory.full:
        memory.forget()
    return _Shelf(connection, requests, now, rules, memory)


def _filled(
    shelf: _Shelf, requests: Sequence[Request], places: Sequence[int] | None = None
) -> list[list[Pick]]:
    """Return the picks of these requests (None: of all)."""
    in_mail: defaultdict[int | None, set[str]] = defaultdict(set)
    found = []
    for place in range(len(requests)) if places is None else places:
        request = requests[place]
        others = in_mail[request.mail] if request.mail is not None else set[str]()
        picks = shelf.fill(place, others)
        others.update(article(pick.product) for pick in picks)
        found.append(picks)
    return found


class _Shelf:
    """Everything that a batch can be served from, read once; for what mostly fills no slot any more, when one is empty."""

    def __init__(
        self,
        connection: Connection,
        requests: Sequence[Request],
        now: datetime,
        rules: ShopRules,
        memory: Memory,
    ) -> None:
        self._now, self._rules, self._memory = now, rules, memory
        self._connection = connection
        self._boosts: dict[str, float] = {}
        self._own = shoppers(connection, sorted({request.customer_id for request in requests}), now)
        self._products = Catalogue(connection, memory)
        mentioned = {sku for request in requests for sku in request.sku_context}
        mentioned.update(sku for shopper in self._own.values() for sku in shopper.bought)
        self._products.fetch(mentioned)
        self._asked = [self._ask(request, self._own[request.customer_id]) for request in requests]
        self._new: set[str] = set()  # products of what is read here for the first time
        self._ranks: dict[tuple[str, str], Sequence[Ranked]] = {}
        self._newest: Iterable[Ranked] = []
        self._always = self._read_always(connection)
        self._whole = bool(self._always)
        self._read_deeds()
        used = [(name, asked) for asked in self._asked for name in asked.request.chain]
        self._read_ranks(used)
        if any(name == "newest" for name, _ in used):
            self._newest = self._read_newest(connection)
        self._products.fetch(self._new)
        self._newest = self._boosted(self._newest)
        if self._rules.boost:
            self._ranks = {key: list(self._boosted(ranked)) for key, ranked in self._ranks.items()}

    def _read_deeds(self) -> None:
        """Read what customers did and what lies near it, for the beginnings of the chains or, later, the whole of them."""
        used = [(name, asked) for asked in self._asked for name in self._chain(asked.request)]
        interested = {asked.request.customer_id for name, asked in used if name in INTERESTED}
        missing = sorted(each for each in interested if not self._own[each].met)
        if missing:
            meet(self._connection, missing, self._now, self._own)
            deeds = (self._own[each] for each in missing)
            self._new.update(sku for own in deeds for sku in (*own.viewed, *own.wished, *own.carted))
        self._read_affinities(used)

    def _chain(self, request: Request) -> tuple[str, ...]:
        return request.chain if self._whole else head(request.chain)

    def _read_newest(self, connection: Connection) -> Sequence[Ranked]:
        if self._memory.newest is None:
            self._memory.newest = newest(connection, self._now)
            self._new.update(item.sku for item in self._memory.newest)
        return self._memory.newest

    def _read_always(self, connection: Connection) -> list[str]:
        """Return the skus that a rule wants in every block; without such a rule nothing is read."""
        if not self._rules.always:
            return []
        statement = select(*COLUMNS, BEGAN).where(presentable()).order_by(products.c.sku)
        found = [shown(arrived(dict(row))) for row in connection.execute(statement).mappings()]
        found = [product for product in found if passes_any(product, self._rules.always, self._now)]
        self._products.add(found)
        return [product["sku"] for product in found]

    def _boosted(self, ranked: Iterable[Ranked]) -> Iterable[Ranked]:
        """Return the list in the order that the shop's boosts give it."""
        if not self._rules.boost:
            return ranked
        scored = [Ranked(item.sku, item.score * self._boost(item.sku)) for item in ranked]
        return sorted(scored, key=lambda item: -item.score)

    def _boost(self, sku: str) -> float:
        if sku not in self._boosts:
            product, factor = self._products.get(sku), 1.0
            for boost in self._rules.boost if product is not None else ():
                factor *= boost.by if passes(product or {}, boost.tests, self._now) else 1.0
            self._boosts[sku] = factor
        return self._boosts[sku]

    def _ask(self, request: Request, shopper: Shopper) -> Asked:
        named = narrowed(request.where)
        if request.category:
            return Asked(request, shopper, (request.category,), named)
        in_context = self._categories(request.sku_context)
        return Asked(request, shopper, named or in_context or self._categories(shopper.bought), named)

    def _categories(self, skus: Iterable[str]) -> tuple[str, ...]:
        """Return the categories of products, the most frequent first."""
        held = Counter(self._products[sku]["category"] for sku in skus if sku in self._products)
        return tuple(
            category
            for category, _ in sorted(held.items(), key=lambda item: (-item[1], str(item[0])))
            if category
        )

    def _read_affinities(self, used: Iterable[tuple[str, Asked]]) -> None:
        known = self._memory.affinities
        seeds: defaultdict[str, set[str]] = defaultdict(set)
        for strategy, asked in used:
            if strategy in AFFINE:
                seeds[strategy].update(asked.seeds(strategy))
        missing = {
            (table, sku)
            for strategy, skus in seeds.items()
            for table in AFFINE[strategy]
            for sku in skus.difference(known[table])
        }
        if not missing:
            return
        named, skus = {strategy for strategy, _ in missing}, {sku for _, sku in missing}
        found: defaultdict[tuple[str, str], list[Ranked]] = defaultdict(list)
        for strategy, sku, other, score in _AFFINITIES.unread(
            self._connection, strategies=sorted(named), skus=sorted(skus)
        ):
            found[strategy, sku].append(Ranked(other, score))
            self._new.add(other)
        for table, sku in missing:
            known[table][sku] = sorted(found[table, sku], key=_best_first)

    def _read_ranks(self, used: Iterable[tuple[str, Asked]]) -> None:
        scopes = {key for name, asked in used if name in RANKED for key in RANKED[name](asked)}
        known = self._memory.ranks
        missing = scopes - known.keys()
        if missing:
            whole = sorted({strategy for strategy, scope in missing if not scope})
            narrow = sorted({scope for _, scope in missing if scope})
            found: defaultdict[tuple[str, str], list[Ranked]] = defaultdict(list)
            for strategy, scope, sku, score in _RANKS.unread(
                self._connection, strategies=whole, scopes=narrow
            ):
                found[strategy, scope].append(Ranked(sku, score))
                self._new.add(sku)
            known.update((key, found[key]) for key in missing)
        self._ranks = {key: known[key] for key in scopes}

    # ── filling one block ────────────────────────────────────────────────────────────────────────────────────────────

    def fill(self, number: int, others: set[str]) -> list[Pick]:
        """Return the picks of the request of that number."""
        asked = self._asked[number]
        request = asked.request
        block = Block(request.count, self._limit(request), set(others))
        context = self._articles(request.sku_context)
        barred = context | self._articles(asked.shopper.bought)
        if self._always and any(strategy not in OWN for strategy in request.chain):
            self._offer(block, ALWAYS, self._pinned(asked), request, barred, most=1)
        reach = len(self._chain(request))
        for place, strategy in enumerate(request.chain):
            if len(block.picks) >= block.count:
                break
            if place >= reach and not self._whole and strategy in BY_DEEDS:
                self._whole = True
                self._read_deeds()
                self._products.fetch(self._new)
            ranked = self.candidates(strategy, asked)
            self._offer(block, strategy, ranked, request, context if strategy == "reorder" else barred)
        picks = block.filled()
        return picks if len(picks) >= request.at_least else []

    def counted(self, number: int) -> list[str] | None:
        """Return the strategies of the slots that `fill` would give a mail's only block; None where only filling it tells.

        A strategy fills as many slots in any order of what it offers, as long as an article has one category. Only where it
        leaves some empty, which of a category were passed over is of weight for what comes later.
        """
        asked = self._asked[number]
        request, limit = asked.request, self._limit(asked.request)
        if self._always or request.count < max(1, request.at_least):
            return None
        tested = bool(request.where or self._rules.never)
        reach = len(self._chain(request))
        taken = self._articles(request.sku_context) | self._articles(asked.shopper.bought)
        held: Counter[str] = Counter()
        slots: list[str] = []
        ever_passed_over = False
        for place, strategy in enumerate(request.chain):
            if strategy == "reorder" or (place >= reach and not self._whole and strategy in BY_DEEDS):
                return None
            offers, categories = self._offers(strategy, asked)
            own, passed_over = strategy in OWN, False
            for found in offers:
                shelf = found.category
                if found.article in taken or (tested and not self._allowed(found.product, request)):
                    continue
                if shelf is not None:
                    if not own and held[shelf] >= limit:
                        passed_over = True
                        if categories and all(held[each] >= limit for each in categories):
                            break
                        continue
                    held[shelf] += 1
                taken.add(found.article)
                slots.append(strategy)
                if len(slots) == request.count:
                    return slots if strategy not in AFFINE or self._is_plain() else None
            if strategy in AFFINE and (passed_over or not self._is_plain()):
                return None
            ever_passed_over |= passed_over
        if ever_passed_over:
            return None
        return slots if len(slots) >= request.at_least else []

    def _is_plain(self) -> bool:
        """Return whether the variants of every article are in one category."""
        if self._memory.is_plain is None:
            self._memory.is_plain = not _MIXED.rows(self._connection)
        return self._memory.is_plain

    def _offers(self, strategy: str, asked: Asked) -> tuple[Iterable[Offered], Collection[str]]:
        """Return what a strategy offers that may be shown, and the categories in it, none where they are not known.

        What stands in an order comes in it; affinities come as they are, the same product perhaps again.
        """
        if strategy in RANKED:
            lineups = [self._lineup(key) for key in RANKED[strategy](asked)]
            known = {each for lineup in lineups for each in lineup.categories}
            whole = all(lineup.categories or not lineup.offered for lineup in lineups)
            return _merged([lineup.offered for lineup in lineups]), known if whole else ()
        if strategy == "newest":
            return self._lineup(_NEWEST_KEY).offered, ()
        ranked = self._any_order(strategy, asked) if strategy in AFFINE else self.candidates(strategy, asked)
        return (found for item in ranked if (found := self._products.offered(item.sku)) is not None), ()

    def _lineup(self, key: tuple[str, str]) -> Lineup:
        """Return a list of the tables as what may be shown of it; with boosts, in an order of this moment."""
        known = self._memory.lineups.get(key) if not self._rules.boost else None
        if known is None:
            ranked = self._newest if key == _NEWEST_KEY else self._ranks.get(key, ())
            offered = [found for item in ranked if (found := self._products.offered(item.sku)) is not None]
            categories = {found.category for found in offered}
            named = frozenset(each for each in categories if each is not None)
            known = Lineup(offered, named if None not in categories else frozenset())
            if not self._rules.boost:
                self._memory.lineups[key] = known
        return known

    def _any_order(self, strategy: str, asked: Asked) -> Iterator[Ranked]:
        """Yield what a strategy of affinities offers, as it comes; the same product may come again."""
        tables = [self._memory.affinities[table] for table in AFFINE[strategy]]
        for sku in asked.seeds(strategy):
            for table in tables:
                yield from table.get(sku, ())

    def _offer(
        self,
        block: Block,
        strategy: str,
        ranked: Iterable[Ranked],
        request: Request,
        barred: set[str],
        most: int | None = None,
    ) -> None:
        """Put what may be shown into the block, best first, until it is full (or `most` of them found a slot)."""
        wanted = block.count if most is None else min(block.count, len(block.picks) + most)
        picks, own, offered = block.picks, strategy in OWN, self._products.offered
        tested = bool(request.where or self._rules.never)
        for sku, score in ranked:
            if len(picks) >= wanted:
                return
            found = offered(sku)
            if found is None or found.article in barred:
                continue
            if tested and not self._allowed(found.product, request):
                continue
            block.take(found, strategy, score, own=own)

    def _limit(self, request: Request) -> int:
        """Return the most of one category; a block that names its categories asked for them."""
        if request.per_category is not None:
            return request.per_category
        named = request.category is not None or bool(narrowed(request.where))
        return request.count if named or not self._rules.per_category else self._rules.per_category

    def _allowed(self, product: Mapping[str, Any], request: Request) -> bool:
        wanted = passes(product, request.where, self._now)
        return wanted and not passes_any(product, self._rules.never, self._now)

    def _pinned(self, asked: Asked) -> list[Ranked]:
        """Return what a rule wants in every block: what the chain would show first, first; then by sku."""
        listed = (item.sku for strategy in asked.request.chain for item in self.candidates(strategy, asked))
        place = {sku: number for number, sku in enumerate(dict.fromkeys(listed))}
        ordered = sorted(self._always, key=lambda sku: (place.get(sku, len(place)), sku))
        return in_order(ordered)

    def candidates(self, strategy: str, asked: Asked) -> Iterable[Ranked]:
        if strategy in AFFINE:
            return self._boosted(self._affine(strategy, asked))
        if strategy in RANKED:
            return _merged([self._ranks.get(key, []) for key in RANKED[strategy](asked)])
        if strategy == "newest":
            return self._newest
        if strategy == "reorder":
            return self._boosted(self._again(asked.shopper))
        return self._boosted(OWN[strategy](asked.shopper)) if strategy in OWN else []

    def _again(self, shopper: Shopper) -> list[Ranked]:
        found = [
            Ranked(sku, habit * (self._products[sku]["learned_repeats"] or 1.0))
            for sku, habit in shopper.bought.items()
            if sku in self._products
        ]
        return sorted(found, key=lambda item: (-item.score, item.sku))

    def _affine(self, strategy: str, asked: Asked) -> Iterable[Ranked]:
        seeds, held = asked.seeds(strategy), self._memory.affinities
        if list(seeds.values()) == [1.0] and list(AFFINE[strategy].values()) == [1.0]:  # nothing to add up
            ((sku, _),), (table,) = seeds.items(), AFFINE[strategy]
            return held[table].get(sku, ())
        return self._added_up(strategy, seeds)

    def _added_up(self, strategy: str, seeds: Mapping[str, float]) -> Iterator[Ranked]:
        scores: dict[str, float] = {}
        known = scores.get
        tables = [(self._memory.affinities[table], share) for table, share in AFFINE[strategy].items()]
        for sku, weight in seeds.items():
            for table, share in tables:
                factor = weight * share
                for other, score in table.get(sku, ()):
                    scores[other] = known(other, 0.0) + factor * score
        best = [(-score, sku) for sku, score in scores.items()]
        heapify(best)
        while best:  # few of many are looked at
            negative, sku = heappop(best)
            yield Ranked(sku, -negative)

    def _articles(self, skus: Iterable[str]) -> set[str]:
        return {self._article(sku) for sku in skus}

    def _article(self, sku: str) -> str:
        found = self._products.offered(sku)
        if found is not None:
            return found.article
        product = self._products.get(sku)
        return article(product) if product is not None else f"sku {sku}"


def _best_first(item: Ranked) -> tuple[float, str]:
    return -item.score, item.sku


def _merged(lists: Sequence[Sequence[_T]]) -> Iterable[_T]:
    """Return the lists as one, in turns: the first of each, then the second of each and so on; few are looked at."""
    if len(lists) == 1:
        return lists[0]
    longest = max((len(ranked) for ranked in lists), default=0)
    return (ranked[place] for place in range(longest) for ranked in lists if place < len(ranked))


_AFFINITIES = Prepared(
    select(
        *(product_affinities.c[name] for name in ("strategy", "sku", "other", "score")),
    ).where(within(product_affinities.c.strategy, "strategies"), within(product_affinities.c.sku, "skus"))
)
_RANKS = Prepared(
    select(*(product_ranks.c[name] for name in ("strategy", "scope", "sku", "score")))
    .where(
        or_(
            and_(product_ranks.c.scope == "", within(product_ranks.c.strategy, "strategies")),
            and_(product_ranks.c.strategy == "popular_in_category", within(product_ranks.c.scope, "scopes")),
        )
    )
    .order_by(product_ranks.c.rank)
)


_MIXED = Prepared(
    select(products.c.variant_group)
    .where(products.c.variant_group.is_not(None))
    .group_by(products.c.variant_group)
    .having(func.count(func.distinct(func.coalesce(products.c.category, ""))) > 1)
    .limit(1)
)
