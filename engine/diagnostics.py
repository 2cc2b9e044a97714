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
    is another place that matters with its own label; `through` are the files of the mails in which it shows, where it stands
    in what several of them share. No address and no secret may stand in any text.
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
    through: tuple[str, ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether this finding keeps `apply` from going on."""
        return self.severity == "error"


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether any of the findings is an error."""
    return any(finding.is_error for finding in findings)


def no_utf8(file: str, error: UnicodeDecodeError) -> tuple[Span, str]:
    r"""Return where a file stops being UTF-8 text, and what to say of it; UTF-16 is named, and is foreign from its start.

    >>> no_utf8("a.yaml", UnicodeDecodeError("utf-8", "a: gr\u00fcn".encode("latin-1"), 5, 6, ""))[0]
    Span(file='a.yaml', line=1, column=6, length=1)
    """
    if error.object.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Span(file), 'this file is UTF-16, which some editors call "Unicode"'
    before = error.object[: error.start].decode("utf-8-sig", "replace")
    place = Span(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
    return place, "this byte is no UTF-8 text"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean "x"?` for the likeliest known word, or an empty string; two are named where both are as near.

    >>> did_you_mean("quite_for", ["quiet_for", "where"])
    'did you mean "quiet_for"?'
    >>> did_you_mean("sent", ["send", "set", "exit"])
    'did you mean "set" or "send"?'
    """
    near = _nearest(str(word), known)
    likeliest = near[:2] if near and _slips(str(word), near[0]) == 1 else near[:1]
    named = " or ".join(f'"{each}"' for each in likeliest)
    return f"did you mean {named}?" if named else ""


def is_sure(word: str, known: Iterable[str]) -> bool:
    """Return whether what `did_you_mean` says is surely meant, so that a program may write it.

    It is one slip of the pen away (two in a long word), and nothing else is as near; what only resembles a known word may
    be another word.

    >>> is_sure("quite_for", ["quiet_for", "where"]), is_sure("Quiet-For", ["quiet_for"])
    (True, True)
    >>> is_sure("sent", ["send", "set"]), is_sure("customer.tags", ["customer"]), is_sure("gth", ["gte", "gt"])
    (False, False, False)
    """
    words = list(known)
    near = _nearest(str(word), words)
    if len(near) != 1:
        return False
    slips, is_short = _slips(word, near[0]), len(word) == len(near[0]) <= _SHORTEST
    if any(_slips(word, each) <= slips for each in words if each != near[0]):
        return False
    if is_short and slips and sorted(word) != sorted(near[0]):
        return False  # another letter in a short word makes another word
    return slips <= (2 if len(word) >= _LONG else 1)


def _nearest(word: str, known: Iterable[str]) -> list[str]:
    """Return the known words that resemble a word: those that are the fewest slips away, the likeliest first."""
    small = {each.lower(): each for each in known}
    alike = [small[each] for each in get_close_matches(word.lower(), small, n=3, cutoff=0.6)]
    slips = [_slips(word, each) for each in alike]
    fewest = min(slips, default=0)
    return [each for each, count in zip(alike, slips, strict=True) if count == fewest]


def _slips(word: str, known: str) -> int:
    """Return how many letters are too many, too few, others or changed about with their neighbours; signs do not count."""
    one, other = _squeezed(word), _squeezed(known)
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            least = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != wanted))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                least = min(least, rows[-2][j - 2] + 1)
            row.append(least)
        rows.append(row)
    return rows[-1][-1]


def slip_of(word: str, known: Iterable[str]) -> str:
    """Return the known name that a word was probably meant to be, or an empty string.

    Stricter than `did_you_mean`, for names that may as well be somebody's own: letters too many, too few or changed about,
    in as many words. Another letter in a short name makes another name (`store` is no slip of `score`), and so does
    another word (`survey_id` of `survey`).

    >>> slip_of("ordr_id", ["order_id", "value"]), slip_of("orderNumber", ["order_number"])
    ('order_id', 'order_number')
    >>> slip_of("store", ["score"]), slip_of("survey_id", ["survey"])
    ('', '')
    """
    names = [name for name in known if len(name) >= _SHORTEST]
    bare = _squeezed(word)
    for name in names:
        if _squeezed(name) == bare:
            return name
    alike = [name for name in names if name.count("_") == word.count("_")]
    near = get_close_matches(word, alike, n=1, cutoff=_SLIP)
    return near[0] if near else next((name for name in alike if sorted(name) == sorted(word)), "")


_SHORTEST = 3  # of two letters, one is half the name
_SLIP = 0.81
_LONG = 8  # two slips in a word of so many letters leave the most of it


def _squeezed(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
