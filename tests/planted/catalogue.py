"""Bugs planted beside those of the simulation and the crash suite: a module for each section of GUARANTEES.md, in its order.

Each is a patch of the engine's real functions, planted before a program begins (see `start/sitecustomize.py`), so that it also
holds in the programs that a test starts.
"""

from tests.planted.planting import PLANTS
from tests.planted.plants import (
    explained,
    in_time,
    looking_ahead,
    mistakes,
    nobody,
    nothing_twice,
    one_meaning,
    web,
)

SECTIONS = (nothing_twice, nobody, in_time, one_meaning, explained, mistakes, looking_ahead, web)
"""The modules in the order of the page; importing one fills `PLANTS`."""

__all__ = ["PLANTS", "SECTIONS"]
