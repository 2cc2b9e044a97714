"""Commands that take facts in: ingest, quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from engine.commands.progress import progress
from engine.commands.session import Session, command
from engine.errors import OutsideError, UsageError
from engine.facts.fact import KINDS
from engine.facts.ingest import IngestReport, ingest_file
from engine.facts.quarantine import file_for
from engine.facts.readers import FORMATS
from engine.runtime import waiting

SHOWN_ROWS = 10
_FILE_OPTIONS = (
    click.option(
        "--as", "kind", type=click.Choice(KINDS), help="What the files hold, where their names do not tell."
    ),
    click.option(
        "--format", "form", type=click.Choice(FORMATS), help="How they hold it (default: by the name)."
    ),
    click.option(
        "--map",
        "pairs",
        multiple=True,
        metavar="THEIRS=OURS",
        help="What one of their columns is called here.",
    ),
    click.option("--backfill", is_flag=True, help="Record without triggering any flow."),
)


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""
    _register_ingest(group)
    _register_quarantine(group)


def _file_options(function: Any) -> Any:
    for option in reversed(_FILE_OPTIONS):
        function = option(function)
    return function


def _register_ingest(group: click.Group) -> None:
    @command(group, "ingest")
    # Whether a file can be read is no question of usage: one that cannot ends with 3, as one that is not there.
    @click.argument("files", nargs=-1, type=click.Path(path_type=Path, readable=False))
    @click.option("--retry", is_flag=True, help="Try again what came over the web and was not understood.")
    @_file_options
    def ingest(
        session: Session,
        files: tuple[Path, ...],
        retry: bool,
        kind: str | None,
        form: str | None,
        pairs: tuple[str, ...],
        backfill: bool,
    ) -> int:
        """Take in facts: customers, products, orders, carts, events, consents (CSV, JSON Lines, parquet, .gz)."""
        if retry:
            return _retry_inbox(session)
        if not files:
            raise UsageError("name a file; or --retry for what came over the web")
        return _read_all(session, files, kind, form, mapping_of(pairs), backfill=backfill)


def _retry_inbox(session: Session) -> int:
    # Imported here: no other file's way in needs the web side.
    from engine.web.intake import inbox  # noqa: PLC0415
    from engine.web.intake.retrying import retry  # noqa: PLC0415

    tried, remained = retry(session.database, session.settings, session.now(writing=True))
    if session.as_json:
        session.document({"tried": tried, "remained": remained})
    session.say(f"{tried:,} tried again, {remained:,} remain in the raw inbox")
    with session.database.read() as connection:
        for each in inbox.waiting(connection):
            session.say(f"  {each.count:,} × {each.source} {each.topic}: {each.reason}")
    return 1 if remained else 0


def _register_quarantine(group: click.Group) -> None:
    @group.group("quarantine")
    def quarantine() -> None:
        """What was set aside: rows of facts, templates, flows."""

    @command(quarantine, "list")
    def list_(session: Session) -> None:
        """Show what was set aside, with the reasons."""
        with session.database.read() as connection:
            found = waiting.everything(connection, session.settings.root)
        if session.as_json:
            session.document(found)
            return
        for row in found["facts"]:
            where = f"quarantine/{row['file']}, row {row['row']}"
            column = f"{row['column']}: " if row["column"] else ""
            session.say(f"{where}: {column}{row['reason']}")
        for entry in found["entries"]:
            tries = f" ({entry['tries']} tries)" if entry["tries"] > 1 else ""
            session.say(f"{entry['id']:>5}  {entry['kind']} {entry['subject']}: {entry['reason']}{tries}")
        if not found["facts"] and not found["entries"]:
            session.say("nothing is set aside")

    @command(quarantine, "retry")
    @click.argument("which", nargs=-1)
    @_file_options
    def retry(
        session: Session,
        which: tuple[str, ...],
        kind: str | None,
        form: str | None,
        pairs: tuple[str, ...],
        backfill: bool,
    ) -> int:
        """Try again: files that were mended in quarantine/, or entries by number (default: everything)."""
        now = session.now(writing=True)
        with session.database.write() as connection:
            files, numbers = waiting.choose(connection, session.settings.root, which)
            done = waiting.retry(connection, numbers, now)
        if not session.as_json:
            for each in done:
                session.say(f"{each['id']:>5}  {each['kind']} {each['subject']}: {each['outcome']}")
        if files:
            more = {"entries": done}
            return _read_all(session, files, kind, form, mapping_of(pairs), backfill=backfill, more=more)
        if session.as_json:
            session.document({"files": [], "entries": done})
        elif not done:
            session.say("nothing is set aside")
        return 0

    @command(quarantine, "drop")
    @click.argument("which", nargs=-1, required=True)
    def drop(session: Session, which: tuple[str, ...]) -> None:
        """Let go of files in quarantine/, or of entries by number; `all` for everything."""
        now = session.now(writing=True)
        with session.database.write() as connection:
            files, numbers = waiting.choose(
                connection, session.settings.root, () if which == ("all",) else which
            )
            waiting.resolve(connection, numbers, now)
        for path in files:
            path.unlink()
        if session.as_json:
            session.document({"files": [path.name for path in files], "entries": numbers})
        session.say(f"let go of {len(files)} file{'s' * (len(files) != 1)} and {len(numbers)} entries")


def mapping_of(pairs: Sequence[str]) -> dict[str, str]:
    """Read `--map theirs=ours` options; raise UsageError for one without both names.

    >>> mapping_of(["Kunde=customer"])
    {'Kunde': 'customer'}
    """
    mapping = {}
    for pair in pairs:
        theirs, sign, ours = pair.partition("=")
        if not sign or not theirs.strip() or not ours.strip():
            raise UsageError(f'--map takes THEIRS=OURS, such as "Order No=order_id"; this is "{pair}"')
        mapping[theirs.strip()] = ours.strip()
    return mapping


def _read_all(
    session: Session,
    files: Sequence[Path],
    kind: str | None,
    form: str | None,
    mapping: Mapping[str, str],
    *,
    backfill: bool,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Read the files in order; return 1 where rows were set aside."""
    for path in files:
        if not path.is_file():
            raise OutsideError(f"{path} is no file")
    now = session.now(writing=True)
    total, told = IngestReport(), []
    for path in files:
        with progress(session, path.name, steadily=False) as tell:
            report = ingest_file(
                session.database, path, settings=session.settings, now=now, kind=kind, format=form, mapping=mapping,
                backfill=backfill, progress=lambda rows, share, tell=tell: tell(f"{rows:,} rows", share),  # type: ignore[misc]
            )  # fmt: skip
        aside = file_for(session.settings.root, path)
        told.append(_as_data(path, report, aside))
        _say(session, path, report, aside)
        total = total.plus(report)
    if session.as_json:
        session.document({**_counts(total), "files": told, **(more or {})})
    return 1 if total.quarantined else 0


def _counts(report: IngestReport) -> dict[str, int]:
    names = ("read", "new", "unchanged", "stale", "staged", "erased", "quarantined")
    return {name: getattr(report, name) for name in names}


def _as_data(path: Path, report: IngestReport, aside: Path) -> dict[str, Any]:
    bad = [{"row": row.number, "column": row.column, "reason": row.reason} for row in report.bad_rows]
    return {
        "file": str(path), **_counts(report), "warnings": list(report.warnings), "bad_rows": bad,
        "quarantine": str(aside) if report.quarantined else None,
    }  # fmt: skip


def _say(session: Session, path: Path, report: IngestReport, aside: Path) -> None:
    words = {
        "new": "new fact" if report.new == 1 else "new facts", "unchanged": "told before", "stale": "older than what is known",
        "staged": "waiting for the virtual clock", "erased": "about erased customers",
    }  # fmt: skip
    parts = [f"{getattr(report, name):,} {word}" for name, word in words.items() if getattr(report, name)]
    read = "1 row" if report.read == 1 else f"{report.read:,} rows"
    session.say(f"{path.name}: {read}: {', '.join(parts) or 'nothing new'}")
    for warning in report.warnings:
        session.note(f"  warning: {warning}")
    if not report.quarantined:
        return
    rows = "1 row was" if report.quarantined == 1 else f"{report.quarantined:,} rows were"
    session.note(f"  {rows} set aside, whole, in {aside}")
    for row in report.bad_rows[:SHOWN_ROWS]:
        session.note(f"    row {row.number}: {f'{row.column} ' if row.column else ''}{row.reason}")
    session.note("  mend them there, then: homing quarantine retry")
