"""The manual of findings: every code with its name and the page that `homing explain CODE` prints.

A page is the docstring of the function that makes the finding: a problem of reading (`engine.flows.problems`) or a rule
(`engine.flows.rules`). Promises: a code is registered once; a function without a docstring is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, TypeVar

from engine.diagnostics import Severity

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Page:
    """One code: its name in words and dashes, how grave it is, and its text."""

    code: str
    name: str
    severity: Severity
    text: str

    @property
    def title(self) -> str:
        """The first line of the page."""
        return self.text.partition("\n")[0]

    def render(self) -> str:
        """Return the page as `homing explain` prints it."""
        return f"{self.code} {self.name} ({self.severity})\n\n{self.text}\n"


_PAGES: dict[str, Page] = {}


def page(code: str, name: str, severity: Severity = "error") -> Callable[[_Function], _Function]:
    """Register the decorated function's docstring as the page of `code`."""

    def register(function: _Function) -> _Function:
        text = cleandoc(function.__doc__ or "")
        if not text or code in _PAGES:
            raise ValueError(f"{code} needs a docstring of its own")
        _PAGES[code] = Page(code, name, severity, text)
        return function

    return register


def write_page(code: str, name: str, severity: Severity, text: str) -> None:
    """Register the page of a code whose findings are made below this layer (settings)."""
    if code in _PAGES:
        raise ValueError(f"{code} has a page already")
    _PAGES[code] = Page(code, name, severity, cleandoc(text))


def pages() -> tuple[Page, ...]:
    """Return every page, by code."""
    return tuple(_PAGES[code] for code in sorted(_PAGES))


def find(code: str) -> Page | None:
    """Return the page of a code, whatever its case, or None."""
    return _PAGES.get(code.strip().upper())


FAMILIES = {
    "F": "Flows, offers and scenarios",
    "C": "Conditions",
    "T": "Templates",
    "P": "Policy and plan",
    "S": "Settings",
    "D": "Delivery and the installation",
    "B": "Bugs of ours",
}


def as_markdown() -> str:
    """Return all pages as one Markdown document, by family and code: docs/rules.md, in which nothing is written by hand."""
    known = pages()
    lines = [
        "# Rules",
        "",
        f"The {len(known)} things that `homing validate` and `homing doctor` can tell, as `homing explain CODE` shows them. An error",
        "keeps `apply` from going on; warnings and remarks are advice. `validate --fix` mends what can be mended safely.",
        "",
    ]
    for letter, title in FAMILIES.items():
        own = [page for page in known if page.code.startswith(letter)]
        if own:
            lines += [f"## {title}", "", "| code | name | |", "| --- | --- | --- |"]
            lines += [f"| [{page.code}](#{_anchor(page)}) | {page.name} | {page.severity} |" for page in own]
            lines.append("")
            for page in own:
                lines += [f"### {page.code} {page.name}", "", page.text, ""]
    return "\n".join(lines).rstrip() + "\n"


def _anchor(page: Page) -> str:
    return f"{page.code.lower()}-{page.name}"
