"""Rebuilding the customers' scores."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select, update

from engine.insights.histories import read_histories
from engine.insights.rfm import Bins
from engine.insights.scores import rebuild_scores
from engine.store.database import Database
from engine.store.tables import customer_scores, customers, orders
from tests.unit.recommend.shop import NOW, Shop, ago


def scored(shop: Shop) -> dict[int, Any]:
    """Return the rows of the table by customer."""
    with shop.database.read() as connection:
        return {row.customer_id: row for row in connection.execute(select(customer_scores))}


def test_a_history_is_read_as_the_models_want_it(shop: Shop) -> None:
    """Two orders of a day are one purchase but two orders; refunds come off; cancelled and later orders are not there."""
    for when, total in ((50, "10"), (40, "20"), (39.9, "4"), (10, "30")):
        shop.order(1, "", when, total=total)
    refunded = shop.order(1, "", 10, total="8")
    shop.order(1, "", 20, total="99", cancelled_days_ago=19)
    shop.order(1, "", -1, total="99")
    shop.order(None, "", 5, total="99")
    with shop.database.write() as connection:
        connection.execute(update(orders).where(orders.c.order_id == refunded).values(refunded=Decimal(3)))
    with shop.database.read() as connection:
        found = read_histories(connection, NOW)
    assert len(found) == 1
    assert (found.orders[0], found.spent[0]) == (5, 69.0)
    assert (found.repeats[0], found.repeat_mean[0]) == (2, (24 + 35) / 2)
    assert (found.active_days[0], found.age_days[0], found.recency_days()) == (40, 50, [10])


def test_every_buyer_is_scored_and_nobody_else(shop: Shop) -> None:
    """The best of five has 5, 5, 5 and percentile 100; without an order, or erased, there is no row."""
    for number in range(1, 6):
        for repeat in range(number):
            shop.order(number, "", 100 - 10 * number - repeat, total="10")
    shop.customer(6)
    shop.order(7, "", 1, total="1000")
    with shop.database.write() as connection:
        connection.execute(update(customers).where(customers.c.id == 7).values(erased_at=NOW))
    report = rebuild_scores(shop.database, NOW)
    rows = scored(shop)
    assert report.customers == 5
    assert sorted(rows) == [1, 2, 3, 4, 5]
    assert [(row.rfm_r, row.rfm_f, row.rfm_m) for _, row in sorted(rows.items())] == [
        (n, n, n) for n in range(1, 6)
    ]
    assert [row.spent_percentile for _, row in sorted(rows.items())] == [0, 25, 50, 75, 100]
    assert rows[1].at == NOW


def test_too_few_customers_leave_predictions_empty_and_say_so(shop: Shop) -> None:
    """RFM is given at any size; risk and value are NULL with a note."""
    shop.order(1, "", 100, total="10")
    report = rebuild_scores(shop.database, NOW)
    assert (report.purchases, report.spend) == (None, None)
    assert len(report.notes) == 1
    assert "too few" in report.notes[0]
    row = scored(shop)[1]
    assert (row.churn_risk, row.predicted_value, row.rfm_r) == (None, None, 3)


def test_a_customer_whose_orders_are_gone_loses_the_row(shop: Shop) -> None:
    """After the only order was cancelled the scores go with it."""
    order_id = shop.order(1, "", 100, total="10")
    shop.order(2, "", 90, total="10")
    rebuild_scores(shop.database, ago(2))
    with shop.database.write() as connection:
        connection.execute(update(orders).where(orders.c.order_id == order_id).values(cancelled_at=ago(1)))
    rebuild_scores(shop.database, NOW)
    assert sorted(scored(shop)) == [2]


def test_a_shop_can_set_its_own_bins(shop: Shop) -> None:
    """With limits given the scores do not depend on the other customers."""
    shop.order(1, "", 20, total="60")
    rebuild_scores(shop.database, NOW, Bins((30, 90, 180, 365), (2, 3, 5, 10), (10, 50, 100, 500)))
    row = scored(shop)[1]
    assert (row.rfm_r, row.rfm_f, row.rfm_m) == (5, 1, 3)


def test_predictions_follow_silence_and_worth(database: Database) -> None:
    """Where people do leave, the silent have a higher risk, the big spenders a higher value, the once-only no risk."""
    _fill(database, 800)
    rebuild = rebuild_scores(database, NOW)
    assert rebuild.purchases is not None
    assert rebuild.spend is not None
    with database.read() as connection:
        rows = connection.execute(select(customer_scores)).all()
        histories = read_histories(connection, NOW)
    repeats = dict(zip(histories.customer_ids, histories.repeats, strict=True))
    recency = dict(zip(histories.customer_ids, histories.recency_days(), strict=True))
    assert all((row.churn_risk is None) == (repeats[row.customer_id] == 0) for row in rows)
    assert all(row.predicted_value >= 0 for row in rows)
    regulars = [row for row in rows if repeats[row.customer_id] >= 4]
    silent = [row.churn_risk for row in regulars if recency[row.customer_id] > 200]
    active = [row.churn_risk for row in regulars if recency[row.customer_id] < 30]
    assert min(silent) > max(active)


def _fill(database: Database, count: int) -> None:
    chance = random.Random(5)
    placed: list[dict[str, Any]] = []
    for customer_id in range(1, count + 1):
        age, rate, leaves = (
            chance.uniform(30, 600),
            chance.gammavariate(0.9, 1 / 40.0),
            chance.betavariate(0.8, 2.4),
        )
        worth, moment = chance.gammavariate(3, 10), 0.0
        while moment < age:
            order: dict[str, Any] = {
                "order_id": f"o{len(placed)}",
                "customer_id": customer_id,
                "status": "placed",
            }
            at = ago(age - moment)
            order |= {"placed_at": at, "status_at": at, "updated_at": at}
            placed.append(order | {"total": Decimal(str(round(worth * chance.uniform(0.5, 1.5), 2)))})
            if moment and chance.random() < leaves:
                break
            moment += chance.expovariate(rate)
    with database.write() as connection:
        connection.execute(
            insert(customers), [{"id": n, "first_seen_at": ago(600)} for n in range(1, count + 1)]
        )
        connection.execute(insert(orders), placed)
