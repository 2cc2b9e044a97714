"""The mark of the daemon's beats, up to which mails are dispatched: seldom written at rest, and at once where a mail is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select, update

from engine import settings as settings_module
from engine.runtime.daemon import Daemon, Rhythm
from engine.store.database import Database, connect
from engine.store.marks import TICK, marked
from engine.store.tables import messages
from tests.integration.living_shop import make_project, prepare


def mark_of(database: Database) -> datetime | None:
    """Return how far the beats have come."""
    with database.read() as connection:
        return marked(connection, TICK)


def test_a_mail_that_waited_for_its_rate_does_not_wait_for_the_mark(sqlite_url: str, tmp_path: Path) -> None:
    """At rest the mark lags by seconds; a mail put off by less than that is due at the next beat all the same."""
    make_project(tmp_path)
    shop = prepare(tmp_path, sqlite_url, 3)
    database = connect(shop.url)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    now = start
    daemon = Daemon(settings_module.load(shop.root), database, lambda: now)
    assert Rhythm().mark > 3

    def beat(seconds: int) -> datetime | None:
        nonlocal now
        now = start + timedelta(seconds=seconds)
        daemon._renew()
        daemon._tick()
        return mark_of(database)

    assert beat(0) == start
    with database.write() as connection:
        assert connection.scalar(select(func.count()).select_from(messages)) == 3
        connection.execute(update(messages).values(try_at=start + timedelta(seconds=2)))
    assert beat(1) == start
    assert beat(2) == start + timedelta(seconds=2)
    assert beat(3) == start + timedelta(seconds=3)
    with database.write() as connection:
        connection.execute(update(messages).values(try_at=start + timedelta(hours=1)))
    assert beat(4) == start + timedelta(seconds=3)
    database.close()
