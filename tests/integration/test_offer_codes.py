"""Programs that give codes at the same time, some of which die in the middle of it."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from engine.flows.model import Offer
from engine.offers.issue import Wanted, issue
from engine.store.database import Database, connect
from engine.store.tables import customers, meta, offer_codes

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PROGRAMS, ROUNDS, BATCH, CODES = 4, 12, 5, 150
POOLED = Offer("pooled", "percent", "10", pool="codes.txt", once_per="message")
OWN = Offer("own", "percent", "10", pattern="OWN-########")
OFFERS = {offer.name: offer for offer in (POOLED, OWN)}


def give(url: str, program: int) -> None:
    """Give codes to message after message; every third transaction fails after its codes were given."""
    database, chance = connect(url), random.Random(program)
    for turn in range(ROUNDS):
        first = (program * ROUNDS + turn) * BATCH + 1
        wanted = [Wanted("pooled", chance.randint(1, 20), first + place, "UTC") for place in range(BATCH)]
        wanted += [
            Wanted("own", chance.randint(1, 20), 10_000 + first + place, "UTC") for place in range(BATCH)
        ]
        try:
            with database.write() as connection:
                write_down(connection, wanted)
                if turn % 3 == 2:
                    raise InterruptedError
        except InterruptedError:
            continue
    database.close()


def write_down(connection: Connection, wanted: list[Wanted]) -> None:
    """Give the codes, and keep in the same transaction what each message was told."""
    issued = issue(connection, wanted, OFFERS, NOW, b"k" * 32)
    told = [
        {"name": f"message {want.message_id}", "value": {"customer": want.customer_id, "offer": want.offer, "code": got.code}}
        for want, got in zip(wanted, issued, strict=True)
    ]  # fmt: skip
    connection.execute(insert(meta), told)


def test_no_code_is_given_twice_and_none_is_lost(database: Database, database_url: str) -> None:
    """Four programs draw on one pool and on one pattern: every message has the code that it was told, for itself alone."""
    with database.write() as connection:
        connection.execute(insert(customers), [{"id": who, "first_seen_at": NOW} for who in range(1, 21)])
        connection.execute(
            insert(offer_codes), [{"offer": "pooled", "code": f"C{number}"} for number in range(CODES)]
        )
    spawn = multiprocessing.get_context("spawn")
    programs = [spawn.Process(target=give, args=(database_url, number)) for number in range(PROGRAMS)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(120)
        assert program.exitcode == 0
    with database.read() as connection:
        rows = list(connection.execute(select(offer_codes)))
        told = [row.value for row in connection.execute(select(meta)) if row.name.startswith("message")]
    given = [row for row in rows if row.offer == "pooled" and row.issued_at is not None]
    free = [row for row in rows if row.offer == "pooled" and row.issued_at is None]
    drawn = Counter(message["code"] for message in told if message["offer"] == "pooled" and message["code"])
    assert len(given) + len(free) == CODES
    assert set(drawn.values()) == {1}
    assert set(drawn) == {row.code for row in given}
    assert len({row.message_id for row in given}) == len(given)
    # More is asked for than there is. A code that another program holds counts as gone, also when that program then
    # fails: so many at most are left over, and they are there for those who come after.
    assert PROGRAMS * ROUNDS * 2 // 3 * BATCH > CODES
    assert len(free) <= (PROGRAMS - 1) * BATCH
    with database.write() as connection:
        late = [Wanted("pooled", 1, 50_000 + place, "UTC") for place in range(len(free) + 1)]
        codes = [issued.code for issued in issue(connection, late, OFFERS, NOW, b"k" * 32)]
    assert sorted(code for code in codes if code) == sorted(row.code for row in free)
    assert codes[-1] is None
    own = {(message["customer"], message["code"]) for message in told if message["offer"] == "own"}
    assert (
        len(own)
        == len({customer for customer, _ in own})
        == len({row.code for row in rows if row.offer == "own"})
    )
