"""The engine of a program that runs for long: opened once, and anew where `homing live` was called since.

Comes in: settings, the database, the event that ends the program. Goes out: the engine as it holds now, for any thread
that asks; with the switch that heeds pauses and the pace of handing over, which outlive the engines.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from threading import Event, Lock

from sqlalchemy import Connection

from engine.delivery.claim import release_all
from engine.runtime.installation import effective_settings
from engine.runtime.leader import living_daemons
from engine.runtime.opening import open_engine
from engine.runtime.pace import Pace
from engine.runtime.passes import Engine
from engine.runtime.switch import Switch
from engine.settings import Settings
from engine.store.database import Database

log = logging.getLogger("homing.engine")


class KeptEngine:
    """An engine that stays; see the module."""

    def __init__(
        self, settings: Settings, database: Database, environ: Mapping[str, str], stop: Event
    ) -> None:
        self._settings, self._database, self._environ = settings, database, environ
        self._switch = Switch(database, stop)
        self._pace = Pace.of(settings.delivery, stop)
        self._opening = Lock()
        self._engine = self._open()

    @property
    def latest(self) -> Engine:
        """The engine as it was opened last."""
        return self._engine

    def current(self) -> Engine:
        """Return the engine, opened anew where `homing live` was called since."""
        mode = effective_settings(self._settings, self._database).delivery.mode
        with self._opening:
            if mode != self._engine.settings.delivery.mode:
                self._engine = self._open()
                log.info("mode", extra={"told": {"mode": mode}})
            return self._engine

    def share_pace(self, connection: Connection, now: datetime) -> None:
        """Take this program's part of the pace, with as many programs as are alive."""
        self._pace.share(living_daemons(connection, now))

    def give_back(self, connection: Connection) -> None:
        """Release what this program claimed and did not hand over."""
        release_all(connection, self._engine.worker.name)

    def close(self) -> None:
        """Close the ways out of the house."""
        for provider in (self._engine.exits.mailbox, self._engine.exits.real):
            if provider is not None:
                provider.close()

    def _open(self) -> Engine:
        return open_engine(
            self._settings, self._database, environ=self._environ, switch=self._switch, pace=self._pace
        )
