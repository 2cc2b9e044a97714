"""A shop of forty customers with three weeks of history and three flows, for plans and simulations.

The same facts can be told to a database on real time (as loaded history) and to a virtual one (each at its own time).
"""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine import settings as settings_module
from engine.deploy.simulate import Play
from engine.facts.fact import Kind
from engine.facts.ingest import ingest_rows
from engine.flows.load import load_project
from engine.render.library import read_folder
from engine.settings import Settings
from engine.store.database import Database, to_json
from engine.store.tables import metadata

START = datetime(2026, 3, 2, tzinfo=UTC)
END = START + timedelta(days=21)
NOW = END + timedelta(days=1)
SETTINGS = """
[shop]
name = "Kiyomi Tea"
url = "https://kiyomi.test"
timezone = "Europe/Berlin"
postal_address = "1 Tea Street, 10115 Berlin"
[sender]
email = "hello@kiyomi.test"
"""
FLOWS = {
    "cart": """
flow: cart
topic: reminders
priority: 80
trigger: {event: cart_updated, quiet_for: 4h}
re_entry: {per: cart, after: 2d}
exit_when: [{did: order_placed}]
steps:
  - send: note
  - wait: 20h
  - {send: note, id: again}
""",
    "thanks": """
flow: thanks
topic: reminders
priority: 60
trigger: {event: order_placed}
re_entry: {per: order}
enter_if: [{customer: {country: [DE, JP, US]}}]
steps:
  - wait: {until: "10:00", at_least: 12h}
  - {send: note, id: thank-you}
""",
    "lapse": """
flow: lapse
topic: offers
trigger: {lapsed: {event: order_placed, after: 5d}}
exit_when: [{did: order_placed}]
holdout: 20%
steps:
  - {send: note, id: come-back}
  - wait: 2d
  - {send: note, id: please}
""",
}
TEMPLATE = """---
subject: "Hello {{ customer.first_name or 'there' }}"
preheader: "Good to see you."
---
<mjml><mj-head><mj-title>{{ subject }}</mj-title></mj-head><mj-body><mj-section><mj-column>
<mj-text>Hello. <a href="{{ links.unsubscribe }}">Unsubscribe</a> {{ shop.postal_address }}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""
ZONES = (("DE", "Europe/Berlin"), ("JP", "Asia/Tokyo"), ("US", "America/New_York"), ("FR", "Europe/Paris"))
PEOPLE = 40


def make_project(root: Path) -> Settings:
    """Write the shop's project and return its settings."""
    for folder in ("flows", "templates"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "homing.toml").write_text(SETTINGS, encoding="utf-8")
    for name, text in FLOWS.items():
        (root / "flows" / f"{name}.yaml").write_text(text.lstrip(), encoding="utf-8")
    (root / "templates" / "note.mjml").write_text(TEMPLATE, encoding="utf-8")
    return settings_module.load(root)


def play_of(settings: Settings) -> Play:
    """Return what the folder plays."""
    return Play(load_project(settings.root, settings), dict(read_folder(settings.root / "templates")))


def facts() -> list[tuple[Kind, list[dict[str, Any]]]]:
    """Return the shop's facts by kind, always the same."""
    chance = random.Random(7)
    people: list[dict[str, Any]] = []
    orders: list[dict[str, Any]] = []
    carts: list[dict[str, Any]] = []
    for number in range(PEOPLE):
        country, zone = ZONES[number % 4]
        topics = [] if number % 9 == 0 else ["reminders"] if number % 5 == 0 else ["reminders", "offers"]
        told = {
            "external_id": f"c{number}",
            "email": f"c{number}@example.test",
            "country": country,
            "timezone": zone,
        }
        since = (START - timedelta(days=9)).isoformat()
        people.append(
            {**told, "updated_at": since, "created_at": since, "consent": topics, "consent_at": since}
        )
        for kind, most in ((orders, 3), (carts, 4)):
            for place in range(chance.randrange(most)):
                at = START + timedelta(minutes=chance.randrange(-5_000, 21 * 1440))
                lines = [{"sku": "T1", "quantity": 1, "price": 30}]
                if kind is orders:
                    kind.append(
                        {"order_id": f"o{number}-{place}", "customer": f"c{number}", "placed_at": at.isoformat(), "total": 30,
                         "lines": lines}
                    )  # fmt: skip
                else:
                    kind.append(
                        {"cart_id": f"k{number}-{place}", "customer": f"c{number}", "updated_at": at.isoformat(), "lines": lines}
                    )  # fmt: skip
    products = [{"sku": "T1", "title": "Tea", "price": 30}]
    return [("products", products), ("customers", people), ("orders", orders), ("carts", carts)]


def tell(database: Database, settings: Settings, now: datetime) -> None:
    """Let the facts be told at a moment."""
    for kind, rows in facts():
        report = ingest_rows(database, kind, rows, settings=settings, now=now)
        assert not report.bad_rows


def checksum(database: Database) -> str:
    """Return a hash of everything that a database holds."""
    digest = hashlib.sha256()
    with database.read() as connection:
        for table in metadata.sorted_tables:
            rows = sorted(
                to_json([repr(value) for value in row]) for row in connection.execute(select(table))
            )
            digest.update(f"{table.name}:{rows}".encode())
    return digest.hexdigest()
