"""What a simulation counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from engine.deploy.simulate_tally import Tally, count_near

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that went."""

    flow: str
    counted_at: datetime


def test_a_mail_that_thanks_for_a_purchase_did_not_come_before_it() -> None:
    """Of a week's mails the last one before a purchase counts; one of the very moment came from it."""
    day, tally = timedelta(days=1), Tally()
    mails = [Mail("cart", NOON - 8 * day), Mail("thanks", NOON), Mail("thanks", NOON + 6 * day)]
    bought = [(NOON, Decimal(20)), (NOON + 6 * day, Decimal(30)), (NOON + 7 * day, Decimal(40))]
    count_near(tally, mails, bought)
    assert (tally.orders["all"], tally.orders["after a mail"], tally.near["thanks"]) == (3, 2, 2)
    assert (tally.revenue["all"], tally.revenue["thanks"]) == (9_000, 7_000)
