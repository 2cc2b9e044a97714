"""Every planted bug must be caught: `make test-plants`, or `python -m tests.planted [--names …] [--sample N --seed S]`.

Plays the tests that the plants name, first without any bug and then with one at a time; prints a line each, and ends with 1
where a bug was not caught.
"""

from __future__ import annotations

import argparse
import random
import sys
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
    given = parser.parse_args()
    names = given.names
    if given.sample is not None:
        names = random.Random(given.seed).sample(names, min(given.sample, len(names)))
    sound = without_any(PLANTS[name] for name in names)
    if sound.caught:
        sys.exit(f"without any bug: {sound.words}")
    missed = 0
    for name in names:
        started = perf_counter()
        verdict = play(PLANTS[name])
        missed += not verdict.caught
        told = "caught" if verdict.caught else "NOT CAUGHT"
        sys.stdout.write(f"{name}: {told} ({perf_counter() - started:.0f} s) {verdict.words}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(names) - missed} of {len(names)} planted bugs caught\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
