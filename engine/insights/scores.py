"""Rebuilds the customers' scores: RFM, percentile of spend, risk of having left, value of the next 12 months.

Comes in: a database and the moment up to which facts are known. Goes out: the table `customer_scores`, a row for every
customer with an order, and a report with notes in plain words. Promises that a number which the orders do not support is
left empty, never guessed: `churn_risk` is empty for customers with a single purchase (the model supposes that they are
still there, which is no finding), and both predictions are empty for all where the model does not hold.

`churn_risk` is 1 − P(alive) by BG/NBD; `predicted_value` is the purchases expected in 12 months, discounted by 1 % a
month, times their expected value by Gamma-Gamma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from statistics import StatisticsError, correlation
from typing import Any

from sqlalchemy import delete

from engine.insights.btyd import BgNbd, GammaGamma, Unknown, fit_bg_nbd, fit_gamma_gamma
from engine.insights.histories import WEEK_DAYS, Histories, read_histories
from engine.insights.rfm import QUINTILES, Bins, percentiles, recency_scores, value_scores
from engine.recommend.sales import chunks
from engine.store.database import Database
from engine.store.dialect import upsert
from engine.store.tables import customer_scores

CHUNK = 2_000  # customers written in one transaction
TIED = 0.3  # correlation from which how often and for how much are not independent, as Gamma-Gamma supposes
_FIELDS = ("at", "rfm_r", "rfm_f", "rfm_m", "spent_percentile", "churn_risk", "predicted_value")


@dataclass(frozen=True, slots=True)
class ScoresReport:
    """What a rebuild did: customers scored, the models that hold (None where not), and notes for people."""

    customers: int
    purchases: BgNbd | None
    spend: GammaGamma | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Models:
    purchases: BgNbd | None
    spend: GammaGamma | None
    notes: tuple[str, ...]


def rebuild_scores(database: Database, now: datetime, bins: Bins = QUINTILES) -> ScoresReport:
    """Score every customer with an order known at `now`; rows of others are removed."""
    with database.read() as connection:
        found = read_histories(connection, now)
    models = _fit(found)
    for rows in chunks(_rows(found, models, now, bins), CHUNK):
        with database.write() as connection:
            upsert(connection, customer_scores, rows, update=_FIELDS)
    with database.write() as connection:
        connection.execute(delete(customer_scores).where(customer_scores.c.at != now))
    return ScoresReport(len(found), models.purchases, models.spend, models.notes)


def _fit(found: Histories) -> _Models:
    purchases = fit_bg_nbd(found.histories())
    if isinstance(purchases, Unknown):
        return _Models(None, None, (f"churn risk and predicted value stay empty: {purchases.reason}",))
    spends = found.spends()
    spend = fit_gamma_gamma(spends)
    if isinstance(spend, Unknown):
        return _Models(purchases, None, (f"predicted value stays empty: {spend.reason}",))
    try:
        tied = correlation([float(item.x) for item in spends], [item.mean for item in spends])
    except StatisticsError:
        tied = 0.0
    notes = (
        f"frequent customers spend otherwise than rare ones (correlation {tied:.2f}): take predicted values as a rank",
    )
    return _Models(purchases, spend, notes if abs(tied) > TIED else ())


def _rows(found: Histories, models: _Models, now: datetime, bins: Bins) -> Iterator[dict[str, Any]]:
    columns = zip(
        found.customer_ids,
        recency_scores(found.recency_days(), bins.recency_days),
        value_scores(found.orders, bins.frequency),
        value_scores(found.spent, bins.monetary),
        percentiles(found.spent),
        _predictions(found, models),
        strict=True,
    )
    for customer_id, recency, frequency, monetary, percentile, (risk, value) in columns:
        scores = (now, recency, frequency, monetary, round(percentile, 2), risk, value)
        yield {"customer_id": customer_id, **dict(zip(_FIELDS, scores, strict=True))}


def _predictions(found: Histories, models: _Models) -> Iterator[tuple[float | None, Decimal | None]]:
    purchases, spend = models.purchases, models.spend
    if purchases is None:
        yield from ((None, None) for _ in found.customer_ids)
        return
    # The costly part does not depend on when the last purchase was, so that few different ones are left.
    to_come: Callable[[int, int], float | None] = lru_cache(maxsize=200_000)(
        lambda x, age_days: purchases.discounted(x, age_days / WEEK_DAYS)
    )
    columns = zip(found.repeats, found.active_days, found.age_days, found.repeat_mean, strict=True)
    for x, active_days, age_days, mean in columns:
        alive = purchases.alive(x, active_days / WEEK_DAYS, age_days / WEEK_DAYS)
        value, coming = None, to_come(x, age_days)
        if spend is not None and coming is not None:
            value = Decimal(str(round(coming * alive * spend.expected(x, max(mean, 0.0)), 2)))
        yield (round(1.0 - alive, 4) if x else None), value
