"""What others do, beside us: django-drip-campaigns in an environment of its own, made under build/ the first time.

Comes in: a number of customers. Goes out: the CPU seconds of its look at rest, or a printed reason why it was left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = "django-drip-campaigns==1.16.2"
HOME = Path(__file__).resolve().parent.parent / "build" / "bench-drip"
SCRIPT = Path(__file__).with_name("drip_campaigns.py")
PATIENCE = 900  # seconds for making the environment, and for the run


def drip_campaigns(users: int) -> dict[str, Any] | None:
    """Return what one look over so many users cost django-drip-campaigns; None, with a printed reason, where it cannot run."""
    try:
        python = _python()
        told = subprocess.run(  # noqa: S603 - our own script
            [python, SCRIPT, "--users", str(users)],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        print(f"  {'django-drip-campaigns':<34}left out: {reason.strip().splitlines()[-1]}", flush=True)
        return None
    return found


def _python() -> Path:
    python = HOME / "bin" / "python"
    if not (HOME / "ready").exists():
        making: list[list[str | Path]] = [
            [sys.executable, "-m", "venv", HOME],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE],
        ]
        for command in making:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)  # noqa: S603 - our own
        (HOME / "ready").touch()
    return python
