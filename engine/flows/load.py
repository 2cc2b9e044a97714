"""Loading a project's `flows/`: every flow, segments and offers, held against each other and the settings.

Comes in: the project's folder and settings. Goes out: `Definitions` (flows without errors only) and all findings,
sorted by place. Promises: a flow carries every segment that it uses, directly or through others, so that its stored
definition means the same whatever happens to `segments.yaml`; every name that a flow uses exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.diagnostics import Finding, Span, has_errors
from engine.flows import problems
from engine.flows.conditions import Clause
from engine.flows.model import (
    Branch,
    Definitions,
    Flow,
    ScheduleTrigger,
    SegmentTrigger,
    Send,
    WaitUntil,
    Webhook,
)  # fmt: skip
from engine.flows.names import Names, Segments, Tell, segment_names
from engine.flows.nodes import Items, Node, Scalar, Table, plain
from engine.flows.parse import flow_from_definition, parse_flow, parse_offers, parse_segments
from engine.flows.reading import NAME
from engine.flows.yaml_source import read_file, read_yaml
from engine.settings import Settings

FOLDER = "flows"
SEGMENTS = "segments.yaml"
OFFERS = "offers.yaml"
TEMPLATES = "templates"
_DECLARED = {SEGMENTS: problems.unknown_segment, OFFERS: problems.unknown_offer}
_FAILS = ("F001", "F003", "F004")  # a file that cannot be read

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
    declared = offers_node.keys if isinstance(offers_node, Table) else ()
    names = Names(root, settings, segments, declared, templates, findings, _unread(findings))
    names.check_segments(segments_node)
    names.check_offers(offers_node, offers)
    sources = _sources(root, names)
    findings += unread_flows(root)
    good = {source.flow.name: source for source in sources if source.flow is not None}
    flows = {name: source.flow for name, source in good.items() if source.flow is not None}
    raw = {name: normalise(source.node, flows[name], segments_node) for name, source in good.items()}
    return Project(
        root, settings, Definitions(flows, segments, offers, raw), tuple(sources), templates,
        tuple(sorted(findings, key=lambda finding: (finding.span, finding.code))),
        segments_node if isinstance(segments_node, Table) else None,
        offers_node if isinstance(offers_node, Table) else None, good,
    )  # fmt: skip


def reread(project: Project, file: str, text: str) -> Project:
    """Return a project as if one file under `flows/` held this text, with that file's flow and findings alone."""
    findings: list[Finding] = []
    node = read_yaml(text, file, findings)
    segments, offers = project.definitions.segments, project.definitions.offers
    segments_node, offers_node, sources = project.segments_node, project.offers_node, list[Source]()
    if file == f"{FOLDER}/{SEGMENTS}":
        segments = parse_segments(node, findings) if node is not None else {}
        segments_node = node if isinstance(node, Table) else None
    elif file == f"{FOLDER}/{OFFERS}":
        offers = parse_offers(node, findings) if node is not None else {}
        offers_node = node if isinstance(node, Table) else None
    declared = offers_node.keys if offers_node is not None else ()
    unread = _unread(project.findings)
    names = Names(project.root, project.settings, segments, declared, project.templates, findings, unread)
    if file == f"{FOLDER}/{SEGMENTS}":
        names.check_segments(segments_node)
    elif file == f"{FOLDER}/{OFFERS}":
        names.check_offers(offers_node, offers)
    elif node is not None:
        sources.append(Source(file, node, _flow_of(project.root / file, node, names)))
    flows = {source.flow.name: source.flow for source in sources if source.flow is not None}
    definitions = replace(project.definitions, flows=flows, segments=segments, offers=offers)
    return replace(
        project, definitions=definitions, sources=tuple(sources), findings=tuple(findings), segments_node=segments_node,
        offers_node=offers_node, by_flow={source.flow.name: source for source in sources if source.flow is not None},
    )  # fmt: skip


def _unread(findings: Iterable[Finding]) -> frozenset[Tell]:
    """Return what nobody can tell, since the file that declares it cannot be read."""
    failed = {finding.span.file for finding in findings if finding.code in _FAILS}
    return frozenset(tell for name, tell in _DECLARED.items() if f"{FOLDER}/{name}" in failed)


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
    if not path.exists() and not path.is_symlink():
        return None
    before = len(findings)
    node = read_file(path, f"{FOLDER}/{name}", findings)
    if node is None and len(findings) == before + 1 and findings[-1].code == "F005":
        findings.pop()  # a file of comments only: nothing is declared yet
    return node


def _sources(root: Path, names: Names) -> list[Source]:
    sources: list[Source] = []
    for path in sorted((root / FOLDER).glob("*.yaml")):
        if path.name in (SEGMENTS, OFFERS):
            continue
        file = f"{FOLDER}/{path.name}"
        node = read_file(path, file, names.findings)
        if node is not None:
            sources.append(Source(file, node, _flow_of(path, node, names)))
    return sources


def unread_flows(root: Path) -> list[Finding]:
    """Return a finding for each file under `flows/` that looks like a flow and is not read as one."""
    found = []
    for path in sorted((root / FOLDER).rglob("*")):
        inner, is_long = path.parent != root / FOLDER, path.suffix == ".yaml"
        if path.suffix not in (".yaml", ".yml") or (is_long and not inner) or not path.is_file():
            continue
        why = (
            "flows stand in flows/ itself, not in a folder of it"
            if inner
            else "the name of a flow's file ends in .yaml"
        )
        span, way_out = Span(path.relative_to(root).as_posix()), f"rename it to {FOLDER}/{path.stem}.yaml"
        effect = "what stands in it is not live, and nobody gets its mails"
        found.append(problems.not_read(span, f"Homing does not read this file: {why}", way_out, effect))
    return found


def _flow_of(path: Path, node: Node, names: Names) -> Flow | None:
    before = len(names.findings)
    flow = parse_flow(node, names.findings)
    names.check_flow(node)
    value = node.get("flow") if isinstance(node, Table) else None
    name = value.value if isinstance(value, Scalar) and isinstance(value.value, str) else path.stem
    if value is not None and name != path.stem and NAME.fullmatch(name):
        names.findings.append(problems.named_otherwise(value.span, name, path.name))
    if flow is None or has_errors(names.findings[before:]):
        return None
    return replace(flow, segments=used_segments(flow, names.segments))


# ── what a flow uses ────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    waiting = list(segment_names(flow_clauses(flow)))
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
            waiting += segment_names(segments[name])
    return dict(sorted(used.items()))


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
