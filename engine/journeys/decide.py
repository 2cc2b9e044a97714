"""The one pure decision: what an enrollment does at the step where it stands.

Comes in: a program, where an enrollment stands, what is known about its customer, the truth of the node's clauses (with the policy's), and
a time. Goes out: one `Decision`. No database, no clock, no chance: the tick, the daemon, scenario tests, simulation and
`why` all call `decide`, so a dry run cannot lie.

Order of judgement at every step: leaving (withdrawal, suppression, `exit_when`), then what a mail before it waits for, then the
step. For a message: lateness,
suppression, consent, `only_if`, quiet hours. Caps are judged in the gate alone, where priorities meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

from engine.audience.subjects import Ask, Told, first_true
from engine.calendar import Duration, QuietHours, add, at_wall, local, next_wall
from engine.flows.conditions import Clause
from engine.flows.model import (
    NO_ARM,
    Branch,
    Experiment,
    Flow,
    Send,
    Set,
    Step,
    WaitClock,
    WaitField,
    WaitFor,
    WaitUntil,
    Webhook,
)
from engine.journeys.moments import in_year
from engine.journeys.program import Node, Program, segment_clause

# ── what is known ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Person:
    """What deciding needs to know of a customer: zone, granted topics, suppressed kinds, templates already sent.

    `granted` holds the topics that may be mailed now; `suppressed` holds the kinds of mail that a suppression covers.
    `moments` answers a wait's field path with a moment, a (month, day) that comes round each year, or None where it is
    missing. `identity` is the customer's own
    name for chance (external id, else address): the same on every database.
    """

    zone: str
    identity: str = ""
    granted: frozenset[str] = frozenset()
    suppressed: frozenset[str] = frozenset()
    erased: bool = False
    quarantined: bool = (
        False  # something about them failed three times: they enter nothing until somebody looked
    )
    sent_templates: frozenset[str] = frozenset()
    moments: Mapping[str, datetime | tuple[int, int] | None] = field(default_factory=dict)


class Await(NamedTuple):
    """Stand still: a mail before this step waits for a code of `offer`, `until` at the latest, and the step depends on that.

    It looks again once the mail has its code or is dropped, and at `again_at` should nobody have told.
    """

    offer: str
    until: datetime
    again_at: datetime


class Standing(NamedTuple):
    """Where an enrollment stands: the step to take, when the previous one was due, and the trigger that let it in."""

    enrollment_id: int
    customer_id: int
    position: str | None
    anchor_at: datetime
    trigger_no: int = 0
    heard_at: datetime | None = None  # since when an awaited condition holds, where a single fact says so
    awaits: Await | None = None  # what keeps it from taking the step


@dataclass(frozen=True, slots=True)
class Rules:
    """What the project's and the flow's policy say about a message; `exclude` must hold for each of them."""

    quiet_hours: QuietHours | None
    max_lateness: Duration
    exclude: tuple[Clause, ...] = ()


# ── what may come out ────────────────────────────────────────────────────────────────────────────────────────────────


class Leave(NamedTuple):
    """The enrollment ends here with this reason; nothing that waits to be sent for it may go when `drop_pending`."""

    reason: str
    drop_pending: bool = True


class Post(NamedTuple):
    """A message is due: written to the outbox; the enrollment goes on."""

    template: str | None
    expires_at: datetime
    go_to: str | None


class Skip(NamedTuple):
    """No message here, for this reason; the enrollment goes on."""

    reason: str
    go_to: str | None


class Defer(NamedTuple):
    """The message waits until then and is judged anew."""

    until: datetime
    reason: str


class Sleep(NamedTuple):
    """The next step is due at `until`, and later steps count from it."""

    until: datetime
    go_to: str | None


class Listen(NamedTuple):
    """Wait here for a fact, at the latest until the limit."""

    limit: datetime


class Heard(NamedTuple):
    """The awaited condition holds (`held`) or the limit passed; the enrollment goes on from `at`."""

    held: bool
    at: datetime
    go_to: str | None


class Take(NamedTuple):
    """The enrollment takes this arm."""

    arm: str
    go_to: str | None


class Change(NamedTuple):
    """The customer's record is changed; the enrollment goes on."""

    values: Mapping[str, Any]
    go_to: str | None


class Complete(NamedTuple):
    """Every step is taken."""


Decision = Leave | Post | Skip | Defer | Sleep | Listen | Await | Heard | Take | Change | Complete
Truth = Mapping[Ask, bool]
# Not as unions, which would be made anew for each of the hundred thousand decisions of a pass.
_MESSAGES = (Send, Webhook)
_WAITS = (WaitFor, WaitClock, WaitField)


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide(
    program: Program, standing: Standing, person: Person, truth: Truth, rules: Rules, now: datetime
) -> Decision:
    """Return what this enrollment does now at its step; `truth` answers `program.asks(standing.position)`."""
    leaving = leave_reason(program.flow, program.asks(None), person, truth)
    if leaving is not None:
        return Leave(leaving)
    node = program.nodes.get(standing.position) if standing.position is not None else None
    if node is None:
        return Complete()
    if standing.awaits is not None:
        return standing.awaits
    return _at_step(program.flow, node, standing, person, truth, rules, now)


def leave_reason(flow: Flow, exits: Sequence[Ask], person: Person, truth: Truth) -> str | None:
    """Return why the enrollment must end now, or None: the law first, then the flow's own `exit_when`."""
    if person.erased or flow.kind in person.suppressed:
        return "suppressed"
    if flow.kind == "marketing" and flow.topic not in person.granted:
        return "no_consent"
    left = truth.first_of(exits) if isinstance(truth, Told) else first_true(truth, exits)
    return None if left is None else f"exited: {left.clause.text}"


def _at_step(
    flow: Flow, node: Node, standing: Standing, person: Person, truth: Truth, rules: Rules, now: datetime
) -> Decision:
    step = node.step
    anchor = standing.anchor_at
    if isinstance(step, _MESSAGES):
        return _message(flow, node, step, standing, person, truth, rules, now)
    if isinstance(step, _WAITS):
        until = wait_until(step, anchor, person)
        return (
            Leave(f"exited: {missing_field(step)} is missing", drop_pending=False)
            if until is None
            else Sleep(until, node.next)
        )
    if isinstance(step, WaitUntil):
        return _listen(step, node, standing, person, truth, now)
    if isinstance(step, Branch):
        return _branch(step, node, truth)
    if isinstance(step, Experiment):
        arm = experiment_arm(flow.name, step, person.identity)
        return Take(step.arms[arm].name, node.arms[arm])
    if isinstance(step, Set):
        return Change(step.values, node.next)
    return Leave(step.reason, drop_pending=False)


def _message(
    flow: Flow,
    node: Node,
    step: Send | Webhook,
    standing: Standing,
    person: Person,
    truth: Truth,
    rules: Rules,
    now: datetime,
) -> Decision:
    expires_at = add(standing.anchor_at, rules.max_lateness, person.zone)
    if now > expires_at:
        return Skip("too_late", node.next)
    topic = step.topic or flow.topic if isinstance(step, Send) else flow.topic
    if flow.kind == "marketing" and topic not in person.granted:
        return Skip("no_consent", node.next)
    false = first_false(flow, step, standing.trigger_no, rules, truth)
    if false is not None:
        return Skip(f"condition_false: {false}", node.next)
    template = None
    if isinstance(step, Send):
        template = _chosen(step.templates, person.sent_templates)
        if template is None:
            return Skip("condition_false: every template of this step was sent already", node.next)
    if flow.kind == "marketing" and rules.quiet_hours is not None:
        until = rules.quiet_hours.ends(now, person.zone)
        if until is not None:
            return Defer(until, "quiet_hours")
    return Post(template, expires_at, node.next)


def _chosen(templates: Sequence[str], sent: frozenset[str]) -> str | None:
    """Return the template to send: of several the first that the customer has not had, None where that is none."""
    if len(templates) == 1:
        return templates[0]
    return next((name for name in templates if name not in sent), None)


def keeps_quiet(flow: Flow, rules: Rules, person: Person, now: datetime) -> bool:
    """Return whether a message of this flow would wait for the end of the customer's quiet hours."""
    if flow.kind != "marketing" or rules.quiet_hours is None:
        return False
    return rules.quiet_hours.ends(now, person.zone) is not None


def first_false(flow: Flow, step: Send | Webhook, trigger_no: int, rules: Rules, truth: Truth) -> str | None:
    """Return the words of the first clause that forbids this message, or None."""
    for clause in (*rules.exclude, *flow.only_if, *segment_clause(flow, trigger_no), *step.only_if):
        if not truth.get(Ask(clause), False):
            return clause.text
    return None


def _listen(
    step: WaitUntil, node: Node, standing: Standing, person: Person, truth: Truth, now: datetime
) -> Decision:
    """Go on from when the awaited thing happened, however late we were told; what happened after the limit is too late."""
    anchor = standing.anchor_at
    limit = add(anchor, step.up_to, person.zone)
    in_time = standing.heard_at is None or standing.heard_at <= limit
    if truth.get(Ask(step.until, after_entry=True), False) and now >= anchor and in_time:
        return Heard(True, min(max(standing.heard_at or now, anchor), limit), node.next)
    return Heard(False, limit, node.next) if now >= limit else Listen(limit)


def _branch(step: Branch, node: Node, truth: Truth) -> Decision:
    for number, arm in enumerate(step.arms):
        if arm.when is None or all(truth.get(Ask(clause), False) for clause in arm.when):
            return Take(arm.name, node.arms[number])
    return Take(NO_ARM, node.next)


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def wait_until(step: WaitFor | WaitClock | WaitField, anchor: datetime, person: Person) -> datetime | None:
    """Return when the wait is over, counted from `anchor`; None where its field is missing. Never before `anchor`."""
    if isinstance(step, WaitFor):
        return add(anchor, step.duration, person.zone)
    if isinstance(step, WaitClock):
        earliest = add(anchor, step.at_least, person.zone)
        return next_wall(earliest, step.clock, step.days, person.zone)
    moment = person.moments.get(step.field_path)
    if isinstance(moment, tuple):
        moment = next_yearly(moment, anchor, person.zone)
    return None if moment is None else max(anchor, add(moment, step.offset, person.zone))


def next_yearly(month_day: tuple[int, int], anchor: datetime, zone: str) -> datetime:
    """Return the midnight of the first such day that is not over at `anchor`; 29 February is kept on the 28th."""
    today = local(anchor, zone).date()
    days = (in_year(*month_day, year) for year in (today.year, today.year + 1))
    return at_wall(next(day for day in days if day >= today), time(0, 0), zone)


def missing_field(step: Step) -> str:
    """Return the field that a wait could not find, for its reason."""
    return step.field_path if isinstance(step, WaitField) else step.id


# ── chance that is none ──────────────────────────────────────────────────────────────────────────────────────────────


def share(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone: the chance of experiments and holdouts.

    >>> share("win-back", 7) == share("win-back", 7)
    True
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def experiment_arm(flow: str, step: Experiment, identity: str) -> int:
    """Return the index of the customer's arm: the same customer always lands in the same one."""
    total = sum(arm.weight for arm in step.arms)
    point = share("experiment", flow, step.id, identity) * total
    for number, arm in enumerate(step.arms):
        point -= arm.weight
        if point < 0:
            return number
    return len(step.arms) - 1


def held_out(flow: Flow, identity: str, global_holdout: Decimal) -> bool:
    """Return whether the customer is kept out of this flow for comparison, or out of all marketing flows."""
    if flow.holdout and share("holdout", flow.name, identity) < float(flow.holdout):
        return True
    if flow.kind != "marketing" or not global_holdout:
        return False
    return share("global_holdout", identity) < float(global_holdout)
