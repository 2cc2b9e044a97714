"""What the doctor says of pools."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert

from engine.runtime.doctor import examine
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import offer_codes, sources
from tests.unit.offers.till import NOW

OFFERS = (
    "ten: {percent: 10, pool: ten.txt, valid_for: 7d}\nfull: {percent: 5, pool: full.txt, valid_for: 7d}\n"
)


def test_pools_that_run_low_are_told(database: Database, tmp_path: Path) -> None:
    """One code of twelve left is a warning that names the offer and no code; a full pool is not told."""
    given = {"customer_id": 1, "message_id": 1, "issued_at": NOW}
    with database.write() as connection:
        row = {"path": "flows/offers.yaml", "content": OFFERS, "hash": "x", "applied_at": NOW}
        connection.execute(insert(sources), [{key: row[key] for key in row if key in sources.c}])
        connection.execute(
            insert(offer_codes), [{"offer": "ten", "code": f"T{n}", **given} for n in range(11)]
        )
        connection.execute(
            insert(offer_codes), [{"offer": "ten", "code": "T-last"}, {"offer": "full", "code": "F"}]
        )
    found = [
        finding
        for finding in examine(Settings(tmp_path), NOW, {}, database).findings
        if finding.code == "D506"
    ]
    assert [(finding.severity, finding.message) for finding in found] == [
        ("warning", "1 code is left for the offer ten")
    ]
