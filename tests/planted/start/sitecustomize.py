"""Plants the bug that HOMING_PLANT names, before anything else runs: Python imports this by itself, in every child too."""

import os

if name := os.environ.get("HOMING_PLANT"):
    from tests.planted.catalogue import PLANTS

    PLANTS[name].patch()
