"""Consent as a fold of what was said: the newest word counts, and a doubt is a no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from engine.policy.consent import TopicState, granted

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENTS = st.none() | st.integers(0, 9).map(lambda days: NOW + days * DAY)
STATES = st.lists(
    st.builds(TopicState, st.sampled_from(["offers", "all", "reminders"]), MOMENTS, MOMENTS, MOMENTS),
    max_size=4,
)


def test_nothing_said_is_no() -> None:
    """Without a recorded consent there is none."""
    assert not granted([], "offers", accepts_soft=True)


def test_the_newest_word_counts() -> None:
    """A later grant overrides a withdrawal, an earlier or simultaneous one does not."""
    for days, holds in ((1, True), (0, False), (-1, False)):
        assert (
            granted([TopicState("offers", NOW + days * DAY, withdrawn_at=NOW)], "offers", accepts_soft=False)
            is holds
        )


def test_all_speaks_for_every_topic() -> None:
    """A grant or withdrawal of `all` counts like one of the topic."""
    assert granted([TopicState("all", NOW)], "offers", accepts_soft=False)
    assert not granted(
        [TopicState("offers", NOW), TopicState("all", withdrawn_at=NOW + DAY)], "offers", accepts_soft=False
    )
    assert granted(
        [TopicState("offers", NOW + DAY), TopicState("all", withdrawn_at=NOW)], "offers", accepts_soft=False
    )


@given(STATES)
def test_a_soft_opt_in_only_ever_adds(states: list[TopicState]) -> None:
    """A topic that accepts it allows at least what a strict one does."""
    assert granted(states, "offers", accepts_soft=True) or not granted(states, "offers", accepts_soft=False)


@given(STATES, st.booleans())
def test_a_last_no_is_a_no(states: list[TopicState], soft: bool) -> None:
    """Whatever was said before, a withdrawal after all of it holds, of the topic and of all."""
    for topic in ("offers", "all"):
        assert not granted(
            [*states, TopicState(topic, withdrawn_at=NOW + 30 * DAY)], "offers", accepts_soft=soft
        )


@given(STATES, st.booleans())
def test_other_topics_do_not_matter(states: list[TopicState], soft: bool) -> None:
    """What was said about another topic changes nothing."""
    own = [state for state in states if state.topic != "reminders"]
    assert granted(states, "offers", accepts_soft=soft) == granted(own, "offers", accepts_soft=soft)
