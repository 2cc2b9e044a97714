"""Limits that hold across processes: how often somebody may try a password, sign up, ask for their data, or tell calls.

Comes in: who asks (an address of the network, an email, a number, a write key). Goes out: how long to wait, 0 where it may go
on. The count stands in the database under a hash, so that `--workers` and several machines count together and no address is
kept. Each process counts for itself first: a flood does not become a flood of writing. Calls are counted where they are
written, so a process hears of the others' with its next transaction. What is a day old is forgotten, and so is the oldest
where more than `MOST` are known.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from engine.clock import machine_now, machine_seconds
from engine.store import meta
from engine.store.database import Database
from engine.store.dialect import insert_new
from engine.store.tables import askings
from engine.web.pressure import Pressure, leaked

MOST = 100_000
KEPT = timedelta(days=1)
_TIDY_SECONDS = 60.0
CALLS_A_SECOND, CALL_SECONDS = 20_000, 10.0  # of one write key


class Limit:
    """At most `count` of each asker in `seconds`, for all processes together."""

    def __init__(self, database: Database, name: str, count: float, seconds: float) -> None:
        self.name, self.count, self.seconds = name, count, seconds
        self._database, self._near = database, Pressure(count, seconds)

    def wait(self, who: str) -> float:
        """Count one asking and return 0, or return the seconds to wait, uncounted. Writes to the database."""
        near = self._near.wait(who, machine_seconds())
        if near:
            return near
        now = machine_now()
        return self._database.transact(lambda connection: self._counted(connection, who, now))

    def _counted(self, connection: Connection, who: str, now: datetime) -> float:
        key = meta.keyed_hash(meta.secret(connection), f"{self.name}\n{who}")
        row = _held(connection, key, now)
        level, over = leaked(row.level, (now - row.at).total_seconds(), self.count, self.seconds)
        _keep(connection, key, level if over > 0 else level + 1, max(now, row.at))
        return max(0.0, over * self.seconds / self.count)


class CallLimit:
    """At most `count` calls of each write key in `seconds`, for all processes together."""

    def __init__(self, count: float, seconds: float) -> None:
        self.count, self.seconds = count, seconds
        self._near = Pressure(count, seconds)

    def wait(self, key: str, calls: int) -> float:
        """Count calls of a key and return 0, or return the seconds to wait, uncounted; as far as this process knows."""
        return self._near.wait(key, machine_seconds(), calls)

    def note(self, connection: Connection, calls: Mapping[str, int], now: datetime) -> dict[str, float]:
        """Count what a transaction writes, by key; return the levels with what all others wrote, for `learn`."""
        levels = {}
        for key, number in sorted(calls.items()):
            hashed = hashlib.blake2b(f"calls\n{key}".encode(), digest_size=16).digest()
            row = _held(connection, hashed, now)
            level, _ = leaked(row.level, (now - row.at).total_seconds(), self.count, self.seconds)
            levels[key] = level + number
            _keep(connection, hashed, levels[key], max(now, row.at))
        return levels

    def learn(self, levels: Mapping[str, float]) -> None:
        """Take over what was counted for all processes, once it is committed."""
        for key, level in levels.items():
            self._near.lift(key, machine_seconds(), level)


def _held(connection: Connection, key: bytes, now: datetime) -> Any:
    """Return the level of a key and its moment, and hold them until the transaction ends."""
    insert_new(connection, askings, [{"key": key, "level": 0.0, "at": now}])
    query = select(askings.c.level, askings.c.at).where(askings.c.key == key)
    return connection.execute(query.with_for_update()).one()


def _keep(connection: Connection, key: bytes, level: float, at: datetime) -> None:
    connection.execute(update(askings).where(askings.c.key == key).values(level=level, at=at))


class Limits:
    """The limits of one application."""

    def __init__(self, database: Database) -> None:
        self._database, self._lock, self._tidied = database, Lock(), machine_seconds()
        self.login = Limit(database, "login", 5, 300.0)
        self.all_logins = Limit(database, "logins", 60, 300.0)
        self.form = Limit(database, "form", 20, 3_600.0)
        self.form_address = Limit(database, "form address", 2, 3_600.0)
        self.own_data = Limit(database, "own data", 3, 3_600.0)
        self.calls = CallLimit(CALLS_A_SECOND * CALL_SECONDS, CALL_SECONDS)

    def try_password(self, place: str) -> float:
        """Count a try at the login, by one address of the network and by all together."""
        self.tidy()
        return self.login.wait(place_of(place)) or self.all_logins.wait("all")

    def sign_up(self, place: str) -> float:
        """Count a form from one address of the network."""
        self.tidy()
        return self.form.wait(place_of(place))

    def tidy(self) -> None:
        """Forget what is a day old, and the oldest of too many; once a minute at most."""
        with self._lock:
            if machine_seconds() - self._tidied < _TIDY_SECONDS:
                return
            self._tidied = machine_seconds()
        with self._database.write() as connection:
            forget_old(connection, machine_now())


def forget_old(connection: Connection, now: datetime) -> None:
    """Forget who has not asked for a day, and the oldest where too many are known."""
    connection.execute(delete(askings).where(askings.c.at < now - KEPT))
    count = connection.scalar(select(func.count()).select_from(askings)) or 0
    if count > MOST:
        newest = select(askings.c.at).order_by(askings.c.at.desc()).offset(MOST // 2).limit(1)
        edge = connection.scalar(newest)
        connection.execute(delete(askings).where(askings.c.at <= edge))


def place_of(host: str) -> str:
    """Return whom an address of the network stands for: of IPv6 the network that one connection is given whole.

    >>> place_of("203.0.113.7"), place_of("2001:db8:1:2:3:4:5:6"), place_of("testclient")
    ('203.0.113.7', '2001:db8:1:2::', 'testclient')
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
    return str(address)
