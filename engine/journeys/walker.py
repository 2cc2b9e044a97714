"""One enrollment on its way through the steps of a pass: the only mutable value in here.

Comes in: a row of `enrollments`, or one that is still to be written. Goes out: what its conditions are asked about, where
it stands for deciding, and, when the pass is done, what of it is to be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.journeys.decide import Await, Person, Standing
from engine.store.database import from_json

LIVE = ("active", "waiting")


@dataclass(slots=True)
class Walker:
    """Where one enrollment stands now, between two of its decisions; conditions are asked about it as about a `Subject`."""

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
    remembered: Any  # its context: a document, or the text of it until somebody asks
    event_id: int | None
    order_id: str | None
    cart_id: str | None
    sku: str | None
    left_at: datetime | None = None
    left_reason: str | None = None
    answered: bool = False  # whether a fact was added to the context in this pass
    stays: bool = False  # whether its exits were asked at this very moment, and none held
    known_person: Person | None = None
    unwritten: dict[str, Any] | None = None  # the journal row of its decision before, to be written yet

    @property
    def context(self) -> dict[str, Any]:
        """What the enrollment remembers: read when it is asked for, which most steps never do."""
        if isinstance(self.remembered, str | bytes):
            self.remembered = from_json(self.remembered)
        found: dict[str, Any] = self.remembered
        return found

    @property
    def trigger(self) -> Mapping[str, Any]:
        """The fact that let it in, as it was."""
        found: Mapping[str, Any] = self.context.get("trigger", {})
        return found

    @property
    def answers(self) -> Mapping[str, Any]:
        """The facts that ended its waits, by the names that these give them."""
        found: Mapping[str, Any] = self.context.get("answers", {})
        return found

    @property
    def person(self) -> Person:
        """The customer, as read for this pass."""
        assert self.known_person is not None
        return self.known_person

    def standing(
        self, heard_at: datetime | None = None, awaits: Await | None = None, *, segmented: bool = False
    ) -> Standing:
        """Where it stands, for deciding; `heard_at` is since when an awaited condition holds, `awaits` what it stands still for.

        Only in a flow of segment triggers (`segmented`) it matters which one let it in.
        """
        trigger_no = self.context.get("trigger_no", 0) if segmented else 0
        return Standing(
            self.id, self.customer_id, self.position, self.anchor_at, trigger_no, heard_at, awaits
        )

    def answer(self, name: str, fact: dict[str, Any]) -> None:
        """Remember the fact that ended a wait, for later conditions, `set`, webhooks and templates."""
        self.remembered = {**self.context, "answers": {**self.answers, name: fact}}
        self.answered, self.stays = True, False

    def counts_on(self) -> None:
        """Count what follows from when it was told to go on, where it stood still."""
        self.anchor_at = max(self.anchor_at, self.next_at or self.anchor_at)

    def kept(self) -> tuple[Any, ...]:
        """Return all that a decision may change, for `put_back`."""
        told = None if self.unwritten is None else self.unwritten["detail"]
        return (
            self.state, self.position, self.anchor_at, self.next_at, self.visit, self.remembered, self.left_at,
            self.left_reason, self.answered, self.stays, self.unwritten, told,
        )  # fmt: skip

    def put_back(self, kept: tuple[Any, ...]) -> None:
        """Stand where it stood, as if it had decided nothing since."""
        (
            self.state, self.position, self.anchor_at, self.next_at, self.visit, self.remembered, self.left_at,
            self.left_reason, self.answered, self.stays, self.unwritten, told,
        ) = kept  # fmt: skip
        if self.unwritten is not None:
            self.unwritten["detail"] = told

    def goes_on_by(self, now: datetime) -> bool:
        """Return whether its next decision is due."""
        return self.state in LIVE and self.next_at is not None and self.next_at <= now


COLUMNS = (*tuple(Walker.__dataclass_fields__)[:11], "context", "event_id", "order_id", "cart_id", "sku")
