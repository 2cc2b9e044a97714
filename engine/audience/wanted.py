"""What a condition wants, in plain words: the other half of what `homing why` found.

Comes in: a condition. Goes out: one line of text. It says the same as the condition, for people who do not read YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

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
)

_OPERATORS: Mapping[str, str] = {
    "eq": "{0}", "ne": "anything but {0}", "gt": "more than {0}", "gte": "at least {0}", "lt": "less than {0}", "lte": "at most {0}",
    "in": "one of {0}", "not_in": "none of {0}", "contains": "something that contains {0}", "starts_with": "something that starts with {0}",
    "before": "before {0}", "after": "after {0}", "within": "within the last {0}", "older_than": "more than {0} ago",
    "in_next": "within the next {0}",
}  # fmt: skip
_COUNTS: Mapping[str, str] = {"gte": "at least {0} times", "eq": "{0} times", "lt": "fewer than {0} times", "lte": "at most {0} times",
                              "gt": "more than {0} times", "ne": "any number of times but {0}"}  # fmt: skip


def wanted_words(condition: Condition) -> str:
    """Return what a condition wants.

    >>> wanted_words(Not(Did("order_placed")))
    'no order_placed'
    """
    if isinstance(condition, Not):
        return _not(condition.item)
    return _WORDS[type(condition)](condition)


def _not(item: Condition) -> str:
    if isinstance(item, Did):
        return f"no {_did(item)}"
    if isinstance(item, InSegment):
        return f"not in the segment {item.segment}"
    return f"not ({wanted_words(item)})"


def _did(condition: Did) -> str:
    parts = [condition.event]
    parts += [_COUNTS.get(test.op, "{0} times").format(_value(test.operand)) for test in condition.times]
    if condition.where:
        parts.append(f"with {_fields(condition.where)}")
    if condition.sums:
        parts.append(f"with a sum of {_fields(condition.sums)}")
    if condition.within is not None:
        parts.append(f"within the last {condition.within}")
    if condition.since is not None:
        parts.append("since the entry" if condition.since == "entry" else f"since {_value(condition.since)}")
    if condition.same is not None:
        parts.append(f"with the same {condition.same} as the trigger")
    return " ".join(parts)


def _of(condition: Of) -> str:
    told = [f"{condition.scope} {_field(field)}" for field in condition.fields]
    return " and ".join([*told, *(_lines(condition.scope, lines) for lines in condition.lines)])


def _lines(scope: str, lines: Lines) -> str:
    return f"{lines.quantifier} line of the {scope} with {_fields(lines.tests)}"


def _fields(fields: Iterable[FieldTest]) -> str:
    return " and ".join(_field(field) for field in fields)


def _field(field: FieldTest) -> str:
    return " and ".join(f"{field.path} {_test(test)}" for test in field.tests)


def _test(test: Test) -> str:
    if test.op == "exists":
        return "known" if test.operand else "missing"
    return _OPERATORS[test.op].format(_value(test.operand))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(_value(item) for item in value)
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)


def _offer(condition: OfferIs) -> str:
    told = []
    if condition.held is not None:
        told.append(f"the offer {condition.offer} {'held' if condition.held else 'not held'}")
    if condition.used is not None:
        told.append(f"the offer {condition.offer} {'used' if condition.used else 'not used'}")
    return " and ".join(told)


_WORDS: Mapping[type, Callable[[Any], str]] = {
    All: lambda each: " and ".join(wanted_words(item) for item in each.items) or "anything",
    Any_: lambda each: " or ".join(wanted_words(item) for item in each.items) or "nothing",
    Did: _did,
    Of: _of,
    InSegment: lambda each: f"in the segment {each.segment}",
    OfferIs: _offer,
}
