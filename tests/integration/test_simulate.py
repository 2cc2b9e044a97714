"""Simulations: the same decisions as the live engine, the same bytes everywhere, nothing touched."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from engine.clock import machine_now
from engine.commands.simulating import only
from engine.delivery.dispatch import Exits, Worker
from engine.deploy import simulate as simulate_module
from engine.deploy import simulate_copy, simulate_run
from engine.deploy.apply import apply
from engine.deploy.simulate import Stretch, Task, driven, quiet_engine, simulate
from engine.deploy.simulate_copy import Slice
from engine.deploy.simulate_feed import BEGINNING, Asked, tell_past
from engine.deploy.simulate_known import add_up
from engine.deploy.simulate_page import page
from engine.deploy.simulate_report import document
from engine.deploy.stage import Tray
from engine.facts import ingest
from engine.facts.fact import Kind
from engine.facts.finding import find_customer
from engine.facts.ingest import arrive, ingest_rows
from engine.facts.rights import suppress
from engine.insights.scores import rebuild_scores
from engine.recommend.rebuild import rebuild
from engine.recommend.supply import SUPPLY
from engine.runtime import passes, rails
from engine.runtime.passes import Engine
from engine.runtime.ticking import drive
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.migrate import upgrade
from engine.store.scratch import Lone, lone, scratch
from engine.store.tables import customers, enrollments, messages, metadata, order_lines
from tests.integration.small_shop import END, NOW, START, checksum, make_project, play_of, tell

REPLAY = Stretch(START, END, replay=True)
LIKELY = Stretch(NOW, NOW + timedelta(days=7), False, "history", 3, timedelta(hours=1))
Sent = tuple[str, str, str, str, str, str]


def ledger(database: Database) -> list[Sent]:
    """Return every message with its fate, named by what does not depend on ids."""
    with database.read() as connection:
        table = messages.c
        query = select(
            customers.c.external_id,
            table.flow,
            table.step,
            table.state,
            table.reason,
            table.counted_at,
            table.due_at,
        ).join(customers, customers.c.id == table.customer_id)
        return sorted(
            (who, flow, step, state, str(why), f"{at} {due}")
            for who, flow, step, state, why, at, due in connection.execute(query)
        )


def test_a_replay_decides_as_the_live_engine(tmp_path: Path, sqlite_database: Database) -> None:
    """What the daemon's code does live, fact by fact on a moving clock, is message by message what a replay says."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    task = Task("", tmp_path, play_of(settings), REPLAY, folder=tmp_path)
    with driven(sqlite_database, task) as simulated:
        found = ledger(simulated.database)
    expected = live_ledger(tmp_path, settings)
    assert len(expected) > 60
    assert {message[3] for message in expected} >= {"accepted", "dropped"}
    assert found == expected


def live_ledger(root: Path, settings: Settings) -> list[Sent]:
    """Return what the daemon's code brings about, told fact by fact on a moving clock."""
    live = connect(f"sqlite:///{_migrated(root)}")
    with live.write() as connection:
        meta.set_virtual_now(connection, START - timedelta(days=30))
    tell(live, settings, START - timedelta(days=30))
    tray = Tray()
    engine = Engine(
        settings, live, Exits(tray, None, tray.call), Worker("test", machine_now, random.Random(1))
    )
    drive(engine, START - timedelta(days=30), START, nights=False)
    apply(live, settings, now=START, who="test")
    drive(engine, START, END, nights=False)
    found = ledger(live)
    live.close()
    return found


def _migrated(folder: Path) -> Path:
    path = folder / "live.db"
    database = connect(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


def test_the_same_bytes_whatever_the_database_and_the_number_of_processes(
    tmp_path: Path, sqlite_url: str, postgres_url: str
) -> None:
    """A replay and a likely future give byte-identical JSON on SQLite and PostgreSQL, by one process, by two, by three."""
    settings = make_project(tmp_path / "project")
    play = play_of(settings)
    texts: dict[str, set[str]] = {"replay": set(), "likely": set()}
    for url, processes in ((sqlite_url, (1, 2, 3)), (postgres_url, (1, 2))):
        database = connect(url)
        tell(database, settings, NOW)
        for name, stretch in (("replay", REPLAY), ("likely", LIKELY)):
            for number in processes:
                texts[name].add(json.dumps(document(simulate(database, play, stretch, processes=number))))
        database.close()
    assert {name: len(found) for name, found in texts.items()} == {"replay": 1, "likely": 1}
    assert json.loads(next(iter(texts["likely"])))["facts"].get("order_placed")


def test_the_same_bytes_whatever_the_size_of_batches(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts taken in and messages judged three at a time, or written after each stop, change no byte of a report."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    daily = replace(REPLAY, beat=timedelta(days=1))  # so that much comes at once
    texts = set()
    for chunk, most, settled in ((1_000, 2_000, 8), (3, 3, 1)):
        monkeypatch.setattr(ingest, "CHUNK", chunk)
        monkeypatch.setattr(passes, "CHUNK", chunk)
        monkeypatch.setattr(simulate_module, "MOST", most)
        monkeypatch.setattr(simulate_run, "SETTLED_EVERY", settled)
        texts.add(json.dumps(document(simulate(sqlite_database, play_of(settings), daily, processes=1))))
    assert len(texts) == 1


def test_the_same_bytes_whether_a_stop_is_done_boldly_or_with_care(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay whose every stop is done with care from the beginning gives the same bytes as one that never needs it."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    daily = replace(REPLAY, beat=timedelta(days=1))
    bold = json.dumps(document(simulate(sqlite_database, play_of(settings), daily, processes=1)))
    monkeypatch.setattr(Lone, "boldly", lambda _store, step: step())
    assert json.dumps(document(simulate(sqlite_database, play_of(settings), daily, processes=1))) == bold


def test_the_real_database_is_not_touched(tmp_path: Path, database: Database) -> None:
    """Replay, forecast and likely future leave every row of the real database as it was, applied flows included."""
    settings = make_project(tmp_path)
    tell(database, settings, NOW)
    apply(database, settings, now=NOW, who="test")
    before = checksum(database)
    ahead = Stretch(NOW, NOW + timedelta(days=5), replay=False, beat=timedelta(hours=1))
    for stretch in (
        REPLAY,
        ahead,
        Stretch(NOW, NOW + timedelta(days=5), False, "history", 1, timedelta(hours=1)),
    ):
        assert simulate(database, play_of(settings), stretch, processes=1).tally.customers == 40
    assert checksum(database) == before
    assert not (tmp_path / "mailbox").exists()


def test_a_report_counts_everything_once(tmp_path: Path, sqlite_database: Database) -> None:
    """A replay's document and page hold mails, reasons with examples, people, hours, pressure, exits and purchases."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    play = play_of(settings)
    simulation = simulate(sqlite_database, play, REPLAY, processes=1)
    found = document(simulation, (), simulate(sqlite_database, _cart_alone(play), REPLAY, processes=1))
    assert (
        found["total"]
        == sum(sum(steps.values()) for steps in found["mails"].values())
        == sum(map(sum, found["hours"]))
    )
    assert found["total"] == sum(sum(day["mails"].values()) for day in found["days"])
    spread = found["per_customer"]["distribution"]
    assert sum(spread.values()) == 40
    assert sum(int(number) * count for number, count in spread.items()) == found["total"]
    assert {"no_consent", "exited: did: order_placed", "holdout"} <= found["not_sent"].keys()
    assert any(reason.startswith("condition_false: customer") for reason in found["not_sent"])
    assert all(1 <= len(each["examples"]) <= 3 for each in found["reasons"])
    assert found["exits_by_purchase"]["cart"] > 0
    assert found["purchases"]["all"] >= found["purchases"]["after_a_mail"] > 0
    assert {each["flow"] for each in found["comparison"] if each["this"] != each["against"]} >= {
        "thanks",
        "lapse",
    }
    html = page(found, settings.shop.name)
    assert "http" not in html.replace("http-equiv", "")
    assert html.count("<svg") >= 2
    assert "no_consent" in html
    wide = {"0": 7, "1": 5, "90": 1}
    html = page(found | {"per_customer": found["per_customer"] | {"distribution": wide}}, settings.shop.name)
    told = re.findall(r"<td[^>]*>(0|\d+ to \d+)</td>\s*<td[^>]*>([\d,]+)</td>", html)
    assert {("0", "7"), ("1 to 3", "5"), ("88 to 90", "1")} <= set(told)


def _cart_alone(play: Any) -> Any:
    return only(play, "cart")


def test_a_forecast_counts_nothing_that_was_done_when_it_begins(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """Mails and ends of the very moment of the beginning are past: with one flow only, no other one counts any."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    apply(sqlite_database, settings, now=NOW, who="test")
    drive(quiet_engine(settings, sqlite_database), NOW, NOW + timedelta(days=30), nights=False)
    with sqlite_database.write() as connection:
        last = select(func.max(messages.c.counted_at)).where(messages.c.flow == "lapse")
        start = connection.scalar(last)
        assert start is not None
        over = update(enrollments).where(enrollments.c.state == "completed")
        ends = over.values(state="exited", left_at=start, left_reason="exited: did: order_placed")
        assert connection.execute(ends).rowcount
    stretch = Stretch(start, start + timedelta(days=2), replay=False)
    tally = simulate(sqlite_database, only(play_of(settings), "thanks"), stretch, processes=1).tally
    assert {flow for flow, _ in tally.mails} <= {"thanks"}
    assert not tally.exits
    assert not tally.not_sent


def test_a_coarser_clock_says_nearly_the_same(tmp_path: Path, sqlite_database: Database) -> None:
    """With a stop each hour instead of at every moment the number of mails moves by a tenth at most."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    exact = sum(simulate(sqlite_database, play_of(settings), REPLAY, processes=1).tally.mails.values())
    hourly = Stretch(START, END, replay=True, beat=timedelta(hours=1))
    assert (
        abs(
            sum(simulate(sqlite_database, play_of(settings), hourly, processes=1).tally.mails.values())
            - exact
        )
        <= exact / 10
    )


def test_a_copy_is_the_same_whichever_way_it_is_made(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a SQLite file the rows go over within SQLite; row by row they would be the same, messages in flight too."""
    settings, source = make_project(tmp_path), connect(sqlite_url)
    assert simulate_copy.file_of(source)
    tell(source, settings, NOW)
    apply(source, settings, now=NOW, who="test")
    drive(quiet_engine(settings, source), NOW, NOW + timedelta(days=30), nights=False)
    states = ("pending", "claimed", "handing_over", "accepted")
    with source.write() as connection:
        ids = list(connection.scalars(select(messages.c.id).order_by(messages.c.id)))
        for number, identity in enumerate(ids):
            held = {"state": states[number % 4], "claimed_by": "somebody", "sandbox": number % 3 > 0}
            connection.execute(update(messages).where(messages.c.id == identity).values(held))
    copies = []
    for way, share in (
        ("at-once", Slice()),
        ("at-once-half", Slice(1, 2)),
        ("by-row", Slice()),
        ("by-row-half", Slice(1, 2)),
    ):
        if way.startswith("by-row"):
            monkeypatch.setattr(simulate_copy, "file_of", lambda _source: None)
        (tmp_path / way).mkdir()
        copy = scratch(tmp_path / way)
        simulate_copy.copy_state(source, copy, share, sandbox=True)
        copies.append(checksum(copy))
        with copy.read() as connection:
            found = connection.execute(select(messages.c.state, messages.c.claimed_by)).all()
        copy.close()
        assert len(found) >= 4
        assert {tuple(row) for row in found} <= {("pending", None), ("unknown", None), ("accepted", None)}
    source.close()
    assert copies[0] == copies[2] != copies[1] == copies[3]


NOT_COPIED = {"journal", "attempts", "applies", "fact_digests"}  # nobody decides by them


def test_a_copy_holds_what_the_database_holds(tmp_path: Path, database: Database) -> None:
    """Of everything that decisions may ask about each row is there, facts that no pass has looked at among them."""
    settings = make_project(tmp_path)
    tell(database, settings, NOW)
    apply(database, settings, now=NOW, who="test")
    drive(quiet_engine(settings, database), NOW, NOW + timedelta(days=1), nights=False)
    later = NOW + timedelta(days=1, hours=1)
    newest: tuple[tuple[Kind, dict[str, Any]], ...] = (
        ("products", {"sku": "T2", "title": "Cup", "stock": 0, "updated_at": NOW.isoformat()}),
        ("products", {"sku": "T2", "stock": 5, "updated_at": later.isoformat()}),
        ("orders", {"order_id": "new", "customer": "c1", "placed_at": later.isoformat(), "total": 9, "lines": []}),
        ("consents", {"customer": "c2", "topic": "offers", "state": "withdrawn", "at": later.isoformat()}),
    )  # fmt: skip
    for kind, row in newest:
        assert not ingest_rows(database, kind, [row], settings=settings, now=later).bad_rows
    with database.write() as connection:
        found = find_customer(connection, "c3")
        assert found is not None
        suppress(connection, found, now=later)
        rails.pause(connection, None, later)
    rebuild(database, later)
    rebuild_scores(database, later)
    store = scratch(tmp_path)
    simulate_copy.copy_state(database, store, Slice(), sandbox=True)
    held: dict[str, tuple[list[str], list[str]]] = {}
    for table in metadata.sorted_tables:
        rows = []
        for place in (database, store):
            with place.read() as connection:
                rows.append(sorted(str(tuple(row)) for row in connection.execute(select(table))))
        held[table.name] = rows[0], rows[1]
    told = {name for name, (there, _) in held.items() if there}
    assert told >= {
        "fact_inbox",
        "product_changes",
        "timers",
        "customer_scores",
        "suppressions",
        "messages",
        "marks",
    }
    assert {name for name, (there, here) in held.items() if there != here} == {*NOT_COPIED, "meta"}
    with database.read() as connection, store.read() as copied:
        for name in (meta.SECRET, "sources_stamp", rails.PAUSED_ALL):
            assert meta.get(connection, name) == meta.get(copied, name) is not None, name
    store.close()


COMPARED = {
    "customers": (
        "email", "first_name", "locale", "country", "zone", "tags", "properties", "orders", "spent", "first_order_at",
        "last_order_at", "average_gap_days", "usual_gap_days", "last_activity_at",
    ),
    "consent_state": ("topic", "granted_at", "soft_granted_at", "pending_at", "withdrawn_at"),
    "orders": (
        "order_id", "placed_at", "status", "total", "refunded", "currency", "shipped_at", "delivered_at", "cancelled_at",
        "refunded_at", "returned_at",
    ),
    "carts": ("cart_id", "value", "url"),
    "events": ("name", "occurred_at", "order_id", "cart_id", "sku", "value"),
}  # fmt: skip


def held_at(source: Database, folder: Path, settings: Settings, start: datetime) -> dict[str, list[str]]:
    """Return what a replay that begins at `start` has in its store once all until START has arrived, by table."""
    store = lone(folder, f"{start:%Y}.db")
    with store.write() as connection:
        meta.set_virtual_now(connection, BEGINNING)
    _, known = tell_past(source, store, Slice(), start, START, Asked())
    arrive(store, until=START, settings=settings)
    add_up(store, known, settings.shop.currency, START)
    found = {}
    with store.read() as connection:
        for name, columns in COMPARED.items():
            table = metadata.tables[name]
            own = table.c.id if name == "customers" else table.c.customer_id
            wanted = [table.c[column] for column in columns]
            query = select(customers.c.external_id, *wanted).select_from(
                customers if name == "customers" else table.join(customers, customers.c.id == own)
            )
            # That somebody came is told a moment before their first deed, which is no moment of the record.
            rows = [tuple(row) for row in connection.execute(query)]
            found[name] = sorted(str(row) for row in rows if "customer_created" not in row)
        lines = select(
            order_lines.c.order_id, order_lines.c.line_no, order_lines.c.sku, order_lines.c.quantity
        )
        found["order_lines"] = sorted(str(tuple(row)) for row in connection.execute(lines))
        found["written"] = [str(len(known))]
    store.close()
    return found


def test_what_is_written_as_known_is_what_the_facts_add_up_to(tmp_path: Path, database: Database) -> None:
    """A replay's store holds the same at its start whether the past was written as it stands or told fact by fact."""
    settings = make_project(tmp_path)
    tell(database, settings, NOW)
    before, after = ((START + timedelta(days=days)).isoformat() for days in (-2, 2))
    early = {"customer": "c1", "placed_at": (START - timedelta(days=3)).isoformat(), "total": 20, "lines": []}
    for kind, rows in (
        ("orders", [{**early, "order_id": f"later-{place}"} for place in range(4)]),
        ("orders", [{"order_id": "later-0", "status": "refunded", "status_at": before, "refunds": [{"amount": 5}]}]),
        ("orders", [{"order_id": "later-1", "status": "cancelled", "status_at": before}]),
        ("orders", [{"order_id": "later-2", "status": "shipped", "status_at": after}]),
        ("orders", [{"order_id": "later-3", "status": "cancelled", "status_at": after}]),
        ("consents", [{"customer": "c2", "topic": "offers", "state": "withdrawn", "at": before}]),
        ("consents", [{"customer": "c3", "topic": "offers", "state": "withdrawn", "at": after}]),
        ("customers", [{"external_id": "c4", "updated_at": after, "first_name": "Later"}]),
        ("events", [{"event": "points_earned", "customer": "c5", "points": 5, "balance": 5, "at": before}]),
        ("events", [{"event": "product_viewed", "customer": "c6", "sku": "T1", "at": at} for at in (before, after)]),
        ("carts", [{"cart_id": "k", "customer": "c7", "updated_at": at, "value": 9, "lines": []} for at in (before, after)]),
    ):  # fmt: skip
        report = ingest_rows(database, kind, rows, settings=settings, now=NOW)  # type: ignore[arg-type]
        assert not report.quarantined
    written, told = (held_at(database, tmp_path, settings, start) for start in (START, BEGINNING))
    assert int(written.pop("written")[0]) > 30
    assert told.pop("written") == ["0"]
    for name in written:
        assert written[name] == told[name], name
    assert len(written["orders"]) > 10


def test_a_forecast_knows_what_was_learned_by_night(tmp_path: Path, database: Database) -> None:
    """How long things last, which replenishment goes by, is taken along into a forecast."""
    settings = make_project(tmp_path)
    tell(database, settings, NOW)
    rebuild(database, NOW)
    store = scratch(tmp_path)
    simulate_copy.copy_state(database, store, Slice(), sandbox=True)
    with database.read() as connection, store.read() as copied:
        learned = meta.get(connection, SUPPLY)
        assert learned is not None
        assert meta.get(copied, SUPPLY) == learned
    store.close()
