"""What the checks of mails need from npm, installed under build/ by themselves: the browser's driver, axe, caniemail.

The versions are exact, so that a check means the same tomorrow. Nothing here runs in ordinary tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / "build" / "node"
MODULES = HOME / "node_modules"
PACKAGES = {"puppeteer-core": "24.43.1", "axe-core": "4.14.1", "caniemail": "2.0.2"}


def install() -> None:
    """Put the packages under build/node, unless these versions are there; exit with a sentence where npm is missing."""
    if all(_installed(name) == version for name, version in PACKAGES.items()):
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("needs Node and npm (Debian: apt-get install nodejs npm)")
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "package.json").write_text(
        json.dumps({"private": True, "dependencies": PACKAGES}), encoding="utf-8"
    )
    environment = {**os.environ, "PUPPETEER_SKIP_DOWNLOAD": "1"}
    command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=HOME, env=environment, check=True)


def _installed(name: str) -> str | None:
    try:
        return str(json.loads((MODULES / name / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError):
        return None
