"""Rules about conditions: what can never be true, what always is, and what was probably meant otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from engine.calendar import ONE_ZONE_COUNTRIES, Duration
from engine.diagnostics import Finding, Span, did_you_mean, has_errors
from engine.flows import fields
from engine.flows.conditions import All, Any_, Clause, Condition, Did, FieldTest, InSegment, Of, Test, walk
from engine.flows.load import Project, used_segments, values_under
from engine.flows.model import EventTrigger, LapsedTrigger, ProductTrigger, ReplenishTrigger, WaitUntil
from engine.flows.nodes import Table
from engine.flows.reading import truth_word
from engine.flows.rules.registry import Look, entries_of, flow_rule, place_of, project_rule, tables_of, told

_EPOCH_YEARS = (1969, 1970)
_VERB_ENDS = re.compile(r"(ied|ies|ing|ed|es|e|s|y)$")
_ORDERING = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True)
class Asked:
    """One test with where it stands: of a scope's field, or of the count of a `did`."""

    scope: str
    test: FieldTest
    written: Table


def tables_with_clauses(look: Look) -> Iterator[tuple[Clause, Table]]:
    """Yield each clause of a flow with the table that it is written in."""
    for clause in look.clauses():
        yield clause, look.written(clause)


def asked_in(condition: Condition, written: Table) -> Iterator[Asked]:
    """Yield every field test in a condition."""
    for part in walk(condition):
        if isinstance(part, Of):
            yield from (Asked(part.scope, test, written) for test in part.fields)
            yield from (Asked("lines", test, written) for lines in part.lines for test in lines.tests)
        elif isinstance(part, Did):
            yield from (Asked("event", test, written) for test in (*part.where, *part.sums))


def all_asked(look: Look) -> Iterator[Asked]:
    """Yield every field test of a flow, those of its triggers too."""
    for clause, written in tables_with_clauses(look):
        yield from asked_in(clause.condition, written)
    for trigger in look.flow.triggers:
        if isinstance(trigger, EventTrigger | LapsedTrigger | ReplenishTrigger | ProductTrigger):
            scope = "lines" if isinstance(trigger, ReplenishTrigger) else "event"
            yield from (Asked(scope, test, look.trigger_place(trigger)) for test in trigger.where)


@flow_rule("C201", "never-true")
def never_true(look: Look) -> Iterator[Finding]:
    """A test that no value can pass.

    Limits that exclude each other, a value that is left out at once, a count below zero, `any` of nothing.

    Before:

        customer: {orders: {gte: 5, lt: 3}}

    After:

        customer: {orders: {gte: 3, lt: 5}}
    """
    for asked in all_asked(look):
        why = contradiction(asked.test.tests)
        if why:
            yield _never(place_of(asked.written, asked.test.path), f"{asked.test.path} can never be {why}")
    for clause, written in tables_with_clauses(look):
        for part in walk(clause.condition):
            if isinstance(part, Any_) and not part.items:
                yield _never(place_of(written, "any"), "`any` of nothing never holds")
            elif isinstance(part, Did) and contradiction(part.times, least=0):
                yield _never(
                    place_of(written, "times"), f"the count can never be {contradiction(part.times, least=0)}"
                )


def _never(span: Span, message: str) -> Finding:
    return told(
        span,
        message,
        effect="the condition never holds, whoever is asked",
        help="mend the test, or leave the condition out",
    )


def contradiction(tests: tuple[Test, ...], least: int | None = None) -> str:
    """Return in words why no value passes all tests, or an empty string.

    >>> contradiction((Test("gte", 5), Test("lt", 3)))
    'at least 5 and below 3'
    """
    by_operator: dict[str, Any] = {test.op: test.operand for test in tests}
    if by_operator.get("exists") is False and set(by_operator) - {"exists", "ne", "not_in"}:
        return "missing and something at once"
    return _empty_range(by_operator, least) or _excluded(by_operator)


def _empty_range(by_operator: dict[str, Any], least: int | None) -> str:
    numbers = {
        key: value
        for key, value in by_operator.items()
        if isinstance(value, int | Decimal) and not isinstance(value, bool)
    }
    lows = [(numbers[key], key) for key in ("gt", "gte") if key in numbers]
    highs = [(numbers[key], key) for key in ("lt", "lte") if key in numbers]
    if least is not None:
        lows.append((least, "gte"))
    if "eq" in numbers:
        lows.append((numbers["eq"], "gte"))
        highs.append((numbers["eq"], "lte"))
    for low, low_key in lows:
        for high, high_key in highs:
            if low > high or (low == high and (low_key, high_key) != ("gte", "lte")):
                return f"{'above' if low_key == 'gt' else 'at least'} {low} and {'below' if high_key == 'lt' else 'at most'} {high}"
    early, late = by_operator.get("after"), by_operator.get("before")
    if isinstance(early, datetime) and isinstance(late, datetime) and early >= late:
        return f"after {early.date()} and before {late.date()}"
    return ""


def _excluded(by_operator: dict[str, Any]) -> str:
    allowed = (
        {by_operator["eq"]}
        if "eq" in by_operator
        else set(by_operator["in"])
        if "in" in by_operator
        else None
    )
    if allowed is None:
        return ""
    left_out = set(by_operator.get("not_in", ())) | ({by_operator["ne"]} if "ne" in by_operator else set())
    if "eq" in by_operator and "in" in by_operator and by_operator["eq"] not in by_operator["in"]:
        return "equal to one value and one of others"
    return "one of the values that it must not be" if allowed <= left_out else ""


@flow_rule("C202", "type-does-not-fit")
def type_does_not_fit(look: Look) -> Iterator[Finding]:
    """A field is compared with something of another type, so the test never holds.

    A number in quotes is text. Dates are compared by `before`, `after`, `within`, `older_than` and `in_next`.

    Before:

        customer: {orders: "3", created_at: {gte: 2026-01-01}}

    After:

        customer: {orders: 3, created_at: {after: 2026-01-01}}
    """
    for asked in all_asked(look):
        kind = fields.field_type(asked.scope, asked.test.path)
        for test in asked.test.tests if kind is not None else ():
            why = misfit(kind or "any", test)
            if why:
                yield _misfit_found(asked, test, kind or "any", why)
                break


def _misfit_found(asked: Asked, test: Test, kind: fields.FieldType, why: str) -> Finding:
    node = next((entry.value for entry in entries_of(asked.written) if entry.key == asked.test.path), None)
    inner = node.get(test.op) if isinstance(node, Table) else None
    span = (inner or node or asked.written).span
    meant = _retyped(kind, test.operand)
    return told(
        span, f"{asked.test.path} {why}", fixable=bool(meant), help=f"write {meant}" if meant else _WAY_OUT.get(kind, "compare it with what it holds"),
        effect="a value of another type counts as missing, so the test does not do what it says",
    )  # fmt: skip


_WAY_OUT = {
    "number": "write a number, such as 80",
    "flag": "write true or false",
    "moment": "compare it by before, after, within, older_than or in_next",
    "date": "write a date in quotes, or compare it by before, after, within or in_next",
}


def _retyped(kind: fields.FieldType, operand: object) -> str:
    """Return how a value is written in the type of the field, or an empty string where nobody can tell."""
    if kind == "number" and isinstance(operand, str) and re.fullmatch(r"-?\d{1,9}(\.\d{1,4})?", operand):
        return operand
    if kind in ("text", "date") and isinstance(operand, int | Decimal) and not isinstance(operand, bool):
        return f'"{operand}"'
    if kind == "flag" and isinstance(operand, str):
        return truth_word(operand) or ""
    return ""


def misfit(kind: fields.FieldType, test: Test) -> str:
    """Return in words why a test does not fit a field of that type, or an empty string."""
    times = test.op in ("before", "after", "within", "older_than", "in_next")
    if times:
        return "" if kind in ("moment", "date", "any") else "holds no date"
    operands = test.operand if isinstance(test.operand, tuple) else (test.operand,)
    if kind == "moment" and test.op in (*_ORDERING, "eq", "in", "contains", "starts_with"):
        return "holds a moment: use before, after, within, older_than or in_next"
    if kind == "number" and (
        test.op in ("contains", "starts_with") or any(not _is_number(item) for item in operands)
    ):
        return "" if test.op == "exists" else "holds a number"
    if kind == "flag" and test.op != "exists" and any(not isinstance(item, bool) for item in operands):
        return "is true or false"
    if (
        kind in ("text", "date")
        and test.op != "exists"
        and any(not isinstance(item, str) for item in operands)
    ):
        return "holds text: put the value in quotes"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


@flow_rule("C203", "always-true")
def always_true(look: Look) -> Iterator[Finding]:
    """A condition that everybody passes.

    `all` of nothing, or a count of at least 0, holds for everybody; in `exit_when` everybody leaves at once.

    Before:

        exit_when: [{did: order_placed, times: {gte: 0}}]

    After:

        exit_when: [{did: order_placed}]
    """
    for clause, written in tables_with_clauses(look):
        for part in walk(clause.condition):
            if isinstance(part, All) and not part.items:
                yield told(
                    place_of(written, "all"),
                    "`all` of nothing always holds",
                    help="name a condition, or leave it out",
                )
            elif isinstance(part, Did) and any(_everybody(test) for test in part.times):
                yield told(
                    place_of(written, "times"),
                    "everybody did it at least 0 times",
                    help="`gte: 1` is the least that says something",
                )


def _everybody(test: Test) -> bool:
    return (test.op == "gte" and test.operand == 0) or (
        test.op == "gt" and isinstance(test.operand, int) and test.operand < 0
    )


CATALOGUE = frozenset(("product_back_in_stock", "product_price_drop", "product_low_stock"))


@flow_rule("C204", "unlikely-event")
def unlikely_event(look: Look) -> Iterator[Finding]:
    """The name of an event resembles one that has a meaning, but is another, or it happens to products only.

    Names of events are free, so this may be right. More often it is a slip, and the event never comes. What happens to the
    catalogue is no event of a customer's: `trigger: {product: price_drop}` finds those whom it concerns.

    Before:

        exit_when: [{did: order_place}]

    After:

        exit_when: [{did: order_placed}]
    """
    for entry in entries_of(look.table):
        name = getattr(entry.value, "value", None)
        if entry.key not in ("did", "did_not", "event") or not isinstance(name, str) or name in fields.EVENTS:
            continue
        if name in CATALOGUE:
            change = name.removeprefix("product_")
            yield told(entry.value.span, f'"{name}" happens to a product, not to a customer', effect="this never happens",
                       help=f"let a trigger say `product: {change}`")  # fmt: skip
            continue
        hint = did_you_mean(name, fields.EVENTS) if _resembles(name) else ""
        if hint:
            yield told(entry.value.span, f'"{name}" is no event that Homing knows', help=hint, fixable=_is_slip(name),
                       effect="if nobody tells such events, this never happens")  # fmt: skip


def _resembles(name: str) -> bool:
    """Return whether a name is a slip of the pen, or another form of the verb, away from a known event."""
    known = {_VERB_ENDS.sub("", event) for event in fields.EVENTS}
    return bool(get_close_matches(name, fields.EVENTS, n=1, cutoff=0.84)) or _VERB_ENDS.sub("", name) in known


def _is_slip(name: str) -> bool:
    """Return whether a name is one letter away from a known event: what else is close may be an event of one's own."""
    return name.replace("_", "").isalpha() and bool(get_close_matches(name, fields.EVENTS, n=1, cutoff=0.94))


@flow_rule("C205", "country-code")
def country_code(look: Look) -> Iterator[Finding]:
    """A country is not written as two capital letters.

    Customers' countries are ISO 3166 codes: `DE`, `JP`, `GB` (not `UK`). Other spellings match nobody.

    Before:

        customer: {country: germany}

    After:

        customer: {country: DE}
    """
    for asked in all_asked(look):
        if (asked.scope, asked.test.path) != ("customer", "country"):
            continue
        for test in asked.test.tests:
            for value in test.operand if isinstance(test.operand, tuple) else (test.operand,):
                if isinstance(value, str) and not _is_country(value):
                    code = "GB" if value.upper() == "UK" else value.upper()
                    is_known, span = _is_country(code), _value_place(asked.written, "country", value)
                    yield told(span, f'"{value}" is no country code', effect="no customer has it", fixable=is_known,
                               help=f"write {code}" if is_known else "write two capital letters, such as DE")  # fmt: skip


def _is_country(code: str) -> bool:
    """Return whether a text is a code that customers' countries have: `EN` and `JA` are languages, `UK` is none."""
    if code in ONE_ZONE_COUNTRIES:
        return True
    from babel import Locale  # noqa: PLC0415 - of what most flows never ask

    return len(code) == 2 and code.isalpha() and code.isupper() and code in Locale("en").territories


def _value_place(written: Table, key: str, value: str) -> Span:
    for entry in entries_of(written):
        if entry.key == key:
            inside = Table((entry,), written.span)
            found = next((item.span for item in values_under(inside, key) if item.value == value), None)
            return found or entry.value.span
    return written.span


@flow_rule("C206", "date-of-1970")
def date_of_1970(look: Look) -> Iterator[Finding]:
    """A date lies at the beginning of 1970.

    Programs write 1970-01-01 where they know no date. As a limit it separates nobody from anybody.

    Before:

        did: order_placed
        since: 1970-01-01

    After:

        did: order_placed
    """
    for clause, written in tables_with_clauses(look):
        for part in walk(clause.condition):
            moments: list[tuple[str, Any]] = [("since", part.since)] if isinstance(part, Did) else []
            for asked in asked_in(part, written) if isinstance(part, Of | Did) else ():
                moments += [(asked.test.path, test.operand) for test in asked.test.tests]
            for key, moment in moments:
                if isinstance(moment, datetime) and moment.astimezone(UTC).year in _EPOCH_YEARS:
                    yield told(place_of(written, key), "1970-01-01 is where programs know no date",
                               help="leave the date out, or write the real one")  # fmt: skip


@flow_rule("C207", "leaves-at-once")
def leaves_at_once(look: Look) -> Iterator[Finding]:
    """What must hold to enter is also what ends the flow.

    The same condition stands in `enter_if` or `only_if` and in `exit_when`, unbounded by the entry: whoever may enter
    leaves at once.

    Before:

        enter_if: [{customer: {tier: gold}}]
        exit_when: [{customer: {tier: gold}}]

    After:

        enter_if: [{customer: {tier: gold}}]
        exit_when: [{customer: {tier: {ne: gold}}}]
    """
    wanted = {repr(clause.condition): clause for clause in (*look.flow.enter_if, *look.flow.only_if)}
    for clause in look.flow.exit_when:
        same = wanted.get(repr(clause.condition))
        if same is not None and not isinstance(clause.condition, Did):
            yield told(clause.span, "this ends the flow for everybody who may enter it", second=same.span,
                       second_label="the same condition", effect="nobody gets a mail", help="one of the two means the opposite")  # fmt: skip


@flow_rule("C208", "said-twice")
def said_twice(look: Look) -> Iterator[Finding]:
    """The same condition stands twice in one list.

    The second one changes nothing; it may have been meant otherwise.

    Before:

        only_if: [{customer: {country: DE}}, {customer: {country: DE}}]

    After:

        only_if: [{customer: {country: DE}}]
    """
    for clauses in (look.flow.enter_if, look.flow.only_if, look.flow.exit_when):
        seen: dict[str, Clause] = {}
        for clause in clauses:
            first = seen.setdefault(repr(clause.condition), clause)
            if first is not clause:
                yield told(clause.span, "this condition stands here a second time", second=first.span, second_label="the first one",
                           help="remove one of them")  # fmt: skip


@flow_rule("C209", "no-answer")
def no_answer(look: Look) -> Iterator[Finding]:
    """A condition asks for an answer, but no step of the flow waits for one.

    `answer` is the fact that ended a `wait: {until: {did: …}, up_to: …, as: NAME}`.

    Before:

        - wait: {until: {did: survey_answered}, up_to: 7d}
        - branch: [{when: [{answer: {score: {gte: 9}}}], steps: [{send: ask-review}]}]

    After:

        - wait: {until: {did: survey_answered}, up_to: 7d, as: answer}
        - branch: [{when: [{answer: {score: {gte: 9}}}], steps: [{send: ask-review}]}]
    """
    if any(isinstance(step, WaitUntil) and step.answer for step in look.flow.all_steps()):
        return
    for clause, written in tables_with_clauses(look):
        if any(isinstance(part, Of) and part.scope == "answer" for part in walk(clause.condition)):
            yield told(place_of(written, "answer"), "no step of this flow waits for an answer", effect="the test never holds",
                       help="add `as: answer` to the wait that it means")  # fmt: skip


@flow_rule("C210", "limit-below-zero-time")
def no_time_at_all(look: Look) -> Iterator[Finding]:
    """A stretch of time of length zero.

    `within: 0d` holds for nothing that has happened before this very moment, and a wait of `up_to: 0d` is over at once.

    Before:

        did: order_placed
        within: 0d

    After:

        did: order_placed
        within: 30d
    """
    for table in tables_of(look.table):
        for entry in table:
            text = getattr(entry.value, "value", None)
            if entry.key in _NEVER_IN_NO_TIME and text is not None and _is_zero(str(text)):
                yield told(entry.value.span, f"`{entry.key}: {text}` is no time at all", effect=_NEVER_IN_NO_TIME[entry.key],
                           help="say how long, as in 30d")  # fmt: skip


_NEVER_IN_NO_TIME = {
    "within": "the test never holds",
    "in_next": "the test never holds",
    "up_to": "nobody waits, and what is waited for never holds",
}


def _is_zero(text: str) -> bool:
    try:
        return Duration.parse(text) == Duration()
    except ValueError:
        return False


@flow_rule("C230", "never-ahead")
def never_ahead(look: Look) -> Iterator[Finding]:
    """A test asks for a day to come of a field that holds a day in the past.

    `in_next` takes a date with its year: that of a birthday is the year of birth, and an order was placed before anybody
    asked. A birthday that comes round is what the trigger `anniversary` is for; `within` and `older_than` look back.

    Before:

        trigger: {schedule: "0 9 * * *"}
        enter_if: [{customer: {birthday: {in_next: 7d}}}]

    After:

        trigger: {anniversary: birthday, offset: -7d, at: "09:00"}
    """
    for asked in all_asked(look):
        is_past = asked.test.path in _PAST.get(asked.scope, ())
        for test in asked.test.tests if is_past else ():
            if test.op != "in_next":
                continue
            yearly = asked.test.path == "birthday"
            why = (
                "holds the year of birth, which never comes again"
                if yearly
                else "lies in the past for everybody"
            )
            way_out = f"trigger: {{anniversary: birthday, offset: -{test.operand}}}"
            yield told(place_of(asked.written, asked.test.path), f"{asked.test.path} {why}", effect="the test never holds",
                       help=f"let a flow begin with `{way_out}`" if yearly else "look back with `within` or `older_than`")  # fmt: skip


_TO_COME = frozenset({"points_expire_at"})
_PAST = {
    scope: frozenset(name for name, kind in known.items() if kind in ("moment", "date")) - _TO_COME
    for scope, known in fields.OF_SCOPE.items()
    if known is not None
}


@project_rule("C211", "unused-segment", "info")
def unused_segment(project: Project) -> Iterator[Finding]:
    """A segment that no flow, offer or setting uses.

    It costs nothing, and may be kept for later; a misspelt name elsewhere is the other possibility.

    Before (`flows/segments.yaml`, while flows ask for `vip`):

        vipp: [{customer: {orders: {gte: 5}}}]

    After:

        vip: [{customer: {orders: {gte: 5}}}]
    """
    used = set(project.settings.policy.exclude)
    for flow in project.definitions.flows.values():
        used |= set(used_segments(flow, project.definitions.segments))
    used |= {offer.value for offer in project.definitions.offers.values() if offer.gives == "early_access"}
    for clauses in project.definitions.segments.values():
        used |= {
            part.segment
            for clause in clauses
            for part in walk(clause.condition)
            if isinstance(part, InSegment)
        }
    for name in project.definitions.segments:
        if name not in used and project.segments_node is not None and not has_errors(project.findings):
            yield told(
                project.segments_node.key_span(name),
                f'no flow uses the segment "{name}"',
                help="keep it for later, or remove it",
            )
