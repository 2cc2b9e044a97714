"""One pass of the engine at one moment: the time, the settings, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from engine.audience.subjects import Ask
from engine.calendar import QuietHours
from engine.flows.conditions import Clause, InSegment, Not
from engine.flows.model import Flow, Offer
from engine.journeys.decide import Rules
from engine.settings import Cap, Settings


@dataclass(frozen=True, slots=True)
class Round:
    """The moment at which a pass decides, the project's settings, and what was applied beside the flows.

    `listened` holds the names of events that a live flow waits for: the engine's own events of these names go through
    the inbox like any other fact. `offers` are the applied ones.
    """

    now: datetime
    settings: Settings
    listened: frozenset[str] = frozenset()
    offers: Mapping[str, Offer] = field(default_factory=dict)

    @property
    def shop_zone(self) -> str:
        """The zone of customers who have none of their own."""
        return self.settings.shop.timezone

    @property
    def sandbox(self) -> bool:
        """Whether mails stay in the local mailbox."""
        return self.settings.delivery.mode == "sandbox"

    @property
    def exclude(self) -> tuple[Clause, ...]:
        """The project's excluded segments as clauses that every marketing mail must pass."""
        return tuple(_no_member(name) for name in self.settings.policy.exclude)

    def exclusions(self, flow: Flow) -> tuple[Ask, ...]:
        """Return the excluded segments as what has to be asked for a message of this flow."""
        return tuple(Ask(clause) for clause in self.rules(flow).exclude)

    def rules(self, flow: Flow) -> Rules:
        """Return the policy that holds for a flow's messages."""
        policy = self.settings.policy
        own = flow.policy.quiet_hours
        return Rules(
            quiet_hours=policy.quiet_hours if own is None else QuietHours.parse(own),
            max_lateness=flow.max_lateness or policy.max_lateness,
            exclude=self.exclude if flow.kind == "marketing" else (),
        )

    def caps(self, flow: Flow) -> tuple[Cap, ...]:
        """Return the frequency caps that hold for a flow's messages."""
        own = flow.policy.caps
        return self.settings.policy.caps if own is None else tuple(Cap.parse(cap) for cap in own)


@lru_cache(maxsize=256)
def _no_member(segment: str) -> Clause:
    return Clause(Not(InSegment(segment)), f"not_segment: {segment}")
