"""Whether the address that mails link to is answered, and by this installation.

Comes in: settings and the installation's mark. Goes out: findings. The mark is a keyed hash that `/healthz` of
`homing serve` shows: whoever answers with it reads this database. Addresses under `.test` and its reserved kin are asked
nothing: no customer could reach them either, and that is only worth a warning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from sqlalchemy import Connection

from engine.delivery.keepalive import KeepAlive, Limits, NoAnswer, NotSent
from engine.diagnostics import Finding
from engine.errors import HomingError
from engine.runtime import problems
from engine.settings import Settings
from engine.store import meta

RESERVED = (".test", ".example", ".invalid", ".localhost")
_PATIENCE = Limits(connect=5.0, answer=10.0, connections=1)


def installation(connection: Connection) -> str:
    """Return the mark by which this installation is recognised; says nothing about its secret."""
    known = meta.get(connection, meta.SECRET)
    return meta.keyed_hash(bytes.fromhex(known), "homing installation").hex() if known else ""


def findings(settings: Settings, mark: str) -> Iterator[Finding]:
    """Yield why links in mails would lead nowhere; asks the address once, over the network."""
    base = settings.link_base
    host = urlsplit(base).hostname or ""
    if host.endswith(RESERVED):
        yield problems.web_address_reserved(host)
        return
    reason = _why_not(base, mark)
    if reason is not None:
        yield problems.web_address_silent(reason)


def _why_not(base: str, mark: str) -> str | None:
    try:
        http = KeepAlive(base, _PATIENCE)
    except HomingError as error:
        return str(error)
    try:
        answer = http.request(
            "GET", f"{urlsplit(base).path.rstrip('/')}/healthz", {"Accept": "application/json"}
        )
    except (NotSent, NoAnswer) as error:
        return str(error)
    finally:
        http.close()
    if answer.status != 200:
        return f"it answers {answer.status} to /healthz"
    try:
        told = json.loads(answer.body)
    except ValueError:
        told = None
    if not isinstance(told, dict) or "homing" not in told:
        return "something else than `homing serve` answers there"
    return None if told["homing"] == mark else "a `homing serve` of another database answers there"
