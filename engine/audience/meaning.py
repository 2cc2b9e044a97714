"""What tests mean, shared by both executions of conditions: moments, exact numbers and what travels with a subject.

**Missing.** NULL, an absent property and JSON null are missing, and so is a value whose type does not fit the operand (the
text "12" tested with `gte: 5`, a boolean with a number, a list with `gt`). Missing fails every test but `exists: false`,
`ne` and `not_in`, which are exact complements of `exists: true`, `eq` and `in`.

**Numbers.** Columns of whole numbers and money compare exactly, as scaled integers; numbers in JSON and measured columns
(quantities, days, scores) compare in double precision;
one beyond all doubles is there, but equals nothing and is neither more nor less. Booleans are no numbers. Sums count ten-thousandths, half away
from zero; a value beyond 100 billion does not count in a sum, nor does one that is no number.

**Text** compares by code points and case-sensitively, as it stands: no trimming, no normalisation.

**Moments** are the Instant columns, and text in one of these forms (years 1000 to 9999): `2026-03-01`,
`2026-03-01T10:00`, `2026-03-01T10:00:00`, `2026-03-01T10:00:00.123456`, with a space for the `T`, and all but the first
with `Z` or an offset such as `+09:00` (at most 14:59) behind. Without an offset they are read on the shop's clock, a date at
its midnight: both sides are then compared as that clock shows them. `within: 30d` is from now − 30d to now, `in_next: 7d`
from now to now + 7d, both ends included; `older_than: 30d` is before now − 30d; `before` and `after` exclude the moment.

**Lists** (tags): a value holds where the list has it, so `tags: vip`, `eq`, `in` and `contains` look at the items; all
other tests but `exists` take a list as missing. `contains` on text finds a part of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from engine import calendar
from engine.audience.subjects import About
from engine.calendar import Duration
from engine.flows.conditions import Scalar
from engine.store.database import to_json
from engine.store.types import EPOCH, MONEY_SCALE, from_micros, to_micros

OperandKind = Literal["text", "number", "boolean", "moment", "none"]
Comparison = Literal["eq", "gt", "gte", "lt", "lte"]

# A code is held from its mail on: while that mail has not begun to leave, nobody has it.
ON_THE_WAY = ("pending", "claimed")
MOST_UNITS = 10**15  # a sum of ten-thousandths stays inside 64 bits
MOST_IN_SUM = 1e11
_MOST_INTEGER = 2**63 - 1
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_NO_SHIFT = Duration()
_EPOCH_DAY = EPOCH.toordinal()
_MOMENT = re.compile(
    r"([1-9]\d{3}-\d\d-\d\d)(?:[T ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,6}))?)?"
    r"(Z|[+-](?:0\d|1[0-4]):[0-5]\d)?)?",
    re.ASCII,
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def operand_kind(operand: object) -> OperandKind:
    """Return what kind of value an operand can equal; `none` for durations, NaN, and text that no database stores."""
    if isinstance(operand, bool):
        return "boolean"
    if isinstance(operand, str):
        return "none" if _UNSTORABLE.search(operand) else "text"
    if isinstance(operand, Decimal):
        return "number" if operand.is_finite() else "none"
    if isinstance(operand, datetime):
        return "moment"
    return "number" if isinstance(operand, int) else "none"


def as_double(number: int | float | Decimal) -> float | None:
    """Return a number in double precision, or None where it is beyond all doubles.

    >>> as_double(Decimal("0.1")), as_double(10**400)
    (0.1, None)
    """
    try:
        value = float(number)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def operand_double(number: int | Decimal) -> float:
    """Return an operand in double precision; beyond all doubles it is an infinity of its sign."""
    value = as_double(number)
    return value if value is not None else math.copysign(math.inf, 1 if number > 0 else -1)


def whole_bound(op: Comparison, number: int | Decimal, scale: int) -> tuple[Comparison, int] | bool:
    """Return the comparison with a whole number that says the same of integers counted in 1/scale.

    A bool is the answer for every integer of 64 bits.

    >>> whole_bound("gte", Decimal("19.99999"), 10_000), whole_bound("eq", Decimal("0.5"), 1)
    (('gte', 200000), False)
    """
    if not -(10**19) <= number <= 10**19:
        return op in (("lt", "lte") if number > 0 else ("gt", "gte"))
    exact = Fraction(number) * scale
    whole = math.ceil(exact) if op in ("gte", "lt") else math.floor(exact)
    if op == "eq" and whole != exact:
        return False
    if abs(whole) > _MOST_INTEGER:
        return op in (("lt", "lte") if whole > 0 else ("gt", "gte"))
    return op, whole


def sum_units(number: float) -> int | None:
    """Return a number in ten-thousandths as sums count it (half away from zero), or None where it does not count."""
    return None if not abs(number) <= MOST_IN_SUM else int(number * MONEY_SCALE + math.copysign(0.5, number))


@dataclass(frozen=True, slots=True)
class ReadMoment:
    """A moment read from text, in microseconds; without `zoned` it is what the shop's clock shows."""

    micros: int
    zoned: bool


def read_moment(text: str) -> ReadMoment | None:
    """Return the moment that a text states in one of the forms above, or None.

    >>> read_moment("1970-01-01T09:00:00+09:00"), read_moment("2026-02-30")
    (ReadMoment(micros=0, zoned=True), None)
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    day, hour, minute, second, fraction, offset = match.groups()
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    seconds = days * 86_400 + int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    if offset and offset != "Z":
        away = int(offset[1:3]) * 3600 + int(offset[4:6]) * 60
        seconds += away if offset[0] == "-" else -away
    return ReadMoment(seconds * 1_000_000 + int((fraction or "").ljust(6, "0")), bool(offset))


@dataclass(frozen=True, slots=True)
class When:
    """A moment that a test compares with: now, a moment, or what the shop's clock shows; then shifted.

    It becomes a datetime only when `now` and the shop's zone are known, so that a compiled statement serves every tick.
    """

    base: datetime | ReadMoment | None = None
    shift: Duration = _NO_SHIFT

    def at(self, now: datetime, shop_zone: str) -> datetime:
        """Return the moment, aware and in UTC; what lies outside of Python's years is their first or last moment."""
        try:
            return calendar.add(self._start(now, shop_zone), self.shift, shop_zone)
        except (OverflowError, ValueError):
            late = (
                self.base.micros > 0
                if isinstance(self.base, ReadMoment)
                else self.shift.approximate > timedelta(0)
            )
            return _LAST if late else _FIRST

    def wall(self, now: datetime, shop_zone: str) -> datetime:
        """Return what the shop's clock shows at that moment, written as if it were UTC."""
        moment = self.at(now, shop_zone)
        try:
            return calendar.local(moment, shop_zone).replace(tzinfo=UTC)
        except (OverflowError, ValueError):
            return moment

    def _start(self, now: datetime, shop_zone: str) -> datetime:
        if isinstance(self.base, ReadMoment):
            start = from_micros(self.base.micros)
            return start if self.base.zoned else calendar.at_wall(start.date(), start.time(), shop_zone)
        return (self.base or now).astimezone(UTC)


def as_when(operand: Scalar) -> When | None:
    """Return the moment that an operand states for a field that is one: a datetime or text; None for anything else."""
    if isinstance(operand, datetime):
        return When(operand)
    if isinstance(operand, str):
        moment = read_moment(operand)
        return When(moment) if moment else None
    return None


def span_of(op: str, duration: Duration) -> tuple[tuple[Comparison, When], ...]:
    """Return the comparisons that `within`, `older_than` or `in_next` stands for.

    >>> span_of("older_than", Duration(days=30))
    (('lt', When(base=None, shift=Duration(months=0, days=-30, seconds=0))),)
    """
    if op == "within":
        return ("gte", When(None, duration.negative)), ("lte", When())
    if op == "in_next":
        return ("gte", When()), ("lte", When(None, duration))
    return (("lt", When(None, duration.negative)),)


# ── what travels with a subject ──────────────────────────────────────────────────────────────────────────────────────


def trigger_id(subject: About, name: str) -> str | None:
    """Return the subject's `order_id`, `cart_id` or `sku`, else the text of that name in its trigger."""
    own = getattr(subject, name, None)
    told = own if own is not None else flat_fact(subject.trigger).get(name)
    return told if isinstance(told, str) and not _UNSTORABLE.search(told) else None


def flat_fact(fact: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fact as one flat document: its `properties`, over them its own fields; empty fields are left out."""
    inside = fact.get("properties")
    flat = dict(inside) if isinstance(inside, Mapping) else {}
    flat.update((name, value) for name, value in fact.items() if value is not None and name != "properties")
    return flat


def answer_document(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `answer:` can ask: the fields of the answer named `answer`, else of the only one; and each by its name.

    >>> answer_document({"nps": {"properties": {"score": 9}}})
    {'score': 9, 'nps': {'score': 9}}
    """
    facts = {name: flat_fact(fact) for name, fact in answers.items() if isinstance(fact, Mapping)}
    only = facts.get("answer") or (next(iter(facts.values())) if len(facts) == 1 else {})
    return {**only, **facts}


def plain_json(value: Any) -> Any:
    """Return a value as reading it back from a JSON column would give it, without what no database stores."""
    return json.loads(dump_json(value))


def dump_json(value: Any) -> str:
    """Write a document so that both databases can read it: NaN and infinities are null, NUL and lone surrogates go."""
    text = to_json(value)
    if "NaN" in text or "Infinity" in text or "\\u0000" in text or not _encodes(text):
        return to_json(_storable(json.loads(text)))
    return text


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_storable(name): _storable(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [_storable(item) for item in value]
    return value


def moment_micros(when: When, now: datetime, shop_zone: str, zoned: bool) -> int:  # noqa: FBT001 - as it was read
    """Return the moment in microseconds to compare with a value that is zoned, or is read on the shop's clock."""
    return to_micros(when.at(now, shop_zone) if zoned else when.wall(now, shop_zone))
