"""One chunk of facts becomes rows: customers first, then what they did, in the caller's write transaction.

Comes in: facts in their order of arrival, each with its own time and its time of receipt. Goes out: one outcome for
each (`new`, `unchanged`, `stale`, `erased`). Promises: the result is the same as if the facts were taken one by one;
the number of statements does not grow with the chunk; events, projections and inbox rows are written in the same
transaction as the facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from engine.facts.carts import project_carts
from engine.facts.consents import project_consents
from engine.facts.coupons import use_codes
from engine.facts.days import moment_of
from engine.facts.fact import Fact, iso, short_hash
from engine.facts.fields import MOST_MONEY
from engine.facts.order_names import under_first_names
from engine.facts.orders import project_orders
from engine.facts.people import PROFILE_EVENTS, People, Person, lock_facts
from engine.facts.products import project_products
from engine.facts.raised import Raised, Told, as_first_received, write_events
from engine.facts.totals import count_orders, foreign_sentence, note_activity
from engine.store.types import to_micros

# Told about a customer, but nothing that the customer did.
NO_ACTIVITY = frozenset(
    {"delivery_delayed", "tier_reached", "points_earned", "return_received", "complaint_closed", "customer_created", "customer_updated",
     "consent_granted", "consent_withdrawn", "order_cancelled", "order_refunded", "order_shipped", "order_delivered", "order_returned"}
)  # fmt: skip


@dataclass(slots=True)
class Projection:
    """What became of a chunk: an outcome for each fact, and what was odd."""

    outcomes: list[str]
    warnings: Counter[str] = field(default_factory=Counter)


def project(connection: Connection, told: Sequence[Told], currency: str) -> Projection:
    """Take facts in order of arrival; `currency` is the shop's, in which spending is counted."""
    lock_facts(connection)
    chunk = _Chunk(connection, told)
    chunk.meet()
    chunk.people.settle(max(item.received for item in told))
    chunk.tell_customers()
    chunk.tell_the_rest()
    chunk.raised = as_first_received(connection, chunk.raised)
    chunk.note_written(write_events(connection, chunk.raised))
    projection = Projection([chunk.outcomes[index] for index in range(len(told))])
    foreign = count_orders(connection, chunk.touched, currency)
    if foreign:
        projection.warnings[foreign_sentence(currency)] += foreign
    note_activity(connection, chunk.last_activity())
    return projection


class _Chunk:
    def __init__(self, connection: Connection, told: Sequence[Told]) -> None:
        self.connection, self.told = connection, told
        self.people = People(connection)
        self.persons: list[Person | None] = [None] * len(told)
        self.outcomes: dict[int, str] = {}
        self.customer_news: list[tuple[int, bool, bool]] = []
        self.raised: list[Raised] = []
        self.touched: set[int] = set()

    def meet(self) -> None:
        """Find out who every fact is about, in order, and fold what is told about customers themselves."""
        facts = [item.fact for item in self.told]
        self.people.load(facts)
        for index, (fact, at, received) in enumerate(self.told):
            if fact.kind == "customers":
                self._meet_customer(index, fact, at, received)
            elif fact.customer:
                person = self.people.named(fact.customer, received)
                self.persons[index] = person
                if person is None:
                    self.outcomes[index] = "erased"
                elif fact.kind == "events" and fact.fields["event"] in PROFILE_EVENTS:
                    self.people.note(person, _profile(fact), at)

    def _meet_customer(self, index: int, fact: Fact, at: datetime, received: datetime) -> None:
        met = self.people.tell(fact, at, received)
        if met is None:
            self.outcomes[index] = "erased"
            return
        person, changed, first, stale = met
        self.persons[index] = person
        self.outcomes[index] = "new" if changed or first else "stale" if stale else "unchanged"
        if first or changed:
            self.customer_news.append((index, first, changed))

    def id_of(self, index: int) -> int | None:
        """Return the id of the customer whom a fact is about, once people are written."""
        person = self.persons[index]
        return None if person is None else person.stays.id

    def tell_customers(self) -> None:
        """Raise what became of the customers, and count anew for those who were merged."""
        self.touched = {
            person.stays.id
            for person in self.people.merged
            if person.id is not None and person.stays.id is not None
        }
        for index, first, _ in self.customer_news:
            fact, at, received = self.told[index]
            customer_id = self.id_of(index)
            assert customer_id is not None
            # By the name that was told, hashed: two who turn out to be one were both created.
            told = short_hash(fact.key)
            key = f"customer:{told}:created"
            occurred = at
            if first:
                occurred = min(moment_of(fact.fields.get("created_at")) or at, at)
            else:
                key = f"customer:{told}:updated:{to_micros(at)}:{short_hash(fact.content)}"
            self.raised.append(
                Raised(index, key, customer_id, "customer_created" if first else "customer_updated", occurred, received,
                       {**fact.document, "updated_at": iso(at)}, backfill=fact.backfill)
            )  # fmt: skip

    def tell_the_rest(self) -> None:
        """Project the other kinds, each with its own statements."""
        told: dict[str, list[Any]] = {}
        for index, item in enumerate(self.told):
            if index not in self.outcomes:
                told.setdefault(item.fact.kind, []).append((index, item, self.id_of(index)))
        if "products" in told:
            self.outcomes |= project_products(
                self.connection, [(index, item) for index, item, _ in told["products"]]
            )
        if "orders" in told:
            told["orders"] = list(under_first_names(self.connection, told["orders"]))
            outcomes, raised, touched = project_orders(self.connection, told["orders"], self._names())
            self.outcomes |= outcomes
            self.raised += raised
            self.touched |= touched
            self.raised += self._used_codes(told["orders"])
        for kind, project_kind in (("carts", project_carts), ("consents", project_consents)):
            if kind in told:
                outcomes, raised = project_kind(self.connection, told[kind])
                self.outcomes |= outcomes
                self.raised += raised
        self.raised += [
            _event(index, item, customer_id) for index, item, customer_id in told.get("events", ())
        ]

    def _used_codes(self, told: Sequence[tuple[int, Told, int | None]]) -> list[Raised]:
        """Let the coupons of orders use the codes that flows gave away."""
        carrying = {
            item.fact.key: (index, item.fact.backfill, item.received)
            for index, item, _ in told
            if item.fact.fields.get("coupon")
        }
        return use_codes(self.connection, carrying) if carrying else []

    def _names(self) -> dict[int, str]:
        """Return what documents call the customers of this chunk."""
        staying = [person for person in self.people.everyone if person.merged_into is None]
        return {
            person.id: person.external_id or person.email or "" for person in staying if person.id is not None
        }

    def note_written(self, outcomes: Mapping[str, str]) -> None:
        """Note the outcome of told events: new, or known already."""
        for index, item in enumerate(self.told):
            if index not in self.outcomes:
                self.outcomes[index] = outcomes[item.fact.key]

    def last_activity(self) -> dict[int, datetime]:
        """Return when each customer last did something, as far as this chunk knows."""
        seen: dict[int, datetime] = {}
        for event in self.raised:
            if event.name not in NO_ACTIVITY:
                known = seen.get(event.customer_id)
                if known is None or event.occurred_at > known:
                    seen[event.customer_id] = event.occurred_at
        return seen


def _event(index: int, told: Told, customer_id: int) -> Raised:
    fact = told.fact
    properties = fact.properties
    return Raised(
        place=index, key=fact.key, customer_id=customer_id, name=fact.fields["event"], occurred_at=told.at, arrived_at=told.received,
        properties={**fact.document, "at": iso(told.at)}, value=_amount(properties.get("value")),
        order_id=_named(properties.get("order_id")), cart_id=_named(properties.get("cart_id")),
        sku=_named(properties.get("sku") or properties.get("product_id")), backfill=fact.backfill, refresh=True,
        clocked=fact.at is None or fact.at > told.received,
    )  # fmt: skip


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= MOST_MONEY:
        return None
    return Decimal(str(value))


def _named(value: Any) -> str | None:
    return (
        str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
    )


def _profile(fact: Fact) -> dict[str, Any]:
    """Return what an event tells about its customer: the balance of points, the tier reached."""
    if fact.fields["event"] == "tier_reached":
        tier = _named(fact.properties.get("tier"))
        return {"tier": tier} if tier else {}
    balance = fact.properties.get("balance")
    return {"points": int(balance)} if isinstance(balance, int | float) and 0 <= balance < 2**31 else {}
