"""The rate limit: no stretch of time sees more than its share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.rate import Bucket, Rate, parse_rate
from engine.errors import UsageError


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/s", Rate(20, 1)),
        (" 600 / m ", Rate(600, 60)),
        ("5000/h", Rate(5000, 3600)),
        ("100 per 10s", Rate(100, 10)),
        ("1/D", Rate(1, 86400)),
    ],
)
def test_rates_are_read(text: str, rate: Rate) -> None:
    """A number of mails and a stretch of time, in the usual ways of writing them."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "20", "0/s", "-1/s", "20/0s", "20/y", "1.5/s", "20/s/s"])
def test_other_words_are_refused(text: str) -> None:
    """What is no rate is refused with an example of one."""
    with pytest.raises(UsageError, match="20/s"):
        parse_rate(text)


RATES = st.builds(Rate, st.integers(1, 10_000), st.sampled_from([1, 10, 60, 3600, 86400]))


@given(RATES, st.lists(st.tuples(st.floats(0, 100), st.integers(0, 200)), max_size=40))
def test_no_stretch_sees_more_than_its_share(rate: Rate, asks: list[tuple[float, int]]) -> None:
    """Between any two moments at most the burst and what the time between brings are granted."""
    bucket, now, granted = Bucket.full(rate, 0.0), 0.0, [(0.0, 0)]
    for pause, wanted in asks:
        now += pause
        count, bucket = bucket.take(wanted, now)
        assert 0 <= count <= wanted
        granted.append((now, count))
    for first in range(len(granted)):
        total = 0
        for moment, count in granted[first:]:
            total += count
            assert total <= rate.burst + (moment - granted[first][0]) * rate.per_second + 1e-6 * (total + 1)


@given(RATES, st.integers(1, 50), st.floats(0, 1e6))
def test_who_waits_as_told_is_served(rate: Rate, wanted: int, now: float) -> None:
    """After the wait that the bucket names, what was asked for (or a full burst) is granted."""
    _, bucket = Bucket.full(rate, now).take(10_000, now)
    wait = bucket.seconds_until(wanted, now)
    granted, _ = bucket.take(wanted, now + wait + 1e-6 * (1 + rate.seconds))
    assert granted >= min(wanted, int(rate.burst))


def test_a_clock_that_steps_back_gives_nothing() -> None:
    """Going back in time neither fills nor empties the bucket."""
    _, bucket = Bucket.full(parse_rate("10/s"), 100.0).take(10, 100.0)
    assert bucket.take(1, 50.0) == (0, bucket)
    assert bucket.take(1, 100.2)[0] == 1
