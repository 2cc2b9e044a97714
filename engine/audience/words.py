"""Conditions and values in the words that people read in `homing why`.

Comes in: conditions, and values found for a customer. Goes out: one line of text each. No address is ever in it: of an
email only that there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from engine import calendar
from engine.flows.conditions import (
    All,
    Any_,
    Condition,
    Did,
    FieldTest,
    InSegment,
    Lines,
    Not,
    Of,
    OfferIs,
    Test,
    clause_text,
)

_LONGEST = 80


def condition_words(condition: Condition) -> str:
    """Return a condition as its author would write it, on one line.

    >>> condition_words(Not(Did("order_placed")))
    'did_not: order_placed'
    """
    return clause_text(_raw(condition))


def field_words(scope: str, tested: FieldTest) -> str:
    """Return one field of a condition with its tests, as in `customer: {country: JP}`."""
    return clause_text({scope: _raw_fields([tested])})


def lines_words(scope: str, lines: Lines) -> str:
    """Return one demand on lines, as in `cart: {lines: {any: {in_stock: true}}}`."""
    return clause_text({scope: {"lines": {lines.quantifier: _raw_fields(lines.tests)}}})


def value_words(value: Any, shop_zone: str, *, private: bool = False) -> str:
    """Return a value that was found, or `missing`; moments on the shop's clock, long texts cut.

    >>> value_words(Decimal("12.50"), "UTC"), value_words(None, "UTC"), value_words(["a", True], "UTC")
    ('12.50', 'missing', '[a, true]')
    """
    if value is None:
        return "missing"
    if private:
        return "known"
    if isinstance(value, datetime):
        return moment_words(value, shop_zone)
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 1e15 else value
    if isinstance(value, Mapping):
        return "several fields"
    text = clause_text(value) if not isinstance(value, str | Decimal) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def moment_words(moment: datetime, shop_zone: str) -> str:
    """Return a moment on the shop's clock, to the minute."""
    try:
        return calendar.local(moment, shop_zone).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError):
        return moment.strftime("%Y-%m-%d")


def times_words(count: int) -> str:
    """Return a count as people say it.

    >>> times_words(0), times_words(1), times_words(2)
    ('not found', 'found once', 'found 2 times')
    """
    return "not found" if count == 0 else "found once" if count == 1 else f"found {count} times"


def _raw(condition: Condition) -> Any:
    if isinstance(condition, All | Any_):
        return {"all" if isinstance(condition, All) else "any": [_raw(item) for item in condition.items]}
    if isinstance(condition, Not):
        raw = _raw(condition.item)
        if isinstance(condition.item, Did | InSegment):
            (name, value), *rest = raw.items()
            return {f"{name}_not" if name == "did" else f"not_{name}": value, **dict(rest)}
        return {"not": raw}
    if isinstance(condition, Did):
        return _raw_did(condition)
    if isinstance(condition, InSegment):
        return {"segment": condition.segment}
    if isinstance(condition, OfferIs):
        asked = {"held": condition.held, "used": condition.used}
        return {
            "offer": {condition.offer: {name: value for name, value in asked.items() if value is not None}}
        }
    return _raw_of(condition)


def _raw_of(condition: Of) -> Any:
    fields = _raw_fields(condition.fields)
    lines = {item.quantifier: _raw_fields(item.tests) for item in condition.lines}
    return {condition.scope: {**fields, **({"lines": lines} if lines else {})}}


def _raw_did(condition: Did) -> Any:
    bounds = {
        "times": _raw_tests(condition.times) if condition.times else None,
        "within": condition.within,
        "since": condition.since,
        "where": _raw_fields(condition.where) or None,
        "sum": _raw_fields(condition.sums) or None,
        "same": condition.same,
    }
    return {"did": condition.event, **{name: value for name, value in bounds.items() if value is not None}}


def _raw_fields(fields: Iterable[FieldTest]) -> dict[str, Any]:
    return {tested.path: _raw_tests(tested.tests) for tested in fields}


def _raw_tests(tests: tuple[Test, ...]) -> Any:
    if len(tests) == 1 and tests[0].op in ("eq", "in"):
        return tests[0].operand
    return {test.op: test.operand for test in tests}
