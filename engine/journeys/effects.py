"""What a decision does to an enrollment, and what it asks to be written.

Comes in: a walker and the decision about it. Goes out: the walker moved on, and entries, messages and changes collected in
`Effects`. Nothing is written here: `engine.journeys.unwritten` does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.audience.subjects import Ask
from engine.flows.model import Send, WaitUntil, Webhook
from engine.journeys import journal
from engine.journeys.decide import (
    Await,
    Change,
    Complete,
    Decision,
    Defer,
    Heard,
    Leave,
    Listen,
    Post,
    Skip,
    Sleep,
    Take,
)
from engine.journeys.post import Posting
from engine.journeys.program import Program
from engine.journeys.references import names_of, resolved
from engine.journeys.round import Round
from engine.journeys.walker import Walker


@dataclass(slots=True)
class Effects:
    """What a round of decisions asks to be written."""

    entries: list[journal.Entry] = field(default_factory=list)
    posts: list[Posting] = field(default_factory=list)
    changes: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    left: list[Walker] = field(default_factory=list)
    told: dict[int, list[Mapping[str, Any]]] = field(
        default_factory=dict
    )  # clauses by the identity of their truth
    only_counted: bool = False  # whether nobody reads what a decision rested on

    @property
    def asked_anew(self) -> set[int]:
        """The customers of whom other clauses may be true now: their record was set, or a code issued to them."""
        given = (post for post in self.posts if isinstance(post.step, Send) and post.step.offer)
        return {customer_id for customer_id, _ in self.changes} | {post.customer_id for post in given}

    def length(self) -> tuple[int, int, int, int]:
        """Return how much it holds, for `cut`."""
        return len(self.entries), len(self.posts), len(self.changes), len(self.left)

    def cut(self, length: tuple[int, int, int, int]) -> None:
        """Forget what came after it was so long."""
        entries, posts, changes, left = length
        del self.entries[entries:], self.posts[posts:], self.changes[changes:], self.left[left:]

    def clauses(self, truth: Mapping[Ask, bool]) -> list[Mapping[str, Any]]:
        """Return a truth as the journal keeps it; those who share one (it lives as long as the round) share the other."""
        if id(truth) not in self.told:
            self.told[id(truth)] = journal.clauses(truth, truth)
        return self.told[id(truth)]


def take(
    walker: Walker,
    program: Program,
    decision: Decision,
    truth: Mapping[Ask, bool],
    at: Round,
    effects: Effects,
) -> None:
    """Carry a decision out on the walker."""
    _journal(walker, decision, truth, at, effects)
    walker.stays = True
    if isinstance(decision, Leave):
        _leave(walker, decision, at, effects)
    elif isinstance(decision, Complete):
        walker.state, walker.position, walker.next_at, walker.left_at = (
            "completed",
            None,
            None,
            walker.anchor_at,
        )
    elif isinstance(decision, Defer):
        walker.state, walker.anchor_at, walker.next_at = "waiting", decision.until, decision.until
    elif isinstance(decision, Listen):
        walker.state, walker.next_at = "waiting", decision.limit
    elif isinstance(decision, Await):
        walker.state, walker.next_at = "waiting", decision.again_at
    elif isinstance(decision, Sleep):
        walker.anchor_at = walker.next_at = decision.until
        walker.position, walker.state = decision.go_to, "waiting" if decision.until > at.now else "active"
    else:
        _go_on(walker, program, decision, effects)


def _journal(
    walker: Walker, decision: Decision, truth: Mapping[Ask, bool], at: Round, effects: Effects
) -> None:
    """Note the decision; a wait goes into the row of what led to it, where that one is still to be written."""
    what, reason = _named(decision)
    detail = {} if effects.only_counted else _detail(decision)
    if what == "waiting" and walker.unwritten is not None:
        if not effects.only_counted:
            journal.then_waits(walker.unwritten, walker.position, detail)
        walker.unwritten = None
        return
    if truth and what != "waiting" and not effects.only_counted:
        detail["clauses"] = effects.clauses(truth)
    entry = journal.entry(
        at.now, walker.flow, walker.customer_id, what, reason, enrollment_id=walker.id, step=walker.position, detail=detail
    )  # fmt: skip
    effects.entries.append(entry)
    walker.unwritten = entry


def _go_on(walker: Walker, program: Program, decision: Decision, effects: Effects) -> None:
    """Carry out a decision after which the next step is due at once."""
    assert not isinstance(decision, Leave | Complete | Defer | Listen | Await | Sleep)
    step = program.nodes[walker.position or ""].step
    if isinstance(decision, Post):
        assert isinstance(step, Send | Webhook)
        effects.posts.append(
            Posting(
                walker.id, walker.flow, walker.version, walker.customer_id, step, decision.template, program.flow,
                walker.anchor_at, decision.expires_at, walker.visit, walker.person.zone, walker.context, effects.entries[-1],
                walker,
            )
        )  # fmt: skip
        walker.visit += 1
    elif isinstance(decision, Heard):
        assert isinstance(step, WaitUntil)
        walker.anchor_at = decision.at
    elif isinstance(decision, Change):
        values = resolved(decision.values, names_of(walker.context))
        effects.changes.append((walker.customer_id, values))
    walker.next_at = walker.anchor_at
    walker.position, walker.state = decision.go_to, "active"


def _leave(walker: Walker, decision: Leave, at: Round, effects: Effects) -> None:
    walker.state, walker.position, walker.next_at = "exited", None, None
    walker.left_at, walker.left_reason = at.now, decision.reason
    if decision.drop_pending:
        effects.left.append(walker)


def _named(decision: Decision) -> tuple[str, str | None]:
    """Return a decision as the journal's word, and its reason."""
    if isinstance(decision, Heard):
        return "heard" if decision.held else "not_heard", None
    return _WORDS[type(decision)], getattr(decision, "reason", None)


_WORDS = {
    Leave: "exited", Post: "due", Skip: "skipped", Defer: "deferred", Sleep: "waiting", Listen: "waiting", Await: "waiting",
    Take: "took", Change: "set", Complete: "completed",
}  # fmt: skip


def _detail(decision: Decision) -> dict[str, Any]:
    """Return what else the journal keeps of a decision."""
    match decision:
        case Post(template=template, expires_at=expires_at):
            return {"template": template, "expires_at": expires_at.isoformat()}
        case Defer(until=until):
            return {"until": until.isoformat()}
        case Sleep(until=until, go_to=go_to):
            return {"until": until.isoformat(), "next": go_to}
        case Listen(limit=limit):
            return {"until": limit.isoformat()}
        case Await(offer=offer, until=until):
            return {"until": until.isoformat(), "offer": offer}
        case Take(arm=arm, go_to=go_to):
            return {"arm": arm, "next": go_to}
        case Change(values=values):
            return {"fields": sorted(values)}
    return {}
