"""Bugs planted in what GUARANTEES.md promises under "Mistakes are told"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import text

from engine import calendar, processes, settings
from engine.delivery import dispatch, recording
from engine.facts import raised
from engine.flows import fixing, problems, reading, rules, scenario, scenario_check
from engine.journeys import candidates, dates, moments
from engine.policy import gate
from engine.render import lint, positions
from engine.runtime import at_the_gate, intake, rails, status
from engine.runtime.guarding import Braked
from engine.store import migrate
from engine.web.intake import calls
from tests.planted.planting import always, breaks, instead

EVERY_MISTAKE = "Every mistake of a project at once, at its line and column"
EVERY_CODE = "tests/contracts/findings/test_every_code.py::"


@breaks(EVERY_MISTAKE, EVERY_CODE + "test_a_misspelt_word_is_found_where_it_is")
def names_are_told_where_their_expression_begins() -> None:
    """A misspelt name of a template is told at the first word of what it stands in."""
    instead(positions.Source, "find", lambda _: lambda self, word, offset: self.span(0, len(word)))


@breaks(EVERY_MISTAKE, "tests/unit/test_settings.py::test_a_planted_mistake_is_found_where_it_is")
def settings_are_told_at_their_keys() -> None:
    """What is wrong with the value of a setting is told at its key."""

    def at_its_key(real: Any) -> Any:
        def add(self: Any, code: str, message: str, *path: str, **more: Any) -> None:
            real(self, code, message, *path, **{**more, "key": True})

        return add

    instead(settings._Reader, "add", at_its_key)


@breaks(EVERY_MISTAKE, "tests/unit/flows/test_validate.py::test_a_planted_key_is_found_where_it_is")
def unknown_keys_are_told_at_their_tables() -> None:
    """A key that nobody knows is told where the table begins in which it stands."""

    def at_its_table(_real: Any) -> Any:
        def only(self: Any, table: Any, where: str, known: Any) -> None:
            for entry in table:
                if entry.key not in known:
                    self.add(problems.unknown_key(table.span, entry.key, where, known, taken=table.keys))

        return only

    instead(reading.Reader, "only", at_its_table)


@breaks(EVERY_MISTAKE, EVERY_CODE + "test_mistakes_of_every_kind_of_file_are_told_together")
def first_mistake_of_a_file_is_its_only_one() -> None:
    """What is read after the first mistake of a file is not looked at."""

    def first_alone(real: Any) -> Any:
        def add(self: Any, finding: Any) -> None:
            if all(each.span.file != finding.span.file for each in self.findings):
                real(self, finding)

        return add

    instead(reading.Reader, "add", first_alone)


@breaks(EVERY_MISTAKE, EVERY_CODE + "test_mistakes_of_every_kind_of_file_are_told_together")
def scenario_with_a_mistake_is_held_against_nothing() -> None:
    """What a scenario expects is not looked at where it says something else wrongly."""
    instead(scenario_check, "_beside", always(()))


@breaks(EVERY_MISTAKE, EVERY_CODE + "test_mistakes_of_every_kind_of_file_are_told_together")
def tags_wait_for_the_names_among_them() -> None:
    """The tags of a mail are looked at when each name that it writes is right."""
    instead(lint, "_beside", always(()))


WRONG_AND_RIGHT = "Every code has a wrong and a right file"


@breaks(WRONG_AND_RIGHT, EVERY_CODE + "test_every_code_has_a_wrong_and_a_right_file")
def code_comes_without_a_file() -> None:
    """Somebody writes a rule, with a page of the manual, and no file that breaks it."""

    def one_more(real: Any) -> Any:
        def all_rules() -> Any:
            known = tuple(real())
            return (*known, replace(next(each for each in known if each.code == "F121"), code="F199"))

        return all_rules

    instead(rules, "all_rules", one_more)


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


@breaks(WRONG_AND_RIGHT, EVERY_CODE + "test_each_code_is_told_where_the_mistake_is")
def one_name_for_two_scenarios_passes() -> None:
    """A rule has its page and its files, and nobody asks it."""
    instead(scenario_check, "_same_names", always(()))


@breaks(
    "Scenarios do not depend on how many processes play them",
    "tests/scenarios/test_command.py::test_processes_do_not_change_the_result",
)
def results_come_process_by_process() -> None:
    """What several processes found is put together by process, not in the order of what they were given."""

    def by_process(real: Any) -> Any:
        def mapped(function: Any, things: Any, workers: int = 1, **how: Any) -> Iterator[Any]:
            found = list(real(function, things, workers, **how))
            for process in range(workers):
                yield from found[process::workers]

        return mapped

    instead(processes, "mapped", by_process)


A_MOMENT = "A save is answered within a moment"
SAVED = "tests/integration/test_validate_command.py::test_the_file_that_was_saved_is_looked_at_first"


@breaks(A_MOMENT, SAVED)
def oldest_file_is_looked_at_first() -> None:
    """What was saved a moment ago is looked at when all else has been."""
    instead(lint, "_newest_first", lambda real: lambda *told: real(*told)[::-1])


@breaks(A_MOMENT, SAVED)
def answer_waits_for_the_last_file() -> None:
    """Nothing is told before everything that draws on a file was looked at."""

    def whole(real: Any) -> Any:
        def lint_project(
            root: Any, own: Any, workers: int = 1, memory: Any = None, within: Any = None
        ) -> Any:
            found = real(root, own, workers, memory, within)
            while memory is not None and memory.waiting:
                found = real(root, own, workers, memory, within)
            return found

        return lint_project

    instead(lint, "lint_project", whole)


HEALTH = "A provider that takes nothing is named with its reason"
PUT_OFF = "tests/integration/test_provider_health.py::test_why_mails_are_put_off_is_told_until_they_go_again"


@breaks(HEALTH, PUT_OFF)
def each_group_tells_that_it_is_put_off() -> None:
    """A provider that is away is a line of the log for every ten mails."""
    instead(recording._Seldom, "now", always(True))


@breaks(HEALTH, PUT_OFF)
def status_keeps_the_reason_to_itself() -> None:
    """`status` says that mails are put off, and not why."""
    instead(status, "for_a_log", always("it was put off"), there_alone=True)


ANOTHER = "The database of another program is left alone"


@breaks(
    ANOTHER, "tests/integration/test_cli_wrong_places.py::test_the_database_of_another_program_is_left_alone"
)
def tables_of_others_are_not_looked_for() -> None:
    """A database without our stamp is empty, whatever stands in it."""
    instead(migrate, "_named_like_ours", always(()))


@breaks(ANOTHER, "tests/contracts/databases/test_migrations.py::test_another_programs_database_is_left_alone")
def stamp_has_its_table_before_we_look() -> None:
    """Who asks where a database stands makes the table in which the answer is to be written."""

    def making(real: Any) -> Any:
        def check(database: Any) -> Any:
            with database.write() as connection:
                connection.execute(
                    text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32))")
                )
            return real(database)

        return check

    instead(migrate, "check", making)


@breaks(
    "Mending keeps comments and layout, and mending twice changes nothing more",
    "tests/unit/test_settings.py::test_misspelt_settings_can_be_mended",
)
def section_that_is_mended_loses_its_brackets() -> None:
    """The header of a section is mended as a key is: the word that was meant stands there alone."""
    instead(fixing, "FIXERS", lambda real: {**real, "S104": fixing._suggested})


RAILS = "tests/scenarios/test_rails.py::"


ALLOWED = "The number that a plan names lets a flow through"


@breaks(ALLOWED, RAILS + "test_an_allowance_lets_just_so_many_through")
def allowance_ignores_its_number() -> None:
    """Where any number was allowed, everybody may."""

    def lenient(real: Any) -> Any:
        return lambda connection, live, *rest: None if live.allowance else real(connection, live, *rest)

    instead(rails, "_brake", lenient)


@breaks(ALLOWED, RAILS + "test_only_who_would_come_in_is_counted")
def brake_counts_who_comes_to_the_door() -> None:
    """Whoever the flow would turn away counts as coming in."""

    def at_the_door(real: Any) -> Any:
        def admit(connection: Any, live: Any, found: Any, at: Any, *rest: Any) -> Any:
            reason = rails.brake_on_entries(connection, live, len(found), at)
            if reason is not None:
                raise Braked(reason)
            return real(connection, live, found, at, *rest)

        return admit

    instead(intake, "_admit", at_the_door)


@breaks(ALLOWED, RAILS + "test_a_plan_counts_what_the_brake_counts")
def plan_forgets_the_day_before() -> None:
    """A plan counts what is to come, and not what the same 24 hours have had already."""
    instead(rails, "most_in_a_day", lambda real: lambda *told: (sum(told[4].values()), 0))


THEN = "Caps that kept a mail back are told as they were then"
IN_FORCE = "tests/integration/test_why.py::test_caps_are_those_that_were_in_force"


@breaks(THEN, IN_FORCE)
def caps_are_not_kept_with_their_decision() -> None:
    """A decision by a cap does not say by which."""
    instead(dispatch, "_in_force", always({}))


@breaks(THEN, IN_FORCE)
def caps_are_those_of_today() -> None:
    """What kept a mail back is told by the settings as they are now."""

    def today(real: Any) -> Any:
        return lambda self, flow, decision, moment, _kept=None: real(
            self, flow, decision, moment, _kept and [str(cap) for cap in self.at.caps(flow)]
        )

    instead(at_the_gate.Gate, "stood", today)


RETRIED = "A retry judges a call as it was judged when it came"
SEGMENT = "tests/integration/test_web_segment.py::"


@breaks(RETRIED, SEGMENT + "test_a_retry_grants_what_its_key_might_grant")
def whatever_is_retried_may_grant() -> None:
    """Who tries a call again is trusted, whoever sent it."""
    instead(calls, "kept_by", lambda real: lambda kept: (real(kept)[0], True))


@breaks(RETRIED, SEGMENT + "test_nobody_says_by_which_key_a_call_came")
def clients_say_by_which_key_they_came() -> None:
    """What a client wrote where its key is kept stays there."""

    def believed(real: Any) -> Any:
        return lambda content, key, *, may_grant: {**real(content, key, may_grant=may_grant), **content}

    instead(calls, "as_kept", believed)


TROUBLES = "Each starter flow has a scenario for each usual trouble"
PLAYED = "tests/scenarios/test_shop.py::test_scenario"


@breaks(TROUBLES, "tests/unit/flows/test_starter_scenarios.py::test_a_starter_flow_has_a_scenario_for")
def last_scenario_of_a_file_is_left_out() -> None:
    """Of the scenarios of a file all but the last are read."""
    instead(scenario, "scenario_nodes", lambda real: lambda *told: list(real(*told))[:-1])


@breaks(
    TROUBLES, f"{PLAYED}[birthday: who was born on 29 February is congratulated on the 28th in other years]"
)
def leap_days_are_kept_on_the_first_of_march() -> None:
    """Who was born on 29 February is congratulated on 1 March in other years."""

    def rolled(real: Any) -> Any:
        def in_year(month: int, day: int, year: int) -> Any:
            kept = real(month, day, year)
            return kept if kept.day == day else kept.replace(month=3, day=1)

        return in_year

    instead(moments, "in_year", rolled)


@breaks(TROUBLES, f"{PLAYED}[birthday: without a name and without a time zone it is nine at the shop]")
def who_has_no_zone_lives_in_greenwich() -> None:
    """Of whom no time zone is known, dates are kept by the clock of Greenwich, not by the shop's."""

    def greenwich(real: Any) -> Any:
        return lambda connection, field, ids, _zone: real(connection, field, ids, "UTC")

    instead(dates, "_date_values", greenwich)


@breaks(TROUBLES, f"{PLAYED}[win-back: who lapses a second time is missed a second time]")
def nobody_comes_in_again() -> None:
    """Who has been in a flow stays out for ever."""

    def once(real: Any) -> Any:
        def refused(rule: Any, candidate: Any, history: Any, zone: str) -> Any:
            return "re_entry: never" if history else real(rule, candidate, history, zone)

        return refused

    instead(candidates, "refused_by_re_entry", once)


@breaks(TROUBLES, f"{PLAYED}[thirty-day-check-in: a cap keeps the answer waiting, and does not lose it]")
def mail_that_may_wait_is_lost_to_a_cap() -> None:
    """A cap drops what it has no room for, also where the flow would rather wait."""
    instead(
        gate, "judge", lambda real: lambda question, now: real(replace(question, when_capped="skip"), now)
    )


@breaks(
    TROUBLES,
    f"{PLAYED}[thirty-day-check-in: where the night is longer than until ten, the question comes when it is over]",
)
def quiet_hours_end_at_midnight() -> None:
    """Quiet hours that begin in the evening are over with the day."""

    def until_midnight(real: Any) -> Any:
        def ends(self: Any, moment: Any, zone_name: str) -> Any:
            early = calendar.local(moment, zone_name).time() < self.end < self.start
            return None if early else real(self, moment, zone_name)

        return ends

    instead(calendar.QuietHours, "ends", until_midnight)


@breaks(
    TROUBLES, f"{PLAYED}[thirty-day-check-in: an order that is told three weeks late is asked about in time]"
)
def late_facts_count_from_their_receipt() -> None:
    """What is told late is taken to have happened when it was told."""

    def by_receipt(real: Any) -> Any:
        return lambda connection, told: real(
            connection, [event._replace(occurred_at=event.arrived_at) for event in told]
        )

    instead(raised, "write_events", by_receipt)
