"""What is alike: products near to each other by words, category, brand and price.

Comes in: the catalogue. Goes out: for each product its nearest others. Promises that it never compares all pairs: only
products that share a telling word, or stand next to each other in price within a category, are compared; variants of one
article are never similar to each other (they are the same thing).

    score = 0.5 · words + 0.25 · same category + 0.1 · same brand + 0.15 · min(price) / max(price)

`words` is the cosine of the titles' words weighted by rarity (tf-idf); scripts without spaces count as pairs of signs.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt

from sqlalchemy import Connection, select

from engine.recommend.popularity import Ranked
from engine.recommend.sales import presentable
from engine.store.tables import products

NEIGHBOURS = 24
WORD_CANDIDATES = 600  # products compared for the words they share, those of rare words first
PRICE_CANDIDATES = 20  # compared on either side in price, within the category
_WORD = re.compile(r"[^\W_]+")
_SIGNS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0e7f]+")


@dataclass(frozen=True, slots=True)
class Article:
    """What a product is compared by; the price is in the shop's units."""

    sku: str
    title: str
    category: str | None
    brand: str | None
    price: float
    group: str | None


def articles(connection: Connection) -> list[Article]:
    """Return the presentable products in order of sku."""
    columns = (products.c.sku, products.c.title, products.c.category, products.c.brand, products.c.price)
    statement = select(*columns, products.c.variant_group).where(presentable()).order_by(products.c.sku)
    return [
        Article(sku, title or "", category, brand, float(price), group)
        for sku, title, category, brand, price, group in connection.execute(statement)
    ]


def words(title: str) -> list[str]:
    """Return the words of a title in lower case; signs of scripts without spaces come as overlapping pairs.

    >>> words("Green Tea 100g"), words("抹茶セット")
    (['green', 'tea', '100g'], ['抹茶', '茶セ', 'セッ', 'ット'])
    """
    found: list[str] = []
    for word in _WORD.findall(title.lower()):
        for run in _SIGNS.findall(word):
            found.extend(run[at : at + 2] for at in range(max(1, len(run) - 1)))
        found.extend(part for part in _SIGNS.split(word) if part)
    return found


def similar(catalogue: Sequence[Article]) -> Iterator[tuple[str, list[Ranked]]]:
    """Yield each product with its nearest others, nearest first; those without any are left out."""
    vectors, holders = _vectors(catalogue)
    shelves = _shelves(catalogue)
    for number, article in enumerate(catalogue):
        own = vectors[number]
        scored = []
        for place in _candidates(number, article, vectors, holders, shelves):
            other = catalogue[place]
            if place == number or (article.group and article.group == other.group):
                continue
            score = _score(article, other, own, vectors[place])
            if score > 0:
                scored.append((-score, other.sku))
        if scored:
            scored.sort()
            yield article.sku, [Ranked(sku, -negative) for negative, sku in scored[:NEIGHBOURS]]


_Vector = Mapping[str, float]


def _vectors(catalogue: Sequence[Article]) -> tuple[list[_Vector], Mapping[str, list[int]]]:
    holders: defaultdict[str, list[int]] = defaultdict(list)
    counted = [Counter(words(article.title)) for article in catalogue]
    for number, counter in enumerate(counted):
        for word in counter:
            holders[word].append(number)
    vectors: list[_Vector] = []
    for counter in counted:
        weights = {
            word: times * log(1 + len(catalogue) / len(holders[word])) for word, times in counter.items()
        }
        length = sqrt(sum(weight * weight for weight in weights.values()))
        vectors.append({word: weight / length for word, weight in weights.items()})
    return vectors, holders


def _shelves(catalogue: Sequence[Article]) -> dict[int, tuple[list[int], int]]:
    """Return for each product its category's products by price, and its own place among them."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number, article in enumerate(catalogue):
        if article.category:
            members[article.category].append(number)
    places: dict[int, tuple[list[int], int]] = {}
    for shelf in members.values():
        shelf.sort(key=lambda number: (catalogue[number].price, number))
        places.update((number, (shelf, place)) for place, number in enumerate(shelf))
    return places


def _candidates(
    number: int,
    article: Article,
    vectors: Sequence[_Vector],
    holders: Mapping[str, list[int]],
    shelves: Mapping[int, tuple[list[int], int]],
) -> set[int]:
    found: set[int] = set()
    for word in sorted(vectors[number], key=lambda word: (len(holders[word]), word)):
        found.update(holders[word][: WORD_CANDIDATES - len(found)])
        if len(found) >= WORD_CANDIDATES:
            break
    if article.category:
        shelf, place = shelves[number]
        found.update(shelf[max(0, place - PRICE_CANDIDATES) : place + PRICE_CANDIDATES + 1])
    return found


def _score(article: Article, other: Article, own: _Vector, its: _Vector) -> float:
    if len(its) < len(own):
        own, its = its, own
    shared = 0.0
    for word, weight in own.items():
        if word in its:
            shared += weight * its[word]
    category = 0.25 if article.category and article.category == other.category else 0.0
    brand = 0.1 if article.brand and article.brand == other.brand else 0.0
    if not (shared or category or brand):
        return 0.0
    low, high = article.price, other.price
    if high < low:
        low, high = high, low
    return 0.5 * shared + category + brand + 0.15 * low / high
