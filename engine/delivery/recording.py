"""Recording what became of a group that was handed over: states, attempts, journal, and the engine's own facts.

Comes in: messages with their outcomes. Goes out: rows in one transaction, tried again while the lease lasts where the
database has gone away: what a provider took must not be forgotten. Promises: a word that comes after another worker took
a message over changes nothing (the fence tells), and the same word twice changes nothing.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from engine.clock import machine_seconds, sleep
from engine.delivery.claim import LEASE, Claimed
from engine.delivery.made import Made
from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown, for_a_log
from engine.journeys import journal
from engine.journeys.round import Round
from engine.outbox import own_facts
from engine.store import meta
from engine.store.bulk import Change, together
from engine.store.database import Database, outside
from engine.store.dialect import among, insert_new, only_counts
from engine.store.tables import attempts, events, messages, suppressions
from engine.store.tables import journal as journal_table

log = logging.getLogger("homing.dispatch")
MOST_TRIES = 12
RECORD_SPARE = 10.0  # seconds before the end of a lease when recording is given up
SELDOM = 60.0  # seconds for which nothing more is said of messages that are put off


class Hands(Protocol):
    """What recording asks of a worker: chance for backoff, and whether the program is to end."""

    @property
    def chance(self) -> random.Random:
        """Spreads the retries."""
        ...

    def stopping(self) -> bool:
        """Return whether the program is to end."""
        ...


class _Seldom:
    """Says yes once, and then not for so many seconds: a refused key puts off every message, ten at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = float("-inf")

    def now(self) -> bool:
        if machine_seconds() < self._until:
            return False
        self._until = machine_seconds() + self._seconds
        return True


_may_tell = _Seldom(SELDOM)


def record_surely(
    database: Database, results: Sequence[tuple[Made, str, Outcome]], at: Round, hands: Hands
) -> None:
    """Record what became of a group, and try again while the lease lasts where the database has gone away.

    Recording twice changes nothing: the second time no message is in hand-over any more.
    """
    until = machine_seconds() + LEASE.total_seconds() - RECORD_SPARE
    pause = 0.1
    while True:
        try:
            try:
                with database.write() as connection:
                    record(connection, results, at, hands.chance)
            except (_TakenOver, IntegrityError):
                # Another worker has one of them, or a customer was merged into another one.
                with database.write() as connection:
                    record_what_is_held(connection, results, at, hands.chance)
        except (OperationalError, InterfaceError) as error:
            if hands.stopping() or machine_seconds() + pause > until:
                raise
            log.warning("what became of %d messages is not recorded yet: %s", len(results), outside(error))
            sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            return


class _TakenOver(Exception):
    """A message of the group is not in our hands any more, or not that customer's."""


def record(
    connection: Connection, results: Sequence[tuple[Made, str, Outcome]], at: Round, chance: random.Random
) -> None:
    """Write down what became of handed-over messages, all by one statement where the database can.

    Raise _TakenOver, for the transaction to be undone, where the fence of one of them has passed on.
    """
    entries, facts = _words(results, at)
    if only_counts(connection) or not own_facts.unheard(facts, at.listened):
        record_what_is_held(connection, results, at, chance)
        return
    told = (Change(journal_table, entries), Change(events, facts, skip_known=True))
    settling = _settlement(connection, results, at, chance, ("id", "fence", "customer_id"))
    settled, *_ = together(connection, *settling, *told)
    if settled < len(results):
        raise _TakenOver
    _log_words(results)
    _suppress_bad_addresses(connection, results, at)


def record_what_is_held(
    connection: Connection, results: Sequence[tuple[Made, str, Outcome]], at: Round, chance: random.Random
) -> None:
    """Write down what became of handed-over messages; a late word of a worker whose fence has passed is refused.

    What is told of a customer who became another one meanwhile is told of that one.
    """
    settled, _ = together(connection, *_settlement(connection, results, at, chance))
    if not only_counts(connection):  # elsewhere nobody comes between
        before = len(results)
        results = _still_ours(connection, results) if settled else []
        if len(results) < before:
            log.warning("a late word on %d messages is refused: their lease had ended", before - len(results))
    tell(connection, results, at)
    _suppress_bad_addresses(connection, results, at)


def _settlement(
    connection: Connection,
    results: Sequence[tuple[Made, str, Outcome]],
    at: Round,
    chance: random.Random,
    keys: tuple[str, ...] = ("id", "fence"),
) -> tuple[Change, Change]:
    """Return what becomes of the messages and of their attempts, where our fence (and what else is in `keys`) still stands."""
    rows = [
        _settled(made.message, outcome, at.now, chance) | {key: getattr(made.message, key) for key in keys}
        for made, _, outcome in results
    ]
    tried = [
        {
            "outcome": type(outcome).__name__.lower(), "detail": getattr(outcome, "reason", None),
            "finished_at": at.now, "message_id": made.message.id, "fence": made.message.fence,
        }
        for made, _, outcome in results
    ]  # fmt: skip
    return (
        Change(messages, rows, keys, only=(("state", "handing_over"),)),
        Change(
            attempts,
            () if only_counts(connection) else tried,
            ("message_id", "fence"),
            only=(("outcome", None),),
        ),
    )


def _still_ours(
    connection: Connection, results: Sequence[tuple[Made, str, Outcome]]
) -> list[tuple[Made, str, Outcome]]:
    """Return the results of the messages that still carry our fence, with the customers whose they are now."""
    table = messages.c
    query = select(table.id, table.fence, table.customer_id).where(
        among(connection, table.id, [made.message.id for made, _, _ in results])
    )
    held = {row.id: row for row in connection.execute(query)}
    return [
        (
            replace(made, message=made.message._replace(customer_id=held[made.message.id].customer_id)),
            route,
            outcome,
        )
        for made, route, outcome in results
        if made.message.id in held and held[made.message.id].fence == made.message.fence
    ]


def tell(connection: Connection, results: Sequence[tuple[Made, str, Outcome]], at: Round) -> None:
    """Write the journal and the engine's own facts of what was recorded."""
    _log_words(results)
    entries, facts = _words(results, at)
    if own_facts.unheard(facts, at.listened) and not only_counts(connection):
        together(connection, Change(journal_table, entries), Change(events, facts, skip_known=True))
        return
    journal.write(connection, entries)
    own_facts.record(connection, facts, at.listened)


def _words(
    results: Sequence[tuple[Made, str, Outcome]], at: Round
) -> tuple[list[journal.Entry], list[dict[str, Any]]]:
    """Return the journal's rows and the engine's own facts of these results."""
    entries, facts = [], []
    for made, _, outcome in results:
        message = made.message
        what, reason = _in_a_word(message, outcome)
        entries.append(
            journal.entry(
                at.now, message.flow, message.customer_id, what, reason,
                enrollment_id=message.enrollment_id, message_id=message.id, step=message.step,
            )
        )  # fmt: skip
        if isinstance(outcome, Accepted) and made.mail is not None:
            facts.append(_mail_sent(message, at.now))
            if (message.content.get("offer") or {}).get("fresh"):
                facts.append(_offer_issued(message, at.now))
    return entries, facts


def _log_words(results: Sequence[tuple[Made, str, Outcome]]) -> None:
    """Log what became of each message, and why a whole group has to be tried again."""
    _tell_put_off([outcome for _, _, outcome in results])
    for made, _, outcome in results:
        _log(made.message, *_in_a_word(made.message, outcome))


def _tell_put_off(outcomes: Sequence[Outcome]) -> None:
    """Say why a whole group has to be tried again: whoever runs this learns of a refused key from the log."""
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Retry)]
    if reasons and len(reasons) == len(outcomes) and _may_tell.now():
        told = {"count": len(reasons), "reason": for_a_log(reasons[0])}
        log.warning("messages are put off", extra={"told": told})


def _log(message: Claimed, what: str, reason: str | None) -> None:
    """Log what became of a message, by its key: what is lost is a warning, all else is for who asks for more."""
    level = logging.WARNING if what in ("failed", "unknown") else logging.DEBUG
    if log.isEnabledFor(level):
        told = {"message": message.key, "flow": message.flow, "step": message.step}
        why = {"reason": for_a_log(reason)} if reason else {}
        log.log(level, "a message: %s", what, extra={"told": told | why})


def _in_a_word(message: Claimed, outcome: Outcome) -> tuple[str, str | None]:
    """Return how the journal names an outcome, and why."""
    if isinstance(outcome, Accepted):
        return "sent", None
    if isinstance(outcome, Unknown):
        return "unknown", outcome.reason
    if isinstance(outcome, Failed) or message.tries + 1 >= MOST_TRIES:
        return "failed", outcome.reason
    return "retry", outcome.reason


def _settled(message: Claimed, outcome: Outcome, now: datetime, chance: random.Random) -> dict[str, Any]:
    state: dict[str, Any] = {
        "state": "unknown", "reason": None, "accepted_at": None, "settled_at": now, "provider_id": None, "try_at": now,
        "counted_at": now, "lease_until": None, "claimed_by": None,
    }  # fmt: skip
    if isinstance(outcome, Accepted):
        return state | {"state": "accepted", "accepted_at": now, "provider_id": outcome.provider_id}
    if isinstance(outcome, Unknown):
        return state | {"reason": outcome.reason}
    if isinstance(outcome, Failed) or message.tries + 1 >= MOST_TRIES:
        return state | {"state": "failed", "reason": outcome.reason, "counted_at": None}
    wait = outcome.after_seconds if outcome.after_seconds is not None else backoff(message.tries, chance)
    return state | {
        "state": "pending", "reason": outcome.reason, "settled_at": None, "counted_at": None,
        "try_at": now + timedelta(seconds=wait),
    }  # fmt: skip


def backoff(tries: int, chance: random.Random) -> float:
    """Return the seconds to wait after that many tries: doubling from 30 s to an hour, between half and the whole of it.

    >>> 15 <= backoff(0, random.Random(1)) <= 30
    True
    """
    return float(min(30.0 * 2**tries, 3600.0) * (0.5 + chance.random() / 2))


def _mail_sent(message: Claimed, now: datetime) -> dict[str, Any]:
    told = {
        "flow": message.flow, "step": message.step, "template": message.template, "topic": message.topic,
        "message": message.key,
    }  # fmt: skip
    return own_facts.fact(f"mail_sent:{message.id}", message.customer_id, "mail_sent", now, told)


def _offer_issued(message: Claimed, now: datetime) -> dict[str, Any]:
    offer = message.content["offer"]
    told = {"flow": message.flow, "step": message.step, "offer": offer["name"], "message": message.key}
    return own_facts.fact(f"offer_issued:{message.id}", message.customer_id, "offer_issued", now, told)


def _suppress_bad_addresses(
    connection: Connection, results: Sequence[tuple[Made, str, Outcome]], at: Round
) -> None:
    """Never mail an address again that the provider says does not exist."""
    bad = [
        made for made, _, outcome in results if isinstance(outcome, Failed) and outcome.suppress and made.mail
    ]
    if bad:
        key = meta.secret(connection)
        rows = [
            {
                "address_hash": meta.keyed_hash(key, made.mail.to.email), "customer_id": made.message.customer_id,
                "scope": "all", "reason": "hard_bounce", "at": at.now,
            }
            for made in bad
            if made.mail is not None
        ]  # fmt: skip
        insert_new(connection, suppressions, rows)
