"""The fold of consents: a grant counts only when it is later than every withdrawal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from engine.facts.state_rows import TIMES, fold_two, standing

START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.none() | st.integers(0, 9).map(lambda days: START + timedelta(days=days))
STATES = st.dictionaries(
    st.sampled_from(["all", "offers", "reminders"]),
    st.fixed_dictionaries(dict.fromkeys(TIMES, MOMENTS)),
    max_size=3,
)


def test_a_tie_is_a_withdrawal() -> None:
    """A grant of the same moment as a withdrawal does not override it; `all` counts for every topic."""
    times = dict.fromkeys(TIMES)
    assert standing({"offers": times | {"granted_at": START, "withdrawn_at": START}}, "offers") == "withdrawn"
    assert (
        standing({"offers": times | {"granted_at": START}, "all": times | {"withdrawn_at": START}}, "offers")
        == "withdrawn"
    )
    assert standing({"all": times | {"granted_at": START}}, "offers") == "granted"
    assert standing({"all": times | {"soft_granted_at": START}}, "offers") == "soft"
    assert standing({"offers": times | {"pending_at": START}}, "offers") == "pending"
    assert standing({}, "offers") == "none"


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
