"""Running seeds: one, or a range on all processors; a failing one is made small and told as a command."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click

from engine.store.tables import metadata
from tests.simulation.house import DAYS, EVERYONE, House, Plan, Prepared, prepare
from tests.simulation.planted import BUGS, planted
from tests.simulation.shop import START
from tests.simulation.watch import SET_ASIDE, Violation

assert metadata.tables  # loaded before processes are forked
FAULTS = ("kill", "delay", "fail", "switch", "pause", "skew")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one seed; `promise` is what was broken."""

    plan: Plan
    promise: str | None
    told: str | None
    mails: int
    kills: int
    points: int
    seconds: float


def play(plan: Plan, prepared: Prepared, bug: str | None = None) -> Result:
    """Play one plan, with a bug planted if one is named."""
    started = time.process_time()
    with planted(bug):
        house = House(plan, prepared)
        broken: Violation | None = None
        try:
            house.run()
        except Violation as violation:
            broken = violation
        finally:
            house.close()
    return Result(
        plan, broken.promise if broken else None, str(broken) if broken else None,
        sum(house.provider.accepted.values()), house.scheduler.kills, house.scheduler.points,
        time.process_time() - started,
    )  # fmt: skip


def shrink(result: Result, prepared: Prepared, bug: str | None = None) -> Result:
    """Return the smallest plan found that breaks the same promise: fewer faults, days and customers."""
    best = result
    for fault in FAULTS:
        best = _smaller(best, replace(best.plan, without=best.plan.without | {fault}), prepared, bug)
    days = best.plan.days // 2
    while days >= 1:
        tried = _smaller(best, replace(best.plan, days=days), prepared, bug)
        if tried is best:
            break
        best, days = tried, days // 2
    size = max(1, len(best.plan.customers) // 2)
    while size >= 1:
        names = best.plan.customers
        for start in range(0, len(names), size):
            rest = names[:start] + names[start + size :]
            if rest:
                best = _smaller(best, replace(best.plan, customers=rest), prepared, bug)
        size //= 2
    return best


def _smaller(best: Result, plan: Plan, prepared: Prepared, bug: str | None) -> Result:
    if not set(plan.customers) <= set(best.plan.customers):
        return best
    tried = play(plan, prepared, bug)
    return tried if tried.promise == best.promise else best


def command(plan: Plan, bug: str | None = None) -> str:
    """Return the line that plays this plan again."""
    line = f"python -m tests.simulation --seed {plan.seed}"
    if plan.days != DAYS:
        line += f" --days {plan.days}"
    if plan.customers != EVERYONE:
        line += f" --customers {','.join(plan.customers)}"
    if plan.without:
        line += f" --without {','.join(sorted(plan.without))}"
    return line + (f" --bug {bug}" if bug else "")


def fast_folder() -> str | None:
    """Return where files are kept in memory, or None for where temporary files are."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


_prepared: Prepared | None = None


def _play(asked: tuple[Plan, str | None]) -> Result:
    assert _prepared is not None
    return play(asked[0], _prepared, asked[1])


def play_many(
    plans: Sequence[Plan], prepared: Prepared, bug: str | None = None, processes: int | None = None
) -> list[Result]:
    """Play plans on all processors."""
    global _prepared  # noqa: PLW0603 - what forked processes share
    _prepared = prepared
    # What was imported stays to the end: the garbage collector need not walk it again and again.
    with ProcessPoolExecutor(processes or os.cpu_count(), initializer=gc.freeze) as pool:
        return list(pool.map(_play, [(plan, bug) for plan in plans], chunksize=2))


def find(bug: str, prepared: Prepared, seeds: Sequence[int]) -> Result | None:
    """Return the first seed in which a planted bug breaks a promise.

    Where it only makes the engine fail, it does not fit the engine any more, and shows nothing.
    """
    for seed in seeds:
        result = play(Plan(seed), prepared, bug)
        if result.promise not in (None, SET_ASIDE):
            return result
    return None


def _find(asked: tuple[str, Sequence[int]]) -> Result | None:
    assert _prepared is not None
    return find(asked[0], _prepared, asked[1])


def main(arguments: Sequence[str]) -> int:
    """Play what the command line asks for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", default="0-99", help="a range, as 0-499")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--customers", default="")
    parser.add_argument("--without", default="", help="faults to leave out: " + ", ".join(FAULTS))
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug")
    parser.add_argument(
        "--bugs", action="store_true", help="plant each bug in turn and tell which seed finds it"
    )
    asked = parser.parse_args(arguments)
    plan = Plan(
        asked.seed or 0, asked.days, tuple(asked.customers.split(",")) if asked.customers else EVERYONE,
        frozenset(filter(None, asked.without.split(","))),
    )  # fmt: skip
    first, _, last = asked.seeds.partition("-")
    # What a provider refuses and a database loses is played on purpose: without a handler Python would print each of it.
    logging.getLogger("homing").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        prepared = prepare(Path(folder))
        if asked.bugs:
            bugs = sorted(each for each in BUGS if asked.bug in (None, each))
            return _all_bugs(prepared, range(int(first), int(last) + 1), bugs)
        started = time.monotonic()
        if asked.seed is not None:
            results = [play(plan, prepared, asked.bug)]
        else:
            plans = [replace(plan, seed=seed) for seed in range(int(first), int(last or first) + 1)]
            results = play_many(plans, prepared, asked.bug)
        return _tell(results, prepared, asked.bug, time.monotonic() - started)


def _tell(results: Sequence[Result], prepared: Prepared, bug: str | None, passed: float) -> int:
    broken = [result for result in results if result.promise is not None]
    click.echo(
        f"{len(results)} seeds in {passed:.0f} s, {sum(r.mails for r in results)} mails, {sum(r.kills for r in results)} kills, "
        f"{sum(r.points for r in results)} points, {sum(r.seconds for r in results):.0f} s of CPU, {len(broken)} broken"
    )
    for result in broken[:5]:
        click.echo("\n" + story(result, prepared, bug))
    return 1 if broken else 0


def story(result: Result, prepared: Prepared, bug: str | None = None) -> str:
    """Return what was broken, the line that plays it again, and the smallest plan that breaks the same."""
    small = shrink(result, prepared, bug)
    again, least = command(result.plan, bug), command(small.plan, bug)
    return f"{result.told}\n  again: {again}\n  small: {least}\n         {small.told}"


def _all_bugs(prepared: Prepared, seeds: range, bugs: Sequence[str]) -> int:
    global _prepared  # noqa: PLW0603 - what forked processes share
    _prepared = prepared
    missed = 0
    with ProcessPoolExecutor() as pool:
        for bug, found in zip(bugs, pool.map(_find, [(bug, seeds) for bug in bugs]), strict=True):
            missed += found is None
            click.echo(f"{bug:40} {'MISSED' if found is None else f'seed {found.plan.seed}: {found.told}'}")
    click.echo(f"{len(bugs) - missed} of {len(bugs)} found (START {START:%Y-%m-%d})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
