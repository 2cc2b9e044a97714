"""A real server of the web side in a thread, over a database with one customer who got one mail.

`serving` starts uvicorn on a free port; `small_shop` writes a customer, an enrollment and an accepted message, as a flow
would have; `small_served` does both; `links_of` makes the links of that mail.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from sqlalchemy import insert, select

from engine import settings as settings_module
from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.facts.rights import record_consent
from engine.render.links import SignedLinks
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.tables import enrollments, events, flow_versions, messages
from engine.web.app import create_app
from engine.web.guard import Guard
from engine.web.serving import config
from engine.web.site import Site, open_site

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = """
[shop]
name = "Kiyomi Tea"
url = "https://kiyomi.test"
postal_address = "1 Tea Street, 10115 Berlin"
[sender]
email = "hello@kiyomi.test"
[web]
url = "https://mail.kiyomi.test"
"""
KEY = "7:hello:0"
PATIENCE = 120.0  # seconds for what takes a moment, where the machine has much else to do
ANN = {"external_id": "c1", "email": "ann@example.test", "first_name": "Ann", "locale": "en", "updated_at": "2026-01-01T00:00:00Z"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that listens, what it serves, and what its application holds."""

    url: str
    site: Site
    client: httpx.Client
    state: Any = None

    def write_key(self, name: str = "shop", **more: Any) -> str:
        """Make a write key."""
        from engine.web import keys  # noqa: PLC0415

        with self.site.database.write() as connection:
            return keys.create(connection, name, now=NOW, **({"scopes": ("write",), "origins": ()} | more))

    def events(self, name: str | None = None) -> list[Mapping[str, Any]]:
        """Return the events in the database, oldest first."""
        query = select(events).order_by(events.c.occurred_at, events.c.id)
        with self.site.database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [row for row in rows if name in (None, row["name"])]


def settings_at(root: Path, text: str = SETTINGS) -> Settings:
    """Write homing.toml and return the settings."""
    (root / "homing.toml").write_text(text, encoding="utf-8")
    return settings_module.load(root, {})


def small_shop(database: Database, settings: Settings) -> int:
    """Write a customer who agreed to both topics and got one mail about reminders; return the customer's number."""
    ingest_rows(database, "customers", [ANN], settings=settings, now=NOW)
    with database.write() as connection:
        customer_id = find_customer(connection, "c1")
        assert customer_id is not None
        record_consent(
            connection, customer_id, "all", "granted", now=NOW, at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        flow = {"hash": "v1", "flow": "hello", "behaviour_hash": "v1", "definition": {}, "created_at": NOW}
        connection.execute(insert(flow_versions), [flow])
        connection.execute(
            insert(enrollments),
            [
                {
                    "id": 7, "flow": "hello", "version": "v1", "customer_id": customer_id, "occurrence": "1", "entered_at": NOW,
                    "since_at": NOW, "sku": "SEN-100", "context": {}, "state": "completed", "anchor_at": NOW,
                }
            ],
        )  # fmt: skip
        connection.execute(
            insert(messages),
            [
                {
                    "key": KEY, "enrollment_id": 7, "flow": "hello", "version": "v1", "step": "hello", "customer_id": customer_id,
                    "kind": "marketing", "topic": "reminders", "priority": 0, "state": "accepted", "created_at": NOW,
                    "due_at": NOW, "try_at": NOW, "counted_at": NOW, "accepted_at": NOW, "content": {}, "provider": "sendgrid",
                }
            ],
        )  # fmt: skip
    return customer_id


def links_of(site: Site, customer_id: int, *, base: str = "", topic: str = "reminders") -> SignedLinks:
    """Return what makes the links of the mail that `small_shop` wrote."""
    with site.database.write() as connection:
        secret = meta.link_secrets(connection)[0]
    return SignedLinks(base or site.settings.link_base, secret, KEY, customer_id, topic)


@contextmanager
def serving(
    settings: Settings,
    database: Database,
    environ: Mapping[str, str] | None = None,
    *,
    watched: Any = None,
    **more: Any,
) -> Iterator[Serving]:
    """Serve a database on a free port until the block ends."""
    site = open_site(settings, database, environ=environ or {}, watched=watched)
    app = more.pop("app", None) or create_app(site)
    server = uvicorn.Server(config(site, "127.0.0.1", 0, app=app, **more))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started, "the server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            yield Serving(
                url, site, client, getattr(app.app, "state", None) if isinstance(app, Guard) else None
            )
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server did not end"


@contextmanager
def small_served(url: str, folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Serve a small shop in the migrated database at `url` until the block ends."""
    settings, database = settings_at(folder), connect(url)
    small_shop(database, settings)
    with serving(settings, database, environ) as served:
        yield served
    database.close()


def copied(template: Path, folder: Path) -> str:
    """Return the URL of a copy of a database, for tests that share one."""
    path = folder / "homing.db"
    path.write_bytes(template.read_bytes())
    return f"sqlite:///{path}"
