"""Makes a new project: settings, starter flows and templates, their scenarios, and what a repository of it needs.

Comes in: a folder that need not exist. Goes out: the files that were written, relative to it. Promises: nothing that is
there already is overwritten, and where one file is in the way none is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.bundled import bundled
from engine.errors import OutsideError, UsageError
from engine.settings import FILE

_STARTER = Path(__file__).resolve().parent / "starter"
_FOLDERS = ("flows", "templates", "tests/flows")
_FILES = {".gitignore": "gitignore", ".github/workflows/homing.yml": "homing.yml"}


def init_project(target: Path) -> tuple[Path, ...]:
    """Write a new project into a folder, making it; return the paths written, relative to the folder.

    Raise UsageError where a project or one of its files is there already, OutsideError where writing fails.
    """
    if (target / FILE).exists():
        raise UsageError(f"{target} is a project already: it holds a {FILE}")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file, not a folder")
    files = dict(_starter_files())
    in_the_way = [path for path in files if (target / path).exists()]
    if in_the_way:
        raise UsageError(
            f"{target / in_the_way[0]} is there already and would be overwritten; choose another folder"
        )
    try:
        for path, source in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / path)
    except OSError as error:
        raise OutsideError(f"the project could not be written to {target}: {error.strerror}") from error
    return tuple(files)


def _starter_files() -> Iterator[tuple[Path, Path]]:
    """Yield every file of a new project: its place there, and the file it is copied from."""
    yield Path(FILE), bundled(FILE)
    for folder in _FOLDERS:
        source = bundled(folder)
        for path in sorted(source.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield Path(folder) / path.relative_to(source), path
    for name, source_name in _FILES.items():
        yield Path(name), _STARTER / source_name
