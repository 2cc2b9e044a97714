"""Looking ahead and back: reports of `homing simulate` and `homing plan`, made at a button or by the command, kept in `reports/`.

Comes in: which of a few fixed reports is wanted. Goes out: a file in the project's `reports/`. A report is made by a
program of its own, gently and one at a time, so that pages and facts do not wait for it; its arguments come from `MADE`
alone and none from a request. A report that fails leaves its words instead.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread

from engine.web.house.held_files import held
from engine.web.site import Site

log = logging.getLogger("homing.web")
FOLDER = "reports"
LONGEST_SECONDS = 1_800
MOST_KEPT, MOST_SHOWN = 20, 60
LARGEST_SHOWN = 20 * 1024 * 1024
BACK = timedelta(days=28)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.(html|txt|json)")
_OWN = re.compile(r"house-([a-z]+)-[0-9T]+(-failed)?\.(html|txt)")
_ANSWERS = (0, 1)  # 1 is an answer too, such as a plan that the brake would stop


@dataclass(frozen=True, slots=True)
class ReportKind:
    """One kind of report: what its button says, what it answers, the form it has, and how `homing` is called."""

    button: str
    words: str
    suffix: str
    arguments: Callable[[datetime], Sequence[str]]


MADE: Mapping[str, ReportKind] = {
    "customers": ReportKind(
        "How customers buy", "scores of every customer made new, from all orders", "txt",
        lambda _now: ("recommend", "rebuild"),
    ),
    "plan": ReportKind(
        "Plan", "what applying the folder would change, and for whom", "txt", lambda _now: ("plan",)
    ),
    "forecast": ReportKind(
        "The next 30 days", "the folder's flows, if nothing new happens", "html", lambda _now: ("simulate",)
    ),
    "likely": ReportKind(
        "A likely month", "if customers go on as similar ones did", "html",
        lambda _now: ("simulate", "--behaviour", "history"),
    ),
    "replay": ReportKind(
        "The last four weeks again", "what the folder's flows would have done", "html",
        lambda now: ("simulate", "--from", (now - BACK).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """One file of the folder: its name, when it was made, and whether it is a failure's words."""

    name: str
    at: datetime
    failed: bool

    @property
    def title(self) -> str:
        """What it is called on pages: what its button said, else its file's name."""
        own = _OWN.fullmatch(self.name)
        return MADE[own[1]].button if own is not None and own[1] in MADE else self.name


class ReportFolder:
    """The reports of a project, and the one that is being made."""

    def __init__(self, site: Site) -> None:
        self._site, self.folder = site, site.settings.root / FOLDER

    def all(self) -> list[Report]:
        """Return what lies there, the newest first."""
        found = []
        for path in self.folder.glob("*"):
            if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append(Report(path.name, at, path.name.endswith("-failed.txt")))
        return sorted(found, key=lambda each: (each.at, each.name), reverse=True)[:MOST_SHOWN]

    def find(self, name: str) -> Report | None:
        """Return the report of that name, or None."""
        return next((each for each in self.all() if each.name == name), None)

    def read(self, name: str) -> str | None:
        """Return what a report says, or None where there is none of that name."""
        path = self.folder / name
        if not _NAME.fullmatch(name) or not path.is_file() or path.is_symlink():
            return None
        if path.stat().st_size > LARGEST_SHOWN:
            return "This report is too large to be shown here."
        return path.read_text(encoding="utf-8", errors="replace")

    def is_busy(self) -> bool:
        """Return whether a report is being made, by whichever process."""
        if not self.folder.is_dir():
            return False
        with self.alone() as free:
            return not free

    def make(self, kind: str) -> Thread | None:
        """Begin to make a report; return None where another one is being made."""
        if self.is_busy():
            return None
        thread = Thread(target=self._make, args=(kind,), name="report", daemon=True)
        thread.start()
        return thread

    def _make(self, kind: str) -> None:
        outlook, now = MADE[kind], self._site.now()
        with self.alone() as free:
            if not free:
                return
            path = self.folder / f"house-{kind}-{now:%Y%m%dT%H%M%S}.{outlook.suffix}"
            out = ("--out", str(path)) if outlook.suffix == "html" else ()
            fine, words = self._called([*outlook.arguments(now), *out])
            if not fine:
                path.with_name(f"{path.stem}-failed.txt").write_text(words, encoding="utf-8")
            elif not out:
                path.write_text(words, encoding="utf-8")
            self._tidy()

    def _called(self, arguments: Sequence[str]) -> tuple[bool, str]:
        """Call `homing`; return whether it did what it should, and what it said."""
        environ = {**os.environ, "HOMING_DATABASE_URL": self._site.database.url}
        own = [sys.executable, "-m", "cli", *arguments, "--project", str(self._site.settings.root)]
        try:
            returned, said, complained = _run(own, environ)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("a report could not be made", extra={"told": {"what": type(error).__name__}})
            return False, f"It could not be made: {type(error).__name__}."
        if returned not in _ANSWERS or not said.strip():
            return False, (complained.strip() or "It failed and said nothing.")[:4_000]
        return True, said

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold the folder until the block ends or this process dies; give whether it could be had."""
        self.folder.mkdir(exist_ok=True)
        with held(self.folder / ".making") as free:
            yield free

    def _tidy(self) -> None:
        own = [each for each in self.all() if _OWN.fullmatch(each.name)]
        for old in own[MOST_KEPT:]:
            (self.folder / old.name).unlink(missing_ok=True)


def _run(own: Sequence[str], environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a program after all others; return its exit code and what it said."""
    with subprocess.Popen(  # noqa: S603 - our own program, with arguments of `MADE`
        own, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        os.setpriority(os.PRIO_PROCESS, child.pid, 10)
        try:
            said, complained = child.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
        return child.returncode, said, complained
