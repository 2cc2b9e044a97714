"""Which facts were told before: the same fact again changes nothing, and costs one look-up.

For each key a row holds hashes of the contents of its newest reading. A fact with a time of its own is known once and
for all; one without is compared with the newest reading only, so that a field which went from A to B can go back to A
although A was told before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from engine.facts.fact import Fact
from engine.store.bulk import upsert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import fact_digests

_SIZE = 8
MOST_CONTENTS = 32

_TOLD = Prepared(select(fact_digests).where(within(fact_digests.c.key, "keys")))


class Digests:
    """The digests of one chunk's facts; `write` keeps what was added."""

    def __init__(self, connection: Connection, facts: Sequence[Fact], now: datetime) -> None:
        self.connection, self.now = connection, now
        self._keys = {id(fact): _hash(f"{fact.kind}\x1f{fact.key}") for fact in facts}
        self._stored: dict[int, tuple[datetime, bytes]] = {}
        if facts:
            found = _TOLD.rows(connection, keys=sorted(self._numbers()))
            self._stored = {row.key: (row.told_at, row.contents) for row in found}
        self._changed: set[int] = set()

    def _numbers(self) -> set[int]:
        return {int.from_bytes(key, signed=True) for key in self._keys.values()}

    def is_known(self, fact: Fact) -> bool:
        """Return whether the fact was told before, and remember it."""
        key, told = int.from_bytes(self._keys[id(fact)], signed=True), _hash(fact.content)
        told_at, contents = self._stored.get(key, (self.now, b""))
        known = any(contents[start : start + _SIZE] == told for start in range(0, len(contents), _SIZE))
        if known:
            return True
        if told_at != self.now and not is_dated(fact):
            contents = b""
        self._stored[key] = (self.now, (contents + told)[-_SIZE * MOST_CONTENTS :])
        self._changed.add(key)
        return False

    def write(self) -> None:
        """Keep the digests of the facts that were not known."""
        rows = [
            {"key": key, "told_at": self._stored[key][0], "contents": self._stored[key][1]}
            for key in sorted(self._changed)
        ]
        upsert_rows(self.connection, fact_digests, rows)


def is_dated(fact: Fact) -> bool:
    """Return whether the fact says when it was true; an order's `placed_at` does not say that of its other fields."""
    return "status_at" in fact.document if fact.kind == "orders" else fact.at is not None


def _hash(words: str) -> bytes:
    return hashlib.blake2b(words.encode(), digest_size=_SIZE).digest()
