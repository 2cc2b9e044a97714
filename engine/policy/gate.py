"""The gate: may this message go now? Asked in the transaction that commits the hand-over, under the customer's lock.

Pure: comes in what that transaction read, goes out `Allow`, `Defer(until, reason)` or `Drop(reason)`. The order of
judgement: erasure and suppression, consent, leaving, lateness, `only_if`, quiet hours, caps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from engine.calendar import QuietHours, add
from engine.flows.model import Kind
from engine.settings import Cap


@dataclass(frozen=True, slots=True)
class Allow:
    """The hand-over may begin."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Not before `until`; then it is judged anew. `caps` are those in force, where a cap had no room."""

    until: datetime
    reason: str
    caps: Sequence[Cap] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Drop:
    """Never: for this reason. `caps` are those in force, where a cap had no room."""

    reason: str
    caps: Sequence[Cap] = field(default=(), compare=False)


Verdict = Allow | Defer | Drop


@dataclass(frozen=True, slots=True)
class Handed:
    """A marketing mail to the same customer that a cap counts."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that one message's verdict depends on.

    `exit_clause` and `false_clause` are the words of the clause that ends the enrollment or forbids the message, or
    None. `handed` are the customer's counted mails, newest last, this pass's included.
    """

    kind: Kind
    zone: str
    due_at: datetime
    expires_at: datetime
    consented: bool = True
    paused_until: datetime | None = None
    snoozed_until: datetime | None = None  # "not yet", pressed in a mail of the same flow
    suppressed: bool = False
    exit_clause: str | None = None
    false_clause: str | None = None
    quiet_hours: QuietHours | None = None
    caps: Sequence[Cap] = ()
    when_capped: str = "skip"
    handed: Sequence[Handed] = ()


def judge(question: Question, now: datetime) -> Verdict:
    """Return the verdict for one message."""
    if question.suppressed:
        return Drop("suppressed")
    if question.kind == "marketing" and not question.consented:
        return Drop("no_consent")
    if question.kind == "marketing" and question.paused_until is not None and now < question.paused_until:
        return Drop("paused_by_customer")
    if question.snoozed_until is not None and now < question.snoozed_until:
        return Drop("snoozed_by_customer")
    if question.exit_clause is not None:
        return Drop(f"exited: {question.exit_clause}")
    if now > question.expires_at:
        return Drop("too_late")
    if question.false_clause is not None:
        return Drop(f"condition_false: {question.false_clause}")
    if question.kind == "transactional":
        return Allow()
    if question.quiet_hours is not None:
        until = question.quiet_hours.ends(now, question.zone)
        if until is not None:
            return Defer(until, "quiet_hours")
    return _caps(question, now)


def _caps(question: Question, now: datetime) -> Verdict:
    if any(cap.count == 0 for cap in question.caps):
        return Drop("capped", question.caps)
    room_at = now
    for cap in question.caps:
        # Counted forward from each mail: across a change of the clocks, looking back is not quite the opposite.
        ends = sorted(end for mail in question.handed if (end := add(mail.at, cap.per, question.zone)) > now)
        if len(ends) >= cap.count:
            room_at = max(room_at, ends[len(ends) - cap.count])
    if room_at == now:
        return Allow()
    if question.when_capped == "wait" and room_at <= question.expires_at and room_at > now:
        return Defer(room_at, "capped", question.caps)
    # What was handed over since this one fell due was due together with it, and won.
    outranked = any(mail.at >= question.due_at for mail in question.handed)
    return Drop("outranked" if outranked else "capped", question.caps)
