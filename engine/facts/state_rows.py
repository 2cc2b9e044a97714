"""The fold of the consent ledger: pure, and the same in whatever order the ledger's rows arrive.

A state maps each topic (and `all`) to its four times: the newest grant, soft grant, pending and withdrawal. An undated
grant stands at the beginning of time. A topic is granted when the newest grant of it or of `all` is later than the
newest withdrawal of it or of `all`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

Times = dict[str, datetime | None]
State = Mapping[str, Mapping[str, datetime | None]]
TIMES = ("granted_at", "soft_granted_at", "pending_at", "withdrawn_at")
Standing = Literal["granted", "soft", "pending", "withdrawn", "none"]


def column(state: str, basis: str) -> str:
    """Return which of the four times a ledger row moves."""
    if state == "granted":
        return "soft_granted_at" if basis == "soft_opt_in" else "granted_at"
    return "pending_at" if state == "pending" else "withdrawn_at"


def newest(*moments: datetime | None) -> datetime | None:
    """Return the latest of the moments that are known, or None."""
    return max((moment for moment in moments if moment is not None), default=None)


def standing(state: State, topic: str) -> Standing:
    """Return how a customer stands to a topic, grants and withdrawals of `all` included."""
    found = [state[name] for name in {topic, "all"} if name in state]
    granted, soft, pending, withdrawn = (newest(*(times[name] for times in found)) for name in TIMES)
    if granted is not None and (withdrawn is None or granted > withdrawn):
        return "granted"
    if soft is not None and (withdrawn is None or soft > withdrawn):
        return "soft"
    if withdrawn is not None:
        return "withdrawn"
    return "none" if pending is None else "pending"


def fold_two(one: State, other: State) -> tuple[dict[str, Times], dict[str, datetime]]:
    """Return the state of two customers who are one, and the withdrawals by topic that make it the stricter of both."""
    topics = sorted({*one, *other})
    folded: dict[str, Times] = {
        topic: {name: newest(one.get(topic, {}).get(name), other.get(topic, {}).get(name)) for name in TIMES}
        for topic in topics
    }
    withdrawn: dict[str, datetime] = {}
    for topic in topics:
        ways = {standing(one, topic), standing(other, topic)}
        if "withdrawn" in ways and ways & {"granted", "soft"}:
            every = [
                folded[name][grant]
                for name in {topic, "all"} & folded.keys()
                for grant in ("granted_at", "soft_granted_at")
            ]
            at = newest(folded[topic]["withdrawn_at"], *every)
            assert at is not None
            if standing(folded, topic) != "withdrawn":
                withdrawn[topic] = at
    for topic, at in withdrawn.items():
        folded[topic]["withdrawn_at"] = newest(folded[topic]["withdrawn_at"], at)
    return folded, withdrawn
