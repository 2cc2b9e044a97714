"""What the checks and pictures of mails need from the machine: a program, and fonts for every language of the starter mails.

Where it is missing, Debian's package is installed if that is allowed, else a sentence says which one is wanted: without its
font a language is drawn as empty boxes, and nothing else would tell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

FONTS = {
    "Liberation Sans": "fonts-liberation",  # as wide as Arial, which most readers see
    ":lang=ja": "fonts-noto-cjk",
    ":lang=zh-tw": "fonts-noto-cjk",
    ":lang=th": "fonts-thai-tlwg",
    "Noto Color Emoji": "fonts-noto-color-emoji",
}
"""Fontconfig's pattern of a face, and the package that brings it."""


def need_program(name: str, package: str) -> None:
    """Have a program on the path; exit with a sentence where it cannot be had."""
    if shutil.which(name) is None:
        _install([package])


def need_fonts() -> None:
    """Have a face for every language that the starter mails and their sample customers speak."""
    need_program("fc-list", "fontconfig")
    missing = [package for pattern, package in FONTS.items() if not _has_face(pattern)]
    if missing:
        _install(list(dict.fromkeys(missing)))
        subprocess.run(["fc-cache"], check=True)


def _has_face(pattern: str) -> bool:
    told = subprocess.run(["fc-list", pattern, "family"], check=True, capture_output=True, text=True)
    return bool(told.stdout.strip())


def _install(packages: list[str]) -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        sys.exit(f"needs {', '.join(packages)} (Debian: apt-get install {' '.join(packages)})")
    subprocess.run([apt, "update", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    command = [apt, "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
