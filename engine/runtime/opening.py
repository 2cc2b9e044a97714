"""Opening an engine: the settings as they hold for a database, the ways out of the house, and a worker with a name.

Comes in: settings and a database. Goes out: an `Engine` that can tick. Promises: no two workers have one name, and a
worker whose program is gone from this machine is known to be.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from engine.clock import machine_now
from engine.delivery.dispatch import CLAIM, Exits, Worker
from engine.delivery.provider import make_provider
from engine.delivery.webhook import to_address, to_folder
from engine.flows.recommend_rules import rules_of
from engine.runtime.installation import effective_settings
from engine.runtime.pace import Pace
from engine.runtime.passes import Engine
from engine.runtime.switch import Switch
from engine.settings import Settings
from engine.store.database import Database

MAILBOX = "mailbox"


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
