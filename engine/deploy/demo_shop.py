"""The facts of "Kiyomi Tea", a demo shop: a year of history and the days that are to be played.

Comes in: a seed, the present moment of the demo, how many days come after it. Goes out: canonical facts rows with their
kind, in the order in which they happened. Promises: the same arguments give the same facts, a customer's story is the
same in a larger shop, and nothing lies after the last day. People buy by their own cycles, run out of tea, leave carts,
return, cancel, complain, come for Christmas, or silently stay away.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any
from zoneinfo import ZoneInfo

from engine.deploy.demo_catalogue import CENT, PAIRS, SHOP, Article, make_catalogue
from engine.deploy.demo_people import Person, iso, make_person
from engine.deploy.pictures import PATH

Row = dict[str, Any]
Fact = tuple[str, Row]
_Timed = tuple[datetime, str, Row]

HISTORY_DAYS = 365
# Facts of one moment are told in the order in which they depend on each other.
_ORDER = {"products": 0, "customers": 1, "consents": 2, "events": 3, "carts": 4, "orders": 5}
# How much is bought in each month, January first, against an average one.
_SEASON = (1.15, 1.0, 0.95, 0.9, 0.85, 0.75, 0.7, 0.75, 0.95, 1.1, 1.45, 1.7)
_HOURS = tuple(range(7, 24))
_HOUR_WEIGHTS = (2, 4, 5, 6, 6, 7, 6, 5, 5, 6, 6, 7, 9, 11, 11, 7, 3)
_CARRIERS = ("DHL", "UPS", "Post")
_REASONS = ("changed my mind", "arrived damaged", "not my taste", "ordered twice")


def demo_facts(
    seed: int,
    start: datetime,
    days: int,
    customers: int = 2_000,
    products: int = 300,
    *,
    pictures: str = f"{SHOP}{PATH}",
) -> Iterator[Fact]:
    """Yield (kind, canonical row) of the year before `start` and the `days` after it, oldest first.

    `start` is aware; `pictures` is the address below which the products' pictures are. Kinds are those of
    `homing ingest --as`; times are UTC.
    """
    first, end = start - timedelta(days=HISTORY_DAYS), start + timedelta(days=days)
    rng = random.Random(f"{seed} shop")  # noqa: S311 - a demo is repeatable, not secret
    shelf = _Shelf(make_catalogue(rng, products, pictures))
    told: list[_Timed] = [(first, "products", article.row(iso(first))) for article in shelf.articles]
    told += _catalogue_changes(rng, shelf, first, end)
    told += _arrivals(random.Random(f"{seed} arrivals"), shelf, first, end)  # noqa: S311 - repeatable, not secret
    for number in range(customers):
        person = make_person(seed, number, first, start, end)
        told += (fact for fact in _Life(person, shelf, seed, first, end).facts() if first <= fact[0] < end)
    told.sort(key=lambda fact: (fact[0], _ORDER[fact[1]]))
    for _, kind, row in told:
        yield kind, row


class _Shelf:
    """The catalogue as customers choose from it: by popularity, within a category, and with what goes together."""

    def __init__(self, articles: list[Article]) -> None:
        self.articles = articles
        self._popularity = list(accumulate(article.popularity for article in articles))
        self._by_title: dict[str, list[Article]] = {}
        self._consumed: dict[str, list[Article]] = {}
        self._gifts = [
            article for article in articles if article.category in ("gift sets", "sweets", "teaware")
        ] or articles
        for article in articles:
            self._by_title.setdefault(article.title, []).append(article)
            for names in PAIRS:
                if article.title.startswith(names):
                    self._by_title.setdefault(names, []).append(article)
            if article.days is not None:
                self._consumed.setdefault(article.category, []).append(article)

    def anything(self, rng: random.Random) -> Article:
        """Choose by popularity from the whole shop."""
        return rng.choices(self.articles, cum_weights=self._popularity)[0]

    def gift(self, rng: random.Random) -> Article:
        """Choose something to give away."""
        return rng.choice(self._gifts)

    def staple(self, rng: random.Random, category: str, cycle_days: float) -> Article:
        """Choose what a customer keeps buying: of the favourite category, in a size that lasts about one cycle."""
        consumed = self._consumed.get(category) or [
            article for group in self._consumed.values() for article in group
        ]
        fitting = [
            article for article in consumed if 0.5 <= (article.days or 0) / cycle_days <= 1.8
        ] or consumed
        return rng.choices(fitting, [article.popularity for article in fitting])[0]

    def companion(self, rng: random.Random, article: Article) -> Article | None:
        """Choose what goes with an article, where anything does."""
        for name, others in PAIRS.items():
            if article.title.startswith(name):
                found = [candidate for other in others for candidate in self._by_title.get(other, [])]
                return rng.choice(found) if found else None
        return None


@dataclass(frozen=True, slots=True)
class _Basket:
    """What is bought together: articles with quantities."""

    lines: tuple[tuple[Article, int], ...]

    @property
    def value(self) -> Decimal:
        return sum((article.price * quantity for article, quantity in self.lines), Decimal(0))

    def rows(self) -> list[Row]:
        return [
            {"sku": article.sku, "quantity": quantity, "price": str(article.price)}
            for article, quantity in self.lines
        ]


class _Life:
    """One customer's story, told by a chance of their own."""

    def __init__(self, person: Person, shelf: _Shelf, seed: int, first: datetime, end: datetime) -> None:
        self.person, self.shelf, self.first, self.end = person, shelf, first, end
        self.rng = random.Random(f"{seed} life {person.number}")  # noqa: S311 - repeatable, not secret
        self.zone = ZoneInfo(person.row.get("timezone") or person.land.zones[0])
        self.id = person.external_id
        self.orders = self.carts = self.events = 0
        cycle = max(person.cycle_days, 20.0)
        count = self.rng.choices((1, 2, 3), (5, 3, 1))[0]
        self.staples = [shelf.staple(self.rng, person.row["favourite"], cycle) for _ in range(count)]
        self.bought: set[str] = set()

    def facts(self) -> Iterator[_Timed]:
        """Yield all that is told about this customer, in no order."""
        person = self.person
        yield person.joined_at, "customers", person.row
        for consent in person.consents:
            yield datetime.fromisoformat(consent["at"]), "consents", consent
        for at in self._shopping_days():
            yield from self._order(at)
        yearly = 5.0 if person.kind == "looking" else 1.1
        for at in self._moments(yearly):
            yield from self._abandoned_cart(at)
        for at in self._moments(4.0 if person.kind == "looking" else 1.6):
            yield from self._visit(at)

    # ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _shopping_days(self) -> Iterator[datetime]:
        """Yield the moments of this customer's orders."""
        person = self.person
        if person.kind == "looking":
            return
        if person.kind == "gifts":
            yield from self._gift_days()
            return
        # A piece of the staple lasts about as long as the customer's habit is, each time a little different.
        lasts = self.staples[0].days or person.cycle_days
        cycle = max(9.0, (lasts + person.cycle_days) / 2)
        at = person.joined_at + timedelta(days=self.rng.uniform(0, min(cycle, 12.0)), hours=1)
        last = person.stops_at or self.end
        while at < last:
            yield self._at_home(at)
            at += timedelta(days=cycle * self.rng.lognormvariate(0, 0.2) / _SEASON[at.month - 1] ** 0.5)

    def _gift_days(self) -> Iterator[datetime]:
        """Yield the days before Christmas, Mother's Day, and some birthday."""
        own = (self.rng.randint(1, 12), self.rng.randint(1, 28))
        for year in range(self.first.year, self.end.year + 1):
            for month, day in ((12, self.rng.randint(1, 18)), (5, self.rng.randint(2, 9)), own):
                at = datetime(year, month, day, 12, tzinfo=UTC)
                if at > self.person.joined_at and self.rng.random() < 0.7:
                    yield self._at_home(at)

    def _moments(self, yearly: float) -> Iterator[datetime]:
        """Yield moments by pure chance, so many a year, while the customer is interested."""
        at = self.person.joined_at
        last = self.person.stops_at or self.end
        while True:
            at += timedelta(days=self.rng.expovariate(yearly / 365))
            if at >= last:
                return
            yield self._at_home(at)

    def _at_home(self, moment: datetime) -> datetime:
        """Move a moment to an hour at which people shop, on the customer's own clock that day."""
        hour = self.rng.choices(_HOURS, _HOUR_WEIGHTS)[0]
        local = moment.astimezone(self.zone).replace(
            hour=hour, minute=self.rng.randint(0, 59), second=self.rng.randint(0, 59), microsecond=0
        )
        return max(local.astimezone(UTC), self.person.joined_at + timedelta(hours=1))

    # ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _basket(self, at: datetime) -> _Basket:
        """Choose what is bought: the reason for coming, what goes with it, and what catches the eye."""
        chosen = self._reason_for_coming()
        for article in list(chosen):
            companion = self.shelf.companion(self.rng, article)
            if companion is not None and self._still_wants(companion) and self.rng.random() < 0.45:
                chosen.setdefault(companion, 1)
        for _ in range(self.rng.choices((0, 1, 2, 3), (5, 4, 2, 1))[0]):
            chosen.setdefault(self.shelf.anything(self.rng), 1)
        if at.month in (11, 12) and self.rng.random() < 0.35:
            chosen.setdefault(self.shelf.gift(self.rng), 1)
        self.bought.update(article.sku for article in chosen)
        return _Basket(tuple(chosen.items()))

    def _reason_for_coming(self) -> dict[Article, int]:
        if self.person.kind == "gifts":
            return {self.shelf.gift(self.rng): self.rng.choices((1, 2, 3), (8, 2, 1))[0]}
        if self.person.kind == "looking":
            return {self.shelf.anything(self.rng): 1}
        chosen = {self.staples[0]: self.rng.choices((1, 2), (9, 1))[0]}
        for staple in self.staples[1:]:
            if self.rng.random() < 0.6:
                chosen.setdefault(staple, 1)
        return chosen

    def _still_wants(self, article: Article) -> bool:
        return article.days is not None or article.sku not in self.bought

    def _order(self, at: datetime) -> Iterator[_Timed]:
        basket, cart_id = self._basket(at), None
        if self.rng.random() < 0.55:
            cart_id = self._new_cart_id()
            begun = at - timedelta(minutes=self.rng.randint(4, 40))
            yield self._viewed(begun - timedelta(minutes=2), basket.lines[0][0])
            yield self._cart(begun, cart_id, basket)
        yield from self._bought(at, basket, cart_id)

    def _bought(self, at: datetime, basket: _Basket, cart_id: str | None) -> Iterator[_Timed]:
        """Tell an order and what becomes of it: cancelled, or shipped, delivered, reviewed, perhaps sent back."""
        self.orders += 1
        order = self._order_row(at, f"K{self.id[1:]}-{self.orders}", basket, cart_id)
        yield at, "orders", order
        if cart_id is not None:
            yield self._cart(at + timedelta(seconds=1), cart_id, _Basket(()))
        if self.rng.random() < 0.02:
            yield self._status(order, "cancelled", at + timedelta(minutes=self.rng.randint(10, 600)))
            return
        shipped = at + timedelta(hours=self.rng.randint(8, 44))
        travel = timedelta(days=self.rng.randint(*self.person.land.parcel_days), hours=self.rng.randint(0, 6))
        parcel = {
            "carrier": self.rng.choice(_CARRIERS),
            "tracking_url": f"{SHOP}/track/{order['order_id']}",
            "estimated_at": iso(shipped + travel),
            "skus": [article.sku for article, _ in basket.lines],
        }
        yield self._status(order, "shipped", shipped, shipments=[parcel])
        delivered = shipped + travel
        yield self._status(order, "delivered", delivered, shipments=[parcel])
        yield from self._afterwards(order, basket, delivered)

    def _afterwards(self, order: Row, basket: _Basket, delivered: datetime) -> Iterator[_Timed]:
        chance = self.rng.random()
        if chance < 0.02:
            back = delivered + timedelta(days=self.rng.randint(3, 10))
            article, quantity = basket.lines[-1]
            returned = {"returns": [{"status": "received", "reason": self.rng.choice(_REASONS)}]}
            yield self._status(order, "returned", back, **returned)
            amount = {"amount": str(article.price * quantity), "full": len(basket.lines) == 1}
            yield self._status(order, "refunded", back + timedelta(days=1), refunds=[amount], **returned)
        elif chance < 0.14:
            at = self._at_home(delivered + timedelta(days=self.rng.randint(4, 15)))
            rating = self.rng.choices((1, 2, 3, 4, 5), (1, 1, 3, 9, 16))[0]
            yield self._event(
                at, "review_given", sku=basket.lines[0][0].sku, order_id=order["order_id"], rating=rating
            )
        elif chance < 0.15:
            yield self._event(delivered + timedelta(days=1), "complaint_opened", order_id=order["order_id"])
            yield self._event(delivered + timedelta(days=4), "complaint_closed", order_id=order["order_id"])

    def _abandoned_cart(self, at: datetime) -> Iterator[_Timed]:
        """Tell a cart that was left: emptied, come back for, or forgotten."""
        cart_id, basket = self._new_cart_id(), self._basket(at)
        yield self._viewed(at - timedelta(minutes=3), basket.lines[0][0])
        yield self._cart(at, cart_id, basket)
        later = at + timedelta(minutes=self.rng.randint(2, 25))
        if self.rng.random() < 0.4:
            begun = {
                "checkout_id": f"{cart_id}-pay",
                "cart_id": cart_id,
                "value": str(basket.value),
                "lines": basket.rows(),
            }
            yield self._event(later, "checkout_started", url=f"{SHOP}/checkout/{cart_id}", **begun)
        chance = self.rng.random()
        if chance < 0.08:
            yield self._cart(later + timedelta(minutes=5), cart_id, _Basket(()))
        elif chance < 0.33 and self.person.kind != "lapsed":
            yield from self._bought(at + timedelta(hours=self.rng.randint(2, 80)), basket, cart_id)

    def _visit(self, at: datetime) -> Iterator[_Timed]:
        """Tell a look around: some products seen, one perhaps remembered."""
        for minute in range(self.rng.choices((1, 2, 3), (5, 3, 1))[0]):
            article = self.shelf.anything(self.rng)
            yield self._viewed(at + timedelta(minutes=2 * minute), article)
        if self.rng.random() < 0.15:
            yield self._event(at + timedelta(minutes=9), "wishlist_added", sku=article.sku)

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _order_row(self, at: datetime, order_id: str, basket: _Basket, cart_id: str | None) -> Row:
        row: Row = {
            "order_id": order_id,
            "customer": self.id,
            "placed_at": iso(at),
            "status": "placed",
            "status_at": iso(at),
            "currency": "EUR",
            "total": str(basket.value),
            "lines": basket.rows(),
        }
        if cart_id is not None:
            row["cart_id"] = cart_id
        if self.orders == 1 and self.rng.random() < 0.15:
            discount = (basket.value / 10).quantize(CENT)
            row |= {"discount": str(discount), "coupon": "WELCOME10", "total": str(basket.value - discount)}
        return row

    def _status(self, order: Row, status: str, at: datetime, **more: Any) -> _Timed:
        return at, "orders", {**order, "status": status, "status_at": iso(at), **more}

    def _cart(self, at: datetime, cart_id: str, basket: _Basket) -> _Timed:
        url = f"{SHOP}/cart/{cart_id}"
        row = {
            "cart_id": cart_id, "customer": self.id, "updated_at": iso(at), "url": url, "checkout_url": f"{url}/checkout",
            "currency": "EUR", "value": str(basket.value), "lines": basket.rows(),
        }  # fmt: skip
        return at, "carts", row

    def _viewed(self, at: datetime, article: Article) -> _Timed:
        return self._event(at, "product_viewed", sku=article.sku)

    def _event(self, at: datetime, name: str, **more: Any) -> _Timed:
        self.events += 1
        return (
            at,
            "events",
            {"id": f"{self.id}-e{self.events}", "event": name, "customer": self.id, "at": iso(at), **more},
        )

    def _new_cart_id(self) -> str:
        self.carts += 1
        return f"cart-{self.id[1:]}-{self.carts}"


def _arrivals(rng: random.Random, shelf: _Shelf, first: datetime, end: datetime) -> Iterator[_Timed]:
    """Yield the new harvests that come in, one every five weeks: what is new to those who stayed away."""
    loose = [article for article in shelf.articles if article.title.endswith(" 100 g")]
    for number in range(1, (end - first).days // 35 + 1 if loose else 1):
        source, at = rng.choice(loose), first + timedelta(days=35 * number, hours=-18)
        title = f"{source.title.removesuffix(' 100 g')}, new harvest 100 g"
        article = replace(
            source, sku=f"{source.sku}-N{number}", group=f"{source.group}-N{number}", title=title
        )
        yield at, "products", article.row(iso(at))


def _catalogue_changes(rng: random.Random, shelf: _Shelf, first: datetime, end: datetime) -> Iterable[_Timed]:
    """Return what happens to the catalogue: lower prices that go up again, shelves that empty and fill."""
    changes: list[_Timed] = []
    busy: dict[str, datetime] = {}  # an article has one trouble at a time
    for day in range(1, (end - first).days):
        morning = first + timedelta(days=day, minutes=rng.randint(0, 120))
        article = shelf.anything(rng)
        if busy.get(article.sku, first) > morning or rng.random() < 0.4:
            continue
        until = busy[article.sku] = morning + timedelta(days=rng.randint(4, 12))
        chance = rng.random()
        if chance < 0.4:
            price = (article.price * Decimal(rng.choice(("0.95", "0.90", "0.85", "0.80")))).quantize(CENT)
            states: list[Row] = [{"price": str(price)}, {}]
        elif chance < 0.75:
            states = [{"stock": 0, "available": False}, {"stock": article.stock}]
        else:
            states = [{"stock": rng.randint(1, 4)}, {"stock": article.stock}]
        for at, state in zip((morning, until), states, strict=True):
            changes.append((at, "products", article.row(iso(at), **state)))
    return [change for change in changes if change[0] < end]
