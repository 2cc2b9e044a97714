"""Loading a project's `flows/`: every flow, segments and offers, held against each other and the settings.

Comes in: the project's folder and settings. Goes out: `Definitions` (flows without errors only) and all findings,
sorted by place. Promises: a flow carries every segment that it uses, directly or through others, so that its stored
definition means the same whatever happens to `segments.yaml`; every name that a flow uses exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from engine.diagnostics import Finding, Span, has_errors
from engine.flows import problems
from engine.flows.conditions import Clause, InSegment, OfferIs, walk
from engine.flows.model import (
    Branch,
    Definitions,
    Flow,
    Offer,
    ScheduleTrigger,
    SegmentTrigger,
    Send,
    WaitUntil,
    Webhook,
)  # fmt: skip
from engine.flows.nodes import Items, Node, Scalar, Table, plain
from engine.flows.parse import flow_from_definition, parse_flow, parse_offers, parse_segments
from engine.flows.yaml_source import read_file
from engine.settings import FILE, Settings

FOLDER = "flows"
SEGMENTS = "segments.yaml"
OFFERS = "offers.yaml"
TEMPLATES = "templates"
Segments = Mapping[str, tuple[Clause, ...]]

__all__ = ["Project", "Source", "flow_from_definition", "load_definitions", "load_project", "normalise"]


@dataclass(frozen=True, slots=True)
class Source:
    """One file under `flows/`: its path relative to the project, its tree, and its flow where it has no errors."""

    file: str
    node: Node
    flow: Flow | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A loaded folder: what rules look at. `templates` are the names of the default templates."""

    root: Path
    settings: Settings
    definitions: Definitions
    sources: tuple[Source, ...] = ()
    templates: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()
    segments_node: Table | None = None
    offers_node: Table | None = None
    by_flow: Mapping[str, Source] = field(default_factory=dict)


def load_definitions(root: Path, settings: Settings) -> tuple[Definitions, list[Finding]]:
    """Read everything under `flows/`; flows with errors are left out and told in the findings."""
    project = load_project(root, settings)
    return project.definitions, list(project.findings)


def load_project(root: Path, settings: Settings) -> Project:
    """Read everything under `flows/` and keep the trees, for rules and fixes."""
    findings: list[Finding] = []
    segments_node = _special(root, SEGMENTS, findings)
    offers_node = _special(root, OFFERS, findings)
    segments = parse_segments(segments_node, findings) if segments_node is not None else {}
    offers = parse_offers(offers_node, findings) if offers_node is not None else {}
    templates = template_names(root)
    names = _Names(root, settings, segments, offers, templates, findings)
    names.check_segments(segments_node)
    names.check_offers(offers_node)
    sources = _sources(root, names)
    good = {source.flow.name: source for source in sources if source.flow is not None}
    flows = {name: source.flow for name, source in good.items() if source.flow is not None}
    raw = {name: normalise(source.node, flows[name], segments_node) for name, source in good.items()}
    return Project(
        root, settings, Definitions(flows, segments, offers, raw), tuple(sources), templates,
        tuple(sorted(findings, key=lambda finding: (finding.span, finding.code))),
        segments_node if isinstance(segments_node, Table) else None,
        offers_node if isinstance(offers_node, Table) else None, good,
    )  # fmt: skip


def template_names(root: Path) -> frozenset[str]:
    """Return the names of the project's default templates."""
    return frozenset(path.stem for path in (root / TEMPLATES).glob("*.mjml"))


def normalise(node: Node, flow: Flow, segments_node: Node | None = None) -> dict[str, Any]:
    """Return the definition of a flow as plain data for storing: comments gone, the segments that it uses inlined.

    `flow_from_definition` makes an equal flow of it, whatever order of keys the store keeps.
    """
    data = plain(node)
    assert isinstance(data, dict)
    if flow.segments:
        known = segments_node if isinstance(segments_node, Table) else Table(())
        data["segments"] = {entry.key: plain(entry.value) for entry in known if entry.key in flow.segments}
    return data


def _special(root: Path, name: str, findings: list[Finding]) -> Node | None:
    path = root / FOLDER / name
    if not path.is_file() or not path.read_bytes().strip():
        return None
    before = len(findings)
    node = read_file(path, f"{FOLDER}/{name}", findings)
    if node is None and len(findings) == before + 1 and findings[-1].code == "F005":
        findings.pop()  # a file of comments only: nothing is declared yet
    return node


def _sources(root: Path, names: _Names) -> list[Source]:
    sources: list[Source] = []
    for path in sorted((root / FOLDER).glob("*.yaml")):
        if path.name in (SEGMENTS, OFFERS):
            continue
        file = f"{FOLDER}/{path.name}"
        node = read_file(path, file, names.findings)
        if node is not None:
            sources.append(Source(file, node, _flow_of(path, node, names)))
    return sources


def _flow_of(path: Path, node: Node, names: _Names) -> Flow | None:
    before = len(names.findings)
    flow = parse_flow(node, names.findings)
    if flow is None:
        return None
    if flow.name != path.stem:
        value = node.get("flow") if isinstance(node, Table) else None
        names.findings.append(
            problems.named_otherwise(value.span if value else flow.span, flow.name, path.name)
        )
    names.check_flow(flow, node)
    if has_errors(names.findings[before:]):
        return None
    return replace(flow, segments=used_segments(flow, names.segments))


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def flow_clauses(flow: Flow) -> Iterator[Clause]:
    """Yield every clause of a flow: of entering, of going on, of leaving, of the goal and of the steps."""
    yield from (*flow.enter_if, *flow.only_if, *flow.exit_when)
    if flow.goal is not None:
        yield flow.goal.clause
    for step in flow.all_steps():
        if isinstance(step, Send | Webhook):
            yield from step.only_if
        elif isinstance(step, WaitUntil):
            yield step.until
        elif isinstance(step, Branch):
            for arm in step.arms:
                yield from arm.when or ()


def used_segments(flow: Flow, segments: Segments) -> dict[str, tuple[Clause, ...]]:
    """Return the segments that a flow uses, directly or through others, by name."""
    used: dict[str, tuple[Clause, ...]] = {}
    waiting = list(_segment_names(flow_clauses(flow)))
    waiting += [trigger.segment for trigger in flow.triggers if isinstance(trigger, SegmentTrigger)]
    waiting += [
        trigger.segment
        for trigger in flow.triggers
        if isinstance(trigger, ScheduleTrigger) and trigger.segment
    ]
    while waiting:
        name = waiting.pop()
        if name not in used and name in segments:
            used[name] = segments[name]
            waiting += _segment_names(segments[name])
    return dict(sorted(used.items()))


def _segment_names(listed: Iterable[Clause]) -> list[str]:
    return [
        part.segment for clause in listed for part in walk(clause.condition) if isinstance(part, InSegment)
    ]


def values_under(node: Node | None, *keys: str) -> Iterator[Scalar]:
    """Yield every single value that stands anywhere under one of the keys (in a list too), in order of writing."""
    if isinstance(node, Items):
        for item in node:
            yield from values_under(item, *keys)
    elif isinstance(node, Table):
        for entry in node:
            if entry.key in keys:
                yield from (item for item in _scalars(entry.value))
            yield from values_under(entry.value, *keys)


def _scalars(node: Node) -> Iterator[Scalar]:
    for item in node if isinstance(node, Items) else (node,):
        if isinstance(item, Scalar):
            yield item


@dataclass(slots=True)
class _Names:
    """Holds every name that definitions use against what exists."""

    root: Path
    settings: Settings
    segments: Segments
    offers: Mapping[str, Offer]
    templates: frozenset[str]
    findings: list[Finding]

    def check_flow(self, flow: Flow, node: Node) -> None:
        """Tell every unknown name in a flow."""
        table = node if isinstance(node, Table) else Table(())
        self._each(table.get("topic"), self.settings.topics, problems.unknown_topic)
        self._each(table.get("sender"), self.settings.senders, problems.unknown_sender)
        self._triggers(table.get("trigger"))
        for step in _step_tables(table.get("steps")):
            self._step(step)
        for clause in flow_clauses(flow):
            self._clause(clause, table)

    def _each(self, node: Node | None, known: Any, tell: Any) -> None:
        for item in _scalars(node) if node is not None else ():
            if str(item.value) not in known:
                self.findings.append(tell(item.span, str(item.value), known))

    def _triggers(self, node: Node | None) -> None:
        for item in node if isinstance(node, Items) else (node,):
            if isinstance(item, Table):
                self._each(item.get("segment"), self.segments, problems.unknown_segment)

    def _step(self, step: Table) -> None:
        self._each(step.get("send"), self.templates, problems.unknown_template)
        self._each(step.get("offer"), self.offers, problems.unknown_offer)
        self._each(step.get("topic"), self.settings.topics, problems.unknown_topic)
        self._each(step.get("sender"), self.settings.senders, problems.unknown_sender)
        webhook, wait, change = step.get("webhook"), step.get("wait"), step.get("set")
        if isinstance(webhook, Table):
            self._each(webhook.get("to"), self.settings.webhooks, problems.unknown_webhook)
        until = wait.get("until") if isinstance(wait, Table) else None
        if isinstance(until, Scalar) and isinstance(until.value, str) and until.value.startswith("offer."):
            name = until.value.split(".")[1]
            if name not in self.offers:
                self.findings.append(problems.unknown_offer(until.span, name, self.offers))
        consent = change.get("consent") if isinstance(change, Table) else None
        for entry in consent if isinstance(consent, Table) else ():
            if entry.key != "all" and entry.key not in self.settings.topics:
                self.findings.append(problems.unknown_topic(entry.key_span, entry.key, self.settings.topics))

    def _clause(self, clause: Clause, node: Node) -> None:
        """Tell unknown segments and offers of a clause, at the very name where it stands in the file."""
        for part in walk(clause.condition):
            if isinstance(part, InSegment) and part.segment not in self.segments:
                span = _place_of(node, clause.span, part.segment)
                self._once(problems.unknown_segment(span, part.segment, self.segments))
            elif isinstance(part, OfferIs) and part.offer not in self.offers:
                span = _place_of(node, clause.span, part.offer)
                self._once(problems.unknown_offer(span, part.offer, self.offers))

    def _once(self, finding: Finding) -> None:
        if finding not in self.findings:
            self.findings.append(finding)

    def check_segments(self, node: Node | None) -> None:
        """Tell unknown segments within segments, and circles; those of `[policy] exclude` too."""
        for clauses_of in self.segments.values():
            for clause in clauses_of:
                self._clause(clause, node or Table(()))
        for name in self.settings.policy.exclude:
            if name not in self.segments:
                self.findings.append(problems.unknown_segment(Span(FILE, 1, 1), name, self.segments))
        circle = circle_in({name: _segment_names(found) for name, found in self.segments.items()})
        if circle and isinstance(node, Table):
            self.findings.append(problems.circle_of_segments(node.key_span(circle[0]), circle))

    def check_offers(self, node: Node | None) -> None:
        """Tell unknown segments, missing pools, unknown replacements and circles of offers."""
        table = node if isinstance(node, Table) else Table(())
        for entry in table:
            offer = self.offers.get(entry.key)
            inner = entry.value
            if offer is None or not isinstance(inner, Table):
                continue
            if offer.gives == "early_access":
                self._each(inner.get("early_access"), self.segments, problems.unknown_segment)
            if offer.when_empty not in ("wait", "without", *self.offers):
                self._each(inner.get("when_empty"), ("wait", "without", *self.offers), problems.unknown_offer)
            pool = inner.get("pool")
            if pool is not None and offer.pool is not None and not _pool_exists(self.root, offer.pool):
                self.findings.append(problems.unknown_pool(pool.span, offer.pool))
        circle = circle_in({name: [offer.when_empty] for name, offer in self.offers.items()})
        if circle:
            self.findings.append(problems.circle_of_offers(table.key_span(circle[0]), circle))


def _pool_exists(root: Path, name: str) -> bool:
    path = (root / name).resolve()
    return path.is_relative_to(root.resolve()) and path.is_file()


def circle_in(graph: Mapping[str, list[str]]) -> list[str]:
    """Return one circle as names, its first again at the end, or an empty list.

    >>> circle_in({"a": ["b"], "b": ["a"], "c": []})
    ['a', 'b', 'a']
    """
    try:
        TopologicalSorter(
            {name: [other for other in others if other in graph] for name, others in graph.items()}
        ).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _step_tables(node: Node | None) -> Iterator[Table]:
    """Yield the table of every step, arms included."""
    for item in node if isinstance(node, Items) else ():
        if not isinstance(item, Table):
            continue
        yield item
        branch, experiment = item.get("branch"), item.get("experiment")
        for arm in branch if isinstance(branch, Items) else ():
            if isinstance(arm, Table):
                yield from _step_tables(arm.get("steps"))
                yield from _step_tables(arm.get("otherwise"))
        arms = experiment.get("arms") if isinstance(experiment, Table) else None
        for entry in arms if isinstance(arms, Table) else ():
            if isinstance(entry.value, Table):
                yield from _step_tables(entry.value.get("steps"))


def _place_of(node: Node, clause: Span, name: str) -> Span:
    """Return where a segment's or offer's name stands within a clause, else the clause's own place."""
    for item in values_under(node, "segment", "not_segment"):
        if item.value == name and item.span >= clause:
            return item.span
    for table in _tables_under(node, "offer"):
        if name in table and table.key_span(name) >= clause:
            return table.key_span(name)
    return clause


def _tables_under(node: Node, key: str) -> Iterator[Table]:
    if isinstance(node, Items):
        for item in node:
            yield from _tables_under(item, key)
    elif isinstance(node, Table):
        for entry in node:
            if entry.key == key and isinstance(entry.value, Table):
                yield entry.value
            yield from _tables_under(entry.value, key)
