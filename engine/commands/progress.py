"""Progress of long work: a bar on a terminal, nothing in a pipe.

Comes in: the session. Goes out: a function that is told what is being done and the share that is done. Promises that
nothing is written with `--quiet`, with `--json`, or where stderr is no terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.commands.session import Session

Tell = Callable[[str, float], None]


@contextmanager
def progress(session: Session, title: str, *, steadily: bool = True) -> Iterator[Tell]:
    """Give a function that shows what is being done and the share done (0 to 1).

    Without `steadily` it is drawn only when told something, by no thread of its own: work that forks needs that.
    """
    if session.as_json or session.verbosity < 0 or not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=steadily) as bar:
        line = bar.add_task("", total=1.0, title=title)
        yield lambda what, share: bar.update(line, description=what, completed=share, refresh=not steadily)
