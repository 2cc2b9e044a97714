"""Findings: what is wrong in somebody's file, as values.

A finding says where (file, line, column), what, what it does to customers and one way out. Parsers and rules return
lists of findings and never raise for bad input; commands print all of them at once. Rendering for terminals and
machines lives in `engine.flows.report`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of one line in a file: 1-based line and column, `length` in characters (at least 1)."""

    file: str = ""
    line: int = 0
    column: int = 0
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or unwise, with its way out.

    `code` is a family letter (F flow, C condition, T template, P plan, S settings, D delivery, B our own bug) and three
    digits; `effect` says what customers would feel; `help` names one way out; `label` explains the span, and `second`
    is another place that matters with its own label. No address and no secret may stand in any text.
    """

    code: str
    severity: Severity
    message: str
    span: Span = Span()
    label: str = ""
    second: Span | None = None
    second_label: str = ""
    effect: str = ""
    help: str = ""
    fixable: bool = False

    @property
    def is_error(self) -> bool:
        """Whether this finding keeps `apply` from going on."""
        return self.severity == "error"


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether any of the findings is an error."""
    return any(finding.is_error for finding in findings)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean "x"?` for the likeliest known word, or an empty string.

    >>> did_you_mean("quite_for", ["quiet_for", "where"])
    'did you mean "quiet_for"?'
    """
    matches = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f'did you mean "{matches[0]}"?' if matches else ""
