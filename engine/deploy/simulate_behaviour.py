"""What customers are likely to do next: each does what a similar one did at a like moment of the recorded past.

Comes in: the real database (only read), a stretch ahead, a seed. Goes out: staged facts in the store that is driven.
Promises the same facts for the same seed, whichever part of the customers is asked for.

Two customers are alike at a moment when they had as many orders (none, one, two, more) and bought as long ago. For each
customer one like moment of somebody alike is drawn, whole weeks ago so that weekdays stay, and everything that followed it
there - orders, carts, views, opt-outs, or nothing at all - follows here, shifted. Nobody new appears.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from engine.deploy.simulate_belongings import EMPTIED, FILLED, FULL, Belongings, Own, Stand, read_belongings
from engine.deploy.simulate_copy import Slice
from engine.facts.fact import iso
from engine.outbox.own_facts import NAMES as OWN
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.tables import customers, events, orders, staged_facts

WEEK = timedelta(days=7)
MOMENTS = 6  # like moments of the past that are looked at
FEWEST = 20  # customers alike, below which how long ago counts no more
RECENCY = (7, 30, 90, 365)
ROWS = 10_000
_TIMES = (
    "at",
    "placed_at",
    "status_at",
    "updated_at",
    "paid_at",
    "shipped_at",
    "delivered_at",
    "occurred_at",
)
# What an order that the customer has is told of what became of it: its lines and its worth stay its own.
_AFTERWARDS = ("order_id", "customer", "status", "status_at", "shipments", "refunds", "returns")
_NO_DEED = (
    *OWN,
    "customer_created",
    "customer_updated",
    "customer_suppressed",
    "customer_erased",
    "consent_granted",
)
Alike = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of everybody: who they are, since when, and when they bought."""

    references: Mapping[int, str]
    known_since: Mapping[int, datetime]
    bought: Mapping[int, Sequence[datetime]]

    def kind(self, customer_id: int, moment: datetime) -> Alike:
        """Return what a customer is like at a moment: orders so far, and how long ago the last one was."""
        own = self.bought.get(customer_id, ())
        so_far = bisect_right(own, moment)
        if not so_far:
            return 0, 0
        days = (moment - own[so_far - 1]) / timedelta(days=1)
        return min(so_far, 3), sum(days > edge for edge in RECENCY)


def stage_likely(
    source: Database, target: Database, part: Slice, start: datetime, until: datetime, seed: int
) -> int:
    """Stage what these customers are likely to do between `start` and `until`; return how many facts that are."""
    with source.read() as connection:
        past = _read_past(connection, start)
        moments = _moments(past, start, until)
        drawn = _draw(past, moments, part, start, seed)
        models = {model for model, _ in drawn.values()}
        deeds = _deeds(connection, models, moments[-1], start) if moments else {}
        followed = [
            Followed(
                customer_id,
                past.references[customer_id],
                *drawn[customer_id],
                seed,
                start - drawn[customer_id][1],
                found,
            )
            for customer_id in sorted(drawn, key=lambda each: past.references[each])
            if (found := _between(deeds.get(drawn[customer_id][0], ()), drawn[customer_id][1], until - start))
        ]
        belongings = read_belongings(
            connection, {stand for each in followed if each.named for stand in each.stands}
        )
    rows = [row for each in followed for row in each.as_own(belongings)]
    rows.sort(key=lambda row: (row["arrives_at"], str(row["payload"].get("customer"))))
    for begin in range(0, len(rows), ROWS):
        with target.write() as connection:
            insert_rows(connection, staged_facts, rows[begin : begin + ROWS])
    return len(rows)


def _read_past(connection: Connection, start: datetime) -> Past:
    table = customers.c
    query = select(
        table.id, table.external_id, table.email, table.created_at, table.first_order_at, table.first_seen_at
    )
    references, since = {}, {}
    for identity, external_id, email, *moments in connection.execute(query.where(table.erased_at.is_(None))):
        if external_id or email:
            references[identity] = external_id or email
            since[identity] = min(moment for moment in moments if moment is not None)
    bought: dict[int, list[datetime]] = defaultdict(list)
    placed = select(orders.c.customer_id, orders.c.placed_at).where(
        orders.c.customer_id.is_not(None), orders.c.cancelled_at.is_(None), orders.c.placed_at <= start
    )
    for customer_id, placed_at in connection.execution_options(yield_per=ROWS).execute(placed):
        bought[customer_id].append(placed_at)
    for own in bought.values():
        own.sort()
    return Past(references, since, bought)


def _moments(past: Past, start: datetime, until: datetime) -> list[datetime]:
    """Return the like moments of the past, newest first: each with a whole stretch after it."""
    weeks = -(-(until - start) // WEEK)
    first = min(past.known_since.values(), default=start)
    found = [start - weeks * WEEK * (number + 1) for number in range(MOMENTS)]
    return [moment for moment in found if moment >= first] or found[:1]


def _draw(
    past: Past, moments: Sequence[datetime], part: Slice, start: datetime, seed: int
) -> dict[int, tuple[int, datetime]]:
    """Return for each customer of the part whose deeds are followed, and from which moment on."""
    alike: dict[Alike, list[tuple[int, datetime]]] = defaultdict(list)
    loosely: dict[int, list[tuple[int, datetime]]] = defaultdict(list)
    for customer_id in sorted(past.references, key=lambda each: past.references[each]):
        for moment in moments:
            if past.known_since[customer_id] <= moment:
                kind = past.kind(customer_id, moment)
                alike[kind].append((customer_id, moment))
                loosely[kind[0]].append((customer_id, moment))
    drawn = {}
    for customer_id, reference in past.references.items():
        if part.has(reference):
            kind = past.kind(customer_id, start)
            models = alike[kind] if len(alike[kind]) >= FEWEST else loosely[kind[0]] or alike[kind]
            if models:
                drawn[customer_id] = random.Random(f"{seed}:{reference}").choice(models)  # noqa: S311 - a simulation
    return drawn


def _deeds(
    connection: Connection, models: set[int], since: datetime, until: datetime
) -> Mapping[int, Sequence[Any]]:
    table = events.c
    query = (
        select(
            table.customer_id,
            table.key,
            table.name,
            table.occurred_at,
            table.order_id,
            table.cart_id,
            table.properties,
        )
        .where(table.occurred_at > since, table.occurred_at <= until, table.name.not_in(_NO_DEED))
        .order_by(table.occurred_at, table.id)
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execution_options(yield_per=ROWS).execute(query):
        if row.customer_id in models:
            found[row.customer_id].append(row)
    return found


def _between(deeds: Sequence[Any], moment: datetime, span: timedelta) -> Sequence[Any]:
    return [row for row in deeds if moment < row.occurred_at <= moment + span]


@dataclass(frozen=True, slots=True)
class Followed:
    """What one customer follows: the deeds of a model after a like moment, to be shifted to come."""

    customer_id: int
    reference: str
    model: int
    moment: datetime
    seed: int
    shift: timedelta
    deeds: Sequence[Any]

    @property
    def stands(self) -> tuple[Stand, Stand]:
        """The model at the like moment, and the customer at the start."""
        return (self.model, self.moment), (self.customer_id, self.moment + self.shift)

    @property
    def named(self) -> set[str]:
        """The orders and carts that the deeds speak of."""
        return {name for row in self.deeds for name in (row.order_id, row.cart_id) if name is not None}

    def as_own(self, belongings: Belongings) -> Iterator[dict[str, Any]]:
        """Yield the deeds as this customer's."""
        named = self.named
        of_order = belongings.own_orders(*self.stands, named) if named else {}
        of_cart = belongings.own_carts(*self.stands, named) if named else {}
        over = {
            cart
            for cart, mine in of_cart.items()
            if mine is None and belongings.carts[self.stands[0]][cart] != FULL
        }
        for row in self.deeds:
            if row.name == FILLED and row.cart_id in over:
                del of_cart[row.cart_id]  # it is begun anew
                over.remove(row.cart_id)
            told = self._told(row, of_order, of_cart)
            if row.name == EMPTIED and of_cart.get(row.cart_id, row.cart_id) is None:
                over.add(row.cart_id)
            if told is not None:
                kind, payload = told
                yield {
                    "arrives_at": row.occurred_at + self.shift, "kind": kind, "payload": payload, "backfill": False,
                }  # fmt: skip

    def _told(self, row: Any, of_order: Own, of_cart: Own) -> tuple[str, dict[str, Any]] | None:
        """Return a deed as this customer's fact; None for one on something that the customer does not have."""
        told = {
            name: _shifted(value, self.shift) if name in _TIMES else value
            for name, value in (row.properties or {}).items()
        }
        told["customer"] = self.reference
        mark = f"likely-{self.seed}-{self.reference}-"
        for name, own in (("order_id", of_order), ("cart_id", of_cart)):
            if told.get(name):
                told[name] = own.get(str(told[name]), f"{mark}{told[name]}")
                if told[name] is None:
                    return None
        if told.get("id"):
            told["id"] = f"{mark}{told['id']}"
        if row.key.startswith("order:"):
            if row.order_id in of_order:
                return "orders", {name: told[name] for name in _AFTERWARDS if name in told}
            if row.cart_id is not None:
                told["properties"] = _made_of(told["properties"], of_cart, mark)
            return "orders", told
        if row.key.startswith("cart:"):
            return "carts", told
        if row.key.startswith("consent:"):
            return "consents", {**told, "state": row.name.removeprefix("consent_")}
        told |= {"event": row.name, "at": iso(row.occurred_at + self.shift)}
        told.setdefault("id", f"{mark}{row.key}")
        return "events", told


def _made_of(properties: Mapping[str, Any], own: Own, mark: str) -> dict[str, Any]:
    """Return an order's own words, which name the cart that it was made of, with the follower's cart in them, if any."""
    cart_id = own.get(str(properties["cart_id"]), f"{mark}{properties['cart_id']}")
    rest = {name: value for name, value in properties.items() if name != "cart_id"}
    return rest if cart_id is None else {**rest, "cart_id": cart_id}


def _shifted(value: Any, shift: timedelta) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return iso(datetime.fromisoformat(value) + shift)
    except ValueError:
        return value
