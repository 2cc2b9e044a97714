"""The rules of `homing validate`, and the manual of every finding.

`all_rules` are the pages (code, name, gravity, text) of rules and of problems of reading; `explain` is one of them as
text; `run` checks a loaded project.
"""

from __future__ import annotations

from engine.flows import manual, problems
from engine.flows.manual import Page
from engine.flows.rules import (
    arms,
    asking,
    contradicting,
    fields_of_facts,
    installation,
    kinds,
    moments,
    offering,
    sending,
    settings_pages,
    shape,
)
from engine.flows.rules.registry import Rule, registered, run

__all__ = [
    "Page",
    "Rule",
    "all_rules",
    "arms",
    "asking",
    "contradicting",
    "explain",
    "fields_of_facts",
    "installation",
    "kinds",
    "moments",
    "offering",
    "problems",
    "registered",
    "run",
    "sending",
    "settings_pages",
    "shape",
]


def all_rules() -> tuple[Page, ...]:
    """Return the page of every code that a finding can have, by code."""
    return manual.pages()


def explain(code: str) -> str | None:
    """Return the manual page of a code as text, or None where there is no such code."""
    page = manual.find(code)
    return None if page is None else page.render()
