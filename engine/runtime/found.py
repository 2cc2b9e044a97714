"""What decisions found, in words: the journal keeps which clauses held; the values are looked up again as of then.

Comes in: journal rows of one customer in one flow. Goes out: for each its clauses with `found`. Facts are those that were
known at the decision; what a customer's record said then is not kept, so a value may have changed since: `recomputed`
marks every value that was looked up afterwards, and one that now speaks against the decision says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from engine.audience.memory import explain
from engine.audience.subjects import Ask, ClauseTruth, Subject
from engine.audience.wanted import wanted_words
from engine.errors import HomingError
from engine.flows.conditions import Clause, Of
from engine.flows.model import Branch, EventTrigger, Flow, LapsedTrigger, Send, WaitUntil, Webhook
from engine.journeys.enter import entry_clauses
from engine.journeys.journal import Decided
from engine.journeys.react import subject_of
from engine.journeys.round import Round
from engine.journeys.versions import programs

CHANGED = "; that speaks against the decision, so it has changed since"


@dataclass(frozen=True, slots=True)
class Looking:
    """Where decisions are looked at again: the live flow, and the customer's enrollments by id."""

    connection: Connection
    live: Flow
    enrollments: Mapping[int, Row[Any]]
    at: Round
    _asks: dict[tuple[str | None, bool], dict[str, Ask]] = field(default_factory=dict)

    def clauses(self, row: Decided | Row[Any]) -> list[dict[str, Any]]:
        """Return the clauses of one decision with what was found; those of an entry held, or it would not be one."""
        inside = self.enrollments.get(row.enrollment_id) if row.enrollment_id is not None else None
        flow = (
            programs(self.connection, [inside.version])[inside.version].flow
            if inside is not None
            else self.live
        )
        told = list((row.detail or {}).get("clauses", []))
        if not told and row.decision in ("entered", "held_out"):
            trigger = inside.context.get("trigger_no", 0) if inside is not None else 0
            told = [
                {"clause": clause.text, "holds": True} for clause in entry_clauses(flow, trigger, self.at)
            ]
        leaving = row.decision == "exited"
        which = inside.version if inside is not None else None, leaving
        if which not in self._asks:
            self._asks[which] = _known_asks(flow, self.at, exits=leaving)
        asks = self._asks[which]
        wanted = [asks[clause["clause"]] for clause in told if clause["clause"] in asks]
        held = {clause["clause"]: bool(clause["holds"]) for clause in told}
        found = self._found(wanted, held, inside, row, flow)
        ends = _only_exits(flow, self.at)
        return [
            _with_found(clause, found.get(clause["clause"]), asks.get(clause["clause"]))
            | ({"ends": True} if clause["clause"] in ends else {})
            for clause in told
        ]

    def _found(
        self,
        asks: Sequence[Ask],
        held: Mapping[str, bool],
        inside: Row[Any] | None,
        row: Decided | Row[Any],
        flow: Flow,
    ) -> dict[str, ClauseTruth]:
        subject = subject_of(inside) if inside is not None else _at_the_door(row)
        try:
            truths = {truth.clause: truth for truth in self._truths(asks, subject, row.at, flow)}
            doubtful = [ask for ask in asks if truths[ask.clause.text].holds != held[ask.clause.text]]
            # What the decision itself brought about, such as an offer's code, carries its very moment.
            before = (
                self._truths(doubtful, subject, row.at - timedelta(microseconds=1), flow) if doubtful else []
            )
        except HomingError:  # a version of long ago may ask for what there is no more
            return {}
        return truths | {truth.clause: truth for truth in before if truth.holds == held[truth.clause]}

    def _truths(self, asks: Sequence[Ask], subject: Subject, now: datetime, flow: Flow) -> list[ClauseTruth]:
        return explain(
            self.connection, asks, subject, now=now, segments=flow.segments, shop_zone=self.at.shop_zone
        )


def _at_the_door(row: Decided | Row[Any]) -> Subject:
    """Return whom a refused entry was asked about, as the journal remembers it."""
    detail = row.detail or {}
    entered = datetime.fromisoformat(detail["entered_at"]) if detail.get("entered_at") else row.at
    about = detail.get("asked_about") or {}
    since = datetime.fromisoformat(about["since_at"]) if about.get("since_at") else entered
    return Subject(
        row.customer_id, entered, since, about.get("event_id"), about.get("order_id"), about.get("cart_id"),
        about.get("sku"), about.get("trigger") or {},
    )  # fmt: skip


def _with_found(clause: Mapping[str, Any], truth: ClauseTruth | None, ask: Ask | None) -> dict[str, Any]:
    holds = bool(clause["holds"])
    wanted = wanted_words(ask.clause.condition) if ask is not None else clause["clause"]
    if truth is None:
        return {
            "clause": clause["clause"],
            "holds": holds,
            "found": clause.get("found") or "not kept",
            "wanted": wanted,
            "recomputed": False,
        }
    words = truth.found + ("" if truth.holds == holds else CHANGED)
    told = {"clause": clause["clause"], "holds": holds, "found": words, "wanted": wanted, "recomputed": True}
    return told | ({"parts": [_part(part) for part in truth.parts]} if truth.parts else {})


def _part(truth: ClauseTruth) -> dict[str, Any]:
    told: dict[str, Any] = {"clause": truth.clause, "holds": truth.holds, "found": truth.found}
    return told | ({"parts": [_part(part) for part in truth.parts]} if truth.parts else {})


def _known_asks(flow: Flow, at: Round, *, exits: bool) -> dict[str, Ask]:
    """Return every clause of a flow by its text; one that stands as an exit and elsewhere counts as the decision needs."""
    asks = {ask.clause.text: ask for ask in _usual_asks(flow, at)}
    leaving = {clause.text: Ask(clause, after_entry=True) for clause in flow.exit_when}
    return {**asks, **leaving} if exits else {**leaving, **asks}


def _only_exits(flow: Flow, at: Round) -> set[str]:
    """Return the clauses that end the flow where they hold, and that nothing else asks for."""
    return {clause.text for clause in flow.exit_when} - {ask.clause.text for ask in _usual_asks(flow, at)}


def _usual_asks(flow: Flow, at: Round) -> Iterator[Ask]:
    for number, trigger in enumerate(flow.triggers):
        yield from (Ask(clause) for clause in entry_clauses(flow, number, at))
        if isinstance(trigger, EventTrigger | LapsedTrigger) and trigger.where:
            yield Ask(Clause(Of("trigger", trigger.where), "where"))
    for step in flow.all_steps():
        if isinstance(step, Send | Webhook):
            yield from (Ask(clause) for clause in step.only_if)
        elif isinstance(step, Branch):
            yield from (Ask(clause) for arm in step.arms for clause in arm.when or ())
        elif isinstance(step, WaitUntil):
            yield Ask(step.until, after_entry=True)
