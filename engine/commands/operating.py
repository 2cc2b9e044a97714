"""Commands of those who keep an installation running: run, live, db, doctor."""

from __future__ import annotations

import queue
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from engine.clock import SystemClock, machine_now
from engine.commands.joining import beater
from engine.commands.session import Session, command
from engine.deploy.apply import apply
from engine.diagnostics import Finding
from engine.errors import DatabaseBehind, HomingError, UsageError
from engine.flows.report import render_text
from engine.render.lint import lint_project
from engine.runtime.daemon import Daemon
from engine.runtime.doctor import examine
from engine.runtime.golive import go_live
from engine.runtime.log_lines import start_logging
from engine.runtime.opening import open_engine
from engine.runtime.passes import settle
from engine.runtime.readiness import DnsRecord
from engine.settings import FILE
from engine.store import backup, migrate
from engine.store.database import Database, connect

WATCHED = ("flows", "templates")


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""
    _register_running(group)
    _register_database(group)


def _register_running(group: click.Group) -> None:
    @command(group, "run")
    @click.option(
        "--workers",
        type=click.IntRange(1, 64),
        default=2,
        show_default=True,
        help="Threads that send (on SQLite always one).",
    )
    @click.option("--dev", is_flag=True, help="Apply on save (sandbox only).")
    @click.option(
        "--distributed", is_flag=True, help="Only beat time and hint at work; `homing worker` does it."
    )
    def run(session: Session, workers: int, dev: bool, distributed: bool) -> None:
        """Run the daemon until SIGTERM, which finishes what is claimed; log lines on stderr (--json: JSON lines)."""
        _refuse_now(session)
        start_logging(sys.stderr, as_json=session.as_json, verbosity=session.verbosity)
        mode = session.patiently(lambda: session.held_settings.delivery.mode)
        if dev and mode == "live":
            raise UsageError(
                "--dev applies whatever is saved; this installation is live, so use `homing plan` and `homing apply`"
            )
        watch = _Watcher(session) if dev else None

        def opened() -> Daemon:
            if distributed:
                return beater(session, watch)
            return Daemon(session.settings, session.database, SystemClock().now, workers=workers, watch=watch)

        daemon = session.patiently(opened)
        with _stop_signals() as wait:
            daemon.run(wait)

    @command(group, "live")
    def live(session: Session) -> None:
        """Leave the sandbox: check sender, addresses, provider; cancel sandbox enrollments."""
        _refuse_now(session)
        done = go_live(session.settings, session.database, SystemClock().now())
        if session.as_json:
            session.document(
                {"live": True, "since": done.since, "already": done.already, "cancelled_enrollments": done.enrollments,
                 "dropped_messages": done.messages, "dns": [_told(record) for record in done.dns],
                 "findings": _findings(done.findings)}
            )  # fmt: skip
            return
        if done.already:
            session.say(f"live since {done.since:%Y-%m-%d %H:%M} UTC; nothing was changed")
        else:
            session.say(
                f"live from now on; {done.enrollments:,} sandbox enrollments cancelled, {done.messages:,} messages dropped"
            )
        if done.findings:
            session.say(
                render_text(done.findings, root=session.settings.root, colour=session.colour).rstrip()
            )
        _say_dns(session, done.dns)

    @command(group, "doctor")
    def doctor(session: Session) -> int:
        """Examine settings, DNS records to set, provider, clock, database and data; repairs nothing."""
        found = examine(session.settings, machine_now())
        if session.as_json:
            session.document(
                {"healthy": found.healthy, "looked_at": found.looked_at, "dns": [_told(record) for record in found.dns],
                 "findings": _findings(found.findings)}
            )  # fmt: skip
        else:
            _say_dns(session, found.dns)
            session.say(f"looked at: {', '.join(found.looked_at)}")
            click.echo(
                render_text(found.findings, root=session.settings.root, colour=session.colour), nl=False
            )
        return 0 if found.healthy else 1


def _register_database(group: click.Group) -> None:
    @group.group("db")
    def db() -> None:
        """The database: its schema, and backups."""

    @command(db, "upgrade")
    def upgrade(session: Session) -> None:
        """Bring the schema to this version of Homing."""
        with _any_schema(session) as database:
            before = migrate.check(database)
            after = migrate.upgrade(database)
        if not after.known:
            raise DatabaseBehind(f"{after}; {after.advice}")
        if session.as_json:
            session.document(
                {"from": before.current, "to": after.current, "changed": before.current != after.current}
            )
        session.say(
            str(after)
            if before.current == after.current
            else f"upgraded from {before.current or 'nothing'} to {after.current}"
        )

    @command(db, "check")
    def check(session: Session) -> int:
        """Say where the schema stands; exit code 1 where it is not this version's."""
        with _any_schema(session) as database:
            status = migrate.check(database)
        current = status.known and not status.behind
        if session.as_json:
            session.document(
                {"current": status.current, "head": status.head, "pending": status.pending, "known": status.known,
                 "up_to_date": current}
            )  # fmt: skip
        session.say(f"{status}; {status.advice}" if status.advice else str(status))
        return 0 if current else 1

    @command(db, "backup")
    @click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
    def backup_(session: Session, file: Path | None) -> None:
        """Copy the whole database into one file while everything goes on (default: backups/homing-TIME)."""
        with _any_schema(session) as database:
            status = migrate.check(database)
            if status.current is None:
                raise UsageError(f"{status}: there is nothing to back up")
            name = f"homing-{SystemClock().now():%Y%m%dT%H%M%SZ}{backup.suffix(database)}"
            target = file or session.settings.root / "backups" / name
            size = backup.backup(database, target)
        if session.as_json:
            session.document({"file": str(target), "bytes": size})
        session.say(f"{target}: {size / 1e6:,.1f} MB; it holds customers' addresses, so keep it safe")


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse_now(session: Session) -> None:
    if session.now_text is not None:
        raise UsageError("this command lives on real time and takes no --now")


@contextmanager
def _stop_signals() -> Iterator[Callable[[], object]]:
    """Give what waits for SIGTERM or SIGINT.

    The handler runs in the middle of anything, so it only puts a word into a queue that is made for that; an Event's own
    lock could be held by the very thread that the signal interrupts.
    """
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda which, _frame: asked.put(which)) for number in numbers]
    try:
        yield asked.get
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class _Watcher:
    """Applies the folder when a file of it was saved; tells what is wrong, and goes on with what was applied."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen: dict[Path, tuple[int, int]] | None = None

    def __call__(self) -> None:
        before, seen = self._seen, self._look()
        if seen == before:
            return
        self._seen = seen
        own = self._session.root / FILE
        if before is not None and seen.get(own) != before.get(own):
            self._session.read_again()
            self._session.note(
                f"{FILE} was saved: flows are held against it; start again for delivery and policy"
            )
        try:
            self._apply()
        except HomingError as error:
            findings = getattr(error, "findings", None)
            self._session.note(
                render_text(findings, root=self._session.root) if findings else f"error: {error}"
            )

    def _look(self) -> dict[Path, tuple[int, int]]:
        root = self._session.root
        files = [root / FILE, *(path for name in WATCHED for path in (root / name).rglob("*"))]
        return {path: (stat.st_mtime_ns, stat.st_size) for path in files if (stat := _stat(path)) is not None}

    def _apply(self) -> None:
        settings, database = self._session.settings, self._session.database
        now = SystemClock().now()
        settle(open_engine(settings, database), now)
        done = apply(
            database, settings, now=now, who="run --dev", lint=lambda root, own: list(lint_project(root, own))
        )
        changed = [
            f"{change.flow} ({change.change})" for change in done.changes if change.change != "unchanged"
        ]
        self._session.note(f"applied: {', '.join(changed) or 'nothing new'}")


def _stat(path: Path) -> Any:
    try:
        return path.stat() if path.is_file() else None
    except OSError:  # an editor replaces a file by removing it first
        return None


# ── the database ─────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _any_schema(session: Session) -> Iterator[Database]:
    """Give the database as it is, even where it is behind."""
    database = connect(session.settings.database_url, session.settings.root)
    try:
        yield database
    finally:
        database.close()


# ── printing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _findings(findings: Iterable[Finding]) -> list[dict[str, str]]:
    return [
        {
            "code": each.code,
            "severity": each.severity,
            "message": each.message,
            "effect": each.effect,
            "help": each.help,
        }
        for each in findings
    ]


def _told(record: DnsRecord) -> dict[str, str]:
    return {"type": record.kind, "name": record.name, "value": record.value, "why": record.why}


def _say_dns(session: Session, records: Sequence[DnsRecord]) -> None:
    if records:
        session.say("DNS records that the sender's domain needs:")
    for record in records:
        session.say(f"  {record.name}  {record.kind}  {record.value}")
        session.say(f"      {record.why}")
