"""A shop of one's own for tests that a scenario file cannot say: several customers, pauses, outages, new versions.

A `World` writes flows into a project, applies them to a virtual database, tells facts, and lets the clock go on with the
daemon's own code. What went out stands in `tray`; what was decided in `journal`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine import settings as settings_module
from engine.calendar import QuietHours
from engine.clock import machine_now
from engine.delivery.dispatch import Exits, Worker
from engine.deploy.apply import Planned, apply
from engine.deploy.stage import Tray
from engine.facts.fact import Kind
from engine.facts.ingest import IngestReport, ingest_rows
from engine.runtime import rails
from engine.runtime.passes import Engine, settle
from engine.runtime.ticking import drive
from engine.settings import Cap, Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import enrollments, journal, messages

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TOML = """
[shop]
name = "Kiyomi Tea"
url = "https://kiyomi.test"
timezone = "Europe/Berlin"
currency = "EUR"
postal_address = "1 Tea Street, 10115 Berlin"
[sender]
email = "hello@kiyomi.test"
[webhooks]
sms = "https://gateway.kiyomi.test/sms"
[policy]
quiet_hours = ""
caps = []
"""
LETTER = """---
subject: "{subject}"
---
<mjml><mj-body><mj-section><mj-column>
  <mj-text>{{{{ offer.code if offer else '' }}}} {{{{ products | length }}}} {{{{ answer.score if answer else '' }}}}</mj-text>
  <mj-text><a href="{{{{ links.unsubscribe }}}}">Unsubscribe</a> {{{{ shop.postal_address }}}}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


@dataclass(slots=True)
class World:
    """One project with one virtual database; `now` is where its clock stands."""

    root: Path
    database: Database
    settings: Settings
    tray: Tray = field(default_factory=Tray)
    now: datetime = START

    # ── the project ──────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, path: str, text: str) -> None:
        """Write one file of the project."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def flow(self, text: str) -> None:
        """Write a flow under its own name."""
        name = text.split("flow:", 1)[1].split(maxsplit=1)[0]
        self.write(f"flows/{name}.yaml", text)

    def policy(self, **values: Any) -> None:
        """Set `[policy]` keys as homing.toml would."""
        read: dict[str, Any] = dict(values)
        if "caps" in read:
            read["caps"] = tuple(Cap.parse(cap) for cap in read["caps"])
        if "quiet_hours" in read:
            read["quiet_hours"] = QuietHours.parse(read["quiet_hours"])
        self.settings = replace(self.settings, policy=replace(self.settings.policy, **read))

    def apply(self, **options: Any) -> Planned:
        """Let everything be taken in, then make the folder live."""
        settle(self.engine(), self.now)
        return apply(self.database, self.settings, now=self.now, who="test", **options)

    # ── facts and time ───────────────────────────────────────────────────────────────────────────────────────────────

    def tell(self, kind: Kind, *rows: Mapping[str, Any], **options: Any) -> IngestReport:
        """Tell facts of a kind at the present moment."""
        report = ingest_rows(self.database, kind, rows, settings=self.settings, now=self.now, **options)
        assert not report.bad_rows, report.bad_rows
        return report

    def customer(self, name: str = "ann", **fields: Any) -> None:
        """Tell a customer who takes all mail and lives in UTC."""
        known = {"external_id": name, "email": f"{name}@example.test", "timezone": "UTC", "consent": "all"}
        self.tell("customers", known | fields)

    def event(self, name: str, customer: str = "ann", at: datetime | None = None, **fields: Any) -> None:
        """Tell an event; it happened now unless said otherwise."""
        self.tell(
            "events", {"event": name, "customer": customer, "at": (at or self.now).isoformat(), **fields}
        )

    def go_to(self, moment: datetime) -> None:
        """Let the clock go on to a moment."""
        drive(self.engine(), self.now, moment)
        self.now = moment

    def go_on(self, **stretch: float) -> None:
        """Let the clock go on by a stretch (`hours=5`)."""
        self.go_to(self.now + timedelta(**stretch))

    def sleep_to(self, moment: datetime) -> None:
        """Let time pass without the engine: an outage."""
        with self.database.write() as connection:
            meta.set_virtual_now(connection, moment)
        self.now = moment

    def pause(self, flow: str | None = None) -> None:
        """Pause a flow, or all."""
        with self.database.write() as connection:
            rails.pause(connection, flow, self.now)

    def resume(self, flow: str | None = None) -> None:
        """Let a flow go on, or all."""
        with self.database.write() as connection:
            rails.resume(connection, flow)

    def engine(self) -> Engine:
        """Return the engine as the daemon would open it now."""
        chance = random.Random(0)
        return Engine(
            self.settings,
            self.database,
            Exits(self.tray, None, self.tray.call),
            Worker("test", machine_now, chance),
        )

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def sent(self) -> list[tuple[str, str, str]]:
        """The mails that went out: moment (to the minute, UTC), customer, step."""
        return [
            (f"{mail.date:%m-%d %H:%M}", mail.metadata["customer"], mail.metadata["step"])
            for mail in self.tray.mails
        ]

    def steps(self, customer: str = "ann") -> list[str]:
        """The steps whose mails one customer got, in order."""
        return [mail.metadata["step"] for mail in self.tray.mails if mail.metadata["customer"] == customer]

    def reasons(self, *decisions: str) -> list[str]:
        """The reasons of decisions of these kinds, in order."""
        with self.database.read() as connection:
            query = select(journal.c.reason).where(journal.c.decision.in_(decisions)).order_by(journal.c.id)
            return [reason for reason in connection.scalars(query) if reason is not None]

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table, oldest first."""
        with self.database.read() as connection:
            return list(connection.execute(select(table).order_by(table.c.id)))

    def rows_of(self, column: Any) -> list[Any]:
        """All values of a column."""
        with self.database.read() as connection:
            return list(connection.scalars(select(column)))

    @property
    def inside(self) -> list[tuple[str, str, str | None]]:
        """Enrollments: flow, state and the reason for leaving."""
        return [(row.flow, row.state, row.left_reason) for row in self.rows(enrollments)]

    @property
    def ledger(self) -> list[tuple[str, str, str | None]]:
        """Messages: step, state, reason."""
        return [(row.step, row.state, row.reason) for row in self.rows(messages)]


@contextmanager
def world(root: Path, database: Database) -> Iterator[World]:
    """Give a world on a fresh, migrated database whose virtual clock stands at START."""
    (root / "flows").mkdir(parents=True)
    (root / "homing.toml").write_text(TOML, encoding="utf-8")
    with database.write() as connection:
        meta.set_virtual_now(connection, START)
    made = World(root, database, settings_module.load(root, {}))
    for name in ("letter", "other", "third"):
        made.write(
            f"templates/{name}.mjml",
            LETTER.format(subject=f"{name} for {{{{ customer.first_name or 'you' }}}}"),
        )
    yield made
