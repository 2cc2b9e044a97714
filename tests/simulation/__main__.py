"""Run seeds of the simulation: `python -m tests.simulation --seeds 0-499`, or one again: `--seed 17 --customers c03`."""

from __future__ import annotations

import sys

from tests.simulation.seeds import main

sys.exit(main(sys.argv[1:]))
