"""Holding every name that definitions use against what exists: topics, senders, templates, offers, segments, webhooks.

Comes in: the trees of flows, segments and offers, and what the project declares. Goes out: findings at the very names.
Promises: names are looked at whether or not the rest of a flow can be read, so that all mistakes are told at once; a
name that is malformed, or missing, is left to the parser.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from engine.diagnostics import Finding, Span
from engine.flows import problems
from engine.flows.conditions import Clause, InSegment, walk
from engine.flows.model import Offer
from engine.flows.nodes import Items, Node, Scalar, Table
from engine.flows.reading import NAME
from engine.settings import Settings, setting_place

Segments = Mapping[str, tuple[Clause, ...]]
Tell = Callable[[Span, str, Iterable[str]], Finding]


@dataclass(slots=True)
class Names:
    """What exists in a project, and where to tell what does not."""

    root: Path
    settings: Settings
    segments: Segments
    offers: Collection[str]
    templates: frozenset[str]
    findings: list[Finding]
    unread: frozenset[Tell] = (
        frozenset()
    )  # what nobody can tell, since the file that declares it cannot be read

    def _tell(self, tell: Tell, span: Span, name: str, known: Iterable[str]) -> None:
        if tell not in self.unread:
            self.findings.append(tell(span, name, known))

    def check_flow(self, node: Node) -> None:
        """Tell every unknown name in a flow."""
        table = node if isinstance(node, Table) else Table(())
        self._each(table.get("topic"), self.settings.topics, problems.unknown_topic)
        self._each(table.get("sender"), self.settings.senders, problems.unknown_sender)
        triggers = table.get("trigger")
        for item in triggers if isinstance(triggers, Items) else (triggers,):
            if isinstance(item, Table):
                self._each(item.get("segment"), self.segments, problems.unknown_segment)
        for key in ("enter_if", "only_if", "exit_when", "goal"):
            self._conditions(table.get(key))
        for step in step_tables(table.get("steps")):
            self._step(step)

    def _each(self, node: Node | None, known: Collection[str], tell: Tell) -> None:
        for item in node if isinstance(node, Items) else (node,):
            name = _name(item)
            if name is not None and name not in known and isinstance(item, Scalar):
                self._tell(tell, item.span, name, known)

    def _step(self, step: Table) -> None:
        self._each(step.get("send"), self.templates, problems.unknown_template)
        self._each(step.get("offer"), self.offers, problems.unknown_offer)
        self._each(step.get("topic"), self.settings.topics, problems.unknown_topic)
        self._each(step.get("sender"), self.settings.senders, problems.unknown_sender)
        self._conditions(step.get("only_if"))
        webhook, wait, change, branch = (step.get(key) for key in ("webhook", "wait", "set", "branch"))
        if isinstance(webhook, Table):
            self._each(webhook.get("to"), self.settings.webhooks, problems.unknown_webhook)
        if isinstance(wait, Table):
            self._until(wait.get("until"))
        for arm in branch if isinstance(branch, Items) else ():
            self._conditions(arm.get("when") if isinstance(arm, Table) else None)
        consent = change.get("consent") if isinstance(change, Table) else None
        for entry in consent if isinstance(consent, Table) else ():
            if entry.key not in ("all", *self.settings.topics):
                self.findings.append(problems.unknown_topic(entry.key_span, entry.key, self.settings.topics))

    def _until(self, node: Node | None) -> None:
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value.startswith("offer."):
            name = node.value.split(".")[1]
            if NAME.fullmatch(name) and name not in self.offers:
                self._tell(problems.unknown_offer, node.span, name, self.offers)
        elif isinstance(node, Table):
            self._conditions(node)

    def _conditions(self, node: Node | None) -> None:
        """Tell unknown segments and offers in conditions, however deep they nest."""
        if isinstance(node, Items):
            for item in node:
                self._conditions(item)
        for entry in node if isinstance(node, Table) else ():
            if entry.key in ("any", "all", "not"):
                self._conditions(entry.value)
            elif entry.key in ("segment", "not_segment"):
                self._each(entry.value, self.segments, problems.unknown_segment)
            elif entry.key == "offer":
                for offer in entry.value if isinstance(entry.value, Table) else ():
                    if offer.key not in self.offers:
                        self._tell(problems.unknown_offer, offer.key_span, offer.key, self.offers)

    def check_segments(self, node: Node | None) -> None:
        """Tell unknown segments within segments, and circles; those of `[policy] exclude` too."""
        for entry in node if isinstance(node, Table) else ():
            self._conditions(entry.value)
        for number, name in enumerate(self.settings.policy.exclude):
            if name not in self.segments:
                place = setting_place(self.root, "policy", "exclude", str(number))
                self._tell(problems.unknown_segment, place, name, self.segments)
        circle = circle_in({name: segment_names(found) for name, found in self.segments.items()})
        if circle and isinstance(node, Table):
            self.findings.append(problems.circle_of_segments(node.key_span(circle[0]), circle))

    def check_offers(self, node: Node | None, offers: Mapping[str, Offer]) -> None:
        """Tell unknown segments, missing pools, unknown replacements and circles of offers."""
        table = node if isinstance(node, Table) else Table(())
        for inner in (entry.value for entry in table):
            if not isinstance(inner, Table):
                continue
            self._each(inner.get("early_access"), self.segments, problems.unknown_segment)
            self._each(inner.get("when_empty"), ("wait", "without", *self.offers), problems.unknown_offer)
            pool = inner.get("pool")
            if isinstance(pool, Scalar) and isinstance(pool.value, str) and not self._has_file(pool.value):
                self.findings.append(problems.unknown_pool(pool.span, pool.value))
        circle = circle_in({name: [offer.when_empty] for name, offer in offers.items()})
        if circle:
            self.findings.append(problems.circle_of_offers(table.key_span(circle[0]), circle))

    def _has_file(self, name: str) -> bool:
        path = (self.root / name).resolve()
        return path.is_relative_to(self.root.resolve()) and path.is_file()


def _name(node: Node | None) -> str | None:
    """Return the name that a node is, or None where it is none (which the parser tells)."""
    if not isinstance(node, Scalar) or isinstance(node.value, bool | None):
        return None
    text = str(node.value)
    return text if NAME.fullmatch(text) else None


def segment_names(clauses: Iterable[Clause]) -> list[str]:
    """Return the segments that clauses ask for."""
    return [
        part.segment for clause in clauses for part in walk(clause.condition) if isinstance(part, InSegment)
    ]


def circle_in(graph: Mapping[str, list[str]]) -> list[str]:
    """Return one circle as names, its first again at the end, or an empty list.

    >>> circle_in({"a": ["b"], "b": ["a"], "c": []})
    ['a', 'b', 'a']
    """
    known = {name: [other for other in others if other in graph] for name, others in graph.items()}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def step_tables(node: Node | None) -> Iterator[Table]:
    """Yield the table of every step, arms included."""
    for item in node if isinstance(node, Items) else ():
        if not isinstance(item, Table):
            continue
        yield item
        branch, experiment = item.get("branch"), item.get("experiment")
        for arm in branch if isinstance(branch, Items) else ():
            if isinstance(arm, Table):
                yield from step_tables(arm.get("steps"))
                yield from step_tables(arm.get("otherwise"))
        arms = experiment.get("arms") if isinstance(experiment, Table) else None
        for entry in arms if isinstance(arms, Table) else ():
            if isinstance(entry.value, Table):
                yield from step_tables(entry.value.get("steps"))
