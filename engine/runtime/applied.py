"""What was applied beside the flows: templates and offers, kept by the hash of their content.

The daemon renders these, not what lies in the folder; a process parses each content once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from engine.diagnostics import Finding
from engine.flows.model import Offer
from engine.flows.parse import parse_offers
from engine.flows.yaml_source import read_yaml
from engine.render.library import TemplateLibrary
from engine.store.tables import sources

TEMPLATES = "templates/"
OFFERS = "flows/offers.yaml"

STAMP = "sources_stamp"  # hash of everything applied beside the flows


@dataclass(frozen=True, slots=True)
class Applied:
    """The applied templates, ready to render, and the applied offers."""

    library: TemplateLibrary
    offers: Mapping[str, Offer]


_known: dict[str | None, Applied] = {}


def applied_sources(connection: Connection, stamp: str | None) -> Applied:
    """Return what was applied; the same stamp gives the same, warm library without asking the database."""
    if stamp not in _known or stamp is None:
        rows = {
            row.path: row.content for row in connection.execute(select(sources.c.path, sources.c.content))
        }
        templates = {
            path.removeprefix(TEMPLATES): text for path, text in rows.items() if path.startswith(TEMPLATES)
        }
        while len(_known) > 3:
            _known.pop(next(iter(_known)))
        _known[stamp] = Applied(TemplateLibrary(templates), _offers(rows.get(OFFERS)))
    return _known[stamp]


def _offers(content: str | None) -> Mapping[str, Offer]:
    findings: list[Finding] = []
    node = read_yaml(content, OFFERS, findings) if content else None
    return parse_offers(node, findings) if node is not None else {}
