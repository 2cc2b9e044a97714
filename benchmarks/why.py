"""Measures how long `homing why` takes in a shop that has sent a million mails: `python -m benchmarks.why`.

The shop of `benchmarks.shop` gets a ledger as if the six starter flows had run for long: for each mail an enrollment, its
decisions with their clauses, the attempt, what the provider told, and the facts that follow from it. Written in bulk, on
SQLite. Asked are customers with ten mails each and one with two hundred, by the command in a process of its own and by
the engine alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from benchmarks import shop
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow, live_flows
from engine.project import init_project
from engine.runtime.why import why
from engine.runtime.why_missing import missing
from engine.store.database import Database, connect
from engine.store.migrate import ensure_current
from engine.store.tables import events
from engine.store.types import to_micros

MAILS, CUSTOMERS = 1_000_000, 100_000
DEVOTED = 200  # mails of the first customer
ASKED = 40
PART = 50_000
Rows = dict[str, list[tuple[Any, ...]]]
_COLUMNS = {
    "enrollments": "id flow version customer_id occurrence slot entered_at since_at context state anchor_at visit left_at left_reason",
    "journal": "id at flow customer_id enrollment_id message_id step decision reason detail",
    "messages": "id key enrollment_id flow version step template customer_id kind topic priority state created_at due_at try_at "
    "tries fence counted_at accepted_at settled_at sandbox provider provider_id subject locale",
    "attempts": "id message_id number at finished_at worker fence outcome",
    "delivery_events": "id key message_id kind at machine",
    "events": "id key customer_id name occurred_at arrived_at properties backfill",
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.why", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--mails", type=int, default=MAILS)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="homing-bench-") as folder:
        measure_why(Path(folder) / "shop", given.mails, given.customers)


def measure_why(folder: Path, mails: int = MAILS, customers: int = CUSTOMERS) -> None:
    """Build the shop with its ledger and print what questions cost."""
    init_project(folder)
    settings = settings_module.load(folder)
    database = connect("sqlite:///homing.db", folder)
    ensure_current(database)
    shop.build(database, customers)
    apply(database, settings, now=shop.NOW - timedelta(days=400), who="bench")
    with database.read() as connection:
        live = live_flows(connection)
    write_ledger(database, live, mails, customers)
    size = (folder / "homing.db").stat().st_size / 1e9
    print(f"why: {mails:,} mails, {customers:,} customers, {size:.1f} GB on SQLite", flush=True)
    at = Round(shop.NOW, settings)
    step = max(1, customers // ASKED)
    everyone = [1, *range(2, customers, step)]

    def ask(who: int, flow: str | None) -> Callable[[], object]:
        def asked() -> object:
            with database.read() as connection:
                return why(connection, who, flow, at)

        return asked

    _tell("in the engine, all flows", [ask(who, None) for who in everyone[1:]])
    _tell("in the engine, one flow", [ask(who, "win-back") for who in everyone[1:]])
    _tell(f"in the engine, {DEVOTED} mails", [ask(1, None)] * 5)

    def missed(days: int) -> Callable[[], object]:
        def asked() -> object:
            with database.read() as connection:
                return missing(connection, "cart-recovery", shop.NOW - timedelta(days=days), at)

        return asked

    _tell("why --missing, 30 days", [missed(30)] * 3)
    _tell("why --missing, a year", [missed(365)])
    database.close()
    homing = [str(Path(sys.executable).with_name("homing"))]
    _tell("starting `homing` alone", [_run([*homing, "--version"])] * 5)
    address = f"c{everyone[5]}@example.test"
    _tell("homing why EMAIL", [_run([*homing, "why", address, "--project", str(folder)])] * 5)
    _tell(
        "homing why EMAIL FLOW", [_run([*homing, "why", address, "win-back", "--project", str(folder)])] * 5
    )


def _run(command: Sequence[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own program


def _tell(what: str, asked: Sequence[Callable[[], object]]) -> None:
    took = []
    for each in asked:
        begun = time.perf_counter()
        each()
        took.append((time.perf_counter() - begun) * 1000)
    print(f"  {what:<34}{statistics.median(took):10,.0f} ms (at most {max(took):,.0f})", flush=True)


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────────────────────


def write_ledger(database: Database, live: dict[str, LiveFlow], mails: int, customers: int) -> None:
    """Write so many mails with everything around them; the first customer gets many."""
    with database.read() as connection:
        first_event = (connection.scalar(select(events.c.id).order_by(events.c.id.desc()).limit(1)) or 0) + 1
    flows = sorted(live.items())
    for start in range(0, mails, PART):
        rows: Rows = {name: [] for name in _COLUMNS}
        for number in range(start, min(start + PART, mails)):
            who = 1 if number < DEVOTED else number % customers + 1
            name, found = flows[(number // customers + number) % len(flows)]
            _mail(rows, number, who, (name, found), first_event)
        with database.write() as connection:
            for table, columns in _COLUMNS.items():
                names = columns.split()
                marks = ", ".join("?" * len(names))
                told = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - our own names
                connection.exec_driver_sql(told, rows[table])
    with database.write() as connection:
        connection.execute(text("ANALYZE"))


def _mail(rows: Rows, number: int, who: int, live: tuple[str, LiveFlow], first_event: int) -> None:
    name, found = live
    after = timedelta(hours=43 * number) if number < DEVOTED else timedelta(seconds=number * 30 % 31_536_000)
    own, entered = number + 1, shop.NOW - timedelta(days=399) + after
    sent = to_micros(entered + timedelta(hours=4))
    at, step = to_micros(entered), next(found.flow.all_steps())
    label = getattr(step, "id", None) or "first"
    clauses = {"clauses": [{"clause": clause, "holds": held} for clause, held in _clauses(found)]}
    rows["enrollments"].append(
        (own, name, found.program.version, who, f"o{own}", f"o{own}", at, at, json.dumps({"trigger": {"order_id": f"o{own}"}}),
         "completed", at, 1, sent, None)
    )  # fmt: skip
    for place, (moment, decision, message) in enumerate(
        ((at, "entered", None), (sent, "sent", own), (sent, "completed", None))
    ):
        detail = json.dumps(clauses) if decision == "entered" else None
        rows["journal"].append(
            (own * 3 + place, moment, name, who, own, message, label, decision, None, detail)
        )
    rows["messages"].append(
        (own, f"{own}:{label}:0", own, name, found.program.version, label, label, who, found.flow.kind, found.flow.topic, 50, "delivered",
         sent, sent, sent, 1, 1, sent, sent, sent, True, "mailbox", f"{own}@homing", "A mail", "en")
    )  # fmt: skip
    rows["attempts"].append((own, own, 1, sent, sent, "bench", 1, "accepted"))
    for place, kind in enumerate(("delivered", "opened")):
        rows["delivery_events"].append((own * 2 + place, f"{kind}:{own}", own, kind, sent, False))
    told = json.dumps({"flow": name, "step": label, "message": f"{own}:{label}:0"})
    rows["events"].append(
        (first_event + number, f"mail_sent:{own}", who, "mail_sent", sent, sent, told, False)
    )


def _clauses(found: LiveFlow) -> Iterator[tuple[str, bool]]:
    for clause in (*found.flow.exit_when, *found.flow.enter_if, *found.flow.only_if):
        yield clause.text, clause not in found.flow.exit_when


if __name__ == "__main__":
    main()
