"""A flow as frozen values: what a marketer's YAML means, with nothing left to interpret.

`engine.flows.parse` makes these from YAML or from a stored definition; journeys decide by them. Every field has its
default here and nowhere else. Identities are strings: a step's is its `id`, else its template's or experiment's name,
else its path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Literal

from engine.calendar import Duration
from engine.diagnostics import Span
from engine.flows.conditions import Clause, FieldTest

Kind = Literal["marketing", "transactional"]
ALL_DAYS = frozenset(range(7))
WEEKDAYS = frozenset(range(5))
NO_TIME = Duration()
_MONTH = Duration(days=30)

# ── triggers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """The fact arrives; with `quiet_for`: nothing newer with the same cart (order, product; else customer) came."""

    event: str
    where: tuple[FieldTest, ...] = ()
    quiet_for: Duration | None = None
    gather: Duration | None = None


@dataclass(frozen=True, slots=True)
class AnniversaryTrigger:
    """Each year on the month and day of a date field, in the customer's own zone (29 February is kept on the 28th)."""

    field: str
    offset: Duration = NO_TIME
    at: time = time(0, 0)
    gather: Duration | None = None


@dataclass(frozen=True, slots=True)
class DateTrigger:
    """On the one date that a field holds."""

    field: str
    offset: Duration = NO_TIME
    at: time | None = None
    gather: Duration | None = None


@dataclass(frozen=True, slots=True)
class LapsedTrigger:
    """That long after the last such fact; `factor` is a multiple of the customer's own usual gap instead of `after`."""

    event: str
    after: Duration | None = None
    factor: Decimal | None = None
    at_least: Duration | None = None
    at_most: Duration | None = None
    otherwise: Duration | None = None
    where: tuple[FieldTest, ...] = ()
    gather: Duration | None = None


@dataclass(frozen=True, slots=True)
class ReplenishTrigger:
    """`lead` before a bought product should run out; `where` tests the order line with its product's fields."""

    lead: Duration = NO_TIME
    where: tuple[FieldTest, ...] = ()
    gather: Duration | None = None


@dataclass(frozen=True, slots=True)
class SegmentTrigger:
    """The customer comes to match a segment."""

    segment: str
    gather: Duration | None = None


@dataclass(frozen=True, slots=True)
class ProductTrigger:
    """The catalogue changes for a product in which the customer showed interest.

    `by` is the least drop as a fraction (0.05 is 5 %), `below` the stock under which low stock is told.
    """

    change: Literal["back_in_stock", "price_drop", "low_stock"]
    interest: tuple[Literal["wishlist", "viewed", "cart"], ...] = ("wishlist", "viewed", "cart")
    within: Duration = _MONTH
    by: Decimal = Decimal(0)
    below: int | None = None
    where: tuple[FieldTest, ...] = ()
    gather: Duration | None = None


@dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    """By the calendar, for everyone in the segment (everyone, where none): `cron` (five fields) or `once` (local time).

    On the customer's own clock, as every time of day in the language, unless `clock` says that of the shop.
    """

    cron: str | None = None
    once: datetime | None = None  # naive: on the clock that `clock` names
    segment: str | None = None
    clock: Literal["customer", "shop"] = "customer"
    gather: Duration | None = None


Trigger = (
    EventTrigger
    | AnniversaryTrigger
    | DateTrigger
    | LapsedTrigger
    | ReplenishTrigger
    | SegmentTrigger
    | ProductTrigger
    | ScheduleTrigger
)


@dataclass(frozen=True, slots=True)
class ReEntry:
    """How often a customer may enter: `never` (once ever), or `per` a thing and/or `after` a time since the last entry.

    `per: occurrence` lets occurrences stand side by side, such as several products that run out in the same week.
    """

    never: bool = False
    per: Literal["cart", "order", "product", "year", "occurrence"] | None = None
    after: Duration | None = None


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Send:
    """Send the first of `templates` that this customer was not sent yet (with one template: that one)."""

    id: str
    templates: tuple[str, ...]
    subject: str | None = None
    offer: str | None = None
    topic: str | None = None
    sender: str | None = None
    only_if: tuple[Clause, ...] = ()
    span: Span = field(default=Span(), compare=False)
    subject_span: Span = field(default=Span(), compare=False)  # of its value, quotes included


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait a stretch of time, counted from when the previous step was due."""

    id: str
    duration: Duration
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class WaitClock:
    """Wait until a time of day on the customer's clock, on one of `days`, at least `at_least` on."""

    id: str
    clock: time
    days: frozenset[int] = ALL_DAYS
    at_least: Duration = NO_TIME
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class WaitField:
    """Wait until the moment in a field (or `offer.NAME.expires_at`) plus `offset`; past: at once; missing: exit."""

    id: str
    field_path: str
    offset: Duration = NO_TIME
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Wait until a condition holds, at most `up_to`; `answer` names the fact that made it hold."""

    id: str
    until: Clause
    up_to: Duration
    answer: str | None = None
    span: Span = field(default=Span(), compare=False)


NO_ARM = "none"  # what is taken at a branch without `otherwise` where no arm holds


@dataclass(frozen=True, slots=True)
class Arm:
    """One way through a branch: the first whose `when` holds; `when` is None for `otherwise`."""

    when: tuple[Clause, ...] | None
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """By what the journal, a timeline and a scenario call it."""
        return "otherwise" if self.when is None else " and ".join(clause.text for clause in self.when)


@dataclass(frozen=True, slots=True)
class Branch:
    """The first arm that holds; none: go on."""

    id: str
    arms: tuple[Arm, ...]
    span: Span = field(default=Span(), compare=False)

    @property
    def ways(self) -> tuple[str, ...]:
        """The names of what can be taken: its arms, and where there is no `otherwise`, none of them."""
        names = tuple(arm.name for arm in self.arms)
        return names if any(arm.when is None for arm in self.arms) else (*names, NO_ARM)


@dataclass(frozen=True, slots=True)
class ExperimentArm:
    """One arm of an experiment with its weight."""

    name: str
    weight: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """Arms by a hash of flow, experiment and customer: the same customer always lands in the same arm."""

    id: str
    arms: tuple[ExperimentArm, ...]
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Set:
    """Change the customer: properties, `tags` {add, remove}, `consent` {topic: withdrawn}. Raises no fact.

    `values` maps a field to a plain value, or to text holding `{{ answer.score }}`-like references.
    """

    id: str
    values: Mapping[str, Any]
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Hand over to another system by name (addresses in homing.toml): same ledger, gate and sandbox as a mail."""

    id: str
    to: str
    body: Mapping[str, Any]
    only_if: tuple[Clause, ...] = ()
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave the flow here, for this reason."""

    id: str
    reason: str
    span: Span = field(default=Span(), compare=False)


Step = Send | WaitFor | WaitClock | WaitField | WaitUntil | Branch | Experiment | Set | Webhook | Exit


@dataclass(frozen=True, slots=True)
class Goal:
    """What counts as success, within how long of the entry; measured for holdouts too; never exits."""

    clause: Clause
    within: Duration | None = None


@dataclass(frozen=True, slots=True)
class PolicyOverride:
    """What a flow says instead of `[policy]`; None leaves the project's."""

    quiet_hours: str | None = None
    caps: tuple[str, ...] | None = None
    when_capped: Literal["skip", "wait"] = "skip"


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow version: everything that decides who gets which mail when.

    `holdout` is a fraction; `topic` is set for every marketing flow; `segments` holds every segment that the flow uses
    (transitively), so that a version means the same for as long as somebody is inside.
    """

    name: str
    triggers: tuple[Trigger, ...]
    steps: tuple[Step, ...]
    summary: str = ""
    kind: Kind = "marketing"
    topic: str | None = None
    priority: int = 50
    re_entry: ReEntry = ReEntry()
    enter_if: tuple[Clause, ...] = ()
    only_if: tuple[Clause, ...] = ()
    exit_when: tuple[Clause, ...] = ()
    goal: Goal | None = None
    holdout: Decimal = Decimal(0)
    max_lateness: Duration | None = None  # None: [policy] max_lateness
    sender: str | None = None
    policy: PolicyOverride = PolicyOverride()
    segments: Mapping[str, tuple[Clause, ...]] = field(default_factory=dict)
    span: Span = field(default=Span(), compare=False)

    def all_steps(self) -> Iterator[Step]:
        """Yield every step, arms included, in order of writing."""
        yield from walk_steps(self.steps)


def walk_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Yield the steps and everything inside their arms, in order of writing."""
    for step in steps:
        yield step
        if isinstance(step, Branch | Experiment):
            for arm in step.arms:
                yield from walk_steps(arm.steps)


@dataclass(frozen=True, slots=True)
class Offer:
    """One offer of `flows/offers.yaml`: what it gives, where its code comes from, how long it lasts."""

    name: str
    gives: Literal["percent", "amount", "free_shipping", "buy_one_get_one", "gift", "early_access"]
    value: str  # "10", "5 EUR", "true", an SKU or a segment, as written
    code: str | None = None
    pool: str | None = None
    pattern: str | None = None
    valid_for: Duration | None = None
    once_per: Literal["customer", "message"] = "customer"
    when_empty: str = "without"  # wait | without | the name of another offer
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything under `flows/` of a project: parsed, with the raw normalised data that is stored on apply."""

    flows: Mapping[str, Flow] = field(default_factory=dict)
    segments: Mapping[str, tuple[Clause, ...]] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)  # flow name → plain data, as normalised for storing
