"""The models of staying and spending, held to the figures that their authors published for CDNOW."""

from __future__ import annotations

import csv
import random
from math import exp, lgamma, log
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.insights import btyd
from engine.insights.btyd import (
    BgNbd,
    GammaGamma,
    History,
    Spend,
    Unknown,
    fit_bg_nbd,
    fit_gamma_gamma,
    hyp2f1,
)

PUBLISHED = BgNbd(0.243, 4.414, 0.793, 2.426, -9582.4)


def cdnow() -> list[dict[str, str]]:
    """Return the rows of the data set beside this file."""
    lines = Path(__file__).with_name("cdnow.csv").read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def cdnow_histories() -> list[History]:
    """Return the calibration half of CDNOW, in weeks."""
    return [
        History(int(row["x"]), int(row["t_x_days"]) / 7, int(row["T_days"]) / 7, int(row["customers"]))
        for row in cdnow()
    ]


def cdnow_spends() -> list[Spend]:
    """Return the mean values of repeat purchases of CDNOW's customers."""
    rows = [row for row in cdnow() if row["mean_value"]]
    return [
        Spend(int(row["x"]), float(row["mean_value"])) for row in rows for _ in range(int(row["customers"]))
    ]


def test_bg_nbd_reproduces_the_published_fit() -> None:
    """The fit is r .243, alpha 4.414, a .793, b 2.426 with a log-likelihood of −9582.4 (Fader, Hardie and Lee 2005, table 1)."""
    histories = cdnow_histories()
    assert sum(history.customers for history in histories) == 2357
    model = fit_bg_nbd(histories)
    assert isinstance(model, BgNbd)
    found = (round(model.r, 3), round(model.alpha, 3), round(model.a, 3), round(model.b, 3))
    assert found == (0.243, 4.414, 0.793, 2.426)
    assert round(model.log_likelihood, 1) == -9582.4


def test_the_published_expectation() -> None:
    """A customer with 2 repeats, the last in week 30.43 of 38.86, is expected to buy 1.226 times in 39 weeks."""
    assert round(PUBLISHED.expected(39, 2, 30.43, 38.86), 3) == 1.226


def test_gamma_gamma_reproduces_the_published_fit() -> None:
    """The fit is p 6.25, q 3.74, v 15.44 (Fader and Hardie, note 025) from the 946 customers who came back."""
    spends = cdnow_spends()
    assert len(spends) == 946
    model = fit_gamma_gamma(spends)
    assert isinstance(model, GammaGamma)
    assert (round(model.p, 2), round(model.q, 2)) == (6.25, 3.74)
    assert model.v == pytest.approx(15.44, abs=0.01)
    assert model.expected(2, 22.35) == pytest.approx(24.66, abs=0.005)


def test_twelve_months_of_the_first_customer_are_worth_36() -> None:
    """36.278 with weeks taken as weeks; the much-copied 140.096 takes them for days."""
    purchases, spend = fit_bg_nbd(cdnow_histories()), fit_gamma_gamma(cdnow_spends())
    assert isinstance(purchases, BgNbd)
    assert isinstance(spend, GammaGamma)
    to_come = purchases.discounted(2, 38.86)
    assert to_come is not None
    value = to_come * purchases.alive(2, 30.43, 38.86) * spend.expected(2, 22.35)
    assert round(value, 3) == 36.278


def test_a_single_purchase_says_nothing_about_leaving() -> None:
    """The model has all of them stay; with repeats the chance falls with silence, faster for frequent buyers."""
    assert PUBLISHED.alive(0, 0.0, 100.0) == 1.0
    chances = [PUBLISHED.alive(x, 10.0, age) for x, age in ((2, 12.0), (2, 40.0), (8, 40.0))]
    assert chances == sorted(chances, reverse=True)
    assert PUBLISHED.alive(400, 10.0, 3000.0) == pytest.approx(0.0)


def test_too_few_customers_are_not_predicted_from() -> None:
    """Below 100 buyers or 30 who came back there is a reason instead of a model."""
    few = fit_bg_nbd([History(1, 5.0, 30.0, 99)])
    assert isinstance(few, Unknown)
    assert "too few" in few.reason
    assert isinstance(fit_bg_nbd([History(0, 0.0, 30.0, 500), History(1, 5.0, 30.0, 29)]), Unknown)
    assert isinstance(fit_gamma_gamma([Spend(1, 10.0)] * 29), Unknown)
    assert isinstance(fit_gamma_gamma([Spend(1, 0.0)] * 500), Unknown)


def test_a_short_history_is_not_predicted_from() -> None:
    """A shop of eleven weeks is told so."""
    young = fit_bg_nbd([History(1, 5.0, 11.0, 500)])
    assert isinstance(young, Unknown)
    assert "12 weeks" in young.reason


def test_customers_who_never_leave_give_no_model() -> None:
    """Where purchases come at a steady rate and nobody leaves, a would go to 0: said in words, not as certainty."""
    chance = random.Random(7)
    histories = []
    for _ in range(2000):
        age, rate = chance.uniform(20, 50), chance.gammavariate(0.8, 0.1)
        moment, purchases = chance.expovariate(rate), [0.0]
        while moment < age:
            purchases.append(moment)
            moment += chance.expovariate(rate)
        histories.append(History(len(purchases) - 1, purchases[-1], age))
    found = fit_bg_nbd(histories)
    assert isinstance(found, Unknown)
    assert "leave" in found.reason


def test_known_parameters_are_found_again() -> None:
    """Of 5,000 made-up customers with r .6, alpha 8, a .8, b 2.4 the fit finds each within 15 %, rounded times or not."""
    histories = made_up(5000)
    for most in (btyd.MOST_ROWS, 1500):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(btyd, "MOST_ROWS", most)
            model = fit_bg_nbd(histories)
        assert isinstance(model, BgNbd)
        assert model.r == pytest.approx(0.6, rel=0.15)
        assert model.alpha == pytest.approx(8.0, rel=0.15)
        assert model.dropout == pytest.approx(0.25, rel=0.15)


def made_up(count: int) -> list[History]:
    """Return histories of customers who behave as the model says."""
    chance = random.Random(11)
    histories = []
    for _ in range(count):
        age, rate, leaves = (
            chance.uniform(10, 100),
            chance.gammavariate(0.6, 1 / 8.0),
            chance.betavariate(0.8, 2.4),
        )
        x, last, moment = 0, 0.0, chance.expovariate(rate)
        while moment < age:
            x, last = x + 1, moment
            if chance.random() < leaves:
                break
            moment += chance.expovariate(rate)
        histories.append(History(x, round(last * 7) / 7, round(age * 7) / 7))
    return histories


def test_the_expectation_agrees_with_a_simulation_of_the_model() -> None:
    """New customers (x = 0, no time) buy as often in 26 weeks as the formula says, within 4 %."""
    chance = random.Random(3)
    model = BgNbd(0.6, 8.0, 0.8, 2.4, 0.0)
    total = 0
    for _ in range(20_000):
        rate, leaves = chance.gammavariate(model.r, 1 / model.alpha), chance.betavariate(model.a, model.b)
        moment = chance.expovariate(rate) if rate > 0 else 99.0
        while moment < 26:
            total += 1
            if chance.random() < leaves:
                break
            moment += chance.expovariate(rate)
    assert model.expected(26, 0, 0.0, 0.0) == pytest.approx(total / 20_000, rel=0.04)


@pytest.mark.parametrize("a", [0.3, 0.9999999, 1.0, 1.0000001, 2.5])
def test_the_expectation_is_smooth_where_the_formula_is_singular(a: float) -> None:
    """Around a = 1 the formula divides by nothing; the value moves on without a jump, and never below zero."""
    near, there = (BgNbd(0.6, 8.0, value, 2.4, 0.0).expected(26, 3, 20.0, 30.0) for value in (a + 0.001, a))
    assert there == pytest.approx(near, rel=0.01)
    assert there > 0


def test_the_hypergeometric_series_has_its_known_values() -> None:
    """F(1, 1; 2; z) = −ln(1 − z) / z; F(a, b; b; z) = (1 − z)^−a; near z = 1 it nears Gauss's sum."""
    for z in (0.0001, 0.3, 0.9, 0.99):
        assert hyp2f1(1, 1, 2, z)[0] == pytest.approx(-log(1 - z) / z)
        assert hyp2f1(0.7, 3, 3, z)[0] == pytest.approx((1 - z) ** -0.7)
    gauss = lgamma(5) + lgamma(5 - 0.5 - 0.25) - lgamma(5 - 0.5) - lgamma(5 - 0.25)
    assert log(hyp2f1(0.5, 0.25, 5, 0.999999)[0]) == pytest.approx(gauss, abs=1e-5)
    beyond, scale = hyp2f1(4000, 3, 3, 0.5)
    assert log(beyond) + scale == pytest.approx(4000 * log(2))


def test_customers_who_all_leave_alike_are_predicted_like_in_smaller_numbers() -> None:
    """Large a and b say that everybody leaves with one chance: ten times as large says the same, and it is a number."""
    for x, age in ((0, 3.0), (4, 59.4), (40, 80.0), (1500, 300.0)):
        large, larger = (
            BgNbd(3.31, 32.4, n * 33.93, n * 1625.87, 0.0).discounted(x, age) for n in (300, 3000)
        )
        assert larger == pytest.approx(large, rel=0.02)


@given(
    st.tuples(*(st.floats(-11.9, 11.9) for _ in range(4))),
    st.integers(0, 3_000),
    st.floats(0, 600),
)
@settings(max_examples=60, deadline=None)
def test_what_is_predicted_can_be(at: tuple[float, ...], x: int, age: float) -> None:
    """Whatever the fit may come to: no number, or one between nothing and what somebody buys who stays for ever."""
    r, alpha, a, b = (exp(value) for value in at)
    found = BgNbd(r, alpha, a, b, 0.0).discounted(x, age)
    assert found is None or 0 <= found <= 52.2 * (r + x) / (alpha + age)


@given(
    st.tuples(st.floats(-2, 3), st.floats(0, 5), st.floats(-1, 11.9), st.floats(0, 11.9)),
    st.integers(0, 300),
    st.floats(0, 600),
)
@settings(max_examples=60, deadline=None)
def test_what_shops_come_to_is_predicted(at: tuple[float, ...], x: int, age: float) -> None:
    """For parameters that fits of real shops have, also where all leave alike, there is a number."""
    r, alpha, a, b = (exp(value) for value in at)
    assert BgNbd(r, alpha, a, b, 0.0).discounted(x, age) is not None


def test_a_frequent_customers_own_mean_counts_for_more() -> None:
    """One purchase of 100 is shrunk toward everybody's mean more than ten of 100 are."""
    model = GammaGamma(6.25, 3.74, 15.44, 0.0)
    assert model.mean < model.expected(1, 100.0) < model.expected(10, 100.0) < 100.0
    assert model.expected(0, 0.0) == model.mean
