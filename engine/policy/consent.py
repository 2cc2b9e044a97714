"""Consent: which topics a customer may be mailed about, from the folded ledger.

Pure in `granted`; `granted_topics` and `suppressed_kinds` read a batch of customers in one statement each. A topic is
granted when its newest grant (or one of `all`) is later than the newest withdrawal of it or of `all`; a tie is a
withdrawal. A soft opt-in counts only for topics that accept it; `pending` is no consent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import consent_state, suppressions

ALL = "all"

_STATES = Prepared(
    select(
        consent_state.c.customer_id,
        consent_state.c.topic,
        consent_state.c.granted_at,
        consent_state.c.soft_granted_at,
        consent_state.c.withdrawn_at,
    ).where(within(consent_state.c.customer_id, "ids"))
)
_SUPPRESSED = Prepared(
    select(suppressions.c.customer_id, suppressions.c.scope).where(within(suppressions.c.customer_id, "ids"))
)


@dataclass(frozen=True, slots=True)
class TopicState:
    """The newest of each kind of word that a customer gave on one topic (or on `all`)."""

    topic: str
    granted_at: datetime | None = None
    soft_granted_at: datetime | None = None
    withdrawn_at: datetime | None = None


def granted(states: Sequence[TopicState], topic: str, *, accepts_soft: bool) -> bool:
    """Return whether mail on this topic is allowed.

    >>> granted([], "offers", accepts_soft=False)
    False
    """
    grants: list[datetime] = []
    withdrawals: list[datetime] = []
    for state in states:
        if state.topic in (topic, ALL):
            grants += [state.granted_at] if state.granted_at else []
            grants += [state.soft_granted_at] if accepts_soft and state.soft_granted_at else []
            withdrawals += [state.withdrawn_at] if state.withdrawn_at else []
    return bool(grants) and (not withdrawals or max(grants) > max(withdrawals))


def granted_topics(
    connection: Connection, customer_ids: Sequence[int], topics: Collection[str], soft_opt_in: Collection[str]
) -> dict[int, frozenset[str]]:
    """Return for each customer the topics among `topics` that may be mailed about."""
    states: Mapping[int, list[TopicState]] = defaultdict(list)
    for customer_id, *state in _STATES.rows(connection, ids=customer_ids):
        states[customer_id].append(TopicState(*state))
    return {customer_id: topics_granted(own, topics, soft_opt_in) for customer_id, own in states.items()}


def topics_granted(
    states: Sequence[TopicState], topics: Iterable[str], soft_opt_in: Collection[str]
) -> frozenset[str]:
    """Return the topics among `topics` that a customer with these states may be mailed about."""
    return frozenset(t for t in topics if granted(states, t, accepts_soft=t in soft_opt_in))


def kinds_suppressed(scope: str) -> frozenset[str]:
    """Return the kinds of mail that a suppression of this scope covers."""
    return frozenset(("marketing", "transactional")) if scope == "all" else frozenset(("marketing",))


def suppressed_kinds(connection: Connection, customer_ids: Sequence[int]) -> dict[int, frozenset[str]]:
    """Return for each suppressed customer the kinds of mail that the suppression covers."""
    found: dict[int, frozenset[str]] = {}
    for customer_id, scope in _SUPPRESSED.rows(connection, ids=customer_ids):
        found[customer_id] = found.get(customer_id, frozenset()) | kinds_suppressed(scope)
    return found
