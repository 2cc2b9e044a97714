"""Pools: the codes of an offer's file wait in the database until a message takes them.

Comes in: the project's folder and its offers. Goes out: a row for each code that was not known yet. A code that left the
file is withdrawn where nobody has it; one that somebody has stays theirs. Applying the same file again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, delete, select

from engine.errors import OutsideError
from engine.flows.model import Offer
from engine.store.bulk import insert_rows
from engine.store.dialect import among
from engine.store.tables import offer_codes


def load_pools(connection: Connection, root: Path, offers: Mapping[str, Offer]) -> None:
    """Bring the pools of these offers in line with their files, in the caller's transaction."""
    for name, offer in sorted(offers.items()):
        if offer.pool is not None:
            _load(connection, name, codes_of(root / offer.pool))


def codes_of(path: Path) -> list[str]:
    """Return the codes of a file, one a line, each once; empty lines and what stands behind # are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OutsideError(f"the pool of codes {path.name} cannot be read") from error
    return list(dict.fromkeys(code for line in lines if (code := line.partition("#")[0].strip())))


def _load(connection: Connection, offer: str, codes: list[str]) -> None:
    table = offer_codes.c
    known: dict[str, tuple[int, bool]] = {}
    for row in connection.execute(select(table.id, table.code, table.issued_at).where(table.offer == offer)):
        known[row.code] = (row.id, row.issued_at is not None)
    insert_rows(
        connection, offer_codes, [{"offer": offer, "code": code} for code in codes if code not in known]
    )
    wanted = set(codes)
    gone = [which for code, (which, issued) in known.items() if not issued and code not in wanted]
    if gone:
        connection.execute(delete(offer_codes).where(among(connection, table.id, gone)))
