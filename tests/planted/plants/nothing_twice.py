"""Bugs planted in what GUARANTEES.md promises under "Nothing twice"."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import kombu.pools
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.exc import DBAPIError, OperationalError

from engine.commands import session
from engine.delivery import dispatch, mailroom, recording, sendgrid, smtp
from engine.delivery.outcome import Retry, Unknown
from engine.facts import digests, ingest, rights
from engine.journeys import moments
from engine.offers import issue
from engine.recommend import rebuild
from engine.runtime import (
    daemon,
    distributed,
    distributed_broker,
    distributed_work,
    intake,
    leader,
    nightly,
    passes,
    poison,
    setting_up,
)
from engine.runtime.work import ARMING
from engine.store import meta
from engine.store.tables import customer_ids, customers, leases, messages, offer_codes
from engine.web.intake import writer
from tests.crash import plants as crashed
from tests.planted.planting import always, breaks, instead

DOUBT = "At most one hand-over that may have been accepted"


def _refused(real: Any) -> Any:
    """Return what takes an answer that never came for one that says no."""

    def hand_over(self: Any, told: Any) -> Any:
        outcome = real(self, told)
        return Retry(outcome.reason) if isinstance(outcome, Unknown) else outcome

    return hand_over


@breaks(
    DOUBT,
    "tests/contracts/providers/test_network_providers.py::test_no_answer_after_sending_is_unknown",
)
def silent_provider_is_asked_again() -> None:
    """SendGrid that says nothing has not taken the mail."""
    instead(sendgrid.SendGridProvider, "_hand_over_one", _refused)


@breaks(DOUBT, "tests/contracts/providers/test_smtp_phases.py::test_no_answer_after_the_last_dot_is_unknown")
def silence_after_the_last_dot_is_a_refusal() -> None:
    """A mail server that says nothing after the last dot has not taken the mail."""
    instead(smtp._Session, "content", _refused)


@breaks(DOUBT, "tests/crash/test_crash.py::test_a_provider_that_answers_late[smtp]")
def late_answer_is_a_refusal() -> None:
    """What a provider does not answer in time goes back to the outbox."""
    instead(smtp._Session, "content", _refused)


@breaks(DOUBT, "tests/integration/test_crash.py::test_killed_at_any_moment[sqlite-smtp]")
def died_handing_over_is_sent_again() -> None:
    """What a dead worker was handing over goes back to the outbox."""
    crashed.resend()


@breaks(
    "A worker that slept past its lease changes nothing",
    "tests/crash/test_crash.py::test_a_late_word_is_refused[sqlite-smtp]",
)
def late_word_is_believed() -> None:
    """Nobody looks whether the message is still in the hands of who speaks of it."""
    crashed.no_fence()


def _in_two(connection: Connection) -> None:
    """End the transaction here and begin another, as two transactions in a row would."""
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


ACKNOWLEDGED = "A fact that was acknowledged is there"


@breaks(ACKNOWLEDGED, "tests/crash/test_crash.py::test_what_was_acknowledged_is_there")
def digests_before_their_facts() -> None:
    """What was told is known as told by one commit, and taken by the next."""

    def first(real: Any) -> Any:
        def taken(connection: Connection, told: Any, *rest: Any) -> Any:
            known = digests.Digests(
                connection, [each.fact for each in told if each.fact.kind != "events"], told[0].received
            )
            for each in told:
                if each.fact.kind != "events":
                    known.is_known(each.fact)
            known.write()
            _in_two(connection)
            return real(connection, told, *rest)

        return taken

    instead(ingest, "project", first)


@breaks(
    ACKNOWLEDGED,
    "tests/integration/test_late_commits.py::test_a_fact_that_commits_late_is_not_stepped_over",
    postgresql=True,
)
def late_commit_is_stepped_over() -> None:
    """Facts are read from the highest number on that was read before."""
    highest = [0]

    def after(real: Any) -> Any:
        def rows(connection: Connection) -> list[Any]:
            found = [row for row in real.rows(connection) if row.id > highest[0]]
            highest[0] = max([highest[0], *(row.id for row in found)])
            return found

        return SimpleNamespace(rows=rows)

    instead(intake, "_UNREAD", after)


WHOLE = "An apply, an erasure, a night and a webhook end whole"
CHANGES = "tests/crash/test_crash.py::test_large_changes_end_whole"


@breaks(WHOLE, CHANGES + "[sqlite-erase]")
def erasure_in_two_transactions() -> None:
    """A person's row is emptied by one commit, and what was told about them goes by the next."""

    def later(real: Any) -> Any:
        def forget(connection: Connection, customer_id: int, names: set[str]) -> None:
            bare = {"email": None, "external_id": None, "first_name": None}
            connection.execute(update(customers).where(customers.c.id == customer_id).values(bare))
            connection.execute(delete(customer_ids).where(customer_ids.c.customer_id == customer_id))
            _in_two(connection)
            real(connection, customer_id, names)

        return forget

    instead(rights, "_forget_facts", later)


@breaks(WHOLE, CHANGES + "[sqlite-webhooks]")
def webhook_answered_before_it_is_written() -> None:
    """A call is answered when it is queued."""

    def early(real: Any) -> Any:
        def submit(self: Any, bundle: Any) -> Any:
            told = replace(bundle)
            real(self, replace(bundle, done=Future()))
            told.done.set_result(None)
            return told.done

        return submit

    def slow(real: Any) -> Any:
        def write(self: Any, bundles: Any) -> None:
            time.sleep(0.05)
            real(self, bundles)

        return write

    instead(writer.Writer, "submit", early)
    instead(writer.Writer, "_write", slow)


@breaks(WHOLE, CHANGES + "[sqlite-nightly]")
def night_is_noted_before_it_is_done() -> None:
    """What the recommendations stand on is written down, and then they are built."""
    states: list[Any] = []

    def seen(real: Any) -> Any:
        def work(connection: Connection, now: datetime, *, force: bool) -> Any:
            found = real(connection, now, force=force)
            states[:] = [dict(found.state)]
            return found

        return work

    def noted(real: Any) -> Any:
        def ranks(database: Any, known: Any, now: datetime) -> Any:
            with database.write() as connection:
                meta.put(connection, rebuild.NAME, states[0])
            return real(database, known, now)

        return ranks

    instead(rebuild, "_work", seen)
    instead(rebuild, "_rebuild_ranks", noted)


@breaks(WHOLE, CHANGES + "[sqlite-apply]")
def apply_in_two_transactions() -> None:
    """Flows are live, and then it is looked for what they have to arm."""

    def parted(real: Any) -> Any:
        def put_off(connection: Connection, *told: Any) -> Any:
            _in_two(connection)
            return real(connection, *told)

        return put_off

    instead(setting_up, "put_off", parted)


AWAY = "A database that goes away comes back"
OUTAGES = "tests/crash/test_outages.py::"


@breaks(AWAY, OUTAGES + "test_the_server_comes_back[restart]", postgresql=True)
def daemon_gives_up_without_its_database() -> None:
    """A beat that misses the database ends all of them."""

    def fragile(real: Any) -> Any:
        def beat(self: Any, work: Any) -> None:
            def once() -> None:
                try:
                    work()
                except DBAPIError:
                    self._stop.set()
                    raise

            real(self, once)

        return beat

    instead(daemon.Beat, "__call__", fragile)


@breaks(AWAY, OUTAGES + "test_a_daemon_that_starts_before_its_database", postgresql=True)
def daemon_starts_once() -> None:
    """A daemon that finds no database at its start ends."""
    instead(session.Session, "patiently", lambda _real: lambda _self, start: start())


@breaks(AWAY, OUTAGES + "test_a_full_disk[smtp]")
def what_cannot_be_written_is_sent_again() -> None:
    """Where the disk was full after the hand-over, the mails go back to the outbox."""

    def again(real: Any) -> Any:
        def record(database: Any, results: Any, at: Any, hands: Any) -> None:
            try:
                with database.write() as connection:
                    recording.record_what_is_held(connection, results, at, hands.chance)
            except OperationalError:
                time.sleep(2.0)
                with database.write() as connection:
                    ids = [made.message.id for made, _, _ in results]
                    back = update(messages).where(messages.c.id.in_(ids))
                    connection.execute(back.values(state="pending", claimed_by=None, lease_until=None))

        return record

    instead(recording, "record_surely", again)


BEYOND = "Beyond one machine a hint may be lost or come twice, its worker die, the broker forget everything"
DISTRIBUTED = "tests/integration/test_distributed.py::"


@breaks(BEYOND, DISTRIBUTED + "test_workers_are_killed_and_the_broker_forgets", postgresql=True)
def nobody_takes_over_from_a_dead_worker() -> None:
    """What a dead worker held stays in its hands."""
    instead(dispatch, "recover", always(0), there_alone=True)


@breaks(BEYOND, DISTRIBUTED + "test_without_a_broker_workers_look_for_themselves", postgresql=True)
def workers_wait_for_hints() -> None:
    """A worker without a hint does nothing."""
    instead(distributed_work.HintWorker, "work_unasked", always(None))


@breaks(BEYOND, DISTRIBUTED + "test_a_broker_that_comes_back_is_spoken_to_again", postgresql=True)
def broker_is_asked_through_dead_connections() -> None:
    """After a failure the same connections are used on."""

    def stubborn(real: Any) -> Any:
        def asked(self: Any, ask: Any) -> Any:
            app, self._make = self._app, lambda: app
            return real(self, ask)

        return asked

    instead(distributed_broker.CeleryBroker, "_asked", stubborn)
    instead(kombu.pools, "reset", always(None), there_alone=True)


@breaks(
    BEYOND,
    "tests/crash/test_crash.py::test_workers_beyond_one_machine_are_killed_at_any_step[smtp]",
    postgresql=True,
)
def dead_workers_mails_are_sent_again() -> None:
    """What a dead worker was handing over goes back to the outbox, for any other."""
    crashed.resend()


@breaks(
    BEYOND, "tests/unit/runtime/test_distributed.py::test_from_facts_to_mails_by_hints_alone", postgresql=True
)
def nobody_hints_at_mails() -> None:
    """The leader hints at facts and steps, and not at what is due in the outbox."""

    def without(real: Any) -> Any:
        def hints(*told: Any) -> Any:
            return [hint for hint in real(*told) if hint.kind != distributed.DISPATCH]

        return hints

    instead(distributed, "due_hints", without)


ELSEWHERE = "A machine that does not belong to a live installation does not take its mails into a sandbox"


@breaks(ELSEWHERE, DISTRIBUTED + "test_a_worker_elsewhere_does_not_play_sandbox", postgresql=True)
def worker_starts_anywhere() -> None:
    """Nobody asks a worker whether its machine belongs to the installation."""
    instead(distributed, "need_shared_database", always(None))


@breaks(
    ELSEWHERE,
    "tests/unit/runtime/test_distributed.py::test_a_worker_of_another_mode_leaves_a_hint_alone",
    postgresql=True,
)
def worker_takes_hints_of_any_mode() -> None:
    """A hint of a live leader is worked on by whoever hears it."""

    def in_its_own(real: Any) -> Any:
        def perform(self: Any, hint: Any) -> None:
            real(self, replace(hint, mode=self._engine.current().settings.delivery.mode))

        return perform

    instead(distributed_work.HintWorker, "_perform", in_its_own)


@breaks(
    "Several daemons share the work",
    "tests/integration/test_daemon.py::test_two_daemons_share_the_work[sqlite]",
)
def follower_never_looks_again() -> None:
    """Who found another daemon leading does not ask for the lease any more."""

    def once(real: Any) -> Any:
        def take(self: Any, connection: Connection, *told: Any) -> Any:
            if getattr(self, "refused", False):
                return None
            fence = real(self, connection, *told)
            self.refused = fence is None
            return fence

        return take

    instead(leader.Leadership, "_take", once)


ONE_LEADS = "One daemon leads, and a dead one is followed within 30 seconds"
LEADER = "tests/unit/runtime/test_leader.py::"


def _standing(connection: Connection) -> tuple[Any, ...]:
    table = leases.c
    row = connection.execute(select(table.fence, table.until).where(table.name == leader.LEADER)).one()
    return row.fence, row.until


@breaks(ONE_LEADS, LEADER + "test_one_leads_and_keeps_leading")
def everybody_leads() -> None:
    """A lease is taken whoever holds it."""
    instead(leader.Leadership, "_abandoned", lambda _: lambda self, connection: _standing(connection))


@breaks(ONE_LEADS, LEADER + "test_a_dead_leader_is_followed_within_half_a_minute")
def dead_leader_is_waited_for() -> None:
    """A lease lasts a minute."""
    instead(leader, "LEASE", lambda _: timedelta(seconds=60))


@breaks(ONE_LEADS, LEADER + "test_a_leader_that_slept_knows")
def sleeper_leads_on() -> None:
    """A leader does not look whether its lease has ended."""
    instead(leader.Leadership, "leads", lambda _: lambda self: self.fence is not None)


@breaks(ONE_LEADS, LEADER + "test_a_lease_from_a_clock_that_was_ahead_is_not_waited_for")
def lease_from_a_clock_ahead_is_waited_for() -> None:
    """A lease ends when it says, however far ahead the clock was that wrote it."""
    instead(leader.Leadership, "_abandoned", always(None))


@breaks(
    "One fact that cannot be handled holds up nobody",
    "tests/scenarios/test_poison_facts.py::test_one_that_fails_is_set_aside_and_the_others_go_on",
)
def fact_that_fails_is_forgotten() -> None:
    """What cannot be handled leaves the inbox, and nobody is told."""
    instead(intake, "set_event_aside", lambda _: lambda *__: None)
    instead(intake, "set_candidate_aside", lambda _: lambda *__: None)


@breaks(
    "A part of the night's work that fails holds up no other",
    "tests/scenarios/test_nightly.py::test_what_failed_is_tried_again_and_then_forgotten",
)
def what_failed_by_night_is_not_tried_again() -> None:
    """A part that failed waits for the next night."""
    instead(nightly, "_note", lambda _: lambda *__: None)


@breaks(
    "A killed `apply --backfill` is finished",
    "tests/integration/test_apply_backfill.py::test_killed_at_any_step_it_is_finished_by_the_next_pass",
)
def killed_backfill_stays_half_done() -> None:
    """What an apply left undone is forgotten by the next pass."""

    def forgotten(_real: Any) -> Any:
        def set_up_part(connection: Connection, _zone: Any) -> None:
            meta.drop(connection, ARMING)

        return set_up_part

    instead(passes, "set_up_part", forgotten)


@breaks(
    "Odd data is no poison",
    "tests/integration/test_odd_facts.py::test_odd_facts_never_become_poison[sqlite-the whole language]",
)
def leap_days_come_every_year() -> None:
    """Nobody thinks of who was born on 29 February."""
    instead(moments, "in_year", lambda _real: lambda month, day, year: date(year, month, day))


POISON = "One customer for whom a step or a mail fails holds up nobody"
MAILS = "tests/scenarios/test_poison_mails.py::"


@breaks(POISON, MAILS + "test_a_mail_that_cannot_be_made_is_set_aside")
def broken_mail_is_tried_for_ever() -> None:
    """A mail that cannot be made is never given up."""
    instead(dispatch, "RENDER_TRIES", lambda _: 10_000)


@breaks(POISON, MAILS + "test_a_mail_that_cannot_be_made_is_set_aside")
def broken_mail_loses_its_place_in_the_quarantine() -> None:
    """What is given up is dropped, and nobody can look it up."""
    instead(dispatch, "_set_aside", lambda real: lambda made, now: {**real(made, now), "reason": "failed"})


@breaks(POISON, MAILS + "test_steps_that_fail_together_are_set_aside")
def steps_that_fail_are_tried_for_ever() -> None:
    """An enrollment whose step fails is never set aside."""
    instead(poison, "TRIES", lambda _: 10_000)


@breaks(POISON, MAILS + "test_a_mail_that_fails_as_nobody_foresaw_is_set_aside_alone")
def one_mail_that_fails_fails_its_batch() -> None:
    """Where one of a batch fails, all of it has failed."""

    def whole(_real: Any) -> Any:
        def sift(_connection: Any, items: Any, work_on: Any) -> Any:
            try:
                return [work_on(items)], []
            except Exception as error:  # noqa: BLE001 - that is the bug
                return [], [(item, error) for item in items]

        return sift

    instead(mailroom, "sift", whole)


@breaks(
    "An apply that is killed is finished",
    "tests/integration/test_set_up.py::test_a_killed_apply_is_finished_by_the_next_pass",
)
def killed_apply_stays_half_done() -> None:
    """What a dead apply has left is forgotten by the next pass."""
    instead(
        passes,
        "set_up_part",
        lambda _: lambda connection, _: meta.drop(connection, ARMING),
        there_alone=True,
    )


CODES = "No code is given to two messages, none is lost"
CODES_TEST = "tests/integration/test_offer_codes.py::test_no_code_is_given_twice_and_none_is_lost"


@breaks(CODES, CODES_TEST)
def code_goes_back_after_it_was_given() -> None:
    """A code that was given stands in the pool as if it were free."""

    def free(real: Any) -> Any:
        def take(connection: Connection, offer: Any, want: Any, *rest: Any) -> Any:
            code = real(connection, offer, want, *rest)
            if offer.pool is not None and want.message_id % 7 == 0:
                mine = offer_codes.c.message_id == want.message_id
                nobody = {"customer_id": None, "message_id": None, "issued_at": None}
                connection.execute(update(offer_codes).where(mine).values(nobody))
            return code

        return take

    instead(issue, "_take", free)


@breaks(CODES, CODES_TEST)
def code_is_lost_by_a_message() -> None:
    """A message takes two codes, and shows the second."""

    def two(real: Any) -> Any:
        def take(connection: Connection, offer: Any, want: Any, *rest: Any) -> Any:
            if offer.pool is not None and want.message_id % 7 == 0:
                real(connection, offer, replace(want, message_id=-want.message_id), *rest)
            return real(connection, offer, want, *rest)

        return take

    instead(issue, "_take", two)


@breaks(
    "A fact told twice changes nothing",
    "tests/integration/test_ingest.py::test_the_same_file_again_changes_nothing",
)
def fact_told_twice_is_two() -> None:
    """What was told before is not known again."""
    instead(digests.Digests, "is_known", always(False))
