"""Where the files that travel with the program are: migrations, starter flows, templates and scenario tests.

In an installed wheel they lie inside the package, in `engine/_bundled/`; in a checkout (and an editable install) they
are the repository's own top-level folders, so that there is one copy of each.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """Return the path of a bundled file or folder, such as `alembic` or `templates`.

    Raise FileNotFoundError where neither the package nor the checkout has it: the installation is broken then.
    """
    for root in (_PACKAGE / "_bundled", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} did not come with this installation of Homing")
