"""RFM scores and percentiles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.insights.rfm import percentiles, recency_scores, value_scores


def test_five_equal_parts_have_the_five_scores() -> None:
    """Of 100 different values each score has 20."""
    scores = value_scores(range(100))
    assert [scores.count(score) for score in (1, 2, 3, 4, 5)] == [20] * 5
    assert recency_scores(range(100)) == scores[::-1]


def test_ties_share_the_score_of_their_lowest() -> None:
    """Where most bought once, all of them have 1, and those who came back stand out."""
    assert value_scores([1] * 8 + [2, 2]) == [1] * 8 + [5, 5]
    assert value_scores([3, 3, 3]) == [1, 1, 1]


def test_one_customer_is_in_the_middle() -> None:
    """With nobody to compare with the score is 3 and the percentile 50; no customers have none."""
    assert value_scores([99]) == recency_scores([99]) == [3]
    assert percentiles([99]) == [50.0]
    assert value_scores([]) == percentiles([]) == []


def test_a_shop_can_set_its_own_limits() -> None:
    """At most 30 days is 5; at least 10 orders is 5."""
    assert recency_scores([30, 31, 90, 91, 365, 366], (30, 90, 180, 365)) == [5, 4, 4, 3, 2, 1]
    assert value_scores([1, 2, 3, 4, 5, 9, 10], (2, 3, 5, 10)) == [1, 2, 3, 3, 4, 4, 5]


@given(st.lists(st.integers(0, 30), max_size=60))
def test_scores_are_in_order_of_the_values(values: list[int]) -> None:
    """A larger value never has a lower score; equal values have equal ones; the best of several differing has the best."""
    ordered = sorted(zip(values, value_scores(values), strict=True))
    assert [score for _, score in ordered] == sorted(score for _, score in ordered)
    assert len(dict(ordered)) == len(set(ordered))
    assert all(1 <= score <= 5 for _, score in ordered)
