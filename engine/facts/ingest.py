"""Facts in: rows of any kind, in chunks of one transaction each, and what a virtual clock still holds back.

Comes in: rows in canonical names (mappings, or what `engine.facts.readers` gives). Goes out: an `IngestReport`. Bad
rows are reported and the rest goes on. The same fact told twice changes nothing; memory stays flat. On a virtual
clock a fact whose own time lies ahead waits in `staged_facts`, unseen by anything, until `arrive` lets it in.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Integer, bindparam, delete, func, select

from engine.facts.digests import Digests
from engine.facts.fact import BadRow, Fact, Kind, Row
from engine.facts.fields import Reading
from engine.facts.normalise import normalise
from engine.facts.project import project
from engine.facts.quarantine import QuarantineFile
from engine.facts.raised import Told, flows_are_applied
from engine.facts.readers import open_source
from engine.facts.totals import count_foreign, foreign_sentence
from engine.processes import ahead
from engine.settings import Settings
from engine.store import meta
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import staged_facts

# Facts a transaction: small ones leave SQLite's single writer to others in between. Before any flow is applied nobody
# waits for it, and large ones write a third as many pages.
CHUNK = 1_000
FIRST_CHUNK = 5_000
LINES_A_FACT = 4
BATCH = 200  # rows read before they are looked at
LARGE = 4 << 20  # bytes of a file from which a process of its own reads it
MOST_BAD_ROWS = 1_000
_STAGED = Prepared(
    select(staged_facts)
    .where(staged_facts.c.arrives_at <= bindparam("until"))
    .order_by(staged_facts.c.arrives_at, staged_facts.c.id)
    .limit(bindparam("most", type_=Integer()))
)
_ARRIVED = Prepared(delete(staged_facts).where(within(staged_facts.c.id, "ids")))
Progress = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of a reading.

    Rows of the file `read`, also where several make one fact or one makes several; facts `new` (or changing something), `unchanged` (told before), `stale` (older than what is known),
    `staged` (waiting for the virtual clock), `erased` (about an erased customer); rows `quarantined`. `bad_rows` holds the first thousand of the `quarantined` ones; `warnings` are plain sentences.
    """

    read: int = 0
    new: int = 0
    unchanged: int = 0
    stale: int = 0
    staged: int = 0
    erased: int = 0
    quarantined: int = 0
    bad_rows: tuple[BadRow, ...] = ()
    warnings: tuple[str, ...] = ()

    def plus(self, other: IngestReport) -> IngestReport:
        """Return both reports as one."""
        names = ("read", "new", "unchanged", "stale", "staged", "erased", "quarantined")
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        bad = (*self.bad_rows, *other.bad_rows)[:MOST_BAD_ROWS]
        return IngestReport(**sums, bad_rows=bad, warnings=(*self.warnings, *other.warnings))


def ingest_rows(
    database: Database,
    kind: Kind,
    rows: Iterable[Mapping[str, Any] | Row | BadRow],
    *,
    settings: Settings,
    now: datetime,
    backfill: bool = False,
    virtual: bool = False,
    cells: bool = False,
    apart: bool = False,
    progress: Progress | None = None,
    on_bad: Callable[[BadRow], None] | None = None,
    share: Callable[[], float] = lambda: 0.0,
) -> IngestReport:
    """Take rows of one kind (a `Row` may name another), received at `now`; return what became of them.

    `backfill` records without triggering; `virtual` stages what lies after `now` (always so where the database has a
    virtual clock); `cells` says that values are text of a table; `apart` has the rows read by a process of its own, which
    many are worth; `progress` is called with the rows read so far and what `share` said where they were read; `on_bad`
    with each row set aside.
    """
    reading = Reading(settings.shop.timezone, now, frozenset(settings.topics))
    batches = _read(rows, kind, reading, share, backfill=backfill, cells=cells)
    return take_batches(
        database, ahead(batches) if apart else batches, settings=settings, now=now, virtual=virtual, progress=progress,
        on_bad=on_bad,
    )  # fmt: skip


def read_ahead(
    rows: Iterable[Mapping[str, Any] | Row | BadRow], kind: Kind, *, settings: Settings, now: datetime
) -> Iterator[Batch]:
    """Begin to read rows of one kind in a process of its own, for `take_batches`; what makes them is called there."""
    reading = Reading(settings.shop.timezone, now, frozenset(settings.topics))
    return ahead(_read(rows, kind, reading, lambda: 0.0, backfill=False, cells=False))


def take_batches(
    database: Database,
    batches: Iterable[Batch],
    *,
    settings: Settings,
    now: datetime,
    virtual: bool = False,
    progress: Progress | None = None,
    on_bad: Callable[[BadRow], None] | None = None,
) -> IngestReport:
    """Take what was read as `ingest_rows` does."""
    with database.read() as connection:
        virtual = virtual or meta.virtual_now(connection) is not None
        size = CHUNK if flows_are_applied(connection) else FIRST_CHUNK
    intake = _Intake(database, settings, now, virtual=virtual, progress=progress, size=size)
    for batch in batches:
        intake.warnings += batch.warnings
        intake.share = batch.share
        intake.read += batch.read
        for told in batch.rows:
            if isinstance(told, BadRow):
                intake.set_aside(told, on_bad)
            else:
                intake.add(told)
    return intake.finish()


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows as facts, or as bad ones, with the rows of the file that they are and the share of all that was read then."""

    rows: list[list[Fact] | BadRow]
    read: int
    warnings: Counter[str]
    share: float


def _read(
    rows: Iterable[Mapping[str, Any] | Row | BadRow],
    kind: Kind,
    reading: Reading,
    share: Callable[[], float],
    *,
    backfill: bool,
    cells: bool,
) -> Iterator[Batch]:
    numbered = enumerate(rows, 1)
    last = 0  # a row that tells several facts comes several times, one after the other
    while some := list(islice(numbered, BATCH)):
        told: list[list[Fact] | BadRow] = []
        read = 0
        for place, given in some:
            row = given if isinstance(given, Row | BadRow) else Row(place, given)
            if isinstance(row, BadRow):
                read += row.number != last
                last = row.number
                told.append(row)
                continue
            read += (len(row.numbers) or 1) if row.number != last else 0
            last = row.number
            facts = normalise(row.kind or kind, row.values, reading, number=row.number, cells=cells)
            if isinstance(facts, BadRow):
                told.append(_of_file(facts, row))
            else:
                told.append([fact._replace(backfill=True) for fact in facts] if backfill else facts)
        yield Batch(told, read, Counter(reading.warnings), share())
        reading.warnings.clear()


def _is_large(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size >= LARGE


def _of_file(bad: BadRow, row: Row) -> BadRow:
    """Return a bad row as the file has it: a bad line of an order is a row of its own in a table."""
    if not row.numbers:
        return replace(bad, raw=row.raw or bad.raw)
    return replace(bad, raw=row.raw, number=row.numbers[bad.line], column=bad.column.removeprefix("lines."))


def ingest_file(
    database: Database,
    path: Path,
    *,
    settings: Settings,
    now: datetime,
    kind: str | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    mapping: Mapping[str, str] | None = None,
    backfill: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Take one file; bad rows go to `quarantine/FILE.csv` in the project and the rest goes on.

    `mapping` says what the file's columns are called here; `progress` is called with the rows read and the share of
    the file. Raise UsageError where it is not clear what the file holds, OutsideError where it cannot be read.
    """
    source = open_source(path, kind=kind, format=format, mapping=mapping)
    source.shop_url = settings.shop.url
    aside = QuarantineFile(settings.root, path)
    try:
        report = ingest_rows(
            database,
            source.kind,
            source.rows(),
            settings=settings,
            now=now,
            backfill=backfill,
            cells=source.cells,
            apart=_is_large(path),
            progress=progress,
            on_bad=aside.add,
            share=source.share,
        )
    finally:
        aside.close()
    if not report.read:
        return replace(report, warnings=("the file has a header and not a single row",))
    return report


@dataclass(slots=True)
class _Intake:
    """Collects facts into chunks and takes each in one transaction."""

    database: Database
    settings: Settings
    now: datetime
    virtual: bool
    progress: Progress | None
    size: int = CHUNK
    chunk: list[Fact] = field(default_factory=list)
    lines: int = 0
    read: int = 0
    share: float = 0.0
    quarantined: int = 0
    bad: list[BadRow] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    def set_aside(self, row: BadRow, on_bad: Callable[[BadRow], None] | None) -> None:
        self.quarantined += 1
        if len(self.bad) < MOST_BAD_ROWS:
            self.bad.append(row)
        if on_bad is not None:
            on_bad(row)

    def add(self, facts: Sequence[Fact]) -> None:
        self.chunk += facts
        self.lines += len(facts[0].lines or ())
        if len(self.chunk) >= self.size or self.lines >= self.size * LINES_A_FACT:
            self.flush()

    def flush(self) -> None:
        if self.chunk:
            chunk = partial(
                take, facts=self.chunk, settings=self.settings, now=self.now, virtual=self.virtual
            )
            counts, warnings = self.database.transact(chunk)
            self.counts += counts
            self.warnings += warnings
        self.chunk, self.lines = [], 0
        if self.progress is not None:
            self.progress(self.read, self.share)

    def finish(self) -> IngestReport:
        self.flush()
        warnings = tuple(
            f"{count} fact{'s' if count > 1 else ''}: {sentence}"
            for sentence, count in sorted(self.warnings.items())
        )
        known = {name: self.counts[name] for name in ("new", "unchanged", "stale", "staged", "erased")}
        return IngestReport(
            self.read, **known, quarantined=self.quarantined, bad_rows=tuple(self.bad), warnings=warnings
        )


def take(
    connection: Connection, facts: Sequence[Fact], *, settings: Settings, now: datetime, virtual: bool
) -> tuple[Counter[str], Counter[str]]:
    """Take one chunk of facts in the caller's write transaction; return outcomes and warnings, counted."""
    counts: Counter[str] = Counter()
    due: list[Told] = []
    ahead: list[Fact] = []
    # A told event is known by its own key; only one that waits for the virtual clock needs a digest.
    digested = [fact for fact in facts if fact.kind != "events" or (virtual and _arrival(fact, now) > now)]
    digests = Digests(connection, digested, now)
    expected = {id(fact) for fact in digested}
    for fact in facts:
        if id(fact) in expected and digests.is_known(fact):
            counts["unchanged"] += 1
            continue
        for part in _parts(fact, now) if virtual else (fact,):
            arrival = _arrival(part, now)
            if virtual and arrival > now:
                ahead.append(part)
            else:
                due.append(Told(part, now if part.at is None else min(part.at, now), now))
    warnings: Counter[str] = Counter()
    if due:
        projection = project(connection, due, settings.shop.currency)
        counts.update(projection.outcomes)
        warnings = projection.warnings
    # What arrives later is told now: nobody reads a summary then.
    if count := count_foreign(ahead, settings.shop.currency, but={each.fact.key for each in due}):
        warnings[foreign_sentence(settings.shop.currency)] += count
    _stage(connection, ahead, now)
    counts["staged"] += len(ahead)
    digests.write()
    return counts, warnings


def _arrival(fact: Fact, now: datetime) -> datetime:
    """Return when a fact arrives on a virtual clock: the later of its own time and the clock."""
    return max(moment for moment in (now, fact.at, fact.arrives) if moment is not None)


def _parts(fact: Fact, now: datetime) -> Iterator[Fact]:
    """Yield an order's placing before what became of it, where its row tells both and the latter lies ahead."""
    placed, status = fact.fields.get("placed_at"), fact.fields.get("status")
    if (
        fact.kind == "orders"
        and placed is not None
        and status not in (None, "placed")
        and fact.at is not None
        and fact.at > max(placed, now)
    ):
        later = {"status_at", "shipments", "refunds", "returns"}
        fields = {name: value for name, value in fact.fields.items() if name not in later} | {
            "status": "placed"
        }
        document = {name: value for name, value in fact.document.items() if name not in later} | {
            "status": "placed"
        }
        yield fact._replace(fields=fields, document=document, at=placed)
    yield fact


def _stage(connection: Connection, facts: Sequence[Fact], now: datetime) -> None:
    rows = [
        {
            "arrives_at": _arrival(fact, now),
            "kind": fact.kind,
            "payload": _payload(fact),
            "backfill": fact.backfill,
        }
        for fact in facts
    ]
    insert_rows(connection, staged_facts, rows)


def _payload(fact: Fact) -> dict[str, Any]:
    """Return the row from which the same fact is read again; a customer's consents are facts of their own."""
    return {name: value for name, value in fact.document.items() if not name.startswith("consent")}


def next_arrival(connection: Connection) -> datetime | None:
    """Return when the next staged fact arrives on the virtual clock, or None where nothing waits."""
    found: datetime | None = connection.scalar(select(func.min(staged_facts.c.arrives_at)))
    return found


def arrive(
    place: Database | Connection, *, until: datetime, settings: Settings, limit: int | None = None
) -> int:
    """Let staged facts arrive that are due by `until`, in order, each at its own moment; return how many.

    With a Connection all happens in the caller's write transaction; with a Database in chunks of one transaction each.
    """
    done = 0
    while limit is None or done < limit:
        most = CHUNK if limit is None else min(CHUNK, limit - done)
        if isinstance(place, Connection):
            count = _arrive_chunk(place, until, settings, most)
        else:
            chunk = partial(_arrive_chunk, until=until, settings=settings, most=most)
            count = place.transact(chunk)
        done += count
        if count < most:
            break
    return done


def _arrive_chunk(connection: Connection, until: datetime, settings: Settings, most: int) -> int:
    rows = _STAGED.rows(connection, until=until, most=most)
    told = []
    for row in rows:
        facts = normalise(row.kind, row.payload, Reading("UTC", row.arrives_at))
        assert not isinstance(facts, BadRow), (
            f"a staged fact cannot be read again: {facts.column} {facts.reason}"
        )
        fact = facts[0]._replace(backfill=True) if row.backfill else facts[0]
        at = row.arrives_at if fact.at is None else min(fact.at, row.arrives_at)
        told.append(Told(fact, at, row.arrives_at))
    if told:
        project(connection, told, settings.shop.currency)
        _ARRIVED.run(connection, ids=[row.id for row in rows])
    return len(rows)
