"""Opening a project: settings, database, clock and the ways out, ready for a command.

`--now` puts a command at a virtual time. The first writing command with `--now` on an empty database marks it virtual
for ever; its clock never goes back, and a command without `--now` stands at its latest time. Writing with `--now` to a
database on real time is refused.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select

from engine.clock import machine_now
from engine.delivery.dispatch import CLAIM, Exits, Worker
from engine.delivery.provider import make_provider
from engine.delivery.webhook import to_address, to_folder
from engine.errors import UsageError
from engine.flows.recommend_rules import rules_of
from engine.runtime.pace import Pace
from engine.runtime.passes import Engine
from engine.runtime.switch import Switch
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import customers, flows, staged_facts

MAILBOX = "mailbox"
LIVE_FINGERPRINT = "live_fingerprint"
INSTALLATION = "HOMING_INSTALLATION"


def place_clock(database: Database, asked: datetime | None, present: datetime, *, writing: bool) -> datetime:
    """Return the moment that a command works at, moving a virtual clock forward where it writes."""
    with database.read() as connection:
        standing = meta.virtual_now(connection)
        empty = asked is not None and standing is None and _is_empty(connection)
    if standing is None and asked is None:
        return present
    if standing is None:
        assert asked is not None
        if writing and not empty:
            raise UsageError(
                "this database lives on real time; --now can only be used with an empty or a virtual one"
            )
        if writing:
            with database.write() as connection:
                meta.set_virtual_now(connection, asked)
        return asked
    moment = max(standing, asked) if asked is not None else standing
    if writing and moment > standing:
        with database.write() as connection:
            meta.set_virtual_now(connection, moment)
    return moment


def _is_empty(connection: Connection) -> bool:
    return all(
        connection.execute(select(table).limit(1)).first() is None
        for table in (customers, flows, staged_facts)
    )


def effective_settings(settings: Settings, database: Database) -> Settings:
    """Return the settings as they hold for this database: a virtual one, or one that never went live, is a sandbox."""
    if settings.delivery.mode == "live" and why_sandbox(settings, database) is not None:
        return replace(settings, delivery=replace(settings.delivery, mode="sandbox"))
    return settings


def why_sandbox(settings: Settings, database: Database) -> str | None:
    """Return the plain reason why mails stay in the sandbox, or None where this installation is live."""
    if settings.delivery.mode != "live":
        return 'mode is "sandbox" in [delivery]'
    with database.read() as connection:
        virtual = meta.virtual_now(connection) is not None
        live_as = meta.get(connection, LIVE_FINGERPRINT)
    if virtual:
        return "the database stands on a virtual clock"
    if live_as is None:
        return "`homing live` was never called for this database"
    if live_as != fingerprint(settings, database):
        return "the database went live elsewhere and was copied or moved here; `homing live` makes this place the live one"
    return None


def on_virtual_clock(database: Database) -> bool:
    """Return whether the database stands on a virtual clock."""
    with database.read() as connection:
        return meta.virtual_now(connection) is not None


def fingerprint(settings: Settings, database: Database, environ: Mapping[str, str] = os.environ) -> str:
    """Return what tells this installation from a copy of its database: where it lives and on which machine.

    Several machines of one installation, or containers that come and go, are called by one name: HOMING_INSTALLATION.
    """
    place = (
        database.engine.url.render_as_string(hide_password=True)
        if not database.is_sqlite
        else str(settings.root.resolve())
    )
    return hashlib.sha256(
        f"{environ.get(INSTALLATION) or socket.gethostname()}\x00{place}".encode()
    ).hexdigest()


def open_exits(settings: Settings, environ: Mapping[str, str]) -> Exits:
    """Return the ways out of the house as the settings say."""
    root = settings.root
    mailbox = make_provider(MAILBOX, {}, environ=environ, project=root)
    real = None
    if settings.delivery.provider != MAILBOX:
        real = make_provider(
            settings.delivery.provider, settings.delivery.options, environ=environ, project=root
        )
    live = settings.delivery.mode == "live"
    call = to_address(settings.webhooks) if live else to_folder(root / MAILBOX)
    return Exits(mailbox, real, call, settings.delivery.allow, live)


def open_engine(
    settings: Settings,
    database: Database,
    *,
    environ: Mapping[str, str] = os.environ,
    chance: random.Random | None = None,
    switch: Switch | None = None,
    pace: Pace | None = None,
) -> Engine:
    """Return an engine that can tick: the settings as they hold for this database, and a worker with its own name.

    The worker heeds pauses and `[delivery] rate`; a daemon brings its own `switch` and `pace`, which know when it ends.
    """
    held = effective_settings(settings, database)
    rules_of(held)  # a rule that cannot be read stops the engine before a mail goes without it
    switch = switch or Switch(database)
    pace = pace or Pace.of(held.delivery)
    worker = Worker(
        own_name(),
        machine_now,
        chance or random.Random(secrets.randbits(64)),  # noqa: S311 - it spreads retries
        switch.may_go_on,
        pace.wait,
        switch.stopping,
        is_gone,
        pace.most_claimed if held.delivery.provider != MAILBOX else CLAIM,
        pace.delay,
    )
    return Engine(held, database, open_exits(held, environ), worker)


def own_name() -> str:
    """Return the name of this program among the workers: machine, process, and the space that its number counts in."""
    return f"{socket.gethostname()}:{os.getpid()}:{_process_space()}"


def is_gone(name: str) -> bool:
    """Return whether the program of that name ran on this machine and does not any more; False where nobody can say."""
    parts = name.split(":")
    if len(parts) < 3 or parts[0] != socket.gethostname() or parts[2] != _process_space() or parts[2] == "?":
        return False
    try:
        os.kill(int(parts[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _process_space() -> str:
    """Return what tells containers apart whose process numbers have nothing to do with each other."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "?"


def mailbox_of(settings: Settings) -> Path:
    """Return the folder of the local mailbox."""
    return settings.root / MAILBOX
