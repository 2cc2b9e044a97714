"""Conditions in memory: the truth of every clause for one customer, with what was found.

Comes in: what is known of a customer (`CustomerFacts`), a subject, and conditions. Goes out: the truth of each clause
and of all parts nested in it, with the value found in words. `holds` and `judge` are pure; `explain` loads the facts and
judges. Promises: exactly the truths of `engine.audience.sql`, whose words say what is counted; `engine.audience.meaning`
says what tests mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from operator import eq, ge, gt, le, lt
from typing import Any
from typing import cast as typing_cast

from sqlalchemy import Connection

from engine.audience.fields import Field, FieldScope, resolve
from engine.audience.loading import CustomerFacts, load
from engine.audience.meaning import (
    MOST_UNITS,
    Comparison,
    When,
    answer_document,
    as_double,
    as_when,
    flat_fact,
    moment_micros,
    operand_double,
    operand_kind,
    plain_json,
    read_moment,
    span_of,
    sum_units,
    trigger_id,
)
from engine.audience.subjects import Ask, ClauseTruth, Subject
from engine.audience.words import (
    condition_words,
    field_words,
    lines_words,
    moment_words,
    times_words,
    value_words,
)
from engine.calendar import Duration
from engine.errors import UsageError
from engine.flows.conditions import (
    All,
    Any_,
    Clause,
    Condition,
    Did,
    FieldTest,
    InSegment,
    Lines,
    Not,
    Of,
    OfferIs,
    Scalar,
    Test,
)
from engine.store.types import money_units, to_micros

__all__ = ["CustomerFacts", "explain", "holds", "judge"]

Segments = Mapping[str, tuple[Clause, ...]]
Row = Mapping[str, Any]

_COMPARE: Mapping[Comparison, Callable[[Any, Any], bool]] = {
    "eq": eq,
    "gt": gt,
    "gte": ge,
    "lt": lt,
    "lte": le,
}


def explain(
    connection: Connection,
    asks: Sequence[Ask],
    subject: Subject,
    *,
    now: datetime,
    segments: Segments,
    shop_zone: str,
) -> list[ClauseTruth]:
    """Return the truth of each ask for one subject, with its parts and what was found.

    A few statements, by indexes only. Raise UsageError for a field or segment that cannot be.
    """
    facts = load(connection, [ask.clause.condition for ask in asks], subject, now=now, segments=segments)
    return judge(asks, facts, subject, now=now, segments=segments, shop_zone=shop_zone)


def judge(
    asks: Sequence[Ask],
    facts: CustomerFacts,
    subject: Subject,
    *,
    now: datetime,
    segments: Segments,
    shop_zone: str,
) -> list[ClauseTruth]:
    """Return the truth of each ask from facts at hand."""
    judging = _Judge(facts, subject, _Present(now, shop_zone), segments)
    return [judging.judge(ask.clause.condition, ask.after_entry, ask.clause.text) for ask in asks]


def holds(
    condition: Condition,
    facts: CustomerFacts,
    subject: Subject,
    *,
    now: datetime,
    segments: Segments,
    shop_zone: str,
    after_entry: bool = False,
) -> bool:
    """Return whether one condition holds, from facts at hand."""
    judging = _Judge(facts, subject, _Present(now, shop_zone), segments)
    return judging.judge(condition, after_entry).holds


@dataclass(frozen=True, slots=True)
class _Present:
    """When and by which clock conditions are asked."""

    now: datetime
    shop_zone: str

    def micros(self, when: When, zoned: bool = True) -> int:  # noqa: FBT001 - as it was read
        return moment_micros(when, self.now, self.shop_zone, zoned)


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Judge:
    """Judges conditions about one subject."""

    facts: CustomerFacts
    subject: Subject
    present: _Present
    segments: Segments

    @cached_property
    def trigger(self) -> Row:
        """The triggering fact as it travels with the subject."""
        return typing_cast(Row, plain_json(flat_fact(self.subject.trigger)))

    @cached_property
    def answers(self) -> Row:
        """The answers of waits as they travel with the subject."""
        return typing_cast(Row, plain_json(answer_document(self.subject.answers)))

    def judge(self, condition: Condition, after_entry: bool, text: str = "") -> ClauseTruth:  # noqa: FBT001 - handed down
        """Return the truth of a condition with its parts; `text` is its name where its author gave it one."""
        text = text or condition_words(condition)
        if isinstance(condition, All | Any_):
            parts = tuple(self.judge(item, after_entry) for item in condition.items)
            held = sum(part.holds for part in parts)
            true = held == len(parts) if isinstance(condition, All) else held > 0
            return ClauseTruth(text, true, f"{held} of {len(parts)} hold", parts)
        if isinstance(condition, Not):
            inner = self.judge(condition.item, after_entry)
            return ClauseTruth(text, not inner.holds, inner.found, inner.parts)
        if isinstance(condition, Did):
            return self._did(condition, after_entry, text)
        if isinstance(condition, Of):
            return self._of(condition, text)
        if isinstance(condition, OfferIs):
            return self._offer(condition, text)
        return self._segment(condition, text)

    def _segment(self, condition: InSegment, text: str) -> ClauseTruth:
        clauses = self.segments.get(condition.segment)
        if clauses is None:
            raise UsageError(f'there is no segment "{condition.segment}"')
        parts = tuple(self.judge(clause.condition, False, clause.text) for clause in clauses)
        true = all(part.holds for part in parts)
        return ClauseTruth(text, true, "in the segment" if true else "not in the segment", parts)

    def _offer(self, condition: OfferIs, text: str) -> ClauseTruth:
        now, zone = self.present.now, self.present.shop_zone
        codes = [code for code in self.facts.offers if code["offer"] == condition.offer]
        held = [
            code
            for code in codes
            if code["issued_at"] is not None
            and code["issued_at"] <= now
            and (code["expires_at"] is None or code["expires_at"] > now)
            and code["message_id"] not in self.facts.on_the_way
        ]
        used = [code["used_at"] for code in codes if code["used_at"] is not None and code["used_at"] <= now]
        true = condition.held in (None, bool(held)) and condition.used in (None, bool(used))
        until = [code["expires_at"] for code in held if code["expires_at"] is not None]
        words = (
            "not held" if not held else f"held until {moment_words(max(until), zone)}" if until else "held"
        )
        words += f", used {moment_words(max(used), zone)}" if used else ", not used"
        return ClauseTruth(text, true, words)

    # ── did ──

    def _did(self, condition: Did, after_entry: bool, text: str) -> ClauseTruth:  # noqa: FBT001 - handed down
        found = [
            row
            for row in self.facts.events.get(condition.event, ())
            if self._counts(row, condition, after_entry)
        ]
        words = times_words(len(found))
        if found:
            words += (
                f", last {moment_words(max(row['occurred_at'] for row in found), self.present.shop_zone)}"
            )
        true = self._passes(len(found), condition.times) if condition.times else bool(found)
        for tested in condition.sums:
            total = Decimal(sum(self._units(row, tested.path) for row in found)).scaleb(-4)
            words += f", {tested.path} {value_words(total.normalize() + 0, self.present.shop_zone)} in all"
            true = self._passes(total, tested.tests) and true
        return ClauseTruth(text, true, words)

    def _counts(self, row: Row, condition: Did, after_entry: bool) -> bool:  # noqa: FBT001 - handed down
        now, at = self.present.now, row["occurred_at"]
        if at > now or row["arrived_at"] > now or row["id"] == self.subject.event_id:
            return False
        if condition.within is not None:
            earliest = When(None, condition.within.negative)
            if to_micros(at) < self.present.micros(earliest):
                return False
        if condition.since == "entry":
            if at <= self.subject.entered_at:
                return False
        elif condition.since is not None:
            if at < condition.since:
                return False
        elif condition.within is None and after_entry and at <= self.subject.since_at:
            return False
        if condition.same is not None and not self._shares(row, condition.same):
            return False
        return all(self._field("event", tested, row)[0] for tested in condition.where)

    def _shares(self, row: Row, name: str) -> bool:
        if name in ("order_id", "cart_id", "sku"):
            own = trigger_id(self.subject, name)
            named = name == "sku" and self._names_product(row, own)
            return own is not None and (bool(row[name] == own) or named)
        found = resolve("event", name)
        if found.kind not in ("text", "any"):
            return False
        mine, told = self._value("trigger", name, None), self._value("event", name, row)
        return type(mine) is type(told) and isinstance(mine, str | float) and mine == told

    def _names_product(self, row: Row, sku: str | None) -> bool:
        """Return whether one of the lines that a fact told names the product."""
        told = self._value("event", "lines", row)
        lines = told if isinstance(told, list) else []
        return any(isinstance(line, Mapping) and line.get("sku") == sku for line in lines)

    def _units(self, row: Row, path: str) -> int:
        """Return what a fact adds to a sum, in ten-thousandths."""
        value = self._value("event", path, row)
        if isinstance(value, Decimal):
            units = money_units(value)
            return units if abs(units) <= MOST_UNITS else 0
        return (sum_units(value) or 0) if isinstance(value, float) else 0

    # ── fields ──

    def _of(self, condition: Of, text: str) -> ClauseTruth:
        scope, parts = condition.scope, []
        for tested in condition.fields:
            true, words = self._field(scope, tested)
            parts.append(ClauseTruth(field_words(scope, tested), true, f"{tested.path} {words}"))
        for lines in condition.lines:
            true, words = self._lines(scope, lines)
            parts.append(ClauseTruth(lines_words(scope, lines), true, words))
        found = "; ".join(part.found for part in parts)
        return ClauseTruth(
            text, all(part.holds for part in parts), found, tuple(parts) if len(parts) > 1 else ()
        )

    def _field(self, scope: FieldScope, tested: FieldTest, row: Row | None = None) -> tuple[bool, str]:
        """Return whether a field passes its tests, and its value in words; `row` is the fact for the scope `event`."""
        head, _, rest = tested.path.partition(".")
        if head == "lines" and rest and scope in ("trigger", "event", "cart", "order"):
            return self._lines(scope, Lines("any", (FieldTest(rest, tested.tests),)), row)
        value = self._value(scope, tested.path, row)
        private = tested.path.rpartition(".")[2] == "email"
        return self._passes(value, tested.tests), value_words(value, self.present.shop_zone, private=private)

    def _value(self, scope: FieldScope, path: str, row: Row | None) -> Any:
        found = resolve(scope, path)
        if found.table in ("trigger", "answer"):
            return _dig(self.trigger if found.table == "trigger" else self.answers, found.keys)
        if scope == "event":
            return _event_value(row or {}, found)
        return self._stored_value(scope, found)

    def _stored_value(self, scope: FieldScope, found: Field) -> Any:
        facts = self.facts
        rows = {
            "customers": facts.customer,
            "customer_scores": facts.scores,
            "products": facts.products.get(trigger_id(self.subject, "sku") or ""),
            "carts": facts.cart,
            "orders": facts.order,
        }
        if found.column == "in_stock":
            return _in_stock(rows["products"])
        if found.column == "items" and not found.table:
            kept, lines = (
                (facts.cart, facts.cart_lines) if scope == "cart" else (facts.order, facts.order_lines)
            )
            return None if kept is None else len(lines)
        return _column(rows[found.table], found)

    # ── lines ──

    def _lines(self, scope: FieldScope, lines: Lines, row: Row | None = None) -> tuple[bool, str]:
        """Return whether any, all or none of the lines pass, in words too."""
        if scope in ("cart", "order"):
            stored = self.facts.cart_lines if scope == "cart" else self.facts.order_lines
            all_lines: Sequence[Any] = stored
            own = "stored"
        else:
            told = self._value(scope, "lines", row) if scope in ("trigger", "answer", "event") else None
            all_lines = told if isinstance(told, list) else ()
            own = "told"
        passed = sum(
            all(self._passes(self._line_value(line, test.path, own), test.tests) for test in lines.tests)
            for line in all_lines
        )
        true = {"any": passed > 0, "all": passed == len(all_lines), "none": passed == 0}[lines.quantifier]
        return true, f"{passed} of {len(all_lines)} lines pass"

    def _line_value(self, line: Any, path: str, own: str) -> Any:
        found = resolve("line", path)
        line = line if isinstance(line, Mapping) else {}
        sku = line.get("sku")
        product = self.facts.products.get(sku) if isinstance(sku, str) else None
        if found.column == "in_stock":
            return _in_stock(product)
        if found.table != "lines":
            return _column(product, found)
        value = _leaf(line.get(found.column)) if own == "told" else _column(line, found)
        if value is None and found.column == "price":
            return None if product is None else product["price"]
        return value

    def _passes(self, value: Any, tests: Sequence[Test]) -> bool:
        return all(passes(value, test, self.present) for test in tests)


def _event_value(row: Row, found: Field) -> Any:
    if found.kind != "any":
        return _column(row, found)
    told = row.get("properties")
    return _dig(flat_fact(told), found.keys) if isinstance(told, Mapping) else None


def _column(row: Row | None, found: Field) -> Any:
    """Return a column as its kind: exact numbers as int or Decimal, measured ones and JSON's as float."""
    value = None if row is None else row.get(found.column)
    if value is None:
        return None
    if found.kind == "any":
        return _dig(value, found.keys)
    return float(value) if found.kind == "number" else value


def _dig(document: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return _leaf(document)


def _leaf(value: Any) -> Any:
    """Return a JSON value with its number in double precision; NaN, which no test finds equal, beyond all doubles."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    double = as_double(value)
    return math.nan if double is None else double


def _in_stock(product: Row | None) -> bool:
    if product is None:
        return True
    stock = product["stock"]
    return product["available"] is not False and (stock is None or stock > 0)


# ── tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def passes(value: Any, test: Test, present: _Present) -> bool:
    """Return whether a value passes a test; None is missing."""
    operand = test.operand
    if test.op == "exists":
        return (value is not None) == operand
    if test.op in ("eq", "in", "ne", "not_in"):
        several = operand if isinstance(operand, tuple) else (operand,)
        return _equal(value, several, present) == (test.op in ("eq", "in"))
    if isinstance(operand, tuple) or value is None:
        return False
    if test.op == "contains":
        part = (
            isinstance(value, str)
            and isinstance(operand, str)
            and operand_kind(operand) == "text"
            and operand in value
        )
        return part or (isinstance(value, list) and _equal(value, (operand,), present))
    if test.op == "starts_with":
        text = isinstance(operand, str) and operand_kind(operand) == "text"
        return text and isinstance(value, str) and value.startswith(str(operand))
    return _ordered(value, test, operand, present)


def _equal(value: Any, operands: Sequence[Scalar], present: _Present) -> bool:
    """Return whether the value, or an item of the list it is, equals one of the operands."""
    items = [_leaf(item) for item in value] if isinstance(value, list) else [value]
    return any(_compare(item, "eq", operand, present) for item in items for operand in operands)


def _ordered(value: Any, test: Test, operand: Scalar, present: _Present) -> bool:
    if test.op in ("within", "older_than", "in_next"):
        spans = span_of(test.op, operand) if isinstance(operand, Duration) else None
        return spans is not None and all(_moment(value, op, when, present) for op, when in spans)
    if test.op in ("before", "after"):
        limit = as_when(operand)
        return limit is not None and _moment(value, "lt" if test.op == "before" else "gt", limit, present)
    return _compare(value, typing_cast(Comparison, test.op), operand, present)


def _compare(value: Any, op: Comparison, operand: Scalar, present: _Present) -> bool:
    """Return whether a single value compares so with the operand; what does not fit does not."""
    kind = operand_kind(operand)
    if kind == "moment" or isinstance(value, datetime):
        when = as_when(operand)
        return when is not None and _moment(value, op, when, present)
    if kind == "text":
        return isinstance(value, str) and bool(_COMPARE[op](value, operand))
    if kind == "boolean":
        return op == "eq" and isinstance(value, bool) and value == operand
    if kind != "number" or isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    limit = operand_double(typing_cast("int | Decimal", operand)) if isinstance(value, float) else operand
    return bool(_COMPARE[op](value, limit))


def _moment(value: Any, op: Comparison, when: When, present: _Present) -> bool:
    """Return whether a moment, or the moment that a text states, compares so with `when`."""
    if isinstance(value, datetime):
        return bool(_COMPARE[op](to_micros(value), present.micros(when)))
    read = read_moment(value) if isinstance(value, str) else None
    return read is not None and bool(_COMPARE[op](read.micros, present.micros(when, read.zoned)))
