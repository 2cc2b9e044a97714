"""The command that makes things happen once: tick, for cron and for virtual time."""

from __future__ import annotations

from datetime import timedelta

import click

from engine.calendar import Duration
from engine.clock import SystemClock
from engine.commands.session import Session, command, counted
from engine.errors import UsageError
from engine.runtime.installation import on_virtual_clock
from engine.runtime.opening import open_engine
from engine.runtime.passes import PassReport
from engine.runtime.ticking import drive, tick


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

    @command(group, "tick")
    @click.option("--until", "until_text", help="Drive the virtual clock to this time.")
    @click.option("--every", "every_text", help="Also stop this often, such as 5m.")
    def tick_(session: Session, until_text: str | None, every_text: str | None) -> None:
        """Do everything that is new or due: enter, advance, dispatch."""
        until, every = session.moment(until_text), _every(every_text)
        if every is not None and until is None:
            raise UsageError("--every adds stops on the way to --until; say both")
        now = session.now(writing=True)
        engine = open_engine(session.settings, session.database)
        if until is None:
            report = (
                drive(engine, now, now)
                if on_virtual_clock(session.database)
                else tick(engine, now, SystemClock().now)
            )
        else:
            if not on_virtual_clock(session.database):
                raise UsageError("--until drives a virtual clock; this database lives on real time")
            report = drive(engine, now, max(until, now), every=every)
        _print(session, report)


def _every(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        # `5m` is what people type at a prompt, where it cannot be mistaken for months.
        return Duration.parse(f"{text}in" if text.endswith("m") else text).approximate
    except ValueError as error:
        raise UsageError(str(error)) from error


def _print(session: Session, report: PassReport) -> None:
    if session.as_json:
        session.document(
            {"facts": report.facts, "entered": report.entered, "advanced": report.advanced, "left": report.left,
             "messages": report.outcomes}
        )  # fmt: skip
        return
    facts = "1 fact" if report.facts == 1 else f"{report.facts:,} facts"
    session.say(f"{facts}, {report.entered:,} entered, {report.left:,} left; {counted(report.outcomes)}")
