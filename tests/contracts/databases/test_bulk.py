"""Many rows in one statement on both databases: every value comes back as it went in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from engine.store.bulk import Change, insert_new, insert_numbered, insert_rows, together, update_rows
from engine.store.database import Database
from engine.store.tables import customers, events, journal, suppressions

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
ODD = [
    "", " ", "NULL", "null", "{}", "{a,b}", ",", '"', '""', "\\", '\\"', 'a","b', "'; --", "new\nline\ttab", "%s %(x)s %",
    "Zoë", "東京", "🍵", "\u00a0", "$1", "\\x41", "e'\\n'",
]  # fmt: skip
TEXTS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
) | st.sampled_from(ODD)


def _decision(number: int, reason: str | None, detail: Any) -> dict[str, Any]:
    return {
        "at": NOW + timedelta(microseconds=number), "flow": "f", "customer_id": 10**12 + number, "enrollment_id": None,
        "decision": "refused", "reason": reason, "detail": detail,
    }  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.none() | TEXTS, st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3)), min_size=1)
)
def test_texts_documents_and_moments_come_back(
    database: Database, told: list[tuple[str | None, dict[str, str] | None]]
) -> None:
    """Whatever signs they hold, missing ones among them, rows are stored as they were given."""
    rows = [_decision(number, *each) for number, each in enumerate(told)]
    with database.write() as connection:
        ids = insert_numbered(connection, journal, rows)
        found = connection.execute(select(journal).where(journal.c.id.in_(ids)).order_by(journal.c.id))
        stored = [{name: row._mapping[name] for name in rows[0]} for row in found]
    assert stored == rows


@pytest.mark.parametrize("text", ODD)
def test_an_odd_text_comes_back_alone(database: Database, text: str) -> None:
    """One row with one odd text, updated to it as well as inserted with it."""
    with database.write() as connection:
        (own,) = insert_numbered(connection, journal, [_decision(1, text, {text: [text, None, 1.5, True]})])
        (other,) = insert_numbered(connection, journal, [_decision(2, "plain", None)])
        assert update_rows(connection, journal, [{"reason": text, "detail": {"a": text}, "id": other}]) == 1
        found = dict(tuple(row) for row in connection.execute(select(journal.c.id, journal.c.reason)))
        assert found == {own: text, other: text}


def test_bytes_money_and_truths_come_back(database: Database) -> None:
    """Bytes with every value, amounts with four places, and truths are stored as they were given, missing ones too."""
    with database.write() as connection:
        (who,) = insert_numbered(connection, customers, [{"external_id": "c", "first_seen_at": NOW}])
        hashes = [bytes(range(256)), b"", b"\\x00"]
        told = {"customer_id": who, "scope": "all", "reason": "told", "at": NOW}
        insert_rows(connection, suppressions, [{"address_hash": each, **told} for each in hashes])
        assert {bytes(row) for row in connection.scalars(select(suppressions.c.address_hash))} == set(hashes)
        rows = [
            {
                "key": f"k{number}", "customer_id": who, "name": "n", "occurred_at": NOW, "arrived_at": NOW, "value": value,
                "backfill": bool(number),
            }
            for number, value in enumerate((Decimal("12.3456"), None, Decimal(-1)))
        ]  # fmt: skip
        assert all(insert_new(connection, events, rows))
        assert insert_new(connection, events, rows[:1]) == [None]
        found = connection.execute(select(events.c.value, events.c.backfill).order_by(events.c.key))
        assert [tuple(row) for row in found] == [(row["value"], row["backfill"]) for row in rows]


def test_changes_together_count_each_of_their_own(database: Database) -> None:
    """Several changes in one go tell how many rows each of them changed; one without rows tells none."""
    with database.write() as connection:
        ids = insert_numbered(connection, journal, [_decision(n, "a", None) for n in range(3)])
        moved = Change(journal, [{"reason": "b", "id": each} for each in (*ids, 0)], ("id",))
        added = Change(journal, [_decision(9, 'x"', {"y": "\\"})])
        assert together(connection, moved, Change(journal, ()), added) == [3, 0, 1]
