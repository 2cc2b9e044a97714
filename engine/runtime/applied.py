"""What was applied beside the flows: templates and offers, kept by the hash of their content.

The daemon renders these, not what lies in the folder; a process parses each content once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from sqlalchemy import Connection, select

from engine.diagnostics import Finding
from engine.flows.model import Offer
from engine.flows.parse import parse_offers
from engine.flows.yaml_source import read_yaml
from engine.render.library import TemplateLibrary
from engine.store.tables import sources

TEMPLATES = "templates/"
OFFERS = "flows/offers.yaml"

_libraries: dict[frozenset[tuple[str, str]], TemplateLibrary] = {}


def applied_library(connection: Connection) -> TemplateLibrary:
    """Return the applied templates as a library; the same content gives the same, warm library."""
    query = select(sources.c.path, sources.c.hash).where(sources.c.path.startswith(TEMPLATES, autoescape=True))
    key = frozenset((row.path, row.hash) for row in connection.execute(query))
    if key not in _libraries:
        rows = connection.execute(
            select(sources.c.path, sources.c.content).where(sources.c.path.startswith(TEMPLATES, autoescape=True))
        )
        while len(_libraries) > 3:
            _libraries.pop(next(iter(_libraries)))
        _libraries[key] = TemplateLibrary({path.removeprefix(TEMPLATES): content for path, content in rows})
    return _libraries[key]


def applied_offers(connection: Connection) -> Mapping[str, Offer]:
    """Return the applied offers by name."""
    content = connection.scalar(select(sources.c.content).where(sources.c.path == OFFERS))
    return _offers(content) if content else {}


@lru_cache(maxsize=8)
def _offers(content: str) -> Mapping[str, Offer]:
    findings: list[Finding] = []
    node = read_yaml(content, OFFERS, findings)
    return parse_offers(node, findings) if node is not None else {}
