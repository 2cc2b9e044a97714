"""What a flow's mails say and give: templates with all that they draw on, and offers.

Comes in: the files of the folder, or those that were applied. Goes out: for each flow one text that changes where its mails do,
and the names of what differs. Promises: a mail that a flow does not send, in any language, changes nothing for it; layouts,
blocks and words are everybody's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from engine.diagnostics import Finding
from engine.flows.load import Project
from engine.flows.model import Flow, Send
from engine.flows.nodes import Node, Table, plain
from engine.flows.yaml_source import read_yaml
from engine.runtime.applied import OFFERS, TEMPLATES

SHARED = ("layouts", "blocks")


@dataclass(frozen=True, slots=True)
class Content:
    """Templates by their path under templates/, and offers by name, as they are written."""

    templates: Mapping[str, str]
    offers: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_folder(cls, project: Project, templates: Mapping[str, str]) -> Content:
        """Return what lies in the folder."""
        return cls(templates, _plain(project.offers_node))

    @classmethod
    def of_applied(cls, stored: Mapping[str, str]) -> Content:
        """Return what was applied: the content of each path of the project."""
        texts = {
            path.removeprefix(TEMPLATES): text for path, text in stored.items() if path.startswith(TEMPLATES)
        }
        findings: list[Finding] = []
        return cls(texts, _plain(read_yaml(stored[OFFERS], OFFERS, findings)) if stored.get(OFFERS) else {})

    def parts(self, flow: Flow) -> dict[str, str]:
        """Return by its name everything that the mails of a flow are made of."""
        sends = [step for step in flow.all_steps() if isinstance(step, Send)]
        names = {name for step in sends for name in step.templates}
        found = {
            f"{TEMPLATES}{path}": text
            for path, text in self.templates.items()
            if names and (_is_shared(path) or PurePosixPath(path).stem in names)
        }
        for name in self._given(sends):
            found[f"offers.{name}"] = json.dumps(self.offers[name], sort_keys=True, default=str)
        return found

    def text(self, flow: Flow) -> str:
        """Return one text that is another where anything of that is."""
        return "\x00".join(f"{name}\x01{text}" for name, text in sorted(self.parts(flow).items()))

    def _given(self, sends: list[Send]) -> Iterator[str]:
        """Yield the offers that steps give, and those that stand in for them when codes run out."""
        waiting, seen = [step.offer for step in sends if step.offer], set[str]()
        while waiting:
            name = waiting.pop()
            if name in self.offers and name not in seen:
                seen.add(name)
                yield name
                stand_in = (
                    self.offers[name].get("when_empty") if isinstance(self.offers[name], dict) else None
                )
                waiting += [stand_in] if isinstance(stand_in, str) else []


def differing(before: Content, after: Content, flow: Flow, old: Flow) -> Iterator[str]:
    """Yield the name of each template and offer that the mails of a flow draw on and that differs."""
    earlier, later = before.parts(old), after.parts(flow)
    for name in sorted({*earlier, *later}):
        if name not in later:
            yield f"- {name}"
        elif name not in earlier:
            yield f"+ {name}"
        elif earlier[name] != later[name]:
            yield f"~ {name}"


def _is_shared(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return any(part in SHARED for part in parts[:-1]) or not path.endswith(".mjml")


def _plain(node: Node | None) -> Mapping[str, Any]:
    found = plain(node) if isinstance(node, Table) else {}
    return found if isinstance(found, dict) else {}
