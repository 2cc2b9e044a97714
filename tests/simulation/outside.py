"""What stands outside of the engine: the provider, which keeps an account of what it took, and the machine's clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown
from engine.render.mail import Mail
from tests.simulation.scheduler import Scheduler

# What the provider does with a mail → how often: what it takes, and what it says of it.
MANNERS = {
    "accepts": 86, "takes it and never answers": 3, "never answers": 3, "busy": 5, "down": 1, "refuses": 1,
    "no such address": 1,
}  # fmt: skip


@dataclass(slots=True)
class Provider:
    """A provider that is sometimes busy, silent or strict."""

    scheduler: Scheduler
    notice: Callable[[Mail], None]
    name: str = "mailbox"
    accepted: Counter[str] = field(default_factory=Counter)
    said: dict[str, list[Outcome]] = field(default_factory=dict)
    no_such_address: set[str] = field(
        default_factory=set
    )  # keys of mails, until the watch has seen it recorded

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Answer each mail in one of the manners."""
        self.scheduler.point("called")
        outcomes = []
        for mail in mails:
            self.notice(mail)
            outcome = self._answer(mail)
            self.said.setdefault(mail.key, []).append(outcome)
            outcomes.append(outcome)
            self.scheduler.point("answered")
        return outcomes

    def _answer(self, mail: Mail) -> Outcome:
        manner = self.scheduler.chance.choices(list(MANNERS), list(MANNERS.values()))[0]
        if manner in ("accepts", "takes it and never answers"):
            self.accepted[mail.key] += 1
        if manner == "no such address":
            self.no_such_address.add(mail.key)
        match manner:
            case "accepts":
                return Accepted(f"id-{mail.key}")
            case "busy":
                return Retry("429", after_seconds=float(self.scheduler.chance.choice((1, 60, 3_600))))
            case "down":
                return Retry("connection refused")
            case "refuses":
                return Failed("400")
            case "no such address":
                return Failed("550", suppress=True)
            case _:
                return Unknown("no answer")

    def check(self) -> list[str]:
        """Return nothing: it always works."""
        return []

    def close(self) -> None:
        """Hold nothing open."""
