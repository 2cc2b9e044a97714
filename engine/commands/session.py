"""What every command shares: the project, the database, the virtual time, and how things are printed.

A command gets a `Session`; it opens the database only when asked for it. Everything that a user can cause ends as a
plain sentence on stderr with its exit code; anything else is told as a bug of ours (B001) without a traceback.
"""

from __future__ import annotations

import functools
import gc
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from engine import settings as settings_module
from engine.calendar import at_wall
from engine.clock import SystemClock, machine_seconds, sleep
from engine.commands.wrong_usage import TellingCommand
from engine.diagnostics import Finding
from engine.errors import FindingsError, HomingError, OutsideError, UsageError
from engine.facts.finding import find_customer, likely_customer
from engine.flows.report import as_data, render_text
from engine.runtime.installation import effective_settings, place_clock
from engine.runtime.log_lines import tell_warnings
from engine.settings import Settings
from engine.store.database import Database, connect, is_unmade, outside, to_json
from engine.store.migrate import ensure_current

F = TypeVar("F", bound=Callable[..., Any])
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
T = TypeVar("T")
PATIENCE = 30.0
"""Seconds: as long as a server of a database takes to come back, or the machine that it runs on."""
log = logging.getLogger("homing")
_EARLIEST, _LATEST = 1970, 9000  # a calendar needs some room on both sides
ALLOCATED = 10_000
"""Objects made, and not gone again, after which Python looks for cycles."""


@dataclass(slots=True)
class Session:
    """One command's view of the project; `now_asked` is `--now`, already aware."""

    project: Path | None
    database_url: str | None
    now_text: str | None
    as_json: bool = False
    verbosity: int = 0
    _settings: Settings | None = None
    _database: Database | None = None

    @property
    def settings(self) -> Settings:
        """The project's settings, with `--database` over them."""
        if self._settings is None:
            loaded = settings_module.load(self.root)
            self._settings = replace(loaded, database_url=self.database_url or loaded.database_url)
        return self._settings

    def reload(self) -> None:
        """Read the settings anew when they are asked for next."""
        self._settings = None

    @property
    def root(self) -> Path:
        """The project's folder, found once: it is the same while files in it come and go."""
        if self.project is None:
            self.project = settings_module.find_project(Path.cwd())
        return self.project.resolve()

    def read_again(self) -> None:
        """Read the settings anew when they are next asked for."""
        self._settings = None

    @property
    def lenient_settings(self) -> Settings:
        """The settings as they stand in the file now, with what is wrong in them among their findings."""
        return settings_module.load(self.root, strict=False)

    @property
    def database(self) -> Database:
        """The open database, its schema made on first use and refused when it is behind."""
        if self._database is None:
            opened = connect(self.settings.database_url, self.settings.root)
            ensure_current(opened)
            self._database = opened
        return self._database

    def only_look(self) -> None:
        """Take an empty database in memory where the project has none yet: a command that only looks makes no file."""
        settings = self.settings
        if self._database is None and is_unmade(settings.database_url, settings.root):
            self.database_url = "sqlite://"
            self.reload()

    def patiently(self, start: Callable[[], T]) -> T:
        """Start what is to run on and on, trying again for `PATIENCE` seconds where the database does not answer yet."""
        until, said = machine_seconds() + PATIENCE, ""
        while True:
            try:
                return start()
            except (OperationalError, OutsideError) as error:
                told = error if isinstance(error, OutsideError) else outside(error)
                lasting = error is told and not isinstance(error.__cause__, OperationalError)
                if lasting or machine_seconds() > until:
                    raise
                if str(told) != said:
                    log.warning("%s; trying again for %.0f seconds", told, until - machine_seconds())
                said = str(told)
                sleep(1.0)

    def moment(self, text: str | None) -> datetime | None:
        """Read a time given on the command line: ISO 8601, without an offset on the shop's clock."""
        if text is None:
            return None
        try:
            read = datetime.fromisoformat(text.strip())
            if read.tzinfo is None:
                read = at_wall(read.date(), read.time(), self.settings.shop.timezone)
            moment = read.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise UsageError(f'"{text}" is not a time such as 2026-03-01T09:00+01:00') from error
        if not _EARLIEST <= moment.year <= _LATEST:
            raise UsageError(f'"{text}" is not a time between the years {_EARLIEST} and {_LATEST}')
        return moment

    def now(self, *, writing: bool) -> datetime:
        """Return the moment that this command works at; a writing one moves a virtual clock forward."""
        return place_clock(self.database, self.moment(self.now_text), SystemClock().now(), writing=writing)

    @property
    def held_settings(self) -> Settings:
        """The settings as they hold for this database: a virtual or copied one is a sandbox."""
        return effective_settings(self.settings, self.database)

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()

    # ── printing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def document(self, data: Any) -> None:
        """Print one JSON document on stdout."""
        click.echo(
            printable(json.dumps(json.loads(to_json(data)), ensure_ascii=False, indent=2, sort_keys=False))
        )

    def say(self, text: str = "") -> None:
        """Print a line for people; nothing with `--quiet` or `--json`."""
        if self.verbosity >= 0 and not self.as_json:
            click.echo(printable(text))

    def note(self, text: str) -> None:
        """Print a line on stderr, so that a pipe stays clean."""
        if self.verbosity >= 0:
            click.echo(printable(text), err=True)

    @property
    def colour(self) -> bool:
        """Whether stdout is a terminal that likes colour."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _common(function: F) -> F:
    options = (
        click.option(
            "--project", type=click.Path(path_type=Path, file_okay=False), help="The project's folder."
        ),
        click.option("--database", "database_url", help="A database URL instead of the one in homing.toml."),
        click.option("--now", "now_text", help="Work at this virtual time (ISO 8601)."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        click.option("-q", "--quiet", count=True, help="Say less."),
        click.option("-v", "--verbose", count=True, help="Say more."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def command(
    group: click.Group, name: str, **settings: Any
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Add a command to a group: the function gets a Session first and returns its exit code (None is 0)."""

    def decorate(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def run(
            project: Path | None, database_url: str | None, now_text: str | None, as_json: bool, quiet: int,
            verbose: int, **arguments: Any,
        ) -> None:  # fmt: skip
            session = Session(project, database_url, now_text, as_json, verbose - quiet)
            tell_warnings(sys.stderr, verbosity=session.verbosity)

            def call() -> int | None:
                _check_readable((database_url, now_text, *arguments.values()))
                _collect_seldom()
                return function(session, **arguments)

            sys.exit(_guarded(session, call))

        return group.command(name, cls=TellingCommand, **settings)(_common(run))

    return decorate


def _collect_seldom() -> None:
    """Keep Python from looking for cycles in code that stays, and after every few rows: batches are large, and flat."""
    gc.freeze()
    gc.set_threshold(ALLOCATED, *gc.get_threshold()[1:])


def _check_readable(values: Iterable[Any]) -> None:
    """Refuse words that are no text in this terminal's encoding: no database takes them."""
    for value in values:
        words = value if isinstance(value, tuple) else (value,)
        if any(
            isinstance(word, str) and any("\ud800" <= sign <= "\udfff" for sign in word) for word in words
        ):
            raise UsageError("something on this command line is no UTF-8 text")


def _guarded(session: Session, call: Callable[[], int | None]) -> int:
    try:
        return call() or 0
    except FindingsError as error:
        root = _folder(session)
        findings = _tried(root, error.findings)
        if session.as_json:
            session.document(as_data(findings))
        else:
            click.echo(printable(render_text(findings, root=root, colour=False)), err=True)
        return error.exit_code
    except HomingError as error:
        if session.as_json:
            session.document({"error": str(error)})
        click.echo(printable(f"error: {error}"), err=True)
        return error.exit_code
    except DBAPIError as error:
        if session.as_json:
            session.document({"error": str(outside(error))})
        click.echo(f"error: {outside(error)}", err=True)
        return 3
    except (BrokenPipeError, KeyboardInterrupt):
        return 130
    except OSError as error:
        told = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        if session.as_json:
            session.document({"error": told})
        click.echo(printable(f"error: {told}"), err=True)
        return 3
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:  # the last line of defence: no traceback for users
        logging.getLogger("homing").debug("bug", exc_info=True)
        told = f"this is a bug of ours: {type(error).__name__}: {error}"
        if session.as_json:
            session.document({"error": told})
        click.echo(printable(f"error[B001]: {told}"), err=True)
        click.echo("  please report it with the command that you ran; -vv shows where it happened", err=True)
        return 3
    finally:
        session.close()


def _tried(root: Path | None, findings: Sequence[Finding]) -> Sequence[Finding]:
    """Return the findings with a promise to mend them only where `validate --fix` would keep it."""
    if root is None or not any(finding.fixable for finding in findings):
        return findings
    from engine.flows.validate import tried  # noqa: PLC0415 - all rules: only where something is wrong

    return tried(root, findings)


def _folder(session: Session) -> Path | None:
    """Return the project's folder for the lines that findings show, where there is one."""
    try:
        return session.root
    except HomingError:
        return None


def printable(text: str) -> str:
    r"""Return text that any terminal and pipe can take: no control signs, no bytes that are no UTF-8.

    >>> printable("Tea\x1b[2J\u202eeet")
    'Tea\\x1b[2J\\u202eeet'
    """
    plain = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], plain)


def the_customer(connection: Connection, reference: str) -> int:
    """Return the customer that somebody at the command line means; raise UsageError with the likely one."""
    found = find_customer(connection, reference)
    if found is None:
        likely = likely_customer(connection, reference)
        hint = f'did you mean "{likely}"?' if likely else "an email or an external id says who is meant"
        raise UsageError(f"no customer has that id or address; {hint}")
    return found


def counted(counts: dict[str, int]) -> str:
    """Return counts by name as a person reads them: `3 queued, 1 sent`."""
    return ", ".join(f"{count:,} {what}" for what, count in counts.items()) or "none"
