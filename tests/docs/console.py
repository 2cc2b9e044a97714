"""Runs the commands of a document as a reader would: in order, in one folder, with the installed `homing`.

A fenced block marked `console` holds lines that begin with `$ ` and, under each, what it prints. Printed lines must come
in that order; `…` stands for anything. A command ends with 0 unless it says `# exit 1`. A block that cannot be run here
stands under a comment that says why: `<!-- shown only: clones from the network -->`. A file that the reader is to write
stands under a comment that names it: `<!-- file: flows/spring.yaml -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?P<before>[^\n]*\n)?(?P<gap>[ \t]*\n)?```console\n(?P<body>.*?)^```", re.DOTALL | re.MULTILINE
)
_FILE = re.compile(r"<!-- file: (?P<path>[\w./-]+) -->\n+```\w*\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
_EXIT = re.compile(r"#\s*exit (\d)\s*$")
_SECONDS = 600
# Of what surrounds a test; the last two bring along a bug that was planted (tests/planted).
KEPT = ("HOME", "LANG", "TMPDIR", "SYSTEMROOT", "PYTHONPATH", "HOMING_PLANT")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a document, what it should print, and how it should end."""

    line: int
    text: str
    printed: tuple[str, ...]
    exit_code: int


def commands(document: str) -> Iterator[Command]:
    """Yield every command that is to be run, in order; writing a file is one too."""
    found: list[Command] = []
    for block in _BLOCK.finditer(document):
        if (block["before"] or "").lstrip().startswith("<!-- shown only:"):
            continue
        first = document.count("\n", 0, block.start("body")) + 1
        found += _commands_of(block["body"], first)
    for file in _FILE.finditer(document):
        path, text = file["path"], file["text"]
        write = f"mkdir -p $(dirname {path}) && cat > {path} <<'END_OF_FILE'\n{text}END_OF_FILE"
        found.append(Command(document.count("\n", 0, file.start()) + 1, write, (), 0))
    yield from sorted(found, key=lambda command: command.line)


def _commands_of(body: str, first: int) -> Iterator[Command]:
    lines = body.rstrip("\n").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        text, printed = lines[start][2:], lines[start + 1 : end]
        while text.endswith("\\") and printed:
            text, printed = f"{text}\n{printed[0]}", printed[1:]
        expected = _EXIT.search(text)
        kept = tuple(line.strip() for line in printed if line.strip())
        yield Command(first + start, text, kept, int(expected[1]) if expected else 0)


class Reader:
    """Types a document's commands into a shell, one after the other, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._here = folder
        programs = Path(sys.executable).parent
        if not (programs / "homing").exists():
            raise FileNotFoundError(f"no `homing` in {programs}: `make setup` installs it")
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._environment = {
            **kept,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUTF8": "1",
            "COLUMNS": "120",
        }

    def run(self, command: Command) -> None:
        """Run one command; raise AssertionError that shows what came instead of what the document says."""
        where = self.folder / ".where"
        script = (
            f"cd {_quoted(self._here)}\n{command.text}\nstatus=$?\npwd > {_quoted(where)}\nexit $status\n"
        )
        done = subprocess.run(
            [shutil.which("bash") or "sh", "-c", script],
            capture_output=True, text=True, timeout=_SECONDS, check=False, env=self._environment,
        )  # fmt: skip
        if where.exists():
            self._here = Path(where.read_text().strip())
        told = f"line {command.line}: $ {command.text}\n--- it printed\n{done.stdout}{done.stderr}"
        assert done.returncode == command.exit_code, (
            f"{told}\n--- and ended with {done.returncode}, not {command.exit_code}"
        )
        missing = first_missing(command.printed, done.stdout + done.stderr)
        assert missing is None, f"{told}\n--- and not, in this order: {missing}"


def first_missing(expected: tuple[str, ...], printed: str) -> str | None:
    r"""Return the first expected line that does not come after those before it, or None.

    >>> first_missing(("one", "t…e"), "one\ntwo\nthree") is None
    True
    >>> first_missing(("three", "one"), "one\ntwo\nthree")
    'one'
    """
    rest = iter(line.strip() for line in printed.splitlines())
    for line in expected:
        pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"…|\.\.\.", line)))
        if line not in ("…", "...") and not any(pattern.fullmatch(candidate) for candidate in rest):
            return line
    return None


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
