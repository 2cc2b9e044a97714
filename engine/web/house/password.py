"""The password of the house: one for an installation, kept as a slow hash in the database.

Comes in: a password. Goes out: whether it is the one. Promises: it is kept as scrypt (N 2^15, r 8, p 1, a salt of its
own), compared in constant time, and never logged; a new one ends every visit.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from sqlalchemy import Connection, delete

from engine.errors import UsageError
from engine.store import meta
from engine.store.tables import meta as meta_table

PASSWORD = "house_password"  # noqa: S105 - the name of the row, not a password
VISIT = "house_visit:"
SHORTEST, LONGEST = 12, 200
_N, _R, _P = 2**15, 8, 1
_MEMORY = 64 * 1024 * 1024


def set_password(connection: Connection, password: str) -> None:
    """Keep a new password and end every visit; raise UsageError where it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password of the house has {SHORTEST} to {LONGEST} characters")
    salt = secrets.token_bytes(16)
    kept = {"n": _N, "salt": _text(salt), "hash": _text(_slow(password, salt, _N))}
    meta.put(connection, PASSWORD, kept)
    end_visits(connection)


def take_password(connection: Connection) -> None:
    """Lock the house: no password opens it, and every visit ends."""
    meta.drop(connection, PASSWORD)
    end_visits(connection)


def end_visits(connection: Connection) -> None:
    """End every visit."""
    connection.execute(delete(meta_table).where(meta_table.c.name.startswith(VISIT, autoescape=True)))


def has_password(connection: Connection) -> bool:
    """Return whether the house can be opened at all."""
    return meta.get(connection, PASSWORD) is not None


def is_password(connection: Connection, password: str) -> bool:
    """Return whether this is the password; takes about a tenth of a second whatever the answer."""
    kept = meta.get(connection, PASSWORD) or {"n": _N, "salt": _text(b"\0" * 16), "hash": ""}
    found = _slow(password[:LONGEST], base64.b64decode(kept["salt"]), int(kept["n"]))
    return hmac.compare_digest(_text(found), kept["hash"])


def _slow(password: str, salt: bytes, n: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "replace"), salt=salt, n=n, r=_R, p=_P, maxmem=_MEMORY, dklen=32
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
