"""One enrollment on its way through the steps of a pass: the only mutable value in here.

Comes in: a row of `enrollments`, or one that is still to be written. Goes out: whom its conditions are asked about, where
it stands for deciding, and, when the pass is done, what of it is to be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.audience.subjects import Subject
from engine.journeys.decide import Person, Standing

LIVE = ("active", "waiting")


@dataclass(slots=True)
class Walker:
    """Where one enrollment stands now, between two of its decisions."""

    id: int
    flow: str
    version: str
    customer_id: int
    state: str
    position: str | None
    anchor_at: datetime
    entered_at: datetime
    since_at: datetime
    next_at: datetime | None
    visit: int
    context: dict[str, Any]
    event_id: int | None
    order_id: str | None
    cart_id: str | None
    sku: str | None
    left_at: datetime | None = None
    left_reason: str | None = None
    answered: bool = False  # whether a fact was added to the context in this pass
    stays: bool = False  # whether its exits were asked at this very moment, and none held
    known_subject: Subject | None = None
    known_person: Person | None = None
    unwritten: dict[str, Any] | None = None  # the journal row of its decision before, to be written yet

    @property
    def subject(self) -> Subject:
        """Whom the conditions of this enrollment are asked about."""
        if self.known_subject is None:
            self.known_subject = Subject(
                self.customer_id, self.entered_at, self.since_at, self.event_id, self.order_id, self.cart_id, self.sku,
                self.context.get("trigger", {}), self.context.get("answers", {}),
            )  # fmt: skip
        return self.known_subject

    @property
    def person(self) -> Person:
        """The customer, as read for this pass."""
        assert self.known_person is not None
        return self.known_person

    def standing(self, heard_at: datetime | None) -> Standing:
        """Where it stands, for deciding; `heard_at` is since when an awaited condition holds."""
        trigger_no = self.context.get("trigger_no", 0)
        return Standing(self.id, self.customer_id, self.position, self.anchor_at, trigger_no, heard_at)

    def answer(self, name: str, fact: dict[str, Any]) -> None:
        """Remember the fact that ended a wait, for later conditions, `set`, webhooks and templates."""
        answers = {**self.context.get("answers", {}), name: fact}
        self.context = {**self.context, "answers": answers}
        self.answered, self.stays, self.known_subject = True, False, None

    def kept(self) -> tuple[Any, ...]:
        """Return all that a decision may change, for `put_back`."""
        told = None if self.unwritten is None else self.unwritten["detail"]
        return (
            self.state, self.position, self.anchor_at, self.next_at, self.visit, self.context, self.left_at, self.left_reason,
            self.answered, self.stays, self.known_subject, self.unwritten, told,
        )  # fmt: skip

    def put_back(self, kept: tuple[Any, ...]) -> None:
        """Stand where it stood, as if it had decided nothing since."""
        (
            self.state, self.position, self.anchor_at, self.next_at, self.visit, self.context, self.left_at, self.left_reason,
            self.answered, self.stays, self.known_subject, self.unwritten, told,
        ) = kept  # fmt: skip
        if self.unwritten is not None:
            self.unwritten["detail"] = told

    def goes_on_by(self, now: datetime) -> bool:
        """Return whether its next decision is due."""
        return self.state in LIVE and self.next_at is not None and self.next_at <= now


COLUMNS = tuple(Walker.__dataclass_fields__)[:16]
