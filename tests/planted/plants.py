"""Bugs planted beside those of the simulation and the crash suite: one for each further promise, which its own test must catch.

Each is a patch of the engine's real functions, planted before a program begins (see `start/sitecustomize.py`), so that it also
holds in the programs that a test starts. `promise` is what stands in bold in GUARANTEES.md; the tests stand beside it there.
"""

from __future__ import annotations

import base64
import itertools
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

from jinja2.sandbox import SandboxedEnvironment
from sqlalchemy import Connection, delete, literal, literal_column, select, update
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from engine import calendar
from engine.audience import memory, sqlvalues
from engine.calendar import Duration
from engine.delivery import addresses, dispatch, mailroom, mime, outcome, recording
from engine.deploy import simulate, simulate_folder
from engine.facts import consents, digests, ingest, json_texts, order_names, people, rights, state_rows
from engine.feedback import machines, settle
from engine.flows import fixing
from engine.journeys import advance, enter, versions
from engine.offers import issue
from engine.outbox import ledger
from engine.render import context, environment, limits, mjml, pieces, seal
from engine.runtime import (
    daemon,
    golive,
    installation,
    intake,
    leader,
    nightly,
    passes,
    poison,
    rails,
)
from engine.runtime.work import ARMING
from engine.store import database, meta
from engine.store.tables import customer_ids, customers, leases, messages, offer_codes
from engine.web.house import door, uploads
from engine.web.intake import taking, trust, writer
from engine.web.links import looks, signup, unsubscribe


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug by name: the promise that it breaks, the tests of which one must fail, and the patch that plants it."""

    name: str
    promise: str
    tests: tuple[str, ...]
    patch: Callable[[], None]


PLANTS: dict[str, Plant] = {}


def breaks(promise: str, *tests: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Return what makes a plant of a patch."""

    def named(patch: Callable[[], None]) -> Callable[[], None]:
        name = patch.__name__.replace("_", "-")
        PLANTS[name] = Plant(name, promise, tests, patch)
        return patch

    return named


def instead(place: Any, name: str, make: Callable[[Any], Any], *, there_alone: bool = False) -> None:
    """Put what `make` makes of the real thing in its place, there and wherever the engine has it by name already."""
    real = getattr(place, name)
    other = make(real)
    setattr(place, name, other)
    if there_alone or not isinstance(place, ModuleType) or not callable(real):
        return
    for module in [module for key, module in sys.modules.items() if key.startswith("engine.")]:
        for alias in [alias for alias, value in vars(module).items() if value is real]:
            setattr(module, alias, other)


def always(value: Any) -> Callable[[Any], Any]:
    """Return what makes a function that gives the same whatever it is asked."""
    return lambda _real: lambda *_, **__: value


# ── one installation ─────────────────────────────────────────────────────────────────────────────────────────────────

COPIED = "A new, virtual or copied database mails nobody"
OPERATING = "tests/integration/test_operating.py::"


@breaks(COPIED, OPERATING + "test_a_copy_beside_the_live_one_stays_a_sandbox")
def copy_in_the_same_folder_is_live() -> None:
    """An installation is told by its folder."""

    def by_folder(real: Any) -> Any:
        def fingerprint(settings: Any, *_: Any) -> str:
            return str(settings.root)

        return fingerprint

    instead(installation, "fingerprint", by_folder)


@breaks(COPIED, OPERATING + "test_a_copy_stays_a_sandbox")
def copied_database_is_live() -> None:
    """That a database ever went live is enough."""

    def somewhere(real: Any) -> Any:
        def why_sandbox(settings: Any, opened: Any) -> str | None:
            reason: str | None = real(settings, opened)
            return None if reason and "elsewhere" in reason else reason

        return why_sandbox

    instead(installation, "why_sandbox", somewhere)


@breaks(COPIED, OPERATING + "test_a_virtual_database_never_goes_live")
def virtual_database_goes_live() -> None:
    """Nobody asks on which clock a database stands."""
    instead(meta, "virtual_now", always(None))


@breaks(COPIED, OPERATING + "test_going_live_cancels_the_sandbox")
def sandbox_goes_on_live() -> None:
    """Who began in the sandbox stays inside when it goes live."""
    instead(golive, "_sandboxed", always([]))


ONE_LEADS = "One daemon leads, and a dead one is followed within 30 seconds"
LEADER = "tests/unit/runtime/test_leader.py::"


@breaks(ONE_LEADS, LEADER + "test_one_leads_and_keeps_leading")
def everybody_leads() -> None:
    """A lease is taken whoever holds it."""
    instead(leader.Leadership, "_abandoned", lambda _: lambda self, connection: _standing(connection))


def _standing(connection: Connection) -> tuple[Any, ...]:
    table = leases.c
    row = connection.execute(select(table.fence, table.until).where(table.name == leader.LEADER)).one()
    return row.fence, row.until


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


# ── rails ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PAUSE = "A pause takes hold within two seconds"
DAEMON = "tests/integration/test_daemon.py::test_a_pause_takes_hold_within_two_seconds"
BRAKE = "A flow that suddenly targets everybody is stopped"
RAILS = "tests/scenarios/test_rails.py::"


@breaks(PAUSE, DAEMON)
def daemon_begins_unpaused() -> None:
    """What was paused goes on when the daemon is started anew."""

    def anew(real: Any) -> Any:
        def run(self: Any, *rest: Any) -> None:
            with self._database.write() as connection:
                rails.resume(connection, None)
            real(self, *rest)

        return run

    instead(daemon.Daemon, "run", anew)


@breaks(BRAKE, RAILS + "test_just_the_usual_most_go")
def brake_lets_twice_as_many_through() -> None:
    """What is usual is taken twice."""
    instead(rails, "usual_most", lambda real: lambda *told: 2 * real(*told))


@breaks(BRAKE, RAILS + "test_a_flow_that_suddenly_targets_everybody_is_stopped")
def brake_on_entries_forgotten() -> None:
    """Nobody counts who enters; the mails are counted when there are none yet."""
    instead(rails, "brake_on_entries", always(None))


@breaks(BRAKE, RAILS + "test_mails_that_fall_due_together_are_stopped")
def brake_on_mails_forgotten() -> None:
    """Nobody counts the mails that fall due."""
    instead(rails, "brake_on_sends", always({}))


@breaks(
    "The number that a plan names lets a flow through", RAILS + "test_an_allowance_lets_just_so_many_through"
)
def allowance_ignores_its_number() -> None:
    """Where any number was allowed, everybody may."""

    def lenient(real: Any) -> Any:
        return lambda connection, live, *rest: None if live.allowance else real(connection, live, *rest)

    instead(rails, "_brake", lenient)


# ── nothing lost ─────────────────────────────────────────────────────────────────────────────────────────────────────

WHOLE = "An apply, an erasure, a night and a webhook end whole"
CHANGES = "tests/crash/test_crash.py::test_large_changes_end_whole"


def _in_two(connection: Connection) -> None:
    """End the transaction here and begin another, as two transactions in a row would."""
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


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


@breaks(
    "A fact told twice changes nothing",
    "tests/integration/test_ingest.py::test_the_same_file_again_changes_nothing",
)
def fact_told_twice_is_two() -> None:
    """What was told before is not known again."""
    instead(digests.Digests, "is_known", always(False))


@breaks(
    "An answered call is durable, and told twice it is one",
    "tests/integration/test_web_operation.py::test_many_at_once",
)
def answered_call_is_lost() -> None:
    """Of the calls that are written together some are forgotten."""

    def some(real: Any) -> Any:
        def take(self: Any, bundles: Any) -> None:
            real(self, [each for number, each in enumerate(bundles) if number < 2])

        return take

    instead(writer.Writer, "_take", some)


@breaks(
    "An answered call is durable, and told twice it is one",
    "tests/integration/test_web_segment.py::test_the_same_call_twice_is_one",
)
def call_told_twice_is_two() -> None:
    """Nobody looks whether a call came before."""
    turns = itertools.count()

    def anew(_real: Any) -> Any:
        def known_calls(_connection: Any, calls: Any, _now: Any) -> Any:
            for call in calls:
                call.content["messageId"] = f"{call.content.get('messageId')}-{next(turns)}"
            return calls

        return known_calls

    instead(taking, "known_calls", anew)


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


MERGED = "Customers who turn out to be one lose no word on their mails"
MERGING = "tests/integration/test_merge_while_sending.py::"


@breaks(MERGED, MERGING + "test_a_merge_before_the_gate_is_no_word_against_the_mail")
def mail_of_a_merged_customer_is_dropped() -> None:
    """Whose customer became another one is judged as somebody who is not there."""

    def judged(real: Any) -> Any:
        def hold_back(connection: Connection, group: Any, verdicts: Any, at: Any, tally: Any) -> Any:
            pairs = [(made.message, verdict) for made, verdict in zip(group, verdicts, strict=True)]
            return dispatch._stop(connection, pairs, at, tally)

        return hold_back

    instead(dispatch, "_hold_back", judged)


@breaks(MERGED, MERGING + "test_a_merge_during_the_hand_over_loses_no_word")
def word_on_a_merged_customers_mail_is_lost() -> None:
    """What became of a mail is not told where its customer became another one meanwhile."""

    def unmoved(real: Any) -> Any:
        def still_ours(connection: Connection, results: Any) -> Any:
            whose = {made.message.id: made.message.customer_id for made, _, _ in results}
            held = real(connection, results)
            return [each for each in held if each[0].message.customer_id == whose[each[0].message.id]]

        return still_ours

    instead(recording, "_still_ours", unmoved)


# ── poison ───────────────────────────────────────────────────────────────────────────────────────────────────────────

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


# ── nobody who must not ──────────────────────────────────────────────────────────────────────────────────────────────

OLD_GRANT = "An old grant never overrides a withdrawal"
ERASED = "An erased person is forgotten and stays so"


@breaks(OLD_GRANT, "tests/integration/test_ingest.py::test_the_stricter_consent_wins_a_merge")
def looser_consent_wins_a_merge() -> None:
    """Of two customers who are one the newest word counts, whichever of the two gave it."""

    def newest(_real: Any) -> Any:
        def fold_two(one: Any, other: Any) -> Any:
            def times(topic: str) -> Any:
                told = [state[topic] for state in (one, other) if topic in state]
                return {name: state_rows.newest(*(each[name] for each in told)) for name in state_rows.TIMES}

            return {topic: times(topic) for topic in sorted({*one, *other})}, {}

        return fold_two

    instead(state_rows, "fold_two", newest)


@breaks(OLD_GRANT, "tests/integration/test_ingest.py::test_consent_states")
def undated_grant_counts_from_its_receipt() -> None:
    """A grant without a date stands where it was told."""
    instead(consents, "_effective", lambda _: lambda row: row["at"] or row["received_at"])


@breaks(ERASED, "tests/integration/test_cli.py::test_erasing_forgets_and_stays")
def erased_are_not_known_again() -> None:
    """No hash is kept of who was erased."""
    instead(
        rights,
        "insert_new",
        lambda real: (
            lambda connection, table, rows: [] if table.name == "erased" else real(connection, table, rows)
        ),
    )


@breaks(ERASED, "tests/integration/test_ingest_customers.py::test_erased")
def facts_of_the_erased_stay() -> None:
    """Only the customer's own row is emptied."""
    instead(rights, "_forget_facts", lambda _: lambda *__: None)


@breaks(
    "After the answer to an opt-out no hand-over begins",
    "tests/integration/test_opt_out.py::test_after_the_click_no_hand_over_begins",
)
def opt_out_is_written_after_its_answer() -> None:
    """A click is answered at once, and written a moment later."""

    def later(real: Any) -> Any:
        def withdraw(*told: Any) -> None:
            threading.Timer(1.0, real, told).start()

        return withdraw

    instead(unsubscribe, "_withdraw", later)


@breaks(
    "Somebody erased comes back by their own word alone",
    "tests/integration/test_web_links.py::test_who_was_erased_comes_back_by_their_own_word_only",
)
def erased_come_back_by_anybodys_word() -> None:
    """Whoever holds the link of a sign-up may type any address behind it."""
    instead(signup, "hmac", lambda _: SimpleNamespace(compare_digest=lambda *_: True))


@breaks("A preview opens nothing", "tests/unit/render/test_links.py::test_another_last_letter_breaks_a_token")
def last_letter_of_a_link_is_any_of_four() -> None:
    """A link is read though its last letter, whose bits are not all used, is another one."""

    def lenient(real: Any) -> Any:
        def unseal(secrets: Any, context: bytes, text: str) -> bytes | None:
            try:
                raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except ValueError:
                return None
            found: bytes | None = real(secrets, context, seal._written(raw))
            return found

        return unseal

    instead(seal, "unseal", lenient)


# ── in time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

CHANGING_CLOCKS = (
    "Wall times, quiet hours, week days, months and anniversaries are right at every change of clocks"
)
CLOCKS = "tests/scenarios/test_clocks.py::"


@breaks(CHANGING_CLOCKS, CLOCKS + "test_nine_in_new_york_across_both_changes")
def zone_keeps_the_offset_of_one_day() -> None:
    """A zone is so many hours from UTC all the year."""

    def steady(real: Any) -> Any:
        return lambda day, zone_name: real(day.replace(month=1, day=15), zone_name)

    instead(calendar, "_steady_offset", steady)


@breaks(CHANGING_CLOCKS, CLOCKS + "test_monday_eight_in_tokyo")
def week_days_are_of_utc() -> None:
    """It is Monday when it is Monday in Greenwich."""

    def greenwich(real: Any) -> Any:
        def next_wall(after: Any, clock: Any, days: Any, zone_name: str) -> Any:
            moment = real(after, clock, calendar_days, zone_name)
            while moment.weekday() not in days:
                moment = real(moment + timedelta(hours=1), clock, calendar_days, zone_name)
            return moment

        return next_wall

    calendar_days = frozenset(range(7))
    instead(calendar, "next_wall", greenwich)


@breaks(CHANGING_CLOCKS, "tests/unit/test_zones.py")
def days_are_24_hours() -> None:
    """A day is 24 hours, whatever the clocks do."""

    def plain(real: Any) -> Any:
        def add(moment: Any, duration: Duration, zone_name: str) -> Any:
            if duration.months:
                return real(moment, duration, zone_name)
            return moment + timedelta(days=duration.days, seconds=duration.seconds)

        return add

    instead(calendar, "_add", plain)


ZONES = "A wrong time zone falls back, is reported, and stops nobody"


@breaks(ZONES, CLOCKS + "test_a_wrong_zone_falls_back_and_is_reported")
def wrong_zone_is_taken_for_the_shops() -> None:
    """Where the zone is wrong, the country is not asked."""
    instead(people, "ONE_ZONE_COUNTRIES", lambda _: {})


@breaks(ZONES, CLOCKS + "test_a_zone_that_this_machine_does_not_know_stops_no_batch")
def unknown_zone_fails_its_batch() -> None:
    """A zone that this machine does not know is an error of whoever meets it."""
    instead(calendar, "clocks_of", lambda _: calendar.zone)


@breaks(
    "Who may come in again does not hang on when a tick came",
    "tests/scenarios/test_time.py::test_who_is_through_at_once_lets_the_next_fact_in",
)
def who_is_through_at_once_counts_as_inside() -> None:
    """Who came in by the same batch keeps everybody after them out."""
    instead(enter, "keeps_quiet", always(True))
    instead(enter, "PastEntry", lambda real: lambda *told, begins=False: real(*told[:5]))


@breaks(
    "Who is inside finishes what they entered",
    "tests/scenarios/test_time.py::test_an_enrollment_stays_on_the_version_it_entered",
)
def newest_version_is_everybodys() -> None:
    """Whoever is inside goes on by the newest version."""

    def newest(real: Any) -> Any:
        def programs(connection: Connection, hashes: Any) -> Any:
            live = versions.live_flows(connection)
            return {digest: live[each.flow.name].program for digest, each in real(connection, hashes).items()}

        return programs

    instead(advance, "programs", newest, there_alone=True)


@breaks(
    "What is too late is not sent; after an outage only the newest goes",
    "tests/scenarios/test_time.py::test_only_the_newest_of_several_sends_goes_after_an_outage",
)
def older_mails_go_with_the_newest() -> None:
    """What fell due during an outage goes all at once."""
    instead(ledger, "supersede", always(0))


@breaks(
    "A killed simulation leaves nothing for long",
    "tests/integration/test_simulate_folder.py::test_what_a_killed_simulation_left_goes_when_the_next_begins",
)
def folder_of_a_killed_simulation_stays() -> None:
    """Nobody looks whether a simulation has ended."""
    instead(simulate_folder, "_is_left_behind", always(False))


# ── inputs that attack ───────────────────────────────────────────────────────────────────────────────────────────────

HEADERS = "No text of a customer becomes a header, a tag or a template"


@breaks(HEADERS, "tests/attacks/test_headers.py::test_texts_stay_in_their_headers")
def line_break_ends_a_header() -> None:
    """A subject and a name stand in their headers as they came."""
    instead(mime, "clean", lambda _: lambda text: mime._SURROGATES.sub("\ufffd", text))


@breaks(HEADERS, "tests/attacks/test_headers.py::test_texts_stay_in_their_headers")
def encoded_words_are_let_be() -> None:
    """Line breaks go, but what looks like an encoded word is left for others to decode."""
    instead(mime, "_ENCODED_WORD", lambda _: re.compile("(?!)"))


@breaks(HEADERS, "tests/attacks/test_headers.py::test_an_address_is_one_address_or_none")
def address_is_taken_as_it_came() -> None:
    """What has an @ is an address."""

    def lenient(real: Any) -> Any:
        def addr_spec(address: str) -> str:
            if "@" not in address:
                return str(real(address))
            return address

        return addr_spec

    instead(addresses, "addr_spec", lenient)


@breaks(HEADERS, "tests/attacks/test_markup.py::test_a_hostile_text_changes_no_tag")
def quotes_are_not_escaped() -> None:
    """A value may end the attribute that it stands in."""
    instead(pieces, "in_text", lambda real: lambda value: str(real(value)).replace("&#34;", '"'))


@breaks(HEADERS, "tests/attacks/test_markup.py::test_a_hostile_address_leads_nowhere")
def any_address_is_a_link() -> None:
    """Whatever a field says may be an address."""
    instead(mjml, "_is_safe_address", always(True))
    instead(context, "_safe_url", lambda _: str)


EXHAUSTS = "No file and no template exhausts the machine"
TEMPLATES = "tests/unit/render/test_environment.py::"


@breaks(EXHAUSTS, TEMPLATES + "test_nothing_leads_out_of_the_sandbox")
def sandbox_shows_every_attribute() -> None:
    """A template may see whatever a value has."""
    for owner in (environment.MailEnvironment, SandboxedEnvironment):
        instead(owner, "is_safe_attribute", always(True))


@breaks(EXHAUSTS, TEMPLATES + "test_bombs_end_early")
def range_has_no_end() -> None:
    """A template may ask for as many numbers as it likes."""
    instead(limits, "bounded_range", lambda _: range)


SILENT = "No address and no secret in a log"


@breaks(SILENT, "tests/attacks/test_silence.py::test_nothing_personal_in_logs")
def reply_of_a_provider_is_logged() -> None:
    """A log line repeats what a provider said."""
    instead(outcome, "for_a_log", lambda _: lambda reason: reason)


@breaks(SILENT, "tests/attacks/test_silence.py::test_an_error_of_the_database_tells_no_value")
def error_of_the_database_tells_its_values() -> None:
    """The values of a statement stand in its error."""

    def telling(real: Any) -> Any:
        return lambda *told, **how: real(*told, **{**how, "hide_parameters": False})

    instead(database, "create_engine", telling)


# ── over the web ─────────────────────────────────────────────────────────────────────────────────────────────────────

LINKS = "tests/integration/test_web_links.py::"


@breaks("GET changes nothing", LINKS + "test_scanners_change_nothing")
def looking_at_a_link_unsubscribes() -> None:
    """Opening the link of a mail ends its topic."""
    instead(unsubscribe, "_show", lambda _: unsubscribe._stop)


@breaks("One click unsubscribes", LINKS + "test_every_post_to_a_good_link_unsubscribes")
def only_a_form_unsubscribes() -> None:
    """A press whose body is no form of ours ends nothing."""

    def strict(real: Any) -> Any:
        def withdraw(site: Any, reader: Any, topic: str, source: str, wording: str) -> None:
            if source == unsubscribe.ONE_CLICK:
                real(site, reader, topic, source, wording)

        return withdraw

    instead(unsubscribe, "_withdraw", strict)


@breaks("One click unsubscribes", LINKS + "test_old_links_outlive_their_secret")
def old_secret_is_forgotten() -> None:
    """A new secret for links ends those that were sent."""
    instead(meta, "link_secrets", lambda real: lambda connection: real(connection)[:1])


FEEDBACK = "tests/integration/test_web_feedback.py::"


@breaks("Delivery events may come in any order", FEEDBACK + "test_any_order_ends_alike")
def newest_event_decides() -> None:
    """A message is what was told of it last."""
    instead(settle, "_is_forward", always(True))


@breaks("Delivery events may come in any order", FEEDBACK + "test_what_was_unknown_is_settled")
def unknown_stays_unknown() -> None:
    """Events of a mail whose fate is unknown are kept, and settle nothing."""
    instead(
        settle, "_is_forward", lambda real: lambda before, after: before != "unknown" and real(before, after)
    )


@breaks("Machines decide nothing", FEEDBACK + "test_machines_decide_nothing")
def scanners_click_for_people() -> None:
    """A click right after the delivery is a person's."""
    instead(settle, "_by_machines", always(frozenset()))


@breaks(
    "A counted link leads where the mail said, and nowhere else",
    "tests/integration/test_web_looks.py::test_a_click_leads_to_the_stored_address_only",
)
def click_leads_where_the_request_says() -> None:
    """A link leads to the address that its query names."""

    def open_redirect(real: Any) -> Any:
        async def click(request: Request) -> Response:
            asked = request.query_params.get("url")
            answer: Response = RedirectResponse(asked, 302) if asked else await real(request)
            return answer

        return click

    instead(looks, "_click", open_redirect)


@breaks(
    "A counted link leads where the mail said, and nowhere else",
    "tests/integration/test_web_looks.py::test_machines_are_marked_and_decide_nothing",
)
def programs_look_like_people() -> None:
    """Whoever asks is a person."""
    instead(machines, "is_program", always(False))
    instead(machines, "is_ahead", always(False))


HOUSE = "Looking into the house changes nothing, and nobody looks without the password"


@breaks(HOUSE, "tests/integration/test_house_browser.py::test_nothing_is_seen_without_a_visit")
def house_stands_open() -> None:
    """Nobody is asked for the password."""
    instead(door, "_is_visit", always(True))


@breaks(HOUSE, "tests/integration/test_house.py::test_a_button_on_another_page_does_nothing")
def button_works_from_any_page() -> None:
    """A page elsewhere may press a button for who is logged in."""
    instead(door, "_is_ours", always(True))


@breaks(
    "A write key that stands in a page grants no consent",
    "tests/integration/test_web_segment.py::test_a_key_of_a_page_grants_no_consent",
)
def any_key_grants_consent() -> None:
    """Nobody asks what a write key may say."""
    instead(trust, "refusal", always(""))


@breaks(
    "A sign-up is for the topics that were ticked, with the words that were shown",
    LINKS + "test_a_sign_up_is_for_what_was_chosen_only",
)
def no_topic_is_every_topic() -> None:
    """Who ticks nothing has signed up for everything."""

    def everything(real: Any) -> Any:
        class Form(FormData):
            def getlist(self, key: Any) -> list[Any]:
                return super().getlist(key) or (["offers", "reminders"] if key == "topic" else [])

        async def take(request: Request) -> Response:
            form = await request.form(max_files=0, max_fields=50)
            request._form = Form(form.multi_items())
            answer: Response = await real(request)
            return answer

        return take

    instead(signup, "_take", everything)


@breaks(
    "An uploaded file becomes facts only by a second button, and survives from then on",
    "tests/integration/test_house_files.py::test_a_confirmed_file_outlives_the_program",
)
def confirmed_file_is_forgotten() -> None:
    """A file that a program did not finish is taken up by nobody."""
    instead(uploads.Uploads, "take_next", always(None))


# ── what else is promised of decisions, statements, files and simulations ───────────────────────────────────────────


@breaks(
    "A condition means the same for a whole audience and for one customer",
    "tests/contracts/conditions/test_one_meaning.py::test_every_value_meets_every_test",
)
def at_least_is_more_than_for_one_customer() -> None:
    """Asked for one customer, "at least" leaves out the number itself."""
    instead(memory, "_COMPARE", lambda real: {**real, "gte": real["gt"]})


@breaks(
    "What a user wrote is never part of a statement",
    "tests/contracts/conditions/test_statements.py::test_what_a_user_wrote_is_never_statement_text",
)
def texts_are_written_into_statements() -> None:
    """What a condition compares with stands in the statement itself."""

    def written(value: Any, *_: Any) -> Any:
        quoted = str(value).replace("'", "''").replace(":", "\\:")
        return literal_column(f"'{quoted}'") if isinstance(value, str) else literal(value, *_)

    instead(sqlvalues, "literal", lambda _real: written, there_alone=True)


@breaks(
    "No file and no template exhausts the machine",
    "tests/attacks/test_files.py::test_bombs_need_little_memory",
)
def rows_have_no_largest_size() -> None:
    """A row of a file may be as long as it likes."""
    instead(json_texts, "LARGEST_ROW", lambda _real: 1 << 40)


@breaks(
    "An order that an export and webhooks tell counts once",
    "tests/integration/test_web_shops.py::test_one_order_counts_once",
    "tests/integration/test_web_shops.py::test_a_file_without_numbers_finds_what_another_file_told",
)
def orders_are_known_by_their_newest_name() -> None:
    """Whatever an order is called by another source is another order."""
    instead(order_names, "under_first_names", lambda _real: lambda _connection, told: told)


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
    "A replay decides as the live engine did",
    "tests/integration/test_simulate.py::test_a_replay_decides_as_the_live_engine",
)
def replay_knows_no_caps() -> None:
    """A simulation asks the gate without the shop's caps."""

    def uncapped(real: Any) -> Any:
        def rehearse(opened: Any, at: Any, *rest: Any, **named: Any) -> Any:
            settings = replace(at.settings, policy=replace(at.settings.policy, caps=()))
            return real(opened, replace(at, settings=settings), *rest, **named)

        return rehearse

    instead(dispatch, "rehearse", uncapped)


@breaks(
    "Plan and simulate touch nothing",
    "tests/integration/test_simulate.py::test_the_real_database_is_not_touched",
)
def simulation_notes_that_it_ran() -> None:
    """A simulation writes into the real database when it last ran."""

    def noting(real: Any) -> Any:
        def simulate(opened: Any, *rest: Any, **named: Any) -> Any:
            with opened.write() as connection:
                meta.put(connection, "simulated", "now")
            return real(opened, *rest, **named)

        return simulate

    instead(simulate, "simulate", noting)


@breaks(
    "A flow that suddenly targets everybody is stopped",
    "tests/scenarios/test_rails.py::test_what_another_worker_holds_is_counted",
)
def brake_overlooks_what_others_hold() -> None:
    """What another worker has claimed is counted neither as due nor as gone."""

    def overlooked(real: Any) -> Any:
        def due_to_send(connection: Connection, flows: Any, at: Any) -> Any:
            held = select(messages.c.id).where(
                messages.c.state == "claimed", messages.c.claimed_by == "another"
            )
            ids = list(connection.scalars(held))
            hidden = update(messages).where(messages.c.id.in_(ids))
            connection.execute(hidden.values(state="dropped"))
            found = real(connection, flows, at)
            connection.execute(hidden.values(state="claimed"))
            return found

        return due_to_send

    instead(rails, "due_to_send", overlooked)


@breaks(
    "Mending keeps comments and layout, and mending twice changes nothing more",
    "tests/unit/flows/test_validate.py::test_what_can_be_mended_is",
)
def mending_drops_comments() -> None:
    """A file that is mended loses what stands behind a #."""
    instead(
        fixing,
        "fixes",
        lambda real: lambda *told: {path: re.sub(r" +#.*", "", text) for path, text in real(*told).items()},
    )
