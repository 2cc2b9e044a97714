"""Giving offers to messages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from engine.flows.model import Offer
from engine.offers.issue import Wanted, checks, issue
from engine.store.database import Database
from engine.store.tables import offer_codes
from tests.unit.offers.till import KEY, NOW, WEEK, Till


@pytest.fixture
def till(database: Database) -> Till:
    """Give an empty till, on SQLite and on PostgreSQL."""
    return Till(database)


def offer(name: str = "ten", **fields: object) -> Offer:
    """Return an offer of ten percent for a week."""
    return Offer(name, "percent", "10", **({"valid_for": WEEK} | fields))  # type: ignore[arg-type]


def test_a_fixed_code_is_the_same_for_everybody(till: Till) -> None:
    """Each message has a row of its own, with its customer and its end."""
    found = till.give([offer(code="SPRING")], 1, 2)
    assert [(each.code, each.expires_at, each.fresh) for each in found] == [
        ("SPRING", NOW + timedelta(days=7), True)
    ] * 2
    assert [(row.customer_id, row.message_id) for row in till.rows()] == [(1, 1), (2, 2)]


def test_a_pattern_gives_each_customer_a_code_of_their_own(till: Till) -> None:
    """Codes differ, fit the pattern, and end with the sign that checks the others."""
    found = till.give([offer(pattern="TEA-########")], *range(1, 40))
    codes = {each.code for each in found}
    assert len(codes) == 39
    assert all(code is not None and checks("TEA-########", code) for code in codes)


def test_an_offer_without_code_or_end(till: Till) -> None:
    """What every customer gets by themselves, such as free shipping, needs neither."""
    (found,) = till.give([Offer("ship", "free_shipping", "true")], 1)
    assert (found.offer, found.code, found.expires_at, found.reason) == ("ship", None, None, None)


def test_the_holder_sees_the_same_code_again(till: Till) -> None:
    """Also in one batch; with the end that it had; the pool gives one code only."""
    till.pool("ten", "A", "B", "C")
    first = till.give([offer(pool="codes.txt")], 1, 1, 2)
    assert [each.code for each in first] == ["A", "A", "B"]
    assert [each.fresh for each in first] == [True, False, True]
    (again,) = till.give([offer(pool="codes.txt")], 1, days=3)
    assert (again.code, again.expires_at) == ("A", NOW + timedelta(days=7))


def test_once_is_once(till: Till) -> None:
    """A code that is past its end, or used, is not followed by another; the mail does not go."""
    once = offer(pattern="T-######")
    till.give([once], 1, 2)
    (late,) = till.give([once], 1, days=8)
    assert (late.offer, late.reason, late.wait, late.cause) == (None, "no_offer", False, "over")
    with till.database.write() as connection:
        connection.execute(update(offer_codes).where(offer_codes.c.customer_id == 2).values(used_at=NOW))
    (used,) = till.give([once], 2, days=1)
    assert (used.reason, used.cause) == ("no_offer", "used")


def test_once_per_message_gives_a_new_code_each_time(till: Till) -> None:
    """A birthday comes every year."""
    yearly = offer(pattern="B-########", once_per="message")
    codes = {till.give([yearly], 1, days=365 * year)[0].code for year in range(3)}
    assert len(codes) == 3


def test_an_empty_pool_waits(till: Till) -> None:
    """`wait`: no code and no mail now; once codes are there it goes on."""
    waiting = offer(pool="codes.txt", when_empty="wait")
    (first,) = till.give([waiting], 1)
    assert (first.code, first.wait, first.reason, first.cause) == (None, True, "no_offer", "empty")
    till.pool("ten", "A")
    assert till.give([waiting], 1)[0].code == "A"


def test_an_empty_pool_goes_without(till: Till) -> None:
    """`without`: the mail goes and shows no offer."""
    (found,) = till.give([offer(pool="codes.txt")], 1)
    assert (found.offer, found.code, found.reason) == (None, None, None)


def test_an_empty_pool_takes_another_offer(till: Till) -> None:
    """The one that steps in is given under its own name, and its holder keeps it."""
    first, second = offer(pool="codes.txt", when_empty="five"), Offer("five", "percent", "5", code="FIVE")
    till.pool("ten", "A")
    found = till.give([first, second], 1, 2)
    assert [(each.offer, each.code) for each in found] == [("ten", "A"), ("five", "FIVE")]


def test_a_circle_of_offers_ends(till: Till) -> None:
    """Two empty pools that name each other give nothing, and no mail."""
    circle = [offer("a", pool="a.txt", when_empty="b"), offer("b", pool="b.txt", when_empty="a")]
    (found,) = till.give(circle, 1)
    assert (found.reason, found.cause) == ("no_offer", "empty")


def test_an_offer_that_is_gone(till: Till) -> None:
    """A flow in progress may name an offer that was removed: its mail does not go."""
    (found,) = till.give([offer()], 1, name="gone")
    assert (found.reason, found.cause) == ("no_offer", "gone")


def test_a_code_is_bound_in_the_messages_own_transaction(till: Till) -> None:
    """What is rolled back was never given: the code waits in the pool again."""
    till.pool("ten", "A")
    pooled = {"ten": offer(pool="codes.txt")}

    def fail() -> None:
        with till.database.write() as connection:
            assert issue(connection, [Wanted("ten", 1, 1, "UTC")], pooled, NOW, KEY)[0].code == "A"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert till.rows()[0].issued_at is None
    assert till.give([pooled["ten"]], 2)[0].code == "A"


def test_the_end_is_on_the_customers_calendar(till: Till) -> None:
    """Seven days later at the same time of day, across the change of clocks."""
    spring = NOW.replace(month=3, day=27, hour=11)  # noon in Berlin; the clocks change on the 29th
    with till.database.write() as connection:
        wanted = [Wanted("ten", 1, 1, "Europe/Berlin")]
        (found,) = issue(connection, wanted, {"ten": offer(code="X")}, spring, KEY)
    assert found.expires_at == spring + timedelta(days=7) - timedelta(hours=1)
