"""Pools: the codes of an offer's file wait in the database until a message takes them.

Comes in: the project's folder and its offers. Goes out: a row for each code that was not known yet. A code that left the
file is withdrawn where nobody has it; one that somebody has stays theirs. Applying the same file again changes nothing.
A code stands in one pool only: of two offers that name the same file, the one that comes first in the alphabet has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, delete, func, select

from engine.errors import OutsideError
from engine.flows.model import Offer
from engine.store.bulk import insert_rows
from engine.store.dialect import among
from engine.store.tables import offer_codes

POOLS_LOCK = 0x0FFF_0001  # of an advisory lock on PostgreSQL: one program at a time brings pools in line


@dataclass(frozen=True, slots=True)
class PoolLeft:
    """How an offer's pool stands: codes that wait to be given, and codes that were."""

    offer: str
    free: int
    given: int

    @property
    def runs_low(self) -> bool:
        """Whether fewer than a tenth of the pool is left, the empty pool included."""
        return self.free * 10 < self.free + self.given or not self.free


def pools_left(connection: Connection, offers: Mapping[str, Offer]) -> list[PoolLeft]:
    """Return how the pools of these offers stand, by name."""
    table = offer_codes.c
    names = sorted(name for name, offer in offers.items() if offer.pool is not None)
    counted = select(table.offer, func.count(), func.count(table.issued_at)).group_by(table.offer)
    rows = connection.execute(counted.where(among(connection, table.offer, names))) if names else ()
    found = {offer: (everything, given) for offer, everything, given in rows}
    return [
        PoolLeft(name, everything - given, given)
        for name in names
        for everything, given in [found.get(name, (0, 0))]
    ]


@dataclass(frozen=True, slots=True)
class PoolMoved:
    """What bringing an offer's pool in line changed: how many codes came in, and how many were withdrawn."""

    offer: str
    came: int
    left: int


def load_pools(connection: Connection, root: Path, offers: Mapping[str, Offer]) -> list[PoolMoved]:
    """Bring the pools of these offers in line with their files, in the caller's transaction; return what changed."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(POOLS_LOCK)))
    pools = {name for name, offer in offers.items() if offer.pool is not None}
    moved: list[PoolMoved] = []
    for name, offer in sorted(offers.items()):
        if offer.pool is not None:
            codes = codes_of(root / offer.pool)
            taken = _elsewhere(connection, codes, pools - {name})
            moved.append(_load(connection, name, [code for code in codes if code not in taken]))
    return [each for each in moved if each.came or each.left]


def _elsewhere(connection: Connection, codes: list[str], others: set[str]) -> set[str]:
    """Return the codes that stand in another offer's pool."""
    if not others:
        return set()
    table = offer_codes.c
    query = select(table.code).where(
        among(connection, table.offer, sorted(others)), among(connection, table.code, codes)
    )
    return set(connection.execute(query).scalars())


def codes_of(path: Path) -> list[str]:
    """Return the codes of a file, one a line, each once; empty lines and what stands behind # are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OutsideError(f"the pool of codes {path.name} cannot be read") from error
    return list(dict.fromkeys(code for line in lines if (code := line.partition("#")[0].strip())))


def _load(connection: Connection, offer: str, codes: list[str]) -> PoolMoved:
    table = offer_codes.c
    known: dict[str, tuple[int, bool]] = {}
    for row in connection.execute(select(table.id, table.code, table.issued_at).where(table.offer == offer)):
        known[row.code] = (row.id, row.issued_at is not None)
    new = [{"offer": offer, "code": code} for code in codes if code not in known]
    insert_rows(connection, offer_codes, new)
    wanted = set(codes)
    gone = [which for code, (which, issued) in known.items() if not issued and code not in wanted]
    left = 0
    if gone:
        # Another program may have given one of them away since it was read.
        unclaimed = table.issued_at.is_(None)
        left = connection.execute(
            delete(offer_codes).where(among(connection, table.id, gone), unclaimed)
        ).rowcount
    return PoolMoved(offer, len(new), left)
