"""`live`, `db` and `doctor` on both databases: what they check, change, and leave alone."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Executable, delete, func, insert, make_url, select, update

from engine import settings as settings_module
from engine.clock import SystemClock
from engine.deploy.apply import apply
from engine.errors import FindingsError, OutsideError, UsageError
from engine.runtime.doctor import Diagnosis, examine, invariants
from engine.runtime.golive import go_live
from engine.runtime.installation import why_sandbox
from engine.runtime.opening import open_engine
from engine.runtime.ticking import tick
from engine.store import meta
from engine.store.backup import backup, suffix
from engine.store.database import Database, connect
from engine.store.tables import (
    attempts,
    enrollments,
    flows,
    journal,
    leases,
    marks,
    messages,
    quarantine,
    suppressions,
)
from tests.integration.living_shop import FLOW, LivingShop, make_project, prepare
from tests.servers.postgres import Postgres
from tests.servers.process import RunningServer, start_smtp

NOT_THE_SERVER = {
    "D402"
}  # the tests' own PostgreSQL keeps nothing safe from a power cut, and the doctor sees it


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> LivingShop:
    """Give a shop in which ten customers got their mail into the sandbox's mailbox."""
    make_project(tmp_path)
    made = prepare(tmp_path, database_url, 10)
    beat(made)
    return made


def beat(shop: LivingShop) -> None:
    """Do everything that is due, as `homing tick` would."""
    with shop.database() as database:
        engine = open_engine(settings_module.load(shop.root), database, environ={})
        tick(engine, datetime.now(UTC), SystemClock().now)


def write(shop: LivingShop, *statements: Executable) -> None:
    """Write into the database behind everybody's back."""
    with shop.database() as database, database.write() as connection:
        for statement in statements:
            connection.execute(statement)


def look(shop: LivingShop, now: datetime | None = None) -> Diagnosis:
    """Let the doctor look at a shop."""
    with shop.database() as database:
        return examine(settings_module.load(shop.root), now or datetime.now(UTC), {}, database)


def codes(found: Diagnosis) -> set[str]:
    """Return the codes of what was found, apart from what is the test server's."""
    return {finding.code for finding in found.findings} - NOT_THE_SERVER


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_shop_is_sound(shop: LivingShop) -> None:
    """After real work every invariant holds, and nothing is found."""
    found = look(shop)
    assert codes(found) == set()
    assert {"settings", "provider", "durability", "schema", "clock", "beats", "data"} == set(found.looked_at)
    assert [record.name for record in found.dns] == [
        "kiyomi.test",
        "SELECTOR._domainkey.kiyomi.test",
        "_dmarc.kiyomi.test",
    ]


def test_a_database_that_forgets_is_refused(shop: LivingShop) -> None:
    """A PostgreSQL without fsync is told as an error; SQLite as Homing opens it is safe."""
    found = {finding.message for finding in look(shop).findings if finding.code == "D402"}
    expected = set() if shop.url.startswith("sqlite") else {"fsync", "full_page_writes"}
    assert {message.split()[0] for message in found} == expected


def test_each_broken_invariant_is_found(shop: LivingShop) -> None:
    """What must hold in the data and does not is an error that says what, and how many."""
    again = [
        attempts.c.message_id,
        attempts.c.number + 1,
        attempts.c.at,
        attempts.c.worker,
        attempts.c.fence,
        attempts.c.outcome,
    ]
    names = ["message_id", "number", "at", "worker", "fence", "outcome"]
    broken: dict[str, list[Executable]] = {
        "messages in no known state": [update(messages).values(state="lost")],
        "enrollments in no known state": [update(enrollments).values(state="lost")],
        "without a decision in the journal": [delete(journal)],
        "no moment to look again": [update(enrollments).values(state="active", next_at=None)],
        "no moment of leaving": [update(enrollments).values(left_at=None)],
        "without an accepted attempt": [update(attempts).values(outcome="failed")],
        "handed over without an attempt": [delete(attempts)],
        "dropped messages without a reason": [update(messages).values(state="dropped", reason=None)],
        "held by nobody": [update(messages).values(state="claimed", lease_until=None)],
        "though their customer left": [
            update(messages).values(state="pending"),
            update(enrollments).values(state="exited"),
        ],
        "accepted twice": [insert(attempts).from_select(names, select(*again))],
    }
    for words, statements in broken.items():
        with shop.database() as database, database.engine.connect() as connection:
            assert list(invariants(connection, datetime.now(UTC))) == []
            for statement in statements:
                connection.execute(statement)
            found = [finding.message for finding in invariants(connection, datetime.now(UTC))]
            connection.rollback()
        assert any(words in message and message.endswith(": 10") for message in found), (words, found)


def test_mail_that_waits_for_the_suppressed(shop: LivingShop) -> None:
    """A message that waits for somebody suppressed a while ago is an error; a moment ago it is work in passing."""
    with shop.database() as database, database.read() as connection:
        customer = connection.scalar(select(messages.c.customer_id))
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    row = {
        "address_hash": b"x",
        "customer_id": customer,
        "scope": "all",
        "reason": "asked",
        "at": datetime.now(UTC),
    }
    write(shop, update(messages).values(state="pending"), insert(suppressions).values(row))
    assert not any("suppressed" in finding.message for finding in look(shop).findings)
    write(shop, update(suppressions).values(at=long_ago))
    assert any("suppressed customers: 1" in finding.message for finding in look(shop).findings)


def test_what_is_stopped_is_told(shop: LivingShop) -> None:
    """Pauses, freezes, quarantine, unknown messages and dead workers are told; none of it is repaired."""
    now = datetime.now(UTC)
    assert shop.homing("pause").returncode == 0
    first = update(messages).where(messages.c.id == select(func.min(messages.c.id)).scalar_subquery())
    write(
        shop,
        update(flows).values(frozen_at=now, frozen_reason="would mail everybody"),
        insert(quarantine).values(kind="fact", subject="x", reason="no date", at=now),
        update(messages).values(state="unknown"),
        first.values(state="handing_over", claimed_by="gone", lease_until=now - timedelta(minutes=5)),
    )
    found = look(shop)
    assert {"D501", "D502", "D503", "D504", "D505"} <= codes(found)
    assert shop.states() == {"unknown": 9, "handing_over": 1}


def test_a_flow_that_was_removed_holds_up_nobody(shop: LivingShop) -> None:
    """Mails of the other flows go on, and whoever is inside the removed one gets what is due to them."""
    other = shop.root / "flows" / "other.yaml"
    other.write_text(FLOW.replace("flow: hello", "flow: other").replace("steps:", "steps:\n  - wait: 1s"))
    with shop.database() as database:
        settings = settings_module.load(shop.root)
        apply(database, settings, now=datetime.now(UTC), who="test")
        shop.sign_up(20, 1)
        beat(shop)
        other.unlink()
        apply(database, settings, now=datetime.now(UTC), who="test")
    shop.sign_up(30, 1)
    time.sleep(1)
    beat(shop)
    with shop.database() as database, database.read() as connection:
        rows = connection.execute(select(messages.c.flow, messages.c.state)).all()
    assert Counter(tuple(row) for row in rows) == {("hello", "accepted"): 12, ("other", "accepted"): 1}


def test_a_silent_daemon_is_seen(shop: LivingShop) -> None:
    """A daemon that holds the lease and does not beat any more is an error; mails that nobody sends are a warning."""
    now = datetime.now(UTC)
    later = now + timedelta(minutes=10)
    assert "D405" not in codes(look(shop, later))
    write(shop, update(messages).values(state="pending"))
    assert [f.severity for f in look(shop, later).findings if f.code == "D405"] == ["warning"]
    write(shop, insert(leases).values(name="leader", owner="x", until=later + timedelta(minutes=1), fence=1))
    assert [f.severity for f in look(shop, later).findings if f.code == "D405"] == ["error"]
    write(shop, update(marks).where(marks.c.name == "tick").values(at=later))
    assert "D405" not in codes(look(shop, later))


def test_the_command_says_it_all(shop: LivingShop) -> None:
    """`homing doctor` ends with 1 where something is wrong, prints JSON when asked, and shows no address."""
    write(shop, update(messages).values(state="lost"))
    done = shop.homing("doctor", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["healthy"] is False
    assert "D601" in {finding["code"] for finding in told["findings"]}
    assert {"type", "name", "value", "why"} == set(told["dns"][0])
    plain = shop.homing("doctor")
    assert "homing explain D601" in plain.stdout
    assert "@" not in plain.stdout


# ── live ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Give an SMTP server of this test's own."""
    folder = tmp_path / "smtp"
    folder.mkdir()
    with start_smtp(folder) as smtp:
        yield smtp


def ask_for_live(shop: LivingShop, port: int) -> None:
    """Write settings that would let the shop go live."""
    make_project(shop.root, smtp_port=port)
    path = shop.root / "homing.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("[delivery]\n", '[delivery]\nmode = "live"\n'),
        encoding="utf-8",
    )


def live(shop: LivingShop, now: datetime | None = None) -> dict[str, object]:
    """Call `go_live` and return what it did as plain data."""
    with shop.database() as database:
        done = go_live(settings_module.load(shop.root), database, now or datetime.now(UTC), {})
    return {"already": done.already, "enrollments": done.enrollments, "messages": done.messages}


def inside(shop: LivingShop) -> None:
    """Put all ten customers back into the flow, with a mail that waits."""
    now = datetime.now(UTC)
    write(
        shop,
        update(enrollments).values(state="active", next_at=now + timedelta(days=1), left_at=None),
        update(messages).values(state="pending", try_at=now + timedelta(days=1)),
    )


def test_going_live_cancels_the_sandbox(shop: LivingShop, server: RunningServer) -> None:
    """Who began in the sandbox leaves it with a reason and an entry in the journal; a second call changes nothing."""
    inside(shop)
    ask_for_live(shop, server.port)
    assert live(shop) == {"already": False, "enrollments": 10, "messages": 10}
    with shop.database() as database, database.read() as connection:
        left = connection.execute(
            select(enrollments.c.state, enrollments.c.left_reason, enrollments.c.next_at)
        ).all()
        dropped = connection.execute(select(messages.c.state, messages.c.reason)).all()
        told = journal.c.decision == "exited"
        journalled = connection.scalar(select(func.count()).where(told, journal.c.reason == "sandboxed"))
    assert set(left) == {("exited", "sandboxed", None)}
    assert set(dropped) == {("dropped", "sandboxed")}
    assert journalled == 10
    inside(shop)
    assert live(shop) == {"already": True, "enrollments": 0, "messages": 0}
    assert server.taken() == []


def test_a_copy_stays_a_sandbox(shop: LivingShop, server: RunningServer) -> None:
    """A database that went live elsewhere mails nobody here, says so, and keeps its real enrollments when it goes live."""
    ask_for_live(shop, server.port)
    live(shop)
    inside(shop)
    write(shop, update(messages).values(sandbox=False))
    with shop.database() as database, database.write() as connection:
        meta.put(connection, "live_fingerprint", "another place")
    with shop.database() as database:
        assert "elsewhere" in (why_sandbox(settings_module.load(shop.root), database) or "")
    assert "D307" in codes(look(shop))
    assert "elsewhere" in shop.homing("status").stdout
    assert live(shop) == {"already": False, "enrollments": 0, "messages": 0}
    assert "D307" not in codes(look(shop))


def test_a_copy_beside_the_live_one_stays_a_sandbox(
    sqlite_url: str, tmp_path: Path, server: RunningServer
) -> None:
    """A live database's file, copied within its folder or with it, mails nobody; a link to it is still the live one."""
    make_project(tmp_path)
    shop = prepare(tmp_path, sqlite_url)
    ask_for_live(shop, server.port)
    live(shop)
    settings = settings_module.load(shop.root)
    with shop.database() as database:
        assert why_sandbox(settings, database) is None
        file = Path(str(database.engine.url.database))
        for copied in (file.with_name("staging.db"), tmp_path / "elsewhere" / file.name):
            backup(database, copied)
            with closing(connect(f"sqlite:///{copied}")) as copy:
                assert "elsewhere" in (why_sandbox(settings, copy) or "")
    link = tmp_path / "link.db"
    link.symlink_to(file)
    with closing(connect(f"sqlite:///{link}")) as database:
        assert why_sandbox(settings, database) is None


@pytest.mark.postgresql
def test_a_copy_at_the_same_url_stays_a_sandbox(
    postgres: Postgres, postgres_url: str, tmp_path: Path, server: RunningServer
) -> None:
    """A copy of a live PostgreSQL database mails nobody, also where it bears the name of the one that went live."""
    make_project(tmp_path)
    shop = prepare(tmp_path, postgres_url)
    ask_for_live(shop, server.port)
    live(shop)
    settings = settings_module.load(shop.root)
    with shop.database() as database:
        assert why_sandbox(settings, database) is None
    live_one = str(make_url(postgres_url).database)
    copied, kept = postgres.create_database(live_one), f"{live_one}_kept"
    postgres.rename_database(live_one, kept)
    postgres.rename_database(copied, live_one)
    try:
        with shop.database() as database:
            assert "elsewhere" in (why_sandbox(settings, database) or "")
    finally:
        postgres.drop_database(kept)


@pytest.mark.parametrize(
    ("words", "instead", "code"),
    [
        ('mode = "live"', 'mode = "sandbox"', "D306"),
        ("hello@kiyomi.test", "hello at kiyomi", "D301"),
        ("1 Tea Street, 10115 Berlin", "", "D302"),
        ('provider = "smtp"', 'provider = "mailbox"', "D303"),
        ('host = "127.0.0.1"', 'host = "127.0.0.2"', "D304"),
        ("https://kiyomi.test", "http://kiyomi.test", "D305"),
    ],
)
def test_going_live_needs_it_all(
    sqlite_url: str, tmp_path: Path, server: RunningServer, words: str, instead: str, code: str
) -> None:
    """Whatever is missing is named, and nothing is changed."""
    make_project(tmp_path)
    made = prepare(tmp_path, sqlite_url)
    ask_for_live(made, server.port)
    path = tmp_path / "homing.toml"
    text_of = path.read_text(encoding="utf-8").replace(words, instead)
    path.write_text(text_of, encoding="utf-8")
    with pytest.raises(FindingsError) as refused:
        live(made)
    assert code in {finding.code for finding in refused.value.findings}
    with made.database() as database, database.read() as connection:
        assert meta.get(connection, "live_fingerprint") is None


def test_what_is_worth_mending_is_told_by_going_live(
    sqlite_url: str, tmp_path: Path, server: RunningServer
) -> None:
    """Warnings hold nothing up, and are said where it goes live, and again where it already was."""
    make_project(tmp_path)
    made = prepare(tmp_path, sqlite_url)
    ask_for_live(made, server.port)
    first = made.homing("live")
    assert (first.returncode, "live from now on" in first.stdout) == (0, True)
    assert "warning[D310]: links in mails lead to kiyomi.test" in first.stdout
    told = json.loads(made.homing("live", "--json").stdout)
    assert [(each["code"], each["severity"]) for each in told["findings"]] == [("D310", "warning")]


def test_a_virtual_database_never_goes_live(sqlite_url: str, tmp_path: Path, server: RunningServer) -> None:
    """A database on a virtual clock is a sandbox for ever."""
    make_project(tmp_path)
    made = LivingShop(tmp_path, sqlite_url)
    with made.database() as database, database.write() as connection:
        meta.set_virtual_now(connection, datetime(2026, 3, 1, tzinfo=UTC))
    ask_for_live(made, server.port)
    with pytest.raises(UsageError, match="virtual clock"):
        live(made)


# ── db ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_backup_is_the_whole_database(shop: LivingShop, postgres: Postgres, tmp_path: Path) -> None:
    """A backup, given back, holds every message; only its owner can read it, and it overwrites nothing."""
    with shop.database() as database:
        target = tmp_path / "safe" / f"copy{suffix(database)}"
        assert backup(database, target) == target.stat().st_size
        with pytest.raises(UsageError, match="overwrites nothing"):
            backup(database, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    if shop.url.startswith("sqlite"):
        with closing(sqlite3.connect(target)) as copy:
            assert copy.execute("SELECT count(*) FROM messages").fetchone() == (10,)
        return
    name = postgres.create_database()
    plain = make_url(postgres.url(name)).set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(
        ["pg_restore", "--no-owner", f"--dbname={plain}", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with closing(psycopg.connect(plain)) as copy_of:
        assert copy_of.execute("SELECT count(*) FROM messages").fetchone() == (10,)
    postgres.drop_database(name)


def test_without_pg_dump(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pg_dump is missing the sentence says how to get it, and no file is left; SQLite needs nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    target = tmp_path / "copy"
    if database.is_sqlite:
        assert backup(database, target) > 0
        return
    with pytest.raises(OutsideError, match="pg_dump, which is not on this machine"):
        backup(database, target)
    assert list(tmp_path.iterdir()) == [] or not target.exists()


def test_a_backup_while_others_write(sqlite_url: str, tmp_path: Path) -> None:
    """A backup made in the middle of another's transaction holds the state before it."""
    make_project(tmp_path)
    made = prepare(tmp_path, sqlite_url)
    with made.database() as database, made.database() as other, other.write() as connection:
        connection.execute(
            insert(quarantine).values(kind="fact", subject="x", reason="y", at=datetime.now(UTC))
        )
        backup(database, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)


def test_the_commands_of_the_database(sqlite_template: Path, tmp_path: Path) -> None:
    """`db check` tells where an empty database stands with exit code 1, `db upgrade` brings it up, `db backup` copies it."""
    make_project(tmp_path)
    made = LivingShop(tmp_path, f"sqlite:///{tmp_path / 'new.db'}")
    assert made.homing("db", "check").returncode == 1
    assert made.homing("db", "backup").returncode == 2
    upgraded = json.loads(made.homing("db", "upgrade", "--json").stdout)
    assert (upgraded["from"], upgraded["changed"]) == (None, True)
    checked = made.homing("db", "check", "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["up_to_date"] is True
    told = json.loads(made.homing("db", "backup", "--json").stdout)
    assert Path(told["file"]).parent == tmp_path / "backups"
    assert Path(told["file"]).stat().st_size == told["bytes"]
