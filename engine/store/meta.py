"""Small facts about this database: is it virtual, where does its clock stand, its secret, its fingerprint.

All in the table `meta`, one row a name. The secret is made once and keys the hashes of erased addresses and the tokens
in customers' links; it never leaves the database. Reading is cheap; writing happens in the caller's transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from engine.store.bulk import upsert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import meta

VIRTUAL_CLOCK = "virtual_clock"
SECRET = "secret"  # noqa: S105 - the name of the row, not a secret
LINK_SECRETS = "link_secrets"  # newest first
MAILS_FILLED = "mails_filled"  # share of a daemon's mails that were made from a structure known before

_DROP = Prepared(delete(meta).where(meta.c.name == bindparam("name")))
_SEVERAL = Prepared(select(meta.c.name, meta.c.value).where(within(meta.c.name, "names")))


def get(connection: Connection, name: str, default: Any = None) -> Any:
    """Return the value of that name, or the default."""
    row = _SEVERAL.first(connection, names=[name])
    return default if row is None else row.value


def several(connection: Connection, names: Sequence[str]) -> dict[str, Any]:
    """Return the values of those names that are set."""
    return dict(_SEVERAL.rows(connection, names=names))


def put(connection: Connection, name: str, value: Any) -> None:
    """Set the value of that name."""
    upsert_rows(connection, meta, [{"name": name, "value": value}])


def drop(connection: Connection, name: str) -> None:
    """Forget the value of that name."""
    _DROP.run(connection, name=name)


def virtual_now(connection: Connection) -> datetime | None:
    """Return where the virtual clock of this database stands, or None for a database on real time."""
    value = get(connection, VIRTUAL_CLOCK)
    return datetime.fromisoformat(value) if value else None


def set_virtual_now(connection: Connection, moment: datetime) -> None:
    """Move the virtual clock; it never goes back."""
    standing = virtual_now(connection)
    if standing is None or moment > standing:
        put(connection, VIRTUAL_CLOCK, moment.isoformat())


def secret(connection: Connection) -> bytes:
    """Return the installation's secret, making it on first use (needs a write transaction then)."""
    value = get(connection, SECRET)
    if value is None:
        value = secrets.token_hex(32)
        put(connection, SECRET, value)
    return bytes.fromhex(value)


def signing_secret(known: Mapping[str, Any]) -> bytes:
    """Return the secret that signs links in mails, from what `several` gave for SECRET and LINK_SECRETS."""
    newer = known.get(LINK_SECRETS)
    return bytes.fromhex(newer[0] if newer else known.get(SECRET) or "")


def link_secrets(connection: Connection) -> list[bytes]:
    """Return every secret by which a link in a mail may be signed, newest first: none is ever forgotten."""
    known = several(connection, (SECRET, LINK_SECRETS))
    return [bytes.fromhex(value) for value in (*known.get(LINK_SECRETS, ()), known.get(SECRET)) if value]


def rotate_link_secret(connection: Connection) -> None:
    """Sign links with a new secret from now on; those already sent stay good."""
    secret(connection)
    put(connection, LINK_SECRETS, [secrets.token_hex(32), *get(connection, LINK_SECRETS, [])])


def keyed_hash(key: bytes, value: str) -> bytes:
    """Return the keyed hash under which an address or id is remembered after erasure (16 bytes)."""
    return hmac.new(key, value.strip().lower().encode(), hashlib.sha256).digest()[:16]
