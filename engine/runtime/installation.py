"""Where this installation stands: on which clock its database lives, and whether its mails may leave the house.

`--now` puts a command at a virtual time. The first writing command with `--now` on an empty database marks it virtual
for ever; its clock never goes back, and a command without `--now` stands at its latest time. Writing with `--now` to a
database on real time is refused. Imports little: every command asks here before it knows what else it needs.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select

from engine.errors import UsageError
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import customers, flows, staged_facts

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
    """Return what tells this installation from a copy of its database: where that lives, to the file or server, and on which machine.

    Several machines of one installation, or containers that come and go, are called by one name: HOMING_INSTALLATION.
    """
    place = database.place() or str(settings.root.resolve())
    return hashlib.sha256(
        f"{environ.get(INSTALLATION) or socket.gethostname()}\x00{place}".encode()
    ).hexdigest()
