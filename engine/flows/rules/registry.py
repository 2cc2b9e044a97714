"""What a rule is, and what it looks at.

A rule is a function that yields findings about one flow, or about the whole project; its docstring is its manual page.
Comes in: a loaded project. Goes out: findings with the rule's code and gravity. Promises: a rule only sees flows
without errors of reading, so it never has to guess what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.diagnostics import Finding, Severity, Span
from engine.flows.conditions import Clause
from engine.flows.load import Project, Source, flow_clauses
from engine.flows.manual import page
from engine.flows.model import Flow, Trigger
from engine.flows.nodes import Entry, Items, Node, Table
from engine.settings import Settings

Scope = Literal["flow", "project"]


@dataclass(slots=True)
class Look:
    """One flow with everything that a rule may want to know about it."""

    project: Project
    source: Source
    flow: Flow
    table: Table
    _tables: dict[Span, Table] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The project's settings."""
        return self.project.settings

    @property
    def is_marketing(self) -> bool:
        """Whether the flow's mails need consent."""
        return self.flow.kind == "marketing"

    def key(self, name: str) -> Span:
        """Return where a key of the flow stands, else where its name is."""
        return self.table.key_span(name) if name in self.table else self.flow.span

    def value(self, name: str) -> Span:
        """Return where the value of a key of the flow stands, else where the flow's name is."""
        node = self.table.get(name)
        return node.span if node is not None else self.flow.span

    def trigger_place(self, trigger: Trigger) -> Table:
        """Return the table in which a trigger is written."""
        node = self.table.get("trigger")
        number = next(number for number, known in enumerate(self.flow.triggers) if known is trigger)
        found = node.items[number] if isinstance(node, Items) else node
        return found if isinstance(found, Table) else self.table

    def clauses(self) -> Iterator[Clause]:
        """Yield every clause of the flow itself (segments are looked at by themselves)."""
        yield from flow_clauses(self.flow)

    def written(self, clause: Clause) -> Table:
        """Return the table in which a clause is written."""
        if not self._tables:
            roots = (self.table, self.project.segments_node)
            self._tables = {
                table.span: table for root in roots if root is not None for table in tables_of(root)
            }
        return self._tables.get(clause.span, Table((), clause.span))


Check = Callable[[Any], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its code, its name in words and dashes, how grave its findings are, and the function that checks."""

    code: str
    name: str
    severity: Severity
    scope: Scope
    check: Check


_RULES: dict[str, Rule] = {}


def flow_rule(code: str, name: str, severity: Severity = "warning") -> Callable[[Check], Check]:
    """Register a function from `Look` to findings; its docstring is the page of `code`."""
    return _register(code, name, severity, "flow")


def project_rule(code: str, name: str, severity: Severity = "warning") -> Callable[[Check], Check]:
    """Register a function from `Project` to findings; its docstring is the page of `code`."""
    return _register(code, name, severity, "project")


def _register(code: str, name: str, severity: Severity, scope: Scope) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        _RULES[code] = Rule(code, name, severity, scope, check)
        return page(code, name, severity)(check)

    return register


def registered() -> tuple[Rule, ...]:
    """Return every rule, by code."""
    return tuple(_RULES[code] for code in sorted(_RULES))


def run(project: Project) -> list[Finding]:
    """Return what all rules find in a project."""
    looks = [
        Look(project, source, flow, source.node)
        for source in project.sources
        if isinstance(source.node, Table)
        and (flow := project.definitions.flows.get(_name(source))) is not None
    ]
    segments, unread = list(_segment_looks(project)), list(_unread_looks(project))
    found: list[Finding] = []
    for rule in registered():
        subjects: list[Any] = list(looks) if rule.scope == "flow" else [project]
        subjects += segments if rule.code in OF_CONDITIONS else []
        subjects += unread if rule.code in OF_WORDS else []
        for subject in subjects:
            found += [_stamped(finding, rule) for finding in rule.check(subject)]
    return found


OF_CONDITIONS = ("C201", "C202", "C203", "C204", "C205", "C206", "C208", "C210", "C214", "C215", "C230")
"""Rules that look at conditions alone: segments are held to them too."""
OF_WORDS = ("C204", "C210", "C215")
"""Rules that look at words as they are written: a flow that cannot be read yet is held to them too."""


def _segment_looks(project: Project) -> Iterator[Look]:
    """Yield a look at each segment: its conditions as if they were those of entering a flow."""
    for entry in project.segments_node or ():
        clauses = project.definitions.segments.get(entry.key, ())
        table = Table((entry,), entry.key_span)
        flow = Flow(entry.key, (), (), enter_if=tuple(clauses), span=entry.key_span)
        yield Look(project, Source(entry.key_span.file, table), flow, table)


def _unread_looks(project: Project) -> Iterator[Look]:
    """Yield a look at each file whose flow has errors, with nothing known but what is written."""
    for source in project.sources:
        if source.flow is None and isinstance(source.node, Table):
            yield Look(project, source, Flow("", (), ()), source.node)


def _name(source: Source) -> str:
    return source.flow.name if source.flow is not None else ""


def _stamped(finding: Finding, rule: Rule) -> Finding:
    """Return the finding with the rule's code, and its gravity where the rule gave none of its own."""
    return replace(
        finding, code=rule.code, severity=rule.severity if finding.severity == "info" else finding.severity
    )


def told(span: Span, message: str, **more: Any) -> Finding:
    """Return a finding of the rule that yields it: code and gravity come from the rule."""
    return Finding("", more.pop("severity", "info"), message, span, **more)


def tables_of(node: Node) -> Iterator[Table]:
    """Yield every table in a tree, outermost first."""
    if isinstance(node, Table):
        yield node
        for entry in node:
            yield from tables_of(entry.value)
    elif isinstance(node, Items):
        for item in node:
            yield from tables_of(item)


def entries_of(node: Node) -> Iterator[Entry]:
    """Yield every entry of every table in a tree, in order of writing."""
    for table in tables_of(node):
        yield from table


def place_of(table: Table, key: str) -> Span:
    """Return where the value under a key stands, anywhere in a tree, else the tree's own place."""
    entry = next((entry for entry in entries_of(table) if entry.key == key), None)
    return entry.value.span if entry is not None else table.span
