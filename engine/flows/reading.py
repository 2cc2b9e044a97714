"""Reading single values of a definition: text, names, numbers, durations, shares, moments.

Comes in: nodes. Goes out: values, or None with a finding added. Every parser module reads through a `Reader`, so that
one sentence describes the same mistake everywhere and all mistakes of a file are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, TypeVar

from engine.calendar import Duration, parse_clock
from engine.diagnostics import Finding, Span, has_errors
from engine.flows import problems
from engine.flows.nodes import Items, Node, Scalar, Table
from engine.settings import percent

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_LONGEST = timedelta(days=50 * 366)
_WORDY = re.compile(
    r"(-?\d+(?:\.\d+)?)\s*(seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|wks?|months?|mon|years?|yrs?)",
    re.I,
)
_SHORT = {"s": "s", "mi": "min", "h": "h", "d": "d", "w": "w", "mo": "mo", "y": "y"}


def describe(node: Node) -> str:
    """Return what a node is, in the words of a finding."""
    if isinstance(node, Table):
        return "a table of keys"
    if isinstance(node, Items):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    return problems.quoted(node.value)


def short_duration(text: str) -> str | None:
    """Return a wordy duration as Homing writes it, or None.

    >>> short_duration("4 hours"), short_duration("3 months"), short_duration("soon")
    ('4h', '3mo', None)
    """
    match = _WORDY.fullmatch(text.strip())
    if match is None:
        return None
    unit = match[2].lower()
    return match[1] + (_SHORT.get(unit[:2]) or _SHORT[unit[0]])


def moment(text: str) -> datetime:
    """Read a date or a date with a time as an aware UTC moment; without a zone it is UTC, without a time midnight.

    Raises ValueError with a plain sentence.
    """
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f'"{text}" is not a date such as 2026-01-31') from None
    if not 1900 <= read.year <= 2200:
        raise ValueError(f'"{text}" lies outside of the years 1900 to 2200')
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


class Reader:
    """Collects findings while values are read; `stored` definitions carry their segments and no places."""

    def __init__(self, findings: list[Finding], *, stored: bool = False) -> None:
        self.findings, self.stored = findings, stored

    def add(self, finding: Finding) -> None:
        """Tell one finding."""
        self.findings.append(finding)

    def is_clean(self, before: int) -> bool:
        """Return whether no error was added since there were `before` findings."""
        return not has_errors(self.findings[before:])

    def needs(
        self,
        table: Table,
        where: str,
        keys: Sequence[str],
        known: Sequence[str],
        span: Span | None = None,
        *,
        way_out: str = "",
    ) -> None:
        """Tell every key that must be there and is missing; one that is only misspelt is told as that."""
        meant = {
            word
            for entry in table
            if entry.key not in known
            for word in get_close_matches(entry.key, known, 1)
        }
        for key in keys:
            if key not in table and key not in meant:
                self.add(problems.missing_key(span or table.span, key, where, way_out=way_out))

    def table(
        self, node: Node, key: str, known: Sequence[str] | None = None, *, way_out: str = ""
    ) -> Table | None:
        """Read a table; with `known`, every other key is told."""
        if not isinstance(node, Table):
            self.add(problems.wrong_shape(node.span, key, "a table of keys", describe(node), way_out=way_out))
            return None
        if known is not None:
            self.only(node, key, known)
        return node

    def only(self, table: Table, where: str, known: Sequence[str]) -> None:
        """Tell every key that is not known."""
        for entry in table:
            if entry.key not in known:
                self.add(problems.unknown_key(entry.key_span, entry.key, where, known, taken=table.keys))

    def items(self, node: Node, key: str, *, way_out: str = "") -> Items | None:
        """Read a list."""
        if not isinstance(node, Items):
            self.add(problems.wrong_shape(node.span, key, "a list", describe(node), way_out=way_out))
            return None
        return node

    def text(self, node: Node, key: str) -> str | None:
        """Read text that is not empty; numbers are taken as they are written."""
        if isinstance(node, Scalar) and not isinstance(node.value, bool | None) and str(node.value).strip():
            return str(node.value)
        only = node.items[0] if isinstance(node, Items) and len(node.items) == 1 else None
        way_out = f"write {only.value}, without brackets" if isinstance(only, Scalar) else ""
        self.add(problems.wrong_shape(node.span, key, "text", describe(node), way_out=way_out))
        return None

    def name(self, node: Node, key: str) -> str | None:
        """Read a name: letters, digits, dashes."""
        text = self.text(node, key)
        if text is not None and NAME.fullmatch(text) is None:
            self.add(problems.bad_name(node.span, key, text))
            return None
        return text

    def flag(self, node: Node, key: str) -> bool | None:
        """Read true or false."""
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        word = isinstance(node, Scalar) and str(node.value).lower() in _TRUTH
        way_out = "write true or false" if word else ""
        finding = problems.wrong_shape(node.span, key, "true or false", describe(node), way_out=way_out)
        self.add(replace(finding, fixable=word))
        return None

    def whole(self, node: Node, key: str, low: int, high: int) -> int | None:
        """Read a whole number between two limits."""
        value = node.value if isinstance(node, Scalar) and not isinstance(node.value, bool) else None
        if isinstance(value, int) and low <= value <= high:
            return value
        text = str(value if value is not None else getattr(node, "value", ""))
        meant = text if re.fullmatch(r"-?\d{1,9}", text) and low <= int(text) <= high else ""
        sentence = f"{describe(node)} is not a whole number from {low} to {high}"
        way_out = f"write {meant}" if meant else f"write a number such as {min(max(50, low), high)}"
        if meant:
            sentence += ": quotes make it text"
        self.add(problems.unreadable(node.span, key, sentence, way_out=way_out, fixable=bool(meant)))
        return None

    def one_of(self, node: Node, key: str, known: Sequence[str]) -> str | None:
        """Read one of a few words."""
        if isinstance(node, Scalar) and node.value in known and isinstance(node.value, str):
            return node.value
        found = node.value if isinstance(node, Scalar) else describe(node)
        self.add(problems.not_one_of(node.span, key, found, known))
        return None

    def duration(self, node: Node, key: str, *, negative: bool = False) -> Duration | None:
        """Read a duration, at most fifty years; `negative` ones only where they have a meaning."""
        duration = self.read(node, key, Duration.parse, wanted="a duration such as 4h or 30d")
        if duration is None:
            return None
        length = duration.approximate
        if abs(length) > _LONGEST:
            self.add(problems.unreadable(node.span, key, f"{describe(node)} is longer than 50 years"))
            return None
        if length < timedelta() and not negative:
            self.add(
                problems.unreadable(
                    node.span, key, f"{describe(node)} goes backward", way_out="leave the minus out"
                )
            )
            return None
        return duration

    def clock(self, node: Node, key: str) -> time | None:
        """Read a time of day."""
        return self.read(node, key, parse_clock, wanted='a time of day such as "09:00"')

    def share(self, node: Node, key: str) -> Decimal | None:
        """Read a share such as `10%` as a fraction."""
        return self.read(node, key, percent, wanted="a share such as 10%")

    def moment(self, node: Node, key: str) -> datetime | None:
        """Read a date or moment as aware UTC."""
        return self.read(node, key, moment, wanted="a date such as 2026-01-31")

    def read(self, node: Node, key: str, parse: Callable[[str], T], *, wanted: str) -> T | None:
        """Read text by a function that raises ValueError with a plain sentence."""
        if not isinstance(node, Scalar) or isinstance(node.value, bool | None):
            self.add(problems.wrong_shape(node.span, key, wanted, describe(node)))
            return None
        text = str(node.value)
        try:
            return parse(text)
        except (ValueError, OverflowError, ArithmeticError) as error:
            better = _better(parse, text)
            way_out = f"write {better or _likely(parse, text) or wanted}"
            self.add(problems.unreadable(node.span, key, str(error), way_out=way_out, fixable=bool(better)))
            return None


CURLY = "“”„‟«»‘’‚‛"
_TRUTH = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "no": "false",
    "off": "false",
    "n": "false",
    "true": "true",
    "false": "false",
}


def truth_word(text: str) -> str | None:
    """Return `true` or `false` for a word that means it elsewhere, or None."""
    return _TRUTH.get(text.lower())


def better_value(text: str) -> str | None:
    """Return how Homing writes a duration, share or time of day that was written in another way, or None.

    >>> better_value("3 days"), better_value("9am"), better_value("9.30")
    ('3d', '"09:00"', '"09:30"')
    """
    text = text.strip(CURLY)
    return short_duration(text) or _clock_text(text)


def _better(parse: Any, text: str) -> str | None:
    if text.strip(CURLY) != text:
        text = text.strip(CURLY)
        with suppress(ValueError, OverflowError, ArithmeticError):
            parse(text)
            return _clock_text(text) if parse is parse_clock else text
    if parse is percent:
        return f"{text}%" if re.fullmatch(r"\d{1,2}(\.\d+)?", text) and Decimal(text) >= 1 else None
    if parse is parse_clock:
        return _clock_text(text)
    return short_duration(text)


def _likely(parse: Any, text: str) -> str | None:
    """Return what a value may have been meant to say, where it may as well mean something else."""
    if parse is percent and re.fullmatch(r"0?\.\d{1,4}", text):
        return f"{(Decimal(text) * 100).normalize():f}%, or {Decimal(text):f}% where that little is meant"
    minutes = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*m", text.strip(), re.I)
    if minutes and parse not in (percent, parse_clock, moment):
        return f"{minutes[1]}min, or {minutes[1]}mo for months"
    return None


def clock_way_out(text: str) -> str | None:
    """Return a time of day as Homing writes it, for text that can be nothing else, or None.

    >>> clock_way_out("10pm"), clock_way_out("09.00"), clock_way_out("4 h")
    ('"22:00"', '"09:00"', None)
    """
    return None if re.fullmatch(r"\s*\d+\s*h\s*", text, re.I) else _clock_text(text)


def _clock_text(text: str) -> str | None:
    match = re.fullmatch(r"(\d{1,2})(?:[:.h](\d{2}))?\s*(am|pm|h)?", text.strip().lower())
    if match is None or (match[2] is None and match[3] is None):
        return None
    hour = int(match[1]) % 12 + (12 if match[3] == "pm" else 0) if match[3] in ("am", "pm") else int(match[1])
    minute = int(match[2] or 0)
    return f'"{hour:02}:{minute:02}"' if hour < 24 and minute < 60 else None
