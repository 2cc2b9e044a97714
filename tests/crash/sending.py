"""Kills the engine while it sends: at every step of a run, in forks of one prepared process.

    python -m tests.crash.sending --url URL --folder DIR --provider smtp|sendgrid --kills N [--log FILE] [--seed S]
    python -m tests.crash.sending --url URL --folder DIR --provider smtp|sendgrid --zombies N
    python -m tests.crash.sending --url URL --folder DIR --provider smtp|sendgrid --full N      (SQLite)

A run puts the prepared state back, forks a child that is killed at a chosen step, forks further ones that are killed at
others, and a last one that finishes; then everything is counted outside and inside. With `--log` each run is written
down, and a run that stands there already is not done again. Prints one JSON line: runs, kills, what did not hold.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

from sqlalchemy import Connection, event, select
from sqlalchemy.exc import OperationalError

from engine.store.tables import messages
from tests.crash.fuse import Fuse, forked, in_child
from tests.crash.plants import PLANTS
from tests.crash.shops import GROUP, LATE, OUTCOMES, Shop, hold, prepare
from tests.crash.stages import Stage, stage_at
from tests.servers.process import start_sendgrid, start_smtp

KILLS_IN_A_RUN = 3
SOON = 80  # the steps within which those that follow are killed
GOLDEN = (5**0.5 - 1) / 2  # whose multiples, without their whole parts, lie as evenly as can be
SKIP = 4  # mails that go well before one meets its outcome
PAGE, ANY_PAGES = 4096, 1_073_741_823


@dataclass(slots=True)
class Tally:
    """What the suite did so far."""

    runs: int = 0
    kills: int = 0
    after_an_acceptance: int = 0
    broken: list[str] = field(default_factory=list)


def killed(shop: Shop, at: int) -> bool:
    """Let a child run until its step `at`; return whether it got that far."""
    status = in_child(partial(shop.run_with, Fuse(at)))
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    return False


def steps_of(shop: Shop, stage: Stage, outcome: str, folder: Path) -> list[str]:
    """Return the steps of an undisturbed run with this outcome."""
    told = folder / "steps.json"

    def work() -> None:
        fuse = Fuse(None)
        shop.run_with(fuse)
        told.write_text(json.dumps(fuse.steps), encoding="utf-8")

    stage.restore()
    shop.begin(outcome, SKIP)
    assert in_child(work) == 0
    steps: list[str] = json.loads(told.read_text(encoding="utf-8"))
    return steps


def one_run(shop: Shop, stage: Stage, outcome: str, moments: list[int]) -> tuple[int, bool, list[str]]:
    """Kill at these steps, one child after the other, and finish; return kills, whether mail had left, what broke."""
    stage.restore()
    since = shop.begin(outcome, SKIP)
    kills, accepted = 0, False
    for moment in moments:
        kills += killed(shop, moment)
        accepted = shop.server.ledger.stat().st_size > since
    if in_child(shop.finish) != 0:
        return kills, accepted, ["the last child failed"]
    told = settled(shop, since)
    broken = hold(shop, told, kills * GROUP, LATE + (1 if outcome != "accepted" else 0))
    shop.engine.database.close()
    return kills, accepted, broken


def settled(shop: Shop, since: int) -> Counter[str]:
    """Return what arrived, once a server that still reads what a killed child had sent is done."""
    while True:
        size = shop.server.ledger.stat().st_size
        time.sleep(0.01)
        if shop.server.ledger.stat().st_size == size:
            return shop.arrived(since)


def plan(steps: dict[str, int], kills: int, chance: random.Random) -> Iterator[tuple[str, list[int]]]:
    """Yield runs without end: an outcome, the step to be killed at first, and soon ones for those after.

    The first kills are spread over all steps, one in each stretch of the same length and each time elsewhere in it: there may
    be as many stretches as outcomes, which must not all be killed at their beginnings. Further ones are anywhere: another
    round beside the first would only meet the neighbours of steps that showed nothing.
    """
    every = [(outcome, at) for outcome, last in steps.items() for at in range(1, last + 1)]
    stride = max(1.0, len(every) * KILLS_IN_A_RUN / kills)
    for number in itertools.count():
        place = (number + (number + 0.5) * GOLDEN % 1) * stride
        outcome, at = every[int(place)] if place < len(every) else chance.choice(every)
        yield outcome, [at, *(chance.randint(1, SOON) for _ in range(KILLS_IN_A_RUN - 1))]


def run_all(
    shop: Shop, stage: Stage, kills: int, seed: int, folder: Path, log: Path | None, most: int | None = None
) -> Tally:
    """Do what `plan` says, leaving out what the log has; with `most` go on to so many kills, but only until something broke."""
    steps = {outcome: len(steps_of(shop, stage, outcome, folder)) for outcome in OUTCOMES[shop.provider]}
    tally = Tally()
    done = _done(log)
    for number, (outcome, moments) in enumerate(plan(steps, kills, random.Random(f"{seed} {shop.provider}"))):
        told = done.get(number)
        if told is None:
            count, accepted, broken = one_run(shop, stage, outcome, moments)
            told = {
                "number": number,
                "run": [outcome, moments],
                "kills": count,
                "accepted": accepted,
                "broken": broken,
            }
            if log is not None:
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(told) + "\n")
        tally.runs += 1
        tally.kills += told["kills"]
        tally.after_an_acceptance += told["kills"] if told["accepted"] else 0
        tally.broken += [f"{told['run']}: {each}" for each in told["broken"]]
        if tally.kills >= kills if most is None else tally.broken or tally.kills >= most:
            break
    return tally


def _done(log: Path | None) -> dict[int, dict[str, Any]]:
    if log is None or not log.exists():
        return {}
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {line["number"]: line for line in lines}


# ── zombies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def as_zombie(shop: Shop, stage: Stage, at: int) -> tuple[bool, list[str]]:
    """Stop a child at this step, let another one take over and finish, and wake it; return if it stopped, and what broke."""
    stage.restore()
    since = shop.begin("accepted", 0)
    child = forked(partial(shop.run_with, Fuse(at, signal.SIGSTOP)))
    _, status = os.waitpid(child, os.WUNTRACED)
    stopped = os.WIFSTOPPED(status)
    broken = [] if in_child(partial(_take_over, shop)) == 0 else ["the one that took over failed"]
    before = in_doubt(shop)
    if stopped:
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)
    after = in_doubt(shop)
    if before != after:
        broken.append(f"a late word was heard: {len(before)} in doubt became {len(after)}")
    broken += hold(shop, settled(shop, since), GROUP if stopped else 0, LATE)
    shop.engine.database.close()
    return stopped, broken


def _take_over(shop: Shop) -> None:
    shop.let_leases_end()
    shop.finish()


def in_doubt(shop: Shop) -> set[int]:
    """Return the messages that are unknown."""
    with shop.engine.database.read() as connection:
        found = set(connection.scalars(select(messages.c.id).where(messages.c.state == "unknown")))
    shop.engine.database.close()
    return found


def all_zombies(shop: Shop, stage: Stage, count: int, folder: Path) -> Tally:
    """Stop so many children, evenly over the steps at which no transaction is open: with one open nobody could take over."""
    steps = steps_of(shop, stage, "accepted", folder)
    first = next(number for number, step in enumerate(steps, 1) if "sendall" in step)
    places = [n for n, step in enumerate(steps, 1) if n > first and "in a transaction" not in step]
    tally = Tally()
    for number in range(count):
        at = places[int(number * len(places) / count) % len(places)]
        stopped, broken = as_zombie(shop, stage, at)
        tally.runs += 1
        tally.kills += stopped
        tally.after_an_acceptance += stopped
        tally.broken += [f"stopped at {at}: {each}" for each in broken]
    return tally


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


def on_a_full_disk(
    shop: Shop, stage: Stage, fill: Callable[[Shop], Callable[[], object]]
) -> tuple[bool, list[str]]:
    """Let the disk be full for a second, and go on in the same process; return if it hurt, and what broke."""
    stage.restore()
    since = shop.begin("accepted", 0)
    hurt = shop.root / "hurt"
    hurt.unlink(missing_ok=True)

    def work() -> None:
        later = Timer(1.0, fill(shop))
        later.start()
        try:
            shop.run()
        except OperationalError:
            hurt.touch()
        later.join()
        shop.let_leases_end()
        shop.finish()

    broken = [] if in_child(work) == 0 else ["it did not go on"]
    broken += hold(shop, settled(shop, since), GROUP, LATE)
    shop.engine.database.close()
    return hurt.exists(), broken


def no_larger_file(room: int, _shop: Shop) -> Callable[[], object]:
    """Let no file grow beyond so many bytes: the log of SQLite grows with everything that is written."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def no_more_pages(room: int, shop: Shop) -> Callable[[], object]:
    """Let the database itself have only so many pages more than it has."""
    pool = shop.engine.database.engine
    most = [Path(pool.url.database or "").stat().st_size // PAGE + room]

    def limit(connection: Connection) -> None:
        connection.connection.cursor().execute(f"PRAGMA max_page_count={most[0]}").close()

    event.listen(pool, "begin", limit)
    return partial(most.__setitem__, 0, ANY_PAGES)


def all_full(shop: Shop, stage: Stage, count: int) -> Tally:
    """Fill the disk at so many moments of a run, by files that may not grow and by pages that are not given in turn."""
    tally = Tally()
    for number in range(count):
        files = partial(no_larger_file, PAGE * (4 + number * 120 // count))
        pages = partial(no_more_pages, number * 24 // count)
        hurt, broken = on_a_full_disk(shop, stage, pages if number % 2 else files)
        tally.runs += 1
        tally.kills += hurt
        tally.broken += [f"disk full, number {number}: {each}" for each in broken]
    return tally


def main() -> None:
    """Run as a program of its own, so that what is forked is small."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--provider", choices=tuple(OUTCOMES), required=True)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--zombies", type=int, default=0)
    parser.add_argument("--full", type=int, default=0)
    parser.add_argument("--plant", choices=tuple(PLANTS), help="a bug of ours that the suite must find")
    parser.add_argument("--most", type=int, help="go on to so many kills, until something broke")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    start = start_smtp(given.folder) if given.provider == "smtp" else start_sendgrid(given.folder)
    with start as server:
        shop = prepare(given.folder / "shop", given.url, given.provider, server)
        shop.engine.database.close()
        if shop.engine.exits.real is not None:
            shop.engine.exits.real.close()
        stage = stage_at(given.url)
        stage.keep()
        if given.plant:
            PLANTS[given.plant]()
        if given.zombies:
            tally = all_zombies(shop, stage, given.zombies, given.folder)
        elif given.full:
            tally = all_full(shop, stage, given.full)
        else:
            tally = run_all(shop, stage, given.kills, given.seed, given.folder, given.log, given.most)
        stage.close()
    sys.stdout.write(json.dumps(asdict(tally)) + "\n")


if __name__ == "__main__":
    main()
