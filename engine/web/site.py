"""What every page and every endpoint of one running server knows.

Comes in: settings, a database, the environment. Goes out: a `Site`, made once and shared by all requests; it holds no
request's state. The time of a request is the machine's, or where a virtual database's clock stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.clock import SystemClock
from engine.delivery.options import Options
from engine.runtime.installation import effective_settings, place_clock
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database


@dataclass(frozen=True, slots=True)
class Site:
    """One running server: what it serves, from where, and what the environment tells it."""

    settings: Settings
    database: Database
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    present: Callable[[], datetime] = SystemClock().now
    virtual: bool = False
    watched: Callable[[], Mapping[str, Any]] | None = (
        None  # what the folder's files are now; of `serve --dev` only
    )

    def now(self) -> datetime:
        """Return the moment at which a request is answered."""
        present = self.present()
        return place_clock(self.database, None, present, writing=False) if self.virtual else present

    def held_settings(self) -> Settings:
        """Return the settings as they hold for this database now: `homing live` may have been called since the start."""
        return effective_settings(self.settings, self.database)

    def secret(self, name: str) -> str:
        """Return a secret of the environment, or of the file that `NAME_FILE` names; empty where there is none."""
        return Options("web", {}, environ=self.environ, project=self.settings.root).secret(name).value


def open_site(
    settings: Settings,
    database: Database,
    *,
    environ: Mapping[str, str] = os.environ,
    watched: Callable[[], Mapping[str, Any]] | None = None,
) -> Site:
    """Return the site for a database; the installation's secret is made where there is none yet."""
    with database.write() as connection:
        meta.secret(connection)
        virtual = meta.virtual_now(connection) is not None
    return Site(settings, database, environ, virtual=virtual, watched=watched)
