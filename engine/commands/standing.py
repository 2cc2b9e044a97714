"""Commands that say how things stand, and stop or release them: status, pause, resume."""

from __future__ import annotations

from typing import Any

import click

from engine.commands.session import Session, command, counted
from engine.runtime import rails
from engine.runtime.installation import why_sandbox
from engine.runtime.status import status


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

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
    people = "1 customer" if found["customers"] == 1 else f"{found['customers']:,} customers"
    click.echo(f"{people} · messages: {counted(found['messages'])}")
    queue = found["queue"]
    click.echo(f"queue: {queue['due']} due, {queue['later']} later, {queue['unread_facts']} unread facts")
    if (last := found["provider"]["last"]) is not None and last["outcome"] != "accepted":
        click.echo(
            f"provider {found['provider']['name']}: of the newest hand-overs {counted(found['provider']['newest'])}"
        )
        click.echo(f"    the last of them: {last['outcome']}, {last['reason']}")
    for flow in found["flows"]:
        state = f" · FROZEN: {flow['frozen']}" if flow["frozen"] else " · PAUSED" if flow["paused"] else ""
        state += f" · WAITS: {flow['held']}" if flow["held"] else ""
        state += "" if flow["active"] else " · removed"
        click.echo(f"  {flow['flow']}{state}")
        click.echo(f"    inside: {counted(flow['enrollments'])}")
        if flow["steps"]:
            click.echo(f"    waiting for: {counted(flow['steps'])}")
        click.echo(f"    messages: {counted(flow['messages'])}")
    for part in found["nightly"]["failed"]:
        click.echo(f"nightly work: {part['part']} failed: {part['reason']}")
        click.echo(f"    tried {part['tries']} times, again from {part['again_at']:%Y-%m-%d %H:%M %Z}")
    if found["quarantine"]:
        click.echo(f"quarantine: {counted(found['quarantine'])}; see `homing quarantine list`")


def _told(session: Session, what: str, flow: str | None) -> None:
    if session.as_json:
        session.document({what: flow or "all"})
    session.say(f"{what} {flow or 'everything'}")
