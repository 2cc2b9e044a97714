"""What a simulation counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from engine.deploy.simulate_tally import Tally, count_near
from engine.store.types import to_micros

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_a_mail_that_thanks_for_a_purchase_did_not_come_before_it() -> None:
    """Of a week's mails the last one before a purchase counts; one of the very moment came from it."""
    day, tally = timedelta(days=1), Tally()
    mails = [(NOON - 8 * day, "cart"), (NOON, "thanks"), (NOON + 6 * day, "thanks")]
    bought = [(NOON, Decimal(20)), (NOON + 6 * day, Decimal(30)), (NOON + 7 * day, Decimal(40))]
    count_near(
        tally, [(to_micros(at), flow) for at, flow in mails], [(to_micros(at), paid) for at, paid in bought]
    )
    assert (tally.orders["all"], tally.orders["after a mail"], tally.near["thanks"]) == (3, 2, 2)
    assert (tally.revenue["all"], tally.revenue["thanks"]) == (9_000, 7_000)
