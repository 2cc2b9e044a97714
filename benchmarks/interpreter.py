"""How long a Python needs for a little work, so that `make setup` takes the fastest of those that are there.

An interpreter built without profiles (pyenv's, where nobody says otherwise) needs a fifth longer for everything than one built
with them (Debian's, the official images'); docs/benchmarks.md has the figures. Runs with nothing but the standard library.
Prints a line to sort by: whether Homing was tried with this version (0) or not (1), microseconds, the interpreter; and nothing
where the version is too old or no virtual environment can be made.
"""

import sys
import time

OLDEST, NEWEST = (3, 11), (3, 13)
TRIALS, TURNS = 7, 20_000


def work() -> float:
    """Return the seconds of the processor that a mixed loop of small objects needs."""
    start = time.process_time()
    kept: dict[tuple[int, str], list[int]] = {}
    for number in range(TURNS):
        kept[number % 97, "kept"] = [number, *kept.get((number % 89, "kept"), ())][:4]
    return time.process_time() - start


if __name__ == "__main__":
    import ensurepip  # noqa: F401  # Debian keeps it in a package of its own; without it there is no venv

    if sys.version_info[:2] >= OLDEST:
        later = int(sys.version_info[:2] > NEWEST)
        print(f"{later}\t{min(work() for _ in range(TRIALS)) * 1e6:09.0f}\t{sys.executable}")
