"""Measures a replay of one year with the six starter flows, on a shop of any size, by as many processes as there are cores.

Comes in: a folder and a number of customers. Goes out: wall seconds, CPU seconds and the most memory of all processes.
"""

from __future__ import annotations

import resource
import time
from datetime import timedelta
from pathlib import Path

from benchmarks import shop
from engine import settings as settings_module
from engine.deploy.simulate import Play, Stretch, simulate, usual_beat
from engine.flows.load import load_project
from engine.project import init_project
from engine.render.library import read_folder
from engine.store.database import connect
from engine.store.migrate import ensure_current

YEAR = timedelta(days=365)


def measure_simulation(folder: Path, customers: int) -> None:
    """Build the shop and replay its last year; print what it took."""
    init_project(folder / "shop")
    settings = settings_module.load(folder / "shop")
    database = connect(f"sqlite:///{(folder / 'simulated.db').resolve()}")  # each process opens it anew
    ensure_current(database)
    shop.build(database, customers)
    play = Play(load_project(settings.root, settings), dict(read_folder(settings.root / "templates")))
    start, until = shop.NOW - YEAR, shop.NOW
    stretch = Stretch(start, until, replay=True, beat=usual_beat(database, start, until))
    wall, cpu = time.perf_counter(), _cpu()
    done = simulate(database, play, stretch)
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    most = (
        sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        / 1e6
    )
    mails = sum(done.tally.mails.values())
    beat = "every moment" if stretch.beat is None else f"every {stretch.beat}"
    print(f"simulate a year, {customers:,} customers, six flows, a stop {beat}: {mails:,} mails")
    print(
        f"  {wall:,.0f} s ({cpu:,.0f} s of CPU), {wall / 365 * 1000:,.0f} ms a day; {most:.2f} GB in this and the largest other process"
    )
    database.close()


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
