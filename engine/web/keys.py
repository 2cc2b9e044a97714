"""Write keys: what a shop proves with that facts are its own.

A key is 32 letters of chance, shown once and kept as a SHA-256 (chance needs no slow hash). Several may be good at once;
each has scopes and, for keys that stand in pages, the origins that may use it. A revoked key is refused within
`KNOWN_SECONDS`: that long a process remembers what it read.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from engine.clock import machine_seconds
from engine.diagnostics import did_you_mean
from engine.errors import UsageError
from engine.store.database import Database
from engine.store.tables import write_keys

SCOPES = ("write", "consent")  # facts; that customers agreed to mails
PREFIX = "hk_"
KNOWN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class WriteKey:
    """A key that is good: its name, what it may do, and from which pages."""

    name: str
    scopes: frozenset[str]
    origins: frozenset[str]


def create(
    connection: Connection, name: str, *, scopes: Sequence[str], origins: Sequence[str], now: datetime
) -> str:
    """Make a key and return it; raise UsageError where the name is taken."""
    if connection.execute(select(write_keys.c.id).where(write_keys.c.name == name)).first() is not None:
        raise UsageError(f'there is a key named "{name}" already; names are never used twice')
    for origin in origins:
        if not origin.startswith(("https://", "http://")) or origin.endswith("/") or origin.count("/") != 2:
            raise UsageError(f'"{origin}" is no origin such as https://shop.example')
    key = PREFIX + secrets.token_urlsafe(24)
    row = {
        "name": name, "hash": hashed(key), "scopes": list(scopes), "origins": list(origins), "created_at": now,
    }  # fmt: skip
    connection.execute(insert(write_keys), [row])
    return key


def hashed(key: str) -> bytes:
    """Return the form in which a key is kept."""
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def listed(connection: Connection) -> list[dict[str, Any]]:
    """Return every key that was ever made, without the keys themselves."""
    shown = ("name", "scopes", "origins", "created_at", "revoked_at")
    rows = connection.execute(select(*(write_keys.c[name] for name in shown)).order_by(write_keys.c.id))
    return [dict(row) for row in rows.mappings()]


def revoke(connection: Connection, name: str, now: datetime) -> None:
    """End a key; raise UsageError where there is none of that name."""
    names = list(connection.scalars(select(write_keys.c.name)))
    if name not in names:
        hint = did_you_mean(name, names) or "`homing keys list` shows them"
        raise UsageError(f'there is no key "{name}"; {hint}')
    ended = update(write_keys).where(write_keys.c.name == name, write_keys.c.revoked_at.is_(None))
    connection.execute(ended.values(revoked_at=now))


class KeyRing:
    """The good keys as this process knows them, read anew every two seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, WriteKey] = {}
        self._read_at = -KNOWN_SECONDS

    def is_fresh(self) -> bool:
        """Return whether a key can be found without asking the database."""
        return machine_seconds() - self._read_at < KNOWN_SECONDS

    def find(self, key: str) -> WriteKey | None:
        """Return the key, or None where it is not good; what is compared is a hash of it."""
        if not self.is_fresh():
            self._read()
        return self._known.get(hashed(key))

    def _read(self) -> None:
        with self._database.read() as connection:
            rows = connection.execute(select(write_keys).where(write_keys.c.revoked_at.is_(None))).all()
        self._known = {
            bytes(row.hash): WriteKey(row.name, frozenset(row.scopes), frozenset(row.origins)) for row in rows
        }
        self._read_at = machine_seconds()
