"""The fold of consents: a grant counts only when it is later than every withdrawal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.facts.state_rows import TIMES, State, Times, fold_two, standing

START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.none() | st.integers(0, 9).map(lambda days: START + timedelta(days=days))
STATES = st.dictionaries(
    st.sampled_from(["all", "offers", "reminders"]),
    st.fixed_dictionaries(dict.fromkeys(TIMES, MOMENTS)),
    max_size=3,
)
FIRST, SECOND, THIRD = (datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3))


def times(**known: datetime) -> Times:
    """Return a topic's four times, those that are not told unknown."""
    return {name: known.get(name) for name in TIMES}


@pytest.mark.parametrize(
    ("topic", "everything", "stands"),
    [
        (times(), None, "none"),
        (times(pending_at=FIRST), None, "pending"),
        (times(granted_at=SECOND), None, "granted"),
        (times(granted_at=SECOND, withdrawn_at=FIRST), None, "granted"),
        (times(granted_at=SECOND, withdrawn_at=SECOND), None, "withdrawn"),
        (times(granted_at=FIRST, withdrawn_at=SECOND), None, "withdrawn"),
        (times(granted_at=FIRST, withdrawn_at=SECOND, pending_at=THIRD), None, "withdrawn"),
        (times(soft_granted_at=SECOND), None, "soft"),
        (times(soft_granted_at=SECOND, withdrawn_at=FIRST), None, "soft"),
        (times(soft_granted_at=SECOND, withdrawn_at=SECOND), None, "withdrawn"),
        (times(soft_granted_at=THIRD, granted_at=FIRST, withdrawn_at=SECOND), None, "soft"),
        (times(soft_granted_at=THIRD, granted_at=SECOND), None, "granted"),
        (times(granted_at=FIRST), times(withdrawn_at=SECOND), "withdrawn"),
        (times(withdrawn_at=FIRST), times(granted_at=SECOND), "granted"),
        (times(withdrawn_at=SECOND), times(soft_granted_at=THIRD), "soft"),
    ],
)
def test_how_a_customer_stands(topic: Times, everything: Times | None, stands: str) -> None:
    """The newest grant counts where it is later than the newest withdrawal, of the topic or of all; on a tie the withdrawal."""
    state: State = {"offers": topic} | ({"all": everything} if everything is not None else {})
    assert standing(state, "offers") == stands


@given(one=STATES, other=STATES)
def test_the_stricter_wins(
    one: dict[str, dict[str, datetime | None]], other: dict[str, dict[str, datetime | None]]
) -> None:
    """What either of two customers withdrew is withdrawn for the one they become, and nothing is granted that neither granted."""
    folded, _ = fold_two(one, other)
    for topic in {*one, *other}:
        ways = {standing(one, topic), standing(other, topic)}
        if "withdrawn" in ways:
            assert standing(folded, topic) == "withdrawn"
        if not ways & {"granted", "soft"}:
            assert standing(folded, topic) not in ("granted", "soft")


@pytest.mark.parametrize("grant", ["granted_at", "soft_granted_at"])
def test_the_stricter_of_two_is_that_of_both(grant: str) -> None:
    """Who granted later than the other one withdrew has withdrawn with them, by what the two of them say together."""
    granted: State = {"offers": times(**{grant: THIRD})}
    withdrawn: State = {"offers": times(withdrawn_at=FIRST)}
    for one, other in ((granted, withdrawn), (withdrawn, granted)):
        folded, told = fold_two(one, other)
        assert standing(folded, "offers") == "withdrawn"
        assert told == {"offers": THIRD}


def test_what_nobody_withdrew_stays() -> None:
    """Two who never withdrew keep the newest of each of their words, and nothing is told."""
    folded, told = fold_two(
        {"offers": times(granted_at=FIRST)},
        {"offers": times(granted_at=SECOND), "news": times(pending_at=FIRST)},
    )
    assert folded == {"offers": times(granted_at=SECOND), "news": times(pending_at=FIRST)}
    assert told == {}
