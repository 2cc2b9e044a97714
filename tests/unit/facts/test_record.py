"""A record comes to the same whatever order its facts arrive in, and however often it was stored in between."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.facts.record import Record

NAMES = ("first", "last", "tier")
FACTS = st.lists(
    st.tuples(
        st.integers(1, 50),
        st.dictionaries(st.sampled_from(NAMES), st.sampled_from([None, "a", "b"]), max_size=3),
        st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([None, 1, 2]), max_size=2),
    ),
    max_size=8,
    unique_by=lambda fact: fact[0],
)


def through_the_store(record: Record) -> Record:
    """Return the record as it comes back from its row."""
    values: dict[str, Any] = {name: record.values.get(name) for name in NAMES}
    return Record.stored(values, record.properties(), record.updated, record.told())


@given(facts=FACTS, order=st.randoms(use_true_random=False), stored=st.booleans())
def test_order_of_arrival_does_not_matter(facts: list[Any], order: Any, stored: bool) -> None:
    """Each field ends at its newest telling, in any order of arrival, stored in between or not."""
    shuffled = list(facts)
    order.shuffle(shuffled)
    record = Record()
    for time, fields, properties in shuffled:
        record.tell(fields, properties, time)
        if stored:
            record = through_the_store(record)
    expected: dict[str, Any] = {}
    for _, fields, properties in sorted(facts, key=lambda fact: fact[0]):
        expected |= fields | {f"properties.{name}": value for name, value in properties.items()}
    known = {name: value for name, value in record.values.items() if value is not None}
    assert known == {name: value for name, value in expected.items() if value is not None}
    assert record.updated == max((time for time, _, _ in facts), default=None)


def test_of_two_with_one_time_the_later_received_wins() -> None:
    """Facts of the same moment are taken in the order in which they were received."""
    record = Record()
    assert record.tell({"tier": "a"}, {}, 5)
    assert record.tell({"tier": "b"}, {}, 5)
    assert not record.tell({"tier": "b"}, {}, 5)
    assert record.values["tier"] == "b"


def test_an_event_may_tell_a_field() -> None:
    """A field noted from an event leaves alone when the record as a whole was told."""
    record = Record()
    record.note({"tier": "gold"}, 9)
    assert record.updated is None
    record.tell({"tier": "silver", "first": "Ann"}, {}, 5)
    assert through_the_store(record).values == {"tier": "gold", "first": "Ann"}
