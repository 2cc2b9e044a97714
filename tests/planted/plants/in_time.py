"""Bugs planted in what GUARANTEES.md promises under "In time, or not at all"."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from engine import calendar
from engine.calendar import Duration
from engine.facts import people
from engine.journeys import advance, enter, versions
from engine.outbox import ledger
from tests.planted.planting import always, breaks, instead


@breaks(
    "What is too late is not sent; after an outage only the newest goes",
    "tests/scenarios/test_time.py::test_only_the_newest_of_several_sends_goes_after_an_outage",
)
def older_mails_go_with_the_newest() -> None:
    """What fell due during an outage goes all at once."""
    instead(ledger, "supersede", always(0))


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


@breaks(
    "Who may come in again does not hang on when a tick came",
    "tests/scenarios/test_time.py::test_who_is_through_at_once_lets_the_next_fact_in",
)
def who_is_through_at_once_counts_as_inside() -> None:
    """Who came in by the same batch keeps everybody after them out."""
    instead(enter, "keeps_quiet", always(True))
    instead(enter, "PastEntry", lambda real: lambda *told, begins=False: real(*told[:5]))


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
