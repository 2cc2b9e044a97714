"""Kills workers of a distributed installation: the same shop, its work hinted at through a real Redis.

    python -m tests.crash.sharing --url URL --folder DIR --provider smtp|sendgrid --kills N [--log FILE] [--seed S]

Each child leads and works: it hints at what is due, takes hints out of the queue and calls Celery's task with them, as
`homing worker` does. It is killed at any statement, commit and word to a provider or to the broker; what it had taken
out of the queue is lost, what it had not comes to the next one a second time. PostgreSQL only.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import update

from engine.runtime.distributed import Beater
from engine.runtime.distributed_broker import CeleryBroker
from engine.runtime.distributed_work import HintWorker
from engine.store.tables import leases
from engine.store.types import EPOCH
from tests.crash.fuse import Fuse
from tests.crash.plants import PLANTS
from tests.crash.sending import run_all
from tests.crash.shops import ENVIRON, NOW, OPEN, OUTCOMES, Shop, prepare
from tests.crash.stages import stage_at
from tests.servers.process import start_sendgrid, start_smtp
from tests.servers.redis import redis_server

MOST_ROUNDS = 12  # of hints and work, after which a child that still finds something is broken


@dataclass(slots=True)
class SharedShop(Shop):
    """The shop whose work goes through a broker."""

    broker_url: str = ""

    def run(self, now: datetime = NOW) -> None:
        """Hint at what is due at that moment and work on the hints, until there is nothing left."""
        broker = CeleryBroker(self.broker_url, "homing-crash")
        settings, database = self.engine.settings, self.engine.database
        beater = Beater(settings, database, lambda: now, broker, environ=ENVIRON)
        task = broker.task(HintWorker(settings, database, lambda: now, environ=ENVIRON))
        beater._renew()
        for _ in range(MOST_ROUNDS):
            beater._sent.clear()  # what a killed child had taken out of the queue need not be waited for
            beater._tick()
            told = list(_taken(broker))
            for keywords in told:
                task(**keywords)
            if not told:
                return

    def run_with(self, fuse: Fuse) -> None:
        """The same with a fuse laid; the leases of those who were killed have ended."""
        self._free_slices()
        fuse.lay(self.engine.database.engine)
        self.run()

    def finish(self) -> None:
        """Go on until nothing is open."""
        for hours in (0, 1, 2, 4, 8, 16, 32):  # a refusal for now may be met several times between kills
            self._free_slices()
            self.run(NOW + timedelta(hours=hours))
            if not self.states().keys() & set(OPEN):
                return

    def _free_slices(self) -> None:
        """Move the ends of slices' and leaders' leases, which are on the machine's clock, instead of waiting for them."""
        with self.engine.database.write() as connection:
            connection.execute(update(leases).values(until=EPOCH))


def _taken(broker: CeleryBroker) -> Iterator[dict[str, object]]:
    while (keywords := broker.take()) is not None:
        yield dict(keywords)


@contextmanager
def shared_shop(folder: Path, url: str, provider: str) -> Iterator[SharedShop]:
    """Prepare the shop, with a mail server and a Redis of its own."""
    start = start_smtp(folder) if provider == "smtp" else start_sendgrid(folder)
    (folder / "redis").mkdir()
    with start as server, redis_server(folder / "redis") as redis:
        plain = prepare(folder / "shop", url, provider, server)
        yield SharedShop(plain.root, provider, server, plain.engine, redis.url)


def main() -> None:
    """Run as a program of its own, so that what is forked is small."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--provider", choices=tuple(OUTCOMES), required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--plant", choices=tuple(PLANTS), help="a bug of ours that the suite must find")
    parser.add_argument("--most", type=int, help="go on to so many kills, until something broke")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    random.seed(given.seed)
    with shared_shop(given.folder, given.url, given.provider) as shop:
        shop.engine.database.close()
        if shop.engine.exits.real is not None:
            shop.engine.exits.real.close()
        stage = stage_at(given.url)
        stage.keep()
        if given.plant:
            PLANTS[given.plant]()
        tally = run_all(shop, stage, given.kills, given.seed, given.folder, given.log, given.most)
        stage.close()
    sys.stdout.write(json.dumps(asdict(tally)) + "\n")


if __name__ == "__main__":
    main()
