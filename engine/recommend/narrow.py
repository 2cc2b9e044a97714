"""Which products a block may show: the `where` of a recommendation, held against one product in memory.

Comes in: a product's fields and field tests. Goes out: whether all hold. Promises the meaning that tests have everywhere
in the flow language: text compares case-sensitively, a type that does not fit counts as missing, and a missing value fails
every test but `exists: false`, `ne` and `not_in`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from engine.calendar import Duration, add
from engine.flows.conditions import FieldTest, Test

_NUMBER = (int, float, Decimal)


def passes(product: Mapping[str, Any], tests: Sequence[FieldTest], now: datetime) -> bool:
    """Return whether every test holds for the product as it is; relative times count from `now`."""
    return all(_holds(field(product, named.path), test, now) for named in tests for test in named.tests)


def passes_any(product: Mapping[str, Any], rules: Sequence[Sequence[FieldTest]], now: datetime) -> bool:
    """Return whether every test of at least one rule holds."""
    return any(passes(product, tests, now) for tests in rules)


def field(product: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path (`category`, `properties.season`), or None where there is none."""
    value: Any = product
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _holds(value: Any, test: Test, now: datetime) -> bool:
    if test.op == "exists":
        return (value is not None) is test.operand
    if test.op in ("eq", "in", "ne", "not_in"):
        others = test.operand if isinstance(test.operand, tuple) else (test.operand,)
        return any(_equal(value, other) for other in others) is (test.op in ("eq", "in"))
    if test.op == "contains":
        found = isinstance(value, str) and isinstance(test.operand, str) and test.operand in value
        return found or (isinstance(value, list | tuple) and _equal(value, test.operand))
    if test.op == "starts_with":
        return isinstance(value, str) and isinstance(test.operand, str) and value.startswith(test.operand)
    if test.op in _ORDERED:
        return _ordered(value, test.operand, _ORDERED[test.op])
    return _in_time(value, test, now)


_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, operand: bool(value > operand),
    "gte": lambda value, operand: bool(value >= operand),
    "lt": lambda value, operand: bool(value < operand),
    "lte": lambda value, operand: bool(value <= operand),
    "before": lambda value, operand: bool(value < operand),
    "after": lambda value, operand: bool(value > operand),
}


def _equal(value: Any, operand: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_equal(item, operand) for item in value)
    if isinstance(value, bool) or isinstance(operand, bool):
        return isinstance(value, bool) and isinstance(operand, bool) and value == operand
    if isinstance(value, _NUMBER) and isinstance(operand, _NUMBER):
        return _exact(value) == _exact(operand)
    value = _moment_or_self(value, operand)
    return type(value) is type(operand) and bool(value == operand)


def _ordered(value: Any, operand: Any, compare: Callable[[Any, Any], bool]) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool):
        return False
    if isinstance(value, _NUMBER) and isinstance(operand, _NUMBER):
        return compare(_exact(value), _exact(operand))
    value = _moment_or_self(value, operand)
    return isinstance(value, str | datetime) and type(value) is type(operand) and compare(value, operand)


def _in_time(value: Any, test: Test, now: datetime) -> bool:
    moment = _moment_or_self(value, now)
    if not isinstance(moment, datetime) or not isinstance(test.operand, Duration):
        return False
    if test.op == "in_next":
        return now <= moment <= add(now, test.operand, "UTC")
    since = add(now, test.operand.negative, "UTC")
    return since <= moment <= now if test.op == "within" else moment < since


def _exact(number: Any) -> Decimal:
    return number if isinstance(number, Decimal) else Decimal(str(number))


def _moment_or_self(value: Any, like: Any) -> Any:
    """Return text as the moment it writes, where a moment is asked for; JSON properties know no moments."""
    if not isinstance(like, datetime) or not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    return moment if moment.tzinfo is not None else value
