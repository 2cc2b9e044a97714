"""Who might enter: one candidate for each occurrence of a trigger, and the pure judgement of re-entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from engine.calendar import add, local
from engine.flows.model import ReEntry
from engine.store.database import from_json
from engine.store.types import money

# Tuples, not dataclasses: a pass makes thousands of them.


class Told:
    """What a fact told, as the database gave it; read when somebody asks, for most facts concern no flow's words."""

    __slots__ = ("_document", "_units", "_whole")

    def __init__(self, document: str | Mapping[str, Any] | None, value_units: int | None = None) -> None:
        self._document = document
        self._units = value_units  # ten-thousandths
        self._whole: Mapping[str, Any] | None = None

    @property
    def whole(self) -> Mapping[str, Any]:
        """The fact's fields, with what it is worth as `value`."""
        if self._whole is None:
            document = self._document
            told = from_json(document) if isinstance(document, str) else document
            self._whole = with_value(told or {}, None if self._units is None else money(self._units))
        return self._whole


def with_value(properties: Mapping[str, Any], value: Decimal | None) -> Mapping[str, Any]:
    """Return what a fact told with its value: of an order that is the total, of a cart what its lines are worth."""
    return properties if value is None or "value" in properties else {**properties, "value": value}


class ArrivedEvent(NamedTuple):
    """An event that a tick looks at for the first time, with its customer's zone."""

    id: int
    customer_id: int
    name: str
    occurred_at: datetime
    zone: str
    told: Told
    order_id: str | None = None
    cart_id: str | None = None
    sku: str | None = None
    backfill: bool = False

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the fact told."""
        return self.told.whole

    @property
    def group_key(self) -> str:
        """What a newer fact must share to replace this one: cart, else order, else product, else the customer alone."""
        if self.cart_id is not None:
            return f"cart:{self.cart_id}"
        if self.order_id is not None:
            return f"order:{self.order_id}"
        return f"sku:{self.sku}" if self.sku is not None else ""


class Candidate(NamedTuple):
    """One customer at one occurrence of one trigger; `entered_at` is when the entry counts from."""

    trigger_no: int
    customer_id: int
    occurrence: str
    entered_at: datetime
    since_at: datetime
    trigger: Mapping[str, Any] = {}
    event_id: int | None = None
    event_name: str = ""
    order_id: str | None = None
    cart_id: str | None = None
    sku: str | None = None
    gathered: tuple[Mapping[str, Any], ...] = ()

    def scope_key(self, per: str | None, zone: str) -> str | None:
        """Return the value of the thing that re-entry counts by, or None where the trigger has none.

        A year is that of the date which the entry is about, else the one on the customer's clock.
        """
        if per == "occurrence":
            return self.occurrence
        if per == "year":
            about = (
                self.trigger.get("year") if self.event_id is None else None
            )  # a fact's own `year` is any number
            return str(about or local(self.entered_at, zone).year)
        return {"cart": self.cart_id, "order": self.order_id, "product": self.sku}.get(per or "")


def candidate_of(event: ArrivedEvent, trigger_no: int, *, entered_at: datetime | None = None) -> Candidate:
    """Return the candidate for an event trigger: the fact makes the entry unique."""
    return Candidate(
        trigger_no,
        event.customer_id,
        f"e{event.id}",
        entered_at or event.occurred_at,
        event.occurred_at,
        event.properties,
        event.id,
        event.name,
        event.order_id,
        event.cart_id,
        event.sku,
    )


def candidate_of_row(row: Mapping[str, Any]) -> Candidate:
    """Return who stood at the door, from an enrollment that was not written."""
    context = row["context"]
    return Candidate(
        context["trigger_no"], row["customer_id"], row["occurrence"], row["entered_at"], row["since_at"],
        context["trigger"], row["event_id"], context["event"], row["order_id"], row["cart_id"], row["sku"],
        tuple(context.get("facts", ())),
    )  # fmt: skip


class PastEntry(NamedTuple):
    """An earlier enrollment of the customer in the flow.

    `through_at` is when its last step was due, where it went through all of them. `begins` tells that it begins in this
    very batch, so that nobody knows yet how far it comes at once.
    """

    occurrence: str
    scope_key: str | None
    entered_at: datetime
    live: bool
    through_at: datetime | None = None
    begins: bool = False

    def holds_at(self, moment: datetime) -> bool:
        """Return whether the customer is inside, or was at that moment: a late tick makes no difference."""
        return self.live or (self.through_at is not None and self.entered_at <= moment < self.through_at)


ALREADY = "already entered by this occurrence"
INSIDE = "re_entry: still inside"


def refused_by_re_entry(
    rule: ReEntry, candidate: Candidate, history: Sequence[PastEntry], zone: str
) -> str | None:
    """Return why the customer may not enter again, or None.

    The same occurrence never enters twice; without `per` a customer is inside a flow at most once at a time.
    """
    if any(entry.occurrence == candidate.occurrence for entry in history):
        return ALREADY
    if rule.never and history:
        return "re_entry: never"
    if rule.per is not None:
        key = candidate.scope_key(rule.per, zone) if history else None
        if key is not None and any(entry.scope_key == key for entry in history):
            return f"re_entry: once per {rule.per}"
    elif any(entry.holds_at(candidate.entered_at) for entry in history):
        return INSIDE
    if rule.after is not None and history:
        last = max(entry.entered_at for entry in history)
        if candidate.entered_at < add(last, rule.after, zone):
            return f"re_entry: after {rule.after}"
    return None
