"""Bugs planted in what GUARANTEES.md promises under "Everything explained"."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from engine.commands import session
from engine.delivery import claim, outcome, smtp
from engine.errors import UsageError
from engine.facts import quarantine
from engine.journeys import journal
from engine.render import brand, links, text
from engine.runtime import doctor, found
from engine.store import database
from tests.planted.planting import always, breaks, instead

DECISIONS = "Each decision has its clauses and its reason"


@breaks(DECISIONS, "tests/scenarios/test_time.py::test_every_decision_has_its_clauses")
def only_clauses_that_held_are_kept() -> None:
    """The journal keeps what spoke for a decision, and not what spoke against it."""

    def held(real: Any) -> Any:
        return lambda asks, truth: [each for each in real(asks, truth) if each["holds"]]

    instead(journal, "clauses", held)


@breaks(DECISIONS, "tests/integration/test_cli.py::test_why_tells_each_decision")
def values_are_those_of_today() -> None:
    """What a decision found is looked up as it is now, not as it was then."""

    def today(real: Any) -> Any:
        def truths(self: Any, asks: Any, subject: Any, _now: Any, flow: Any) -> Any:
            return real(self, asks, subject, self.at.now, flow)

        return truths

    instead(found.Looking, "_truths", today)


DOCTOR = "The doctor finds what does not hold in a live database, and repairs nothing"
OPERATING = "tests/integration/test_operating.py::"


@breaks(DOCTOR, OPERATING + "test_each_broken_invariant_is_found")
def doctor_takes_the_word_of_messages() -> None:
    """What a message says of itself is believed: its attempts are not looked at."""

    def believing(real: Any) -> Any:
        def of_messages() -> Any:
            return {
                what: query for what, query in real().items() if "twice" not in what and "attempt" not in what
            }

        return of_messages

    instead(doctor, "_of_messages", believing)


@breaks(DOCTOR, OPERATING + "test_mail_that_waits_for_the_suppressed")
def doctor_overlooks_the_suppressed() -> None:
    """Mails that wait for customers are not held against their suppressions."""
    instead(doctor, "_of_customers", always({}))


@breaks(DOCTOR, OPERATING + "test_what_is_stopped_is_told")
def doctor_repairs_in_passing() -> None:
    """Before it looks, the doctor takes back what dead workers held."""

    def tidying(real: Any) -> Any:
        def looked(database: Any, settings: Any, machine_now: datetime, looked_at: Any) -> Any:
            with database.write() as connection:
                claim.recover(connection, machine_now, machine_now)
            return real(database, settings, machine_now, looked_at)

        return looked

    instead(doctor, "_database", tidying)


BAD_INPUT = "Bad input is told, never thrown"


@breaks(BAD_INPUT, "tests/integration/test_cli_bad_input.py::test_random_options_end_plainly")
def moment_beyond_the_calendar_is_thrown() -> None:
    """A time that no calendar reaches on the clock of Greenwich ends a command as a bug of ours."""

    def throwing(real: Any) -> Any:
        def moment(self: Any, text: str | None) -> datetime | None:
            read: datetime | None = None
            with suppress(ValueError):
                read = datetime.fromisoformat((text or "").strip())
            if read is None or read.tzinfo is None:
                told: datetime | None = real(self, text)
                return told
            if not 1970 <= read.astimezone(UTC).year <= 9000:
                raise UsageError("that is no time")
            return read.astimezone(UTC)

        return moment

    instead(session.Session, "moment", throwing)


@breaks(BAD_INPUT, "tests/integration/test_ingest_files.py::test_bad_rows_are_set_aside_and_mended")
def mended_rows_stay_set_aside() -> None:
    """A file of bad rows that all went in stays where it is."""

    def staying(real: Any) -> Any:
        def close(self: Any) -> None:
            if self._stream is not None:
                real(self)

        return close

    instead(quarantine.QuarantineFile, "close", staying)


SILENT = "No address and no secret in a log"


@breaks(SILENT, "tests/attacks/test_silence.py::test_nothing_personal_in_logs")
def reply_of_a_provider_is_logged() -> None:
    """A log line repeats what a provider said."""
    instead(outcome, "for_a_log", lambda _: lambda reason: reason)


@breaks(SILENT, "tests/contracts/providers/test_every_provider.py::test_logs_know_no_secret_and_no_address")
def provider_notes_to_whom_it_hands_over() -> None:
    """Who asks for more of the log reads each recipient in it."""

    def noting(real: Any) -> Any:
        def hand_over(self: Any, mails: Any) -> Any:
            for mail in mails:
                logging.getLogger("homing.smtp").debug("handing over to %s", mail.to.email)
            return real(self, mails)

        return hand_over

    instead(smtp.SmtpProvider, "hand_over", noting)


@breaks(SILENT, "tests/attacks/test_silence.py::test_an_error_of_the_database_tells_no_value")
def error_of_the_database_tells_its_values() -> None:
    """The values of a statement stand in its error."""

    def telling(real: Any) -> Any:
        return lambda *told, **how: real(*told, **{**how, "hide_parameters": False})

    instead(database, "create_engine", telling)


AS_THEY_ARE = "Starter mails can be sent as they are"


@breaks(AS_THEY_ARE, "tests/mails/test_starter_mails.py")
def text_has_one_link_of_a_row() -> None:
    """Of links that follow one another the text part writes out the last one alone, wherever they lead."""
    instead(text, "_resolve_links", lambda real: lambda words, _same: real(words, lambda *_: True))


@breaks(AS_THEY_ARE, "tests/mails/test_starter_mails.py")
def link_to_topics_ends_them() -> None:
    """The link to a customer's topics is signed for the page that unsubscribes."""
    instead(links.SignedLinks, "preferences", lambda _: lambda self: self._link("u"))


@breaks(AS_THEY_ARE, "tests/unit/render/test_brand.py::test_any_accent_can_be_read")
def accent_is_as_dark_at_night() -> None:
    """Words in the shop's accent keep its colour by night."""

    def by_day_alone(real: Any) -> Any:
        return lambda colour, ground, *, lighter: colour if lighter else real(colour, ground, lighter=False)

    instead(brand, "readable", by_day_alone)


@breaks(AS_THEY_ARE, "tests/unit/render/test_brand.py::test_any_accent_can_be_read")
def words_on_the_accent_are_white() -> None:
    """A button's words are white, however light the shop's accent is."""
    instead(brand, "upon", always("#ffffff"))
