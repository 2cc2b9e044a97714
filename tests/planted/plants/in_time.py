"""Bugs planted in what GUARANTEES.md promises under "In time, or not at all"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from engine import calendar
from engine.calendar import Duration
from engine.delivery import gatekeeping
from engine.facts import days, people
from engine.journeys import advance, decide, enter, versions
from engine.outbox import ledger
from engine.policy import gate
from engine.runtime import passes
from tests.planted.planting import always, breaks, instead


@breaks(
    "Waits count from when things happened",
    "tests/scenarios/test_time.py::test_waits_count_from_when_steps_were_due_not_from_a_late_tick",
)
def waits_count_from_the_tick() -> None:
    """A wait begins when somebody looks at it."""

    def late(real: Any) -> Any:
        def decide_now(
            program: Any, standing: Any, person: Any, truth: Any, rules: Any, now: datetime
        ) -> Any:
            standing = standing._replace(anchor_at=max(standing.anchor_at, now))
            return real(program, standing, person, truth, rules, now)

        return decide_now

    instead(advance, "decide", late, there_alone=True)


@breaks(
    "What is too late is not sent; after an outage only the newest goes",
    "tests/scenarios/test_time.py::test_only_the_newest_of_several_sends_goes_after_an_outage",
)
def older_mails_go_with_the_newest() -> None:
    """What fell due during an outage goes all at once."""
    instead(ledger, "supersede", always(0))


CLOCKS = "tests/scenarios/test_clocks.py::"


DOWN = "After three days down each flow's `max_lateness` decides"


def _with_lateness(days: int) -> Callable[[Any], Any]:
    def other(real: Any) -> Any:
        def message(*told: Any) -> Any:
            *others, rules, now = told
            return real(*others, replace(rules, max_lateness=Duration(days=days)), now)

        return message

    return other


@breaks(DOWN, CLOCKS + "test_three_days_down")
def every_flow_is_late_after_a_day() -> None:
    """A flow's own `max_lateness` is overlooked."""
    instead(decide, "_message", _with_lateness(1), there_alone=True)


@breaks(DOWN, CLOCKS + "test_a_clock_that_jumps")
def nothing_is_too_late() -> None:
    """However late a step is looked at, its mail is posted, due from then on."""

    def anew(real: Any) -> Any:
        def message(flow: Any, node: Any, step: Any, standing: Any, *told: Any) -> Any:
            return real(flow, node, step, standing._replace(anchor_at=told[-1]), *told)

        return message

    instead(decide, "_message", anew, there_alone=True)


FASTER = "What was told counts, whatever a machine's clock says"


@breaks(FASTER, CLOCKS + "test_what_was_told_counts_whatever_the_clock_says")
def purchase_waits_for_a_slow_clock() -> None:
    """The gate hears of what happened once its own clock has come so far."""
    instead(gatekeeping, "EVERYTHING", lambda _real: None, there_alone=True)


@breaks(FASTER, "tests/unit/policy/test_gate.py::test_a_mail_by_a_faster_clock_counts")
def cap_counts_its_own_past() -> None:
    """A cap counts the mails that lie before the present of the machine that asks."""

    def past(real: Any) -> Any:
        def judge(question: Any, now: datetime) -> Any:
            handed = [mail for mail in question.handed if mail.at <= now]
            return real(replace(question, handed=handed), now)

        return judge

    instead(gate, "judge", past)


CHANGING_CLOCKS = (
    "Wall times, quiet hours, week days, months and anniversaries are right at every change of clocks"
)


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


@breaks("A date without a time is a day of the customer's", "tests/unit/facts/test_days.py")
def days_begin_in_the_shop() -> None:
    """A day that a mail shows begins at the shop's midnight, wherever its reader is."""

    def shops(real: Any) -> Any:
        def on_clock(row: Any, _zone: str) -> Any:
            return real(row, "Europe/Berlin")

        return on_clock

    instead(days, "on_clock", shops)


@breaks(
    "Who may come in again does not hang on when a tick came",
    "tests/scenarios/test_time.py::test_who_is_through_at_once_lets_the_next_fact_in",
)
def who_is_through_at_once_counts_as_inside() -> None:
    """Who came in by the same batch keeps everybody after them out."""
    instead(enter, "keeps_quiet", always(True))
    instead(enter, "PastEntry", lambda real: lambda *told, begins=False: real(*told[:5]))


BATCHES = "Facts that come in one batch lead to what each after the other would"
ONE_BATCH = "tests/scenarios/test_one_batch.py::"


@breaks(BATCHES, ONE_BATCH + "test_a_choice_among_templates_knows_what_the_batch_before_it_chose")
def facts_of_a_batch_choose_alone() -> None:
    """A choice knows the mails of earlier batches, and not of its own."""
    instead(advance, "_with_chosen", lambda _real: lambda walker, _chosen: walker.person)


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
    "A new flow takes only what arrives from then on",
    "tests/scenarios/test_time.py::test_a_new_flow_takes_only_facts_that_arrive_from_then_on",
)
def apply_leaves_the_inbox_as_it_is() -> None:
    """What was told shortly before an apply is taken in after it."""
    instead(passes, "settle", always(None))


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
