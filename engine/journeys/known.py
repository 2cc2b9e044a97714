"""What the flows of one pass ask about the same customers and orders, read once for all of them.

Comes in: the customers of a batch and the flows that are to look at them. Goes out: people, and which of a customer's
orders an order is. Holds as long as nothing that decides about them is written: for the entering of one batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection, func, select

from engine.flows.model import Flow
from engine.journeys.decide import Person
from engine.journeys.people import plain_people, topics_of, with_particulars
from engine.journeys.round import Round
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import orders

_EARLIER = orders.alias("earlier")
_ORDER_NUMBERS = Prepared(
    select(orders.c.order_id, func.count(_EARLIER.c.order_id))
    .join(_EARLIER, _EARLIER.c.customer_id == orders.c.customer_id)
    .where(
        within(orders.c.order_id, "orders"),
        _EARLIER.c.placed_at <= orders.c.placed_at,
        (_EARLIER.c.cancelled_at.is_(None)) | (_EARLIER.c.order_id == orders.c.order_id),
    )
    .group_by(orders.c.order_id)
)


class Known:
    """People and order numbers, looked up when the first flow asks; `expected` are customers that others will ask for."""

    def __init__(
        self, connection: Connection, at: Round, flows: Iterable[Flow], expected: Collection[int] = ()
    ) -> None:
        self._connection = connection
        self._at = at
        self._topics = topics_of(flows)
        self._expected = expected
        self._people: dict[int, Person] = {}
        self._numbers: dict[str, int | None] = {}

    def people(self, customer_ids: Collection[int], flow: Flow) -> Mapping[int, Person]:
        """Return a Person for each customer, with what this flow asks for; more customers may be among them."""
        wanted = set(customer_ids)
        if not wanted <= self._people.keys():
            missing = (wanted | set(self._expected)) - self._people.keys()
            self._people |= plain_people(self._connection, missing, self._topics, self._at)
        own = {each: self._people[each] for each in wanted}
        return with_particulars(self._connection, own, [flow], self._at)

    def order_numbers(self, order_ids: Collection[str]) -> Mapping[str, int | None]:
        """Return which of the customer's orders each order is (the first is 1); None for an order that is not known."""
        missing = sorted(set(order_ids) - self._numbers.keys())
        if missing:
            self._numbers |= dict.fromkeys(missing)
            rows = _ORDER_NUMBERS.rows(self._connection, orders=missing)
            self._numbers |= {order_id: count for order_id, count in rows}
        return self._numbers
