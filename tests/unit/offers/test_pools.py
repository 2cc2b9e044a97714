"""Pools of codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete

from engine.flows.model import Offer
from engine.offers import pools
from engine.offers.pools import PoolLeft, PoolMoved, load_pools, pools_left
from engine.store.database import Database
from engine.store.tables import offer_codes
from tests.unit.offers.till import Till

TEN = Offer("ten", "percent", "10", pool="codes.txt")


@pytest.fixture
def till(database: Database) -> Till:
    """Give an empty till, on SQLite and on PostgreSQL."""
    return Till(database)


def load(till: Till, root: Path, text: str, *offers: Offer) -> list[PoolMoved]:
    """Apply a file of codes."""
    (root / "codes.txt").write_text(text, encoding="utf-8")
    with till.database.write() as connection:
        return load_pools(connection, root, {offer.name: offer for offer in offers or (TEN,)})


def codes(till: Till, offer: str = "ten") -> list[str]:
    """Return the codes of an offer."""
    return [row.code for row in till.rows(offer=offer)]


def test_the_file_is_what_waits(till: Till, tmp_path: Path) -> None:
    """New codes come, those that left the file go, those that somebody has stay; both are told; the same file changes nothing."""
    assert load(till, tmp_path, "A\nB\nC\n") == [PoolMoved("ten", 3, 0)]
    assert till.give([TEN], 1)[0].code == "A"
    assert load(till, tmp_path, "C\nD\n") == [PoolMoved("ten", 1, 1)]
    assert codes(till) == ["A", "C", "D"]
    before = till.rows()
    assert load(till, tmp_path, "C\nD\n") == []
    assert till.rows() == before
    assert [till.give([TEN], who)[0].code for who in (2, 3, 4)] == ["C", "D", None]


def test_two_offers_on_one_file_share_no_code(till: Till, tmp_path: Path) -> None:
    """A code that stands in one pool is not loaded into another, so that nobody else is given it."""
    other = Offer("eleven", "percent", "11", pool="codes.txt")
    load(till, tmp_path, "A\nB\n", TEN, other)
    assert (codes(till, "eleven"), codes(till, "ten")) == (["A", "B"], [])


def test_a_code_given_while_the_file_is_read_is_not_withdrawn(
    till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and withdrawing somebody else may give a code away: it stays theirs."""
    load(till, tmp_path, "A\nB\n")
    if till.database.is_sqlite:
        return  # its writer is alone: nobody gives anything meanwhile

    def given_meanwhile(*_args: object) -> object:
        assert till.give([TEN], 1)[0].code == "A"
        return delete(offer_codes)

    monkeypatch.setattr(pools, "delete", given_meanwhile)
    load(till, tmp_path, "# none\n")
    assert [(row.code, row.customer_id) for row in till.rows()] == [("A", 1)]


def test_how_pools_stand(till: Till, tmp_path: Path) -> None:
    """A tenth left is enough, less is low; an offer that has no pool is not counted, an empty one is low."""
    assert [PoolLeft("a", free, given).runs_low for free, given in ((0, 0), (1, 9), (1, 10), (50, 0))] == [
        True, False, True, False,
    ]  # fmt: skip
    load(till, tmp_path, "A\nB\nC\n")
    till.give([TEN], 1)
    fixed = Offer("fixed", "percent", "10", code="X")
    bare = Offer("bare", "percent", "10", pool="none.txt")
    with till.database.read() as connection:
        found = pools_left(connection, {offer.name: offer for offer in (TEN, fixed, bare)})
    assert found == [PoolLeft("bare", 0, 0), PoolLeft("ten", 2, 1)]
