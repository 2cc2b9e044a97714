"""What the decisions of a pass asked for and is not in the database yet.

Comes in: the effects of each round of decisions. Goes out: enrollments, messages, changes and the journal, written together
as late as can be: a new enrollment is inserted where it stands after its first steps, and not touched again. What later
decisions of the same pass could ask about is written at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from engine.journeys import journal
from engine.journeys.changes import apply_changes
from engine.journeys.effects import Effects
from engine.journeys.post import post_messages
from engine.journeys.round import Round
from engine.journeys.walker import LIVE, Walker
from engine.outbox import own_facts
from engine.outbox.ledger import drop_pending
from engine.store.bulk import Change, insert_reserved, together, update_rows
from engine.store.tables import enrollments


class Unwritten:
    """Collects effects in order; `rows` are enrollments that are still to be inserted, by id."""

    def __init__(
        self,
        connection: Connection,
        at: Round,
        walkers: Sequence[Walker],
        rows: Mapping[int, Mapping[str, Any]],
    ) -> None:
        self._connection = connection
        self._at = at
        self._walkers = walkers
        self._rows = rows
        self._rounds: list[Effects] = []
        # Those that are in the database already, and their states there, by id.
        self._standing = {} if rows else {walker.id: walker for walker in walkers}
        self._states = {which: walker.state for which, walker in self._standing.items()}
        self.withdrawn: set[int] = set()
        self.overtaken: set[int] = set()

    def hold(self, effects: Effects, *, at_once: bool = False) -> set[int]:
        """Keep the effects of a round; write all where they change what is asked of customers, who are returned.

        With `at_once` they are written whatever they change.
        """
        self._rounds.append(effects)
        changed = effects.asked_anew
        if changed or at_once:
            self._flush()
        return changed

    def finish(self) -> None:
        """Write everything, with where each enrollment stands now."""
        moved, states = list(self._standing.values()), self._states
        self._flush()
        # Who lives on keeps its place in the index of the living, and most do.
        on = [_place(walker) for walker in moved if walker.state == states[walker.id]]
        over = [_standing(walker) for walker in moved if walker.state != states[walker.id]]
        together(self._connection, Change(enrollments, on, ("id",)), Change(enrollments, over, ("id",)))
        answered = [{"context": walker.context, "id": walker.id} for walker in moved if walker.answered]
        update_rows(self._connection, enrollments, answered)
        if not own_facts.is_told(self._connection, "flow_left", self._at.listened):
            return
        gone = [
            walker
            for walker in self._walkers
            if walker.state not in (*LIVE, "held_out") and walker.id not in self.overtaken
        ]
        facts = [
            own_facts.fact(
                # Told as of now, like the entry: who is placed in the past would else have left before they came.
                f"flow_left:{walker.id}", walker.customer_id, "flow_left", self._at.now,
                {"flow": walker.flow, "reason": walker.left_reason or walker.state},
            )
            for walker in gone
        ]  # fmt: skip
        own_facts.record(self._connection, facts, self._at.listened)

    def _flush(self) -> None:
        if len(self._standing) < len(self._walkers) - len(self.overtaken):
            self._insert()
        entries: list[journal.Entry] = []
        for effects in self._rounds:
            if effects.left or (effects.posts and not self._rows):  # what they drop is told in its turn
                journal.write(self._connection, entries)
                entries = []
            self._write(effects)
            entries += effects.entries
        journal.write(self._connection, entries)
        self._rounds.clear()
        for walker in self._walkers:
            walker.unwritten = None

    def _insert(self) -> None:
        """Insert the new enrollments; one that a unique key has already is forgotten with all that it asked for."""
        rows = [
            {**self._rows[walker.id], **_standing(walker), "context": walker.context}
            for walker in self._walkers
        ]
        self.overtaken = insert_reserved(self._connection, enrollments, rows)
        self._standing = {walker.id: walker for walker in self._walkers if walker.id not in self.overtaken}
        self._states = {which: walker.state for which, walker in self._standing.items()}
        if self.overtaken:
            for effects in self._rounds:
                _forget(effects, self.overtaken)
            own_facts.forget(self._connection, [f"flow_entered:{each}" for each in self.overtaken])

    def _write(self, effects: Effects) -> None:
        reasons = {walker.id: walker.left_reason or "exited" for walker in effects.left}
        if reasons:
            drop_pending(self._connection, reasons, self._at.now)
        post_messages(self._connection, effects.posts, self._at)
        self.withdrawn |= apply_changes(self._connection, effects.changes, self._at)


def _standing(walker: Walker) -> dict[str, Any]:
    """Return the columns of an enrollment that its steps change, with the key that stands last."""
    return {
        "state": walker.state, "position": walker.position, "anchor_at": walker.anchor_at, "next_at": walker.next_at,
        "visit": walker.visit, "left_at": walker.left_at, "left_reason": walker.left_reason, "id": walker.id,
    }  # fmt: skip


def _place(walker: Walker) -> dict[str, Any]:
    """Return what of these columns changes while its state does not."""
    return {
        "position": walker.position, "anchor_at": walker.anchor_at, "next_at": walker.next_at, "visit": walker.visit,
        "id": walker.id,
    }  # fmt: skip


def _forget(effects: Effects, ids: set[int]) -> None:
    effects.entries = [entry for entry in effects.entries if entry["enrollment_id"] not in ids]
    effects.posts = [post for post in effects.posts if post.enrollment_id not in ids]
    effects.left = [walker for walker in effects.left if walker.id not in ids]
