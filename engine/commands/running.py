"""Commands that make things happen or stop: tick, run, pause, resume, status."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from engine.calendar import Duration
from engine.clock import SystemClock
from engine.commands.session import Session, command
from engine.errors import UsageError
from engine.runtime import rails
from engine.runtime.installation import on_virtual_clock, why_sandbox
from engine.runtime.opening import open_engine
from engine.runtime.passes import PassReport
from engine.runtime.status import status
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

    @command(group, "pause")
    @click.argument("flow", required=False)
    def pause(session: Session, flow: str | None) -> None:
        """Stop entries and sends of one flow, or of all."""
        now = session.now(writing=True)
        with session.database.write() as connection:
            rails.pause(connection, flow, now)
        _told(session, "paused", flow)

    @command(group, "resume")
    @click.argument("flow", required=False)
    def resume(session: Session, flow: str | None) -> None:
        """Let one flow or all go on; also thaws a frozen one."""
        session.now(writing=True)
        with session.database.write() as connection:
            rails.resume(connection, flow)
        _told(session, "resumed", flow)

    @command(group, "status")
    def status_(session: Session) -> None:
        """Show flows, who is inside, the queue, and what is stopped."""
        now = session.now(writing=False)
        with session.database.read() as connection:
            found = status(
                connection, now, sandbox=session.held_settings.delivery.mode == "sandbox",
                why_sandbox=why_sandbox(session.settings, session.database), settings=session.settings,
            )  # fmt: skip
        if session.as_json:
            session.document(found)
        else:
            _show(session, found)


def _show(session: Session, found: dict[str, Any]) -> None:
    stopped = " · PAUSED" if found["paused"] else ""
    click.echo(
        f"{found['now']:%Y-%m-%d %H:%M %Z} · {found['mode']}{' · virtual clock' if found['virtual'] else ''}{stopped}"
    )
    if session.settings.delivery.mode == "live" and found["sandbox_because"]:
        click.echo(f"still a sandbox: {found['sandbox_because']}")
    click.echo(f"{found['customers']:,} customers · messages: {_counts(found['messages'])}")
    queue = found["queue"]
    click.echo(f"queue: {queue['due']} due, {queue['later']} later, {queue['unread_facts']} unread facts")
    for flow in found["flows"]:
        state = f" · FROZEN: {flow['frozen']}" if flow["frozen"] else " · PAUSED" if flow["paused"] else ""
        state += f" · WAITS: {flow['held']}" if flow["held"] else ""
        state += "" if flow["active"] else " · removed"
        click.echo(f"  {flow['flow']}{state}")
        click.echo(f"    inside: {_counts(flow['enrollments'])}")
        if flow["steps"]:
            click.echo(f"    waiting for: {_counts(flow['steps'])}")
        click.echo(f"    messages: {_counts(flow['messages'])}")
    if found["quarantine"]:
        click.echo(f"quarantine: {_counts(found['quarantine'])}; see `homing quarantine list`")


def _every(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        # `5m` is what people type at a prompt, where it cannot be mistaken for months.
        return Duration.parse(f"{text}in" if text.endswith("m") else text).approximate
    except ValueError as error:
        raise UsageError(str(error)) from error


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items()) or "none"


def _print(session: Session, report: PassReport) -> None:
    if session.as_json:
        session.document(
            {"facts": report.facts, "entered": report.entered, "advanced": report.advanced, "left": report.left,
             "messages": report.outcomes}
        )  # fmt: skip
        return
    session.say(
        f"{report.facts:,} facts, {report.entered:,} entered, {report.left:,} left; {_counts(report.outcomes)}"
    )


def _told(session: Session, what: str, flow: str | None) -> None:
    if session.as_json:
        session.document({what: flow or "all"})
    session.say(f"{what} {flow or 'everything'}")
