"""Commands that look before they leap: plan, apply."""

from __future__ import annotations

import getpass
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from engine.calendar import local
from engine.commands.progress import progress
from engine.commands.session import Session, command, printable
from engine.deploy.apply import FlowChange, Planned, apply, apply_version
from engine.deploy.plan import Plan, plan
from engine.deploy.plan_moving import history
from engine.deploy.plan_text import as_data, as_markdown, as_text, refused_as_markdown
from engine.diagnostics import Finding
from engine.errors import FindingsError, UsageError
from engine.processes import processors
from engine.render.lint import lint_project
from engine.runtime.opening import open_engine
from engine.runtime.passes import settle
from engine.settings import Settings

_AUDIENCE = click.option(
    "--allow-audience",
    type=click.IntRange(min=0),
    metavar="N",
    help="Let this many customers a day through the brake.",
)


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""
    _register_plan(group)
    _register_apply(group)


def _register_plan(group: click.Group) -> None:
    @command(group, "plan")
    @click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text")
    @click.option("--history", "past", is_flag=True, help="Show what was applied when and by whom instead.")
    @_AUDIENCE
    def plan_(session: Session, form: str, past: bool, allow_audience: int | None) -> int:
        """Show what `apply` would change, and what that does to customers; exit 1 where the brake or `apply` would refuse."""
        session.as_json = session.as_json or form == "json"
        session.only_look()
        if past:
            _tell_history(session)
            return 0
        try:
            found = _planned(session, allow_audience)
        except FindingsError as error:
            if form != "markdown" or session.as_json:
                raise
            click.echo(printable(refused_as_markdown(error.findings, session.root)))
            return error.exit_code
        if session.as_json:
            session.document(as_data(found))
        elif form == "markdown":
            click.echo(as_markdown(found, session.settings.shop.timezone))
        else:
            click.echo(as_text(found, session.settings.shop.timezone, colour=session.colour))
        return 1 if found.braked else 0


def _planned(session: Session, allow_audience: int | None) -> Plan:
    now = session.now(writing=False)
    sandbox = session.held_settings.delivery.mode == "sandbox"
    with progress(session, "plan") as tell:
        return plan(
            session.database,
            session.settings,
            now=now,
            sandbox=sandbox,
            allow_audience=allow_audience,
            lint=_lint,
            progress=tell,
        )


def _tell_history(session: Session) -> None:
    with session.database.read() as connection:
        found = history(connection)
    if session.as_json:
        session.document(found)
        return
    zone = session.settings.shop.timezone
    for entry in found:
        session.say(f"{local(entry['at'], zone):%Y-%m-%d %H:%M}  {entry['who']}")
        for change in entry["changes"]:
            ends = [change["from"] if change["change"] != "new" else None, change["to"]]
            versions = " → ".join(str(each) for each in ends if each)
            session.say(f"    {change['change']:<10} {change['flow']:<28} {versions}")
    if not found:
        session.say("nothing was applied yet; `homing apply` makes flows live")


def _register_apply(group: click.Group) -> None:
    @command(group, "apply")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--backfill", is_flag=True, help="Place past customers where they would stand now.")
    @click.option("--migrate", is_flag=True, help="Move those inside to the new version, step by step name.")
    @click.option(
        "--version", "digest", metavar="HASH", help="Make an earlier version of one flow live again."
    )
    @_AUDIENCE
    def apply_(
        session: Session,
        yes: bool,
        backfill: bool,
        migrate: bool,
        digest: str | None,
        allow_audience: int | None,
    ) -> None:
        """Make the folder's flows, templates and offers live."""
        if digest is not None and backfill:
            raise UsageError("--backfill places customers by the folder; with --version say it afterwards")
        settings, database = session.settings, session.database
        now = session.now(writing=True)
        settle(open_engine(settings, database), now)
        if not yes and sys.stdin.isatty() and sys.stdout.isatty() and not session.as_json:
            what = f"version {digest}" if digest else f"the flows of {settings.root}"
            click.confirm(f"Apply {what}?", abort=True)
        if digest is not None:
            done = apply_version(
                database,
                settings,
                digest,
                now=now,
                who=_who(),
                allow_audience=allow_audience,
                migrate=migrate,
            )
        else:
            done = apply(
                database, settings, now=now, who=_who(), backfill=backfill, allow_audience=allow_audience,
                migrate=migrate, lint=_lint,
            )  # fmt: skip
        _tell_applied(session, done, now, digest)


def _tell_applied(session: Session, done: Planned, now: datetime, digest: str | None) -> None:
    if session.as_json:
        moved = [
            {"flow": each.flow, "version": each.version, "step": each.step, "customers": each.enrollments, "moved": each.moved}
            for each in done.moved
        ]  # fmt: skip
        session.document(
            {
                "applied_at": now,
                "flows": [_told(change) for change in done.changes],
                "moved": moved,
                "allowed": done.allowed,
                "codes": [
                    {"offer": each.offer, "new": each.came, "withdrawn": each.left} for each in done.codes
                ],
            }
        )
    for finding in done.findings:
        session.note(f"{finding.severity}[{finding.code}] {finding.span}: {finding.message}")
    for change in done.changes:
        session.say(f"  {change.change:<10} {change.flow}")
    for each in done.moved:
        fate = "moved" if each.moved else "stay on their version, as the new one has no such step"
        session.say(f"  {each.flow}: {each.enrollments:,} before {each.step or 'the end'} {fate}")
    for pool in done.codes:
        gone = f", {pool.left:,} withdrawn" if pool.left else ""
        session.say(f"  codes of {pool.offer}: {pool.came:,} new{gone}")
    for name in done.allowed:
        session.say(f"  {name} may go beyond what is usual; `homing resume {name}` lets it go on")
    if any(change.change != "unchanged" for change in done.changes) or done.moved or done.codes:
        session.say("applied; `homing tick` or `homing run` sends what is due")
    elif not done.allowed:
        what = "what lies in the folder" if digest is None else f"version {done.changes[0].after}"
        session.say(f"nothing to apply: {what} is live")


def _lint(root: Path, settings: Settings) -> list[Finding]:
    return lint_project(root, settings, processors())


def _told(change: FlowChange) -> dict[str, Any]:
    return {"flow": change.flow, "change": change.change, "from": change.before, "to": change.after}


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
