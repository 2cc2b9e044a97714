"""Measures a replay of one year with the six starter flows, on a shop of any size, by as many processes as there are cores.

Comes in: a folder and a number of customers. Goes out: wall seconds, CPU seconds and the most memory of all processes
together (what they share counted once, read from /proc twice a second). By itself:
`python -m benchmarks.simulation --customers 100000 [--days 365] [--processes 2]`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

from benchmarks import shop
from engine import settings as settings_module
from engine.deploy.simulate import Play, Stretch, simulate, usual_beat
from engine.flows.load import load_project
from engine.project import init_project
from engine.render.library import read_folder
from engine.store.database import Database, connect
from engine.store.migrate import ensure_current

YEAR = 365
LOOK_EVERY = 0.5


def measure_simulation(folder: Path, customers: int, days: int = YEAR, processes: int | None = None) -> None:
    """Build the shop and replay its last days; print what it took."""
    init_project(folder / "shop")
    building = get_context("spawn").Process(target=_build, args=(folder, customers))  # its memory is not ours
    building.start()
    building.join()
    settings = settings_module.load(folder / "shop")
    database = _database(folder)
    play = Play(load_project(settings.root, settings), dict(read_folder(settings.root / "templates")))
    start, until = shop.NOW - timedelta(days=days), shop.NOW
    stretch = Stretch(start, until, replay=True, beat=usual_beat(database, start, until))
    memory = _Memory()
    wall, cpu = time.perf_counter(), _cpu()
    with memory:
        done = simulate(database, play, stretch, processes=processes)
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    mails = sum(done.tally.mails.values())
    beat = "every moment" if stretch.beat is None else f"every {stretch.beat}"
    print(f"simulate {days} days, {customers:,} customers, six flows, a stop {beat}: {mails:,} mails")
    print(
        f"  {wall:,.0f} s ({cpu:,.0f} s of CPU), {wall / days * 1000:,.0f} ms a day, "
        f"{cpu / max(1, mails) * 1000:.2f} ms of CPU a mail; {memory.most / 1e9:.2f} GB in all processes"
    )
    database.close()


def _database(folder: Path) -> Database:
    return connect(f"sqlite:///{(folder / 'simulated.db').resolve()}")  # each process opens it anew


def _build(folder: Path, customers: int) -> None:
    database = _database(folder)
    ensure_current(database)
    shop.build(database, customers)
    database.close()


class _Memory:
    """Watches how much memory this process and its children hold together."""

    def __init__(self) -> None:
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            self.most = max(self.most, sum(_held(process) for process in _family()))


def _family() -> Iterator[Path]:
    me = Path("/proc/self").resolve()
    yield me
    for children in me.glob("task/*/children"):
        yield from (Path("/proc") / number for number in children.read_text().split())


def _held(process: Path) -> int:
    """Return the bytes of a process, of what it shares its part; 0 where it has ended."""
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=YEAR)
    parser.add_argument("--processes", type=int, help="default: as many as there are cores")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="homing-bench-") as folder:
        measure_simulation(Path(folder), given.customers, given.days, given.processes)


if __name__ == "__main__":
    main()
