"""Files go in: bad rows are set aside whole, can be mended and told again, and the same file changes nothing."""

from __future__ import annotations

import csv
import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, select

from engine.errors import OutsideError, UsageError
from engine.facts.fact import BadRow
from engine.facts.ingest import ingest_file
from engine.facts.quarantine import QuarantineFile, set_aside
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import customers, events, order_lines, orders

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def count(database: Database, table: Table) -> int:
    """Return how many rows a table has."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def quarantined(root: Path, name: str) -> list[dict[str, str]]:
    """Return the rows of a quarantine file."""
    with (root / "quarantine" / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give the settings of an empty project."""
    root = tmp_path / "shop"
    root.mkdir()
    return Settings(root)


def test_bad_rows_are_set_aside_and_mended(database: Database, settings: Settings, tmp_path: Path) -> None:
    """Bad rows go to the quarantine with row, column and reason, keep their cells, and go in once they are mended."""
    file = tmp_path / "customers.csv"
    file.write_text("id,email,shoe\nc1,a@x.test,42\nc2,nonsense,43\nc3,c@x.test,44\n,,45\n")
    report = ingest_file(database, file, settings=settings, now=NOW, mapping={"id": "external_id"})
    assert (report.read, report.new, report.quarantined) == (4, 2, 2)
    first, second = quarantined(settings.root, "customers.csv")
    assert (first["row"], first["column"], first["id"], first["email"], first["shoe"]) == (
        "2",
        "email",
        "c2",
        "nonsense",
        "43",
    )
    assert "is no email address" in first["reason"]
    assert (second["row"], second["column"]) == ("4", "external_id")

    again = ingest_file(database, file, settings=settings, now=NOW, mapping={"id": "external_id"})
    assert (again.new, again.unchanged) == (0, 2)
    assert len(quarantined(settings.root, "customers.csv")) == 2

    mended = settings.root / "quarantine" / "customers.csv"
    mended.write_text(mended.read_text().replace("nonsense", "b@x.test"))
    report = ingest_file(database, mended, settings=settings, now=NOW, mapping={"id": "external_id"})
    assert (report.new, report.quarantined) == (1, 1)
    assert [row.raw["shoe"] for row in set_aside(settings.root)] == ["45"]
    mended.write_text(mended.read_text().replace(",,45", "c5,,45"))
    ingest_file(database, mended, settings=settings, now=NOW, mapping={"id": "external_id"})
    assert not mended.exists()
    with database.read() as connection:
        assert connection.scalars(select(customers.c.properties).order_by(customers.c.id)).all() == [
            {"shoe": n} for n in (42, 44, 43, 45)
        ]


def test_json_lines_come_back_from_the_quarantine(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """A bad line of JSON Lines is kept as it stood, and is read again from the quarantine once it is mended."""
    file = tmp_path / "facts.jsonl"
    lines = [
        {"kind": "customers", "external_id": "c1", "email": "a@x.test"},
        {"kind": "orders", "order_id": "o1", "customer": "c1", "total": "much"},
        {"event": "viewed", "customer": "c1", "note": "a, \"b\"\nc"},
    ]  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    report = ingest_file(database, file, settings=settings, now=NOW)
    assert (report.new, report.quarantined) == (2, 2)
    bad, broken = quarantined(settings.root, "facts.jsonl.csv")
    assert json.loads(bad["raw"]) == lines[1]
    assert (bad["row"], bad["column"], broken["raw"]) == ("2", "total", "{broken")
    mended = settings.root / "quarantine" / "facts.jsonl.csv"
    mended.write_text(mended.read_text().replace("much", "12.50"))
    report = ingest_file(database, mended, settings=settings, now=NOW, kind="events")
    assert (report.new, report.quarantined) == (1, 1)
    assert count(database, orders) == 1


def test_an_order_is_set_aside_whole(database: Database, settings: Settings, tmp_path: Path) -> None:
    """A bad line keeps its whole order back, and says which line it is: half an order would be a wrong one."""
    file = tmp_path / "orders.csv"
    file.write_text(
        "order_id,customer,sku,quantity,price\no1,c1,T1,1,2\no2,c1,T1,1,2\no2,c1,T2,lots,3\no3,c2,T1,1,2\no1,c1,T3,1,1\n"
    )
    report = ingest_file(database, file, settings=settings, now=NOW)
    assert (report.new, report.quarantined) == (2, 1)
    assert (count(database, orders), count(database, order_lines)) == (2, 3)
    rows = quarantined(settings.root, "orders.csv")
    assert [(row["row"], row["column"], row["sku"]) for row in rows] == [
        ("3", "", "T1"),
        ("3", "quantity", "T2"),
    ]
    assert "belongs to row 3" in rows[0]["reason"]


def test_rows_of_several_files_share_a_name(settings: Settings, tmp_path: Path) -> None:
    """Two files of one name keep their bad rows side by side; nothing that was set aside is lost."""
    for day in ("monday", "tuesday"):
        folder = tmp_path / day
        folder.mkdir()
        aside = QuarantineFile(settings.root, folder / "orders.csv")
        aside.add(BadRow(1, "total", "is no number", ({"order_id": day, "total": "x"},)))
        aside.close()
    assert {row.raw["order_id"] for row in set_aside(settings.root)} == {"monday", "tuesday"}


def test_bytes_that_are_no_text(database: Database, settings: Settings, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 set their row aside and stand in the quarantine byte for byte."""
    file = tmp_path / "customers.csv"
    file.write_bytes(b"external_id,first_name\nc1,M\xfcller\nc2,Anna\n")
    report = ingest_file(database, file, settings=settings, now=NOW)
    assert (report.new, report.quarantined) == (1, 1)
    assert b"M\xfcller" in (settings.root / "quarantine" / "customers.csv").read_bytes()


def test_a_file_that_breaks_off(database: Database, settings: Settings, tmp_path: Path) -> None:
    """What was read before a file broke off is taken; the error says so, and the rest can follow."""
    whole = gzip.compress(b"external_id\n" + b"".join(b"c%d\n" % number for number in range(400_000)))
    file = tmp_path / "customers.csv.gz"
    file.write_bytes(whole[: len(whole) // 40])
    with pytest.raises(OutsideError):
        ingest_file(database, file, settings=settings, now=NOW)
    assert not list(settings.root.glob("quarantine/*"))


def test_progress_and_flags(database: Database, settings: Settings, tmp_path: Path) -> None:
    """Progress tells rows and the share of the file; a backfilled file is marked as such."""
    file = tmp_path / "events.csv"
    file.write_text("event,customer,value\n" + "".join(f"viewed,c{number},1\n" for number in range(2_500)))
    seen: list[Any] = []
    ingest_file(
        database,
        file,
        settings=settings,
        now=NOW,
        backfill=True,
        progress=lambda rows, share: seen.append((rows, share)),
    )
    assert seen[-1] == (2_500, 1.0)
    assert [rows for rows, _ in seen] == sorted(rows for rows, _ in seen)
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(events).where(events.c.backfill)) == 2_500
        assert connection.scalars(select(events.c.value).limit(1)).one() == 1


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "customers.csv.gz": (b"external_id,email\na,a@example.test\n", "is no gzip file"),
    "orders.csv.gz": (b"hello", "is no gzip file"),
    "customers-broken.csv.gz": (
        gzip.compress(b"external_id\n" + bytes(range(48, 91)) * 99)[:60],
        "breaks off",
    ),
    "customers-cut.csv.gz": (gzip.compress(b"external_id\nc1\n")[:-9], "breaks off"),
    "customers-hurt.csv.gz": (b"\x1f\x8b" + b"nothing that gzip knows", "damaged"),
    "customers-none.csv": (b"", "is empty"),
    "customers-none.csv.gz": (gzip.compress(b""), "is empty"),
    "customers-none.jsonl": (b"\n\n", "is empty"),
    "customers-blank.csv": (b"\xef\xbb\xbf\r\n", "is empty"),
    "customers.parquet": (b"external_id,email\na,a@example.test\n", "no parquet file"),
    "customers-0.parquet": (b"", "is empty"),
    "customers-in.csv": (b"PAR1 and more", "--format parquet"),
    "customers-sheet.csv": (b"PK\x03\x04 and more", "save the sheet as CSV"),
    "customers-twice.csv.gz": (gzip.compress(gzip.compress(b"external_id\nc1\n")), "compressed twice"),
    "customers-wide.jsonl": ('{"external_id": "c1"}\n'.encode("utf-16"), "UTF-16"),
    "customers-bytes.csv": (b"external_id\nc\x001\n", "no text"),
    "customers-words.csv": (b"Dear shop\nhere is the list\n", "names no column"),
}


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_a_file_that_is_not_what_its_name_says(
    sqlite_database: Database, settings: Settings, tmp_path: Path, name: str
) -> None:
    """What cannot be read is told as one sentence that says what the file is; nothing is set aside row by row."""
    content, sentence = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises((OutsideError, UsageError), match=re.escape(sentence)):
        ingest_file(sqlite_database, tmp_path / name, settings=settings, now=NOW)
    assert not list(settings.root.glob("quarantine/*"))


def test_a_folder_is_no_file(sqlite_database: Database, settings: Settings, tmp_path: Path) -> None:
    """A folder is told as no file."""
    with pytest.raises(OutsideError, match="is no file"):
        ingest_file(sqlite_database, tmp_path, settings=settings, now=NOW)


def test_a_header_alone_is_told(sqlite_database: Database, settings: Settings, tmp_path: Path) -> None:
    """A table without a row is no error, for a quiet day has none, but it is said."""
    (tmp_path / "quiet-day.csv").write_text("external_id,email\n", encoding="utf-8")
    report = ingest_file(sqlite_database, tmp_path / "quiet-day.csv", settings=settings, now=NOW)
    assert (report.read, report.warnings) == (0, ("the file has a header and not a single row",))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_tables_of_every_unicode(
    sqlite_database: Database, settings: Settings, tmp_path: Path, encoding: str
) -> None:
    """UTF-8 and UTF-16 are read, with a mark at their beginning and without."""
    (tmp_path / "customers.csv").write_bytes("external_id,first_name\nc1,Zoë\nc2,花子\n".encode(encoding))
    report = ingest_file(sqlite_database, tmp_path / "customers.csv", settings=settings, now=NOW)
    assert (report.new, report.quarantined) == (2, 0)


def test_a_large_file_is_read_by_another_process_to_the_same_end(
    sqlite_database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process of its own reads is what this one reads: facts, bad rows, warnings, and how far it came."""
    file = tmp_path / "events.jsonl"
    rows = [
        {
            "event": "mail_sent" if n % 7 == 0 else "viewed",
            "customer": f"c{n % 9}",
            "at": f"2026-02-01T10:{n % 60:02}Z",
        }
        for n in range(700)
    ]
    rows[300] = {"event": "viewed", "customer": "c1", "at": "yesterday"}
    file.write_text("\n".join(json.dumps({**row, "id": n}) for n, row in enumerate(rows)))
    other = tmp_path / "other"
    other.mkdir()
    shares: list[float] = []
    monkeypatch.setattr("engine.processes.processors", lambda: 2)
    monkeypatch.setattr("engine.processes._can_fork", lambda: True)
    reports = []
    for root, large in ((settings.root, 1), (other, 1 << 40)):
        monkeypatch.setattr("engine.facts.ingest.LARGE", large)
        reports.append(
            ingest_file(
                sqlite_database,
                file,
                settings=Settings(root),
                now=NOW,
                progress=lambda _, share: shares.append(share),
            )
        )
    apart, here = reports
    assert (apart.read, apart.new, apart.quarantined, here.unchanged) == (700, 699, 1, 699)
    assert apart.bad_rows == here.bad_rows
    assert apart.warnings == here.warnings != ()
    assert shares[-1] == 1.0


def test_a_row_that_is_not_utf8_says_how_to_save_the_file(
    sqlite_database: Database, settings: Settings, tmp_path: Path
) -> None:
    """A row whose bytes are not UTF-8 is set aside with what to do about it."""
    (tmp_path / "customers.csv").write_bytes(b"external_id,first_name\nc1,J\xfcrgen\n")
    report = ingest_file(sqlite_database, tmp_path / "customers.csv", settings=settings, now=NOW)
    assert [row.column for row in report.bad_rows] == ["first_name"]
    assert "save the file as UTF-8" in report.bad_rows[0].reason
