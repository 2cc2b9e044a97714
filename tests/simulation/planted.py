"""Planted bugs: each breaks one promise of the engine by a patch, so that the simulation can show that it would notice.

They are the mistakes that systems of this kind make: a check left out, asked too early, or asked without the lock; an answer
taken for another; a clock, a zone or a key that is not the right one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

from sqlalchemy import delete, update

from engine.calendar import QuietHours
from engine.delivery import claim, dispatch, gatekeeping, recording
from engine.delivery.outcome import Failed, Retry, Unknown
from engine.facts import consents, rights
from engine.journeys import advance, decide, enter, post, react
from engine.outbox import ledger
from engine.policy import consent, gate
from engine.policy.gate import Allow, Defer, Drop, Question, Verdict
from engine.runtime import passes
from engine.runtime.switch import Switch
from engine.store.tables import attempts, events, fact_inbox, flows, messages

Planting = AbstractContextManager[object]
BUGS: dict[str, Callable[[], Planting]] = {}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a bug while the block runs; None plants nothing."""
    if name is None:
        yield
        return
    with BUGS[name]():
        yield


def _bug(make: Callable[[], Planting]) -> Callable[[], Planting]:
    BUGS[make.__name__.replace("_", "-")] = make
    return make


def _real(place: Any, name: str) -> Any:
    """Return what stands there while nothing is planted."""
    return getattr(place, name)


def _every(count: int) -> Callable[[], bool]:
    """Return a function that is True at every so many calls: chance that is the same in each run."""
    turns = itertools.count(1)
    return lambda: next(turns) % count == 0


def _instead(place: Any, name: str, other: Any) -> Planting:
    return mock.patch.object(place, name, other)


def _judging(change: Callable[[Question], Question]) -> Planting:
    """Let the gate judge by a question that is not the one that was asked."""
    return _instead(gatekeeping, "judge", lambda question, now: gate.judge(change(question), now))


@contextmanager
def _several(*plantings: Planting) -> Iterator[None]:
    with ExitStack() as stack:
        for planting in plantings:
            stack.enter_context(planting)
        yield


# ── the gate ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@_bug
def gate_not_asked_again() -> Planting:
    """What was right when it was decided goes, whatever has happened since."""

    def verdicts(_connection: Any, group: Sequence[Any], _at: Any) -> list[Verdict]:
        return [Allow() for _ in group]

    return _instead(dispatch, "verdicts", verdicts)


@_bug
def gate_ignores_consent() -> Planting:
    """The gate does not ask for the topic's consent."""
    return _judging(lambda question: replace(question, consented=True))


@_bug
def gate_ignores_suppression() -> Planting:
    """Neither the gate nor the decision heeds an address that does not exist, or an erasure."""
    return _several(
        _judging(lambda question: replace(question, suppressed=False)),
        _instead(consent, "kinds_suppressed", lambda _scope: frozenset()),
    )


@_bug
def gate_ignores_exits() -> Planting:
    """The gate does not ask `exit_when`."""
    return _judging(lambda question: replace(question, exit_clause=None))


@_bug
def gate_ignores_lateness() -> Planting:
    """The gate lets through what is too late."""
    return _judging(lambda question: replace(question, expires_at=question.expires_at + timedelta(days=400)))


@_bug
def gate_ignores_quiet_hours() -> Planting:
    """Neither the decision nor the gate waits for the morning."""
    return _instead(QuietHours, "ends", lambda *_: None)


@_bug
def quiet_hours_by_the_shops_clock() -> Planting:
    """Quiet hours are the shop's, not the customer's."""
    ends = QuietHours.ends
    return _instead(QuietHours, "ends", lambda self, now, _zone: ends(self, now, "Europe/Berlin"))


@_bug
def quiet_hours_end_too_soon() -> Planting:
    """The night ends an hour before it does."""
    ends = QuietHours.ends

    def early(self: QuietHours, now: datetime, zone: str) -> datetime | None:
        return None if ends(self, now + timedelta(hours=2), zone) is None else ends(self, now, zone)

    return _instead(QuietHours, "ends", early)


@_bug
def deferred_and_never_judged_again() -> Planting:
    """Who waited for the morning goes then, whatever the gate would say."""
    waited: set[tuple[datetime, datetime]] = set()

    def judge(question: Question, now: datetime) -> Verdict:
        mine = (question.due_at, question.expires_at)
        verdict = gate.judge(question, now)
        if isinstance(verdict, Defer):
            waited.add(mine)
        return Allow() if mine in waited and not isinstance(verdict, Defer) else verdict

    return _several(_instead(gatekeeping, "judge", judge), _instead(react, "leave_reason", lambda *_: None))


# ── caps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@_bug
def cap_ignored() -> Planting:
    """There is no cap."""
    return _judging(lambda question: replace(question, caps=()))


@_bug
def cap_one_too_many() -> Planting:
    """A cap of two lets three through."""
    return _judging(lambda q: replace(q, caps=tuple(replace(cap, count=cap.count + 1) for cap in q.caps)))


@_bug
def cap_counted_by_calendar_days() -> Planting:
    """A cap counts from midnight of the day, not by the hour."""

    def floored(question: Question) -> Question:
        handed = [replace(mail, at=mail.at - timedelta(hours=20)) for mail in question.handed]
        return replace(question, handed=handed)

    return _judging(floored)


@_bug
def cap_ignores_mails_in_the_same_group() -> Planting:
    """Each mail of a group is judged as if the others were not going."""

    def judge(question: Question, now: datetime) -> Verdict:
        return gate.judge(replace(question, handed=[mail for mail in question.handed if mail.at != now]), now)

    return _instead(gatekeeping, "judge", judge)


@_bug
def cap_ignores_unknown() -> Planting:
    """What may have been accepted does not count for the cap."""

    def standing(connection: Any, *rest: Any) -> Any:
        hidden = update(messages).where(messages.c.state == "unknown")
        connection.execute(hidden.values(state="failed"))
        return real(connection, *rest)

    real = _real(gatekeeping, "_standing")
    return _instead(gatekeeping, "_standing", standing)


# ── leases, fences, attempts ─────────────────────────────────────────────────────────────────────────────────────────


@_bug
def lost_hand_over_is_sent_again() -> Planting:
    """A worker that died during a hand-over leaves mails that are simply sent again."""
    real = _real(claim, "recover")

    def recover(connection: Any, now: datetime, machine_now: datetime, is_gone: Any) -> int:
        real(connection, now, machine_now, is_gone)
        died = update(messages).where(
            messages.c.state == "unknown", messages.c.reason.like("the worker died%")
        )
        again = {"state": "pending", "try_at": now, "settled_at": None, "counted_at": None}
        connection.execute(died.values(**again))
        return 0

    return _instead(dispatch, "recover", recover)


@_bug
def no_answer_is_tried_again() -> Planting:
    """A provider that does not answer is asked again."""
    real = _real(recording, "_settled")

    def settled(message: Any, outcome: Any, now: datetime, chance: Any) -> Any:
        return real(message, Retry(outcome.reason) if isinstance(outcome, Unknown) else outcome, now, chance)

    return _instead(recording, "_settled", settled)


@_bug
def provider_called_before_the_commit() -> Planting:
    """The mail goes out first; that it did is written down afterwards."""
    real = _real(dispatch, "_commit_verdicts")

    def commit(
        connection: Any, group: Any, routes: Any, judged: Any, at: Any, worker: Any, tally: Any
    ) -> Any:
        going = real(connection, group, routes, judged, at, worker, tally)
        dispatch._call(going, _exits[0])
        return going

    hand_over = _real(dispatch, "_hand_over_group")
    _exits: list[Any] = []

    def remembering(database: Any, group: Any, at: Any, exits: Any, worker: Any, tally: Any) -> None:
        _exits[:] = [exits]
        hand_over(database, group, at, exits, worker, tally)

    return _several(
        _instead(dispatch, "_commit_verdicts", commit), _instead(dispatch, "_hand_over_group", remembering)
    )


@_bug
def claims_what_others_hold() -> Planting:
    """Each claim first takes back everything that anybody holds."""

    def recover(connection: Any, now: datetime, _machine_now: datetime, _is_gone: Any) -> int:
        held = update(messages).where(messages.c.state.in_(("claimed", "handing_over")))
        connection.execute(held.values(state="pending", try_at=now, claimed_by=None, lease_until=None))
        return 0

    return _instead(dispatch, "recover", recover)


@_bug
def nobody_takes_over_from_the_dead() -> Planting:
    """What a dead worker had claimed stays claimed."""
    return _instead(dispatch, "recover", lambda *_: 0)


@_bug
def outcome_forgotten() -> Planting:
    """What became of a hand-over is not written down."""
    return _instead(dispatch, "record_surely", lambda *_: None)


@_bug
def refused_counts_as_accepted() -> Planting:
    """A refusal is taken for an acceptance."""
    real = _real(recording, "_settled")

    def settled(message: Any, outcome: Any, now: datetime, chance: Any) -> Any:
        state = real(message, outcome, now, chance)
        return state | ({"state": "accepted", "accepted_at": now} if isinstance(outcome, Failed) else {})

    return _instead(recording, "_settled", settled)


@_bug
def bad_address_mailed_again() -> Planting:
    """That an address does not exist is not remembered."""
    return _instead(recording, "_suppress_bad_addresses", lambda *_: None)


@_bug
def retry_at_once_and_after_success() -> Planting:
    """Accepted mails go back to the outbox."""
    real = _real(recording, "_settled")

    def settled(message: Any, outcome: Any, now: datetime, chance: Any) -> Any:
        state = real(message, outcome, now, chance)
        again = state["state"] == "accepted" and message.id % 20 == 0
        return state | ({"state": "pending", "try_at": now + timedelta(hours=1)} if again else {})

    return _instead(recording, "_settled", settled)


# ── entering and leaving ─────────────────────────────────────────────────────────────────────────────────────────────


@_bug
def holdouts_get_mail() -> Planting:
    """Nobody is held out."""
    return _instead(enter, "held_out", lambda *_: False)


@_bug
def holdouts_by_chance() -> Planting:
    """Who is held out is thrown anew at each entry."""
    thrown = _every(5)
    return _instead(enter, "held_out", lambda flow, *_: bool(flow.holdout) and thrown())


@_bug
def everybody_enters_again() -> Planting:
    """Re-entry is not limited."""
    return _instead(enter, "refused_by_re_entry", lambda *_: None)


@_bug
def fact_lost_on_failure() -> Planting:
    """A fact leaves the inbox before anybody has looked at it."""

    def take_in(connection: Any, work: Any) -> Any:
        lost = delete(fact_inbox).where(fact_inbox.c.event_id % 15 == 0)
        connection.execute(lost)
        return real(connection, work)

    real = _real(passes, "take_in")
    return _instead(passes, "take_in", take_in)


@_bug
def exits_forgotten() -> Planting:
    """Neither a fact nor a step nor the gate ends an enrollment by its `exit_when`."""

    def without_exits(flow: Any, _exits: Any, person: Any, truth: Any) -> Any:
        return real(flow, (), person, truth)

    real = _real(decide, "leave_reason")
    return _several(
        _instead(react, "leave_reason", without_exits), _instead(enter, "leave_reason", without_exits),
        _instead(decide, "leave_reason", without_exits),
        _judging(lambda question: replace(question, exit_clause=None)),
    )  # fmt: skip


@_bug
def leaves_before_its_mail() -> Planting:
    """Nobody stands still for a mail that waits for its code: whose date is missing leaves, and the mail goes after."""
    return _instead(advance, "still_awaited", lambda *_: {})


@_bug
def opt_out_only_for_new_entries() -> Planting:
    """Consent is asked on entering only."""

    def lenient(flow: Any, exits: Any, person: Any, truth: Any) -> Any:
        return leave_reason(flow, exits, _willing(person), truth)

    def deciding(program: Any, standing: Any, person: Any, *rest: Any) -> Any:
        return real(program, standing, _willing(person), *rest)

    leave_reason, real = _real(decide, "leave_reason"), _real(decide, "decide")
    return _several(
        _instead(react, "leave_reason", lenient), _instead(advance, "decide", deciding),
        _judging(lambda question: replace(question, consented=True)),
    )  # fmt: skip


def _willing(person: Any) -> Any:
    return replace(person, granted=frozenset({"reminders", "offers"}))


@_bug
def old_grant_overrides_a_withdrawal() -> Planting:
    """The word that was told last counts, whenever it was given."""
    return _instead(consents, "_effective", lambda row: row["received_at"])


@_bug
def withdrawal_of_all_leaves_topics() -> Planting:
    """Who says stop to everything has said nothing on each topic."""
    return _several(_instead(consent, "ALL", "everything"))


@_bug
def erased_stay_inside() -> Planting:
    """An erased customer's mails still go."""
    return _several(
        _instead(rights, "_leave", lambda *_, **__: None),
        _judging(lambda question: replace(question, suppressed=False)),
    )


@_bug
def told_by_a_faster_clock_is_not_heard() -> Planting:
    """A machine whose clock is behind waits for a purchase to lie in its own past."""
    return _several(*(_instead(place, "EVERYTHING", None) for place in (gatekeeping, react, advance, enter)))


# ── keys, clocks, journal ────────────────────────────────────────────────────────────────────────────────────────────


@_bug
def message_key_by_chance() -> Planting:
    """The key of a message is thrown; a step that is taken again, as every twentieth here, makes another mail."""
    turns, again = itertools.count(), _every(20)

    def make(connection: Any, rows: Sequence[Any]) -> dict[str, int]:
        twice = [row for row in rows if again()]
        ids = real(connection, [row | {"key": thrown(row["key"])} for row in (*rows, *twice)])
        return dict(zip((row["key"] for row in rows), ids.values(), strict=False))

    def thrown(key: str) -> str:
        front, visit = key.rsplit(":", 1)
        return f"{front}-{next(turns)}:{visit}"

    real = _real(post, "make")
    return _instead(post, "make", make)


@_bug
def drops_without_a_word() -> Planting:
    """What does not go leaves no line in the journal."""
    real = _real(ledger, "insert_rows")
    return _instead(
        ledger,
        "insert_rows",
        lambda connection, table, rows: None if table.name == "journal" else real(connection, table, rows),
    )


@_bug
def drops_without_a_reason() -> Planting:
    """The reason of a drop is not one of ours."""
    return _instead(gatekeeping, "judge", lambda q, now: _vague(gate.judge(q, now)))


def _vague(verdict: Verdict) -> Verdict:
    return Drop("policy") if isinstance(verdict, Drop) else verdict


@_bug
def waits_run_ahead() -> Planting:
    """A wait that is long is cut short, and its mail leaves before it is due."""

    def row(posting: Any, *rest: Any) -> Any:
        return real(posting, *rest) | {"due_at": posting.due_at + timedelta(hours=5)}

    real = _real(post, "_row")
    return _instead(post, "_row", row)


@_bug
def enrollments_never_wake() -> Planting:
    """Every now and then a waiting enrollment has no moment to wake."""
    real = _real(decide, "wait_until")

    def wait_until(step: Any, anchor: datetime, person: Any) -> Any:
        moment = real(step, anchor, person)
        return (
            moment + timedelta(days=4_000) if moment is not None and person.identity.endswith("3") else moment
        )

    def due(*arguments: Any) -> list[Any]:
        return [walker for walker in real_due(*arguments) if walker.customer_id % 3]

    real_due = _real(advance, "_due")
    return _several(_instead(decide, "wait_until", wait_until), _instead(advance, "_due", due))


@_bug
def who_stood_still_is_not_told() -> Planting:
    """The code that a mail waited for comes, and its enrollment stands still on."""
    return _instead(dispatch, "wake", lambda *_: None)


@_bug
def pause_ignored() -> Planting:
    """What is paused is claimed all the same, and no worker looks again before it hands over."""
    real = _real(passes, "_dispatch")

    def dispatching(engine: Any, work: Any, _closed: Any, due_by: datetime, *keys: Any) -> Any:
        return real(engine, work, (), due_by, *keys)

    return _several(
        _instead(passes, "_dispatch", dispatching), _instead(Switch, "may_go_on", lambda *_: True)
    )


@_bug
def duplicates_are_new_facts() -> Planting:
    """The same event told twice is two events."""
    turns = itertools.count()

    def record(connection: Any, work: Any) -> Any:
        rows = connection.execute(events.select().where(events.c.name == "order_placed")).mappings().all()
        if rows and len(rows) % 7 == 0:
            again = {name: value for name, value in rows[-1].items() if name != "id"}
            again["key"] += f":{next(turns)}"
            made = connection.execute(events.insert().values(**again)).inserted_primary_key[0]
            connection.execute(fact_inbox.insert().values(event_id=made))
        return real(connection, work)

    real = _real(passes, "take_in")
    return _several(
        _instead(passes, "take_in", record), _instead(enter, "refused_by_re_entry", lambda *_: None)
    )


@_bug
def attempts_not_numbered() -> Planting:
    """A hand-over begins without its attempt."""

    def begin(connection: Any, allowed_ones: Any, at: Any, worker: Any) -> Any:
        going = real(connection, allowed_ones, at, worker)
        ids = [made.message.id for made, _ in going if made.message.id % 7 == 0]
        connection.execute(update(messages).where(messages.c.id.in_(ids)).values(state="claimed"))
        connection.execute(delete(attempts).where(attempts.c.message_id.in_(ids)))
        return going

    real = _real(dispatch, "_begin")
    return _instead(dispatch, "_begin", begin)


@_bug
def holdout_by_percent_of_all() -> Planting:
    """A holdout is drawn at another share than was asked for."""
    real = _real(decide, "held_out")
    return _instead(
        enter,
        "held_out",
        lambda flow, who, share: real(replace(flow, holdout=flow.holdout and Decimal("0.5")), who, share),
    )


@_bug
def one_flow_freezes_itself() -> Planting:
    """Skips are written, but the enrollment is not moved on, so that it waits for ever."""
    real = _real(passes, "advance_all")

    def advance_all(connection: Any, *rest: Any) -> Any:
        moved = real(connection, *rest)
        connection.execute(
            update(flows.metadata.tables["enrollments"])
            .where(flows.metadata.tables["enrollments"].c.id % 9 == 0)
            .values(next_at=None)
        )
        return moved

    return _instead(passes, "advance_all", advance_all)
