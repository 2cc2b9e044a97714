"""What tests mean: moments, exact numbers, and what travels with a subject."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from engine.audience.meaning import (
    ReadMoment,
    When,
    answer_document,
    dump_json,
    flat_fact,
    operand_kind,
    read_moment,
    sum_units,
    trigger_id,
    whole_bound,
)
from engine.audience.subjects import Subject
from engine.calendar import Duration
from engine.store.types import to_micros

NOW = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment", "zoned"),
    [
        ("2026-03-29", "2026-03-29T00:00:00+00:00", False),
        ("2026-03-29T12:00", "2026-03-29T12:00:00+00:00", False),
        ("2026-03-29 12:00:05", "2026-03-29T12:00:05+00:00", False),
        ("2026-03-29T12:00:05.25", "2026-03-29T12:00:05.250000+00:00", False),
        ("2026-03-29T12:00:05.000001Z", "2026-03-29T12:00:05.000001+00:00", True),
        ("2026-03-29 21:00+09:00", "2026-03-29T12:00:00+00:00", True),
        ("2024-02-29T00:00-03:30", "2024-02-29T03:30:00+00:00", True),
    ],
)
def test_iso_text_is_a_moment(text: str, moment: str, zoned: bool) -> None:
    """Each form of the closed set is read, with its offset if it has one."""
    assert read_moment(text) == ReadMoment(to_micros(datetime.fromisoformat(moment)), zoned)


@pytest.mark.parametrize(
    "text",
    ["", "now", "03-29", "2026-3-29", "20260329", "2026-02-30", "2100-02-29", "0999-12-31", "2026-03-29Z", " 2026-03-29",
     "2026-03-29\n", "2026-03-29T24:00Z", "2026-03-29T12:60Z", "2026-03-29T12:00:60Z", "2026-03-29T12:00:00.Z",
     "2026-03-29T12:00:00.1234567Z", "2026-03-29T12:00z", "2026-03-29T12:00+15:00", "\u0662\u0660\u0662\u0666-03-29"],
)  # fmt: skip
def test_other_text_is_no_moment(text: str) -> None:
    """What is only almost ISO is missing, the same on every machine."""
    assert read_moment(text) is None


def test_calendar_parts_go_by_the_shops_clock() -> None:
    """A day before noon in Berlin on the day summer time begins is noon the day before: 25 hours less one."""
    when = When(None, Duration(days=-1))
    assert when.at(NOW, "Europe/Berlin") == datetime(2026, 3, 28, 13, 0, tzinfo=UTC)
    assert when.at(NOW, "UTC") == NOW - timedelta(days=1)
    assert When().wall(NOW, "Asia/Tokyo") == datetime(2026, 3, 29, 21, 0, tzinfo=UTC)


def test_a_duration_beyond_the_calendar_is_its_end() -> None:
    """`within: 999999y` looks back to the beginning of the calendar that is counted with, instead of failing."""
    assert When(None, Duration(months=-12 * 999_999)).at(NOW, "UTC").year == 1000
    assert When(None, Duration(months=12 * 999_999)).at(NOW, "UTC").year == 9000
    assert When(None, Duration(months=12 * 999_999)).wall(NOW, "Asia/Tokyo").year == 9000


@pytest.mark.parametrize(
    ("op", "number", "scale", "expected"),
    [
        ("gte", Decimal("19.99"), 10_000, ("gte", 199_900)),
        ("gt", Decimal("0.00005"), 10_000, ("gt", 0)),
        ("lt", Decimal("0.00005"), 10_000, ("lt", 1)),
        ("eq", Decimal("1.5"), 1, False),
        ("eq", Decimal("2.0"), 1, ("eq", 2)),
        ("lte", 10**400, 1, True),
        ("gt", Decimal("-1e400"), 10_000, True),
        ("gte", 10**16, 10_000, False),
    ],
)
def test_exact_bounds_of_whole_numbers(op: Any, number: Any, scale: int, expected: Any) -> None:
    """A comparison with any number is one with a whole number, or its answer is known."""
    assert whole_bound(op, number, scale) == expected


def test_sums_count_ten_thousandths() -> None:
    """0.1 + 0.2 is 0.3 in a sum; what is no amount does not count."""
    assert [sum_units(number) for number in (0.1, 0.2, 0.3)] == [1000, 2000, 3000]
    assert sum_units(-0.00005) == -1
    assert sum_units(1e12) is None
    assert sum_units(float("nan")) is None


def test_what_no_database_stores_equals_nothing() -> None:
    """Durations, NaN and text with NUL or half a character are of no kind."""
    assert {operand_kind(value) for value in ("a\x00", "\ud800", Decimal("NaN"), Duration(days=1))} == {
        "none"
    }
    assert [operand_kind(value) for value in ("a", 1, True, NOW)] == ["text", "number", "boolean", "moment"]


def test_a_fact_is_flat() -> None:
    """A fact's own fields win over its properties; empty ones let the property through."""
    fact = {"value": 5, "colour": None, "properties": {"value": 6, "colour": "red", "size": 4}}
    assert flat_fact(fact) == {"value": 5, "colour": "red", "size": 4}
    assert flat_fact({"properties": "none"}) == {}


def test_answers_are_asked_by_name_or_without() -> None:
    """The answer named `answer`, else the only one, needs no name; several others need theirs."""
    nps, why = {"score": 9}, {"text": "good"}
    assert answer_document({"nps": nps})["score"] == 9
    assert answer_document({"nps": nps, "answer": why}) == {"text": "good", "nps": nps, "answer": why}
    assert answer_document({"nps": nps, "why": why}) == {"nps": nps, "why": why}


def test_ids_come_from_the_subject_or_its_trigger() -> None:
    """A subject's own id wins; a number in the trigger is no id."""
    subject = Subject(1, NOW, NOW, cart_id="c1", trigger={"cart_id": "c2", "sku": "T1", "order_id": 7})
    assert [trigger_id(subject, name) for name in ("cart_id", "sku", "order_id")] == ["c1", "T1", None]


def test_documents_are_written_so_that_both_databases_read_them() -> None:
    """NaN, infinities, NUL and lone surrogates do not reach a database."""
    document = {"a": float("nan"), "b": [float("inf"), "x\x00y"], "c\x00": "\ud800z", "d": Decimal("1.50")}
    assert dump_json(document) == '{"a":null,"b":[null,"xy"],"c":"z","d":1.5}'
