"""Every planted bug must be caught: `make test-plants`, or `python -m tests.planted [--names …] [--sample N --seed S] [--workers N]`.

Plays the tests that the plants name, first without any bug and then with one at a time, several such plays side by side; prints
a line each, and ends with 1 where a bug was not caught.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from tests.planted.catalogue import PLANTS
from tests.planted.playing import play, without_any


def main() -> None:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--names", nargs="+", choices=sorted(PLANTS), default=sorted(PLANTS), metavar="NAME")
    parser.add_argument("--sample", type=int, help="so many of them, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="plays side by side")
    given = parser.parse_args()
    names = given.names
    if given.sample is not None:
        names = random.Random(given.seed).sample(names, min(given.sample, len(names)))
    sound = without_any(PLANTS[name] for name in names)
    if sound.caught:
        sys.exit(f"without any bug: {sound.words}")
    with ThreadPoolExecutor(given.workers) as players:
        caught = list(players.map(_told, names))
    sys.stdout.write(f"{sum(caught)} of {len(names)} planted bugs caught\n")
    sys.exit(0 if all(caught) else 1)


def _told(name: str) -> bool:
    """Play a plant and say what came of it; return whether it was caught."""
    started = perf_counter()
    verdict = play(PLANTS[name])
    told = "caught" if verdict.caught else "NOT CAUGHT"
    sys.stdout.write(f"{name}: {told} ({perf_counter() - started:.0f} s) {verdict.words}\n")
    sys.stdout.flush()
    return verdict.caught


if __name__ == "__main__":
    main()
