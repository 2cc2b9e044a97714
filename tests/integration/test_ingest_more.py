"""What is odd is told, how low is low is the flow's to say, and transactions that meet give way and try again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from engine.facts.fact import Kind
from engine.facts.ingest import IngestReport, ingest_file, ingest_rows
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import customers, events, flow_versions, flows, product_changes

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FLOW = {
    "flow": "low",
    "trigger": {"product": "low_stock", "below": 50},
    "steps": [{"send": "low"}],
    "topic": "offers",
}


def tell(database: Database, kind: Kind, *rows: Mapping[str, Any]) -> IngestReport:
    """Take rows in."""
    return ingest_rows(database, kind, rows, settings=Settings(Path()), now=NOW)


def test_a_slip_of_the_hand_is_told(database: Database, tmp_path: Path) -> None:
    """A column that is nearly a field is kept as a property, and the summary says what it looks like; others are silent."""
    file = tmp_path / "customers.csv"
    file.write_text(
        "external_id,emial,favourite_tea,properties.emails\nc1,a@x.test,sencha,2\nc2,b@x.test,oolong,3\n"
    )
    report = ingest_file(database, file, settings=Settings(tmp_path), now=NOW)
    assert report.warnings == ("2 facts: `emial` looks like `email`: kept as a property",)
    with database.read() as connection:
        found = connection.execute(
            select(customers.c.email, customers.c.properties).order_by(customers.c.id)
        ).all()
    assert found[0] == (None, {"emial": "a@x.test", "favourite_tea": "sencha", "emails": 2})


def test_how_low_is_low_is_the_flows_to_say(database: Database) -> None:
    """A fall below the `below: N` of an active flow is a change for any N; other falls above 20 are none."""
    with database.write() as connection:
        connection.execute(
            flow_versions.insert().values(
                hash="v1", flow="low", behaviour_hash="b", definition=FLOW, created_at=NOW
            )
        )
        connection.execute(
            flows.insert().values(flow="low", version="v1", active=True, applied_at=NOW, version_at=NOW)
        )
    for day, stock in enumerate((90, 60, 45, 40, 18), 1):
        tell(database, "products", {"sku": "T1", "stock": stock, "updated_at": f"2026-02-{day:02}T00:00:00Z"})
    with database.read() as connection:
        found = connection.execute(select(product_changes.c.old_stock, product_changes.c.new_stock)).all()
    assert [tuple(row) for row in found] == [(60, 45), (40, 18)]


def test_who_gives_way_tries_again(database: Database) -> None:
    """Two transactions that want the same rows in opposite order both come through; neither error reaches anybody."""
    tell(database, "customers", {"external_id": "a"}, {"external_id": "b"})
    both, failures = Barrier(2), list[Exception]()

    def touch(order: tuple[str, str]) -> None:
        met = False

        def work(connection: Connection) -> None:
            nonlocal met
            for name in order:
                connection.execute(update(customers).where(customers.c.external_id == name).values(points=1))
                if not met and not database.is_sqlite:
                    met = True
                    both.wait(60)

        try:
            database.transact(work)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [Thread(target=touch, args=(order,)) for order in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []


@pytest.mark.parametrize("when", [{}, {"at": "2031-01-01T00:00:00Z"}], ids=["no moment", "a moment to come"])
@pytest.mark.parametrize("id_", [{}, {"id": "e1"}], ids=["no id", "an id"])
def test_an_event_without_a_moment_keeps_its_first(
    database: Database, when: dict[str, str], id_: dict[str, str]
) -> None:
    """Read again a day later it changes nothing: not when it happened, nor when its customer was last active."""
    row = {"event": "viewed", "customer": "c1", "sku": "T1", **when, **id_}
    tell(database, "events", row)
    report = ingest_rows(database, "events", [row], settings=Settings(Path()), now=NOW + timedelta(days=1))
    assert (report.new, report.unchanged) == (0, 1)
    with database.read() as connection:
        ((moment, properties),) = connection.execute(
            select(events.c.occurred_at, events.c.properties).where(events.c.name == "viewed")
        )
        active = connection.scalar(select(customers.c.last_activity_at))
    assert moment == active == NOW
    assert properties["at"] == "2026-03-01T12:00:00Z"


def test_a_fact_of_our_own_that_others_tell_is_warned_of(database: Database) -> None:
    """A file may bring the mails of another system, but nobody should start our flows with them unawares."""
    report = tell(database, "events", {"event": "mail_sent", "customer": "c1", "flow": "welcome"})
    assert report.new == 1
    assert any("`mail_sent` is a fact that Homing tells itself" in each for each in report.warnings)
