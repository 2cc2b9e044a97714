"""Rules about conditions that exclude each other: each of them can hold, both never do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from engine.diagnostics import Finding, Span
from engine.flows import fields
from engine.flows.conditions import All, Clause, Condition, FieldTest, Not, Of, Test
from engine.flows.model import Branch
from engine.flows.rules.asking import contradiction
from engine.flows.rules.registry import Look, flow_rule, place_of, told

_ONE_VALUE = ("text", "number", "flag", "date", "moment")


@flow_rule("C214", "exclude-each-other")
def exclude_each_other(look: Look) -> Iterator[Finding]:
    """Two conditions of which both must hold, and never do.

    All of `enter_if` and `only_if` together decide who enters, all of a `when` who takes that arm, and all conditions of
    a segment who belongs. One of two values is a list: `[DE, FR]`; alternatives stand in `any`.

    Before:

        only_if: [{customer: {country: DE}}, {customer: {country: FR}}]

    After:

        only_if: [{customer: {country: [DE, FR]}}]
    """
    flow = look.flow
    lists = [((*flow.enter_if, *flow.only_if), "nobody ever gets in")]
    for step in flow.all_steps():
        if isinstance(step, Branch):
            lists += [(arm.when or (), "nobody ever takes this arm") for arm in step.arms]
    for clauses, effect in lists:
        yield from _of(look, clauses, effect)


def _of(look: Look, clauses: Sequence[Clause], effect: str) -> Iterator[Finding]:
    parts = [(clause, part) for clause in clauses for part in _together(clause.condition)]
    for (first, one), (second, other) in combinations(parts, 2):
        if one == Not(other) or other == Not(one):
            span, message = second.span, "this and its opposite must both hold"
            yield _found(span, message, first.span, effect)
        elif isinstance(one, Of) and isinstance(other, Of) and one.scope == other.scope:
            for path, why in _clashes(one, other):
                place, earlier = (place_of(look.written(clause), path) for clause in (second, first))
                if place != earlier:
                    yield _found(place, f"{path} can never be {why}", earlier, effect)


def _found(span: Span, message: str, first: Span, effect: str) -> Finding:
    help_ = (
        "remove one of them; either of two values is a list, as in [DE, FR], and alternatives stand in `any`"
    )
    return told(span, message, second=first, second_label="while this must hold", effect=effect, help=help_)


def _together(condition: Condition) -> Iterator[Condition]:
    """Yield the parts of a condition of which all must hold."""
    if isinstance(condition, All):
        for item in condition.items:
            yield from _together(item)
    else:
        yield condition


def _clashes(one: Of, other: Of) -> Iterator[tuple[str, str]]:
    for first in one.fields:
        for second in other.fields:
            if first.path == second.path:
                why = _clash(first, second, fields.field_type(one.scope, first.path))
                if why:
                    yield first.path, why


def _clash(first: FieldTest, second: FieldTest, kind: str | None) -> str:
    """Return in words why no value passes both tests, or an empty string; what may be a list is held to limits only."""
    values = [_values(each.tests) for each in (first, second)]
    if kind in _ONE_VALUE and values[0] is not None and values[1] is not None:
        return "" if values[0] & values[1] else " and ".join(_in_words(each) for each in values if each)
    if kind not in (*_ONE_VALUE, None):
        return ""
    for kept, added in ((first, second), (second, first)):
        known = {test.op for test in kept.tests}
        tests = (*kept.tests, *(test for test in added.tests if test.op not in known))
        if kind is None:
            tests = tuple(test for test in tests if test.op in ("gt", "gte", "lt", "lte"))
        why = contradiction(tests)
        if why and not contradiction(kept.tests):
            return why
    return ""


def _values(tests: tuple[Test, ...]) -> frozenset[object] | None:
    """Return the values that pass, where they are counted out one by one."""
    for test in tests:
        if test.op == "eq":
            return frozenset((test.operand,))
        if test.op == "in" and isinstance(test.operand, tuple):
            return frozenset(test.operand)
    return None


def _in_words(values: frozenset[object]) -> str:
    return " or ".join(sorted(map(str, values)))
