"""Bugs planted in what GUARANTEES.md promises under "Nothing twice"."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, select, update

from engine.delivery import dispatch, mailroom
from engine.facts import digests, ingest, rights
from engine.offers import issue
from engine.runtime import (
    intake,
    leader,
    nightly,
    passes,
    poison,
)
from engine.runtime.work import ARMING
from engine.store import meta
from engine.store.tables import customer_ids, customers, leases, offer_codes
from engine.web.intake import writer
from tests.planted.planting import always, breaks, instead


def _in_two(connection: Connection) -> None:
    """End the transaction here and begin another, as two transactions in a row would."""
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@breaks(
    "A fact that was acknowledged is there", "tests/crash/test_crash.py::test_what_was_acknowledged_is_there"
)
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
