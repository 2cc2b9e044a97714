"""A flow's steps as a graph of nodes: what comes next is a look-up, not a walk.

Comes in: a `Flow`. Goes out: a frozen `Program` whose nodes are found by step identity. Arms and branches join again
after their step. The clauses that a node's decision depends on are listed with it, so that they can be asked for a
whole batch in one statement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from engine.audience.subjects import Ask
from engine.flows.conditions import Clause, Did, InSegment, OfferIs, walk
from engine.flows.load import flow_clauses
from engine.flows.model import (
    Branch,
    EventTrigger,
    Exit,
    Experiment,
    Flow,
    LapsedTrigger,
    SegmentTrigger,
    Send,
    Step,
    WaitUntil,
    Webhook,
)
from engine.outbox.own_facts import NAMES as OWN_FACTS

ORDER_NUMBER = "order_number"


@dataclass(frozen=True, slots=True)
class Node:
    """One step in its place: `next` is the identity of what follows (None: the end), `arms` the firsts of its arms."""

    step: Step
    next: str | None
    arms: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A flow ready to be stepped through."""

    flow: Flow
    version: str
    start: str | None
    nodes: Mapping[str, Node]
    asked: Mapping[str | None, tuple[Ask, ...]]
    names: frozenset[str]  # of every event that triggers and conditions name
    at_once: bool = False  # nothing keeps anybody inside, and nothing asks what an entry just before has done
    chooses: bool = False  # a step sends the first of several templates that the customer has not had
    segmented: bool = False  # a trigger is a segment, whose members alone it mails
    counts_orders: bool = False  # something in it, be it a webhook's words, names `order_number`

    def asks(self, position: str | None) -> tuple[Ask, ...]:
        """Return every clause that deciding at this node may need: exits first, then the step's own."""
        return self.asked.get(position) or self.asked[None]

    def kept_while(self, trigger_no: int) -> tuple[Clause, ...]:
        """Return what must hold before every message: `only_if`, and for a segment trigger still being in it."""
        return self.flow.only_if + segment_clause(self.flow, trigger_no)


def segment_clause(flow: Flow, trigger_no: int) -> tuple[Clause, ...]:
    """Return the implied `only_if` of a segment trigger: leaving the segment works like it."""
    if trigger_no < len(flow.triggers):
        trigger = flow.triggers[trigger_no]
        if isinstance(trigger, SegmentTrigger):
            return (_member(trigger.segment),)
    return ()


@lru_cache(maxsize=256)
def _member(segment: str) -> Clause:
    return Clause(InSegment(segment), f"segment: {segment}")


def message_clauses(flow: Flow, step: Send | Webhook) -> tuple[Clause, ...]:
    """Return every clause that may forbid a message of this step, those of all segment triggers included."""
    implied = tuple(clause for number in range(len(flow.triggers)) for clause in segment_clause(flow, number))
    return (*flow.only_if, *implied, *step.only_if)


def _step_asks(flow: Flow, step: Step) -> tuple[Ask, ...]:
    if isinstance(step, Send | Webhook):
        return tuple(Ask(clause) for clause in message_clauses(flow, step))
    if isinstance(step, Branch):
        return tuple(Ask(clause) for arm in step.arms for clause in arm.when or ())
    if isinstance(step, WaitUntil):
        return (Ask(step.until, after_entry=True),)
    return ()


def compile_program(flow: Flow, version: str) -> Program:
    """Lay a flow's steps out as nodes; the identities are unique, which the parser holds."""
    nodes: dict[str, Node] = {}
    start = _lay(flow.steps, None, nodes)
    exits = tuple(Ask(clause, after_entry=True) for clause in flow.exit_when)
    asked: dict[str | None, tuple[Ask, ...]] = {None: exits}
    asked |= {position: exits + _step_asks(flow, node.step) for position, node in nodes.items()}
    names = frozenset(names_in(flow))
    chooses = any(isinstance(node.step, Send) and len(node.step.templates) > 1 for node in nodes.values())
    segmented = any(isinstance(trigger, SegmentTrigger) for trigger in flow.triggers)
    at_once = _is_through_at_once(flow, names)
    counts = ORDER_NUMBER in repr(flow)
    return Program(flow, version, start, nodes, asked, names, at_once, chooses, segmented, counts)


def _is_through_at_once(flow: Flow, names: frozenset[str]) -> bool:
    """Return whether everybody is through as they come in, and the next to come in is judged as if nobody had been."""
    of_segments = [clause for clauses in flow.segments.values() for clause in clauses]
    asked = [part for clause in (*flow_clauses(flow), *of_segments) for part in walk(clause.condition)]
    quick = all(isinstance(step, Branch | Experiment | Exit) or _is_plain(step) for step in flow.all_steps())
    if not quick or not _chooses_in_turn(flow):
        return False
    return names.isdisjoint(OWN_FACTS) and not any(isinstance(part, OfferIs) for part in asked)


def _is_plain(step: Step) -> bool:
    return isinstance(step, Webhook) or (isinstance(step, Send) and step.offer is None)


def _chooses_in_turn(flow: Flow) -> bool:
    """Return whether a customer's entries reach each choice among templates in their order, whatever comes after it.

    Entries of one batch take their steps side by side: so nothing before a choice may part them, and no other step may
    send one of its templates.
    """
    sends = [step for step in flow.all_steps() if isinstance(step, Send)]
    choices = [step for step in sends if len(step.templates) > 1]
    if not choices:
        return True
    before = list(takewhile(lambda step: isinstance(step, Send | Webhook), flow.steps))
    used = Counter(name for step in sends for name in set(step.templates))
    return all(step in before and all(used[name] == 1 for name in step.templates) for step in choices)


def names_in(flow: Flow) -> set[str]:
    """Return every event that the flow's triggers and conditions name, those of its segments included."""
    names = {trigger.event for trigger in flow.triggers if isinstance(trigger, EventTrigger | LapsedTrigger)}
    of_segments = (clause for clauses in flow.segments.values() for clause in clauses)
    for clause in (*flow_clauses(flow), *of_segments):
        names |= {part.event for part in walk(clause.condition) if isinstance(part, Did)}
    return names


def _lay(steps: tuple[Step, ...], after: str | None, nodes: dict[str, Node]) -> str | None:
    """Add the steps from the last to the first, each pointing at what follows; return the first's identity."""
    following = after
    for step in reversed(steps):
        arms: tuple[str | None, ...] = ()
        if isinstance(step, Branch | Experiment):
            arms = tuple(_lay(arm.steps, following, nodes) for arm in step.arms)
        nodes[step.id] = Node(step, following, arms)
        following = step.id
    return following
