"""Plants the bug that HOMING_PLANT names, before anything else runs: Python imports this by itself, in every child too."""

import os
import traceback

if name := os.environ.get("HOMING_PLANT"):
    try:
        from tests.planted.catalogue import PLANTS

        PLANTS[name].patch()
    except BaseException:  # noqa: BLE001 - see below
        # Python would only mention it and go on, without the bug.
        traceback.print_exc()
        os._exit(70)
