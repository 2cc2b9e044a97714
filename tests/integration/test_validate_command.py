"""`homing validate` as a person uses it: mending, watching, many files, what the data says."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner

from cli import main
from engine.commands.watching import on_each_save, stamps
from engine.processes import mapped
from engine.project import init_project
from engine.render import lint
from engine.render.lint import Memory, lint_project
from engine.settings import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a new project."""
    init_project(tmp_path / "shop")
    return tmp_path / "shop"


def change(path: Path, old: str, new: str) -> None:
    """Replace text in a file that must hold it."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def run(project: Path, *arguments: str) -> tuple[int, str]:
    """Return the exit code of `homing validate` and what it printed."""
    done = CliRunner().invoke(main, ["validate", *arguments, "--project", str(project)])
    return done.exit_code, done.output


def test_a_new_project_has_nothing_to_mend(project: Path) -> None:
    """What `init` writes is clean."""
    assert run(project) == (0, "nothing to mend\n")


def test_one_mending_is_enough(project: Path) -> None:
    """What comes to light only after something else was mended is mended in the same call."""
    flow = project / "flows/cart-recovery.yaml"
    change(flow, "exit_when:\n  - did: order_placed\n  - {did: cart_emptied, same: cart_id}\n", "")
    change(flow, "only_if:", "onyl_if:")
    change(project / "homing.toml", "quiet_hours =", "quite_hours =")
    code, told = run(project)
    assert code == 1
    assert {"F101", "S104"} <= set(re.findall(r"\[([A-Z]\d{3})\]", told))
    assert run(project, "--fix")[0] == 0
    code, told = run(project)
    assert code == 0
    # A scenario waits for the exit that was lost with its line: whether it comes back is its author's to say.
    assert re.findall(r"\[([A-Z]\d{3})\]", told) == ["F507"]
    assert "exit_when: [{did: order_placed}]" in flow.read_text(encoding="utf-8")


def test_settings_and_flows_are_told_together(project: Path) -> None:
    """A mistake in homing.toml does not hide those of the flows."""
    change(project / "homing.toml", 'quiet_hours = "21:00-08:00"', 'quiet_hours = "at night"')
    change(project / "flows/birthday.yaml", "priority: 65", "priorty: 65")
    code, told = run(project, "--format", "github")
    assert code == 1
    assert "file=homing.toml,line=" in told
    assert "file=flows/birthday.yaml,line=6,col=1" in told


# ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_what_changed_is_looked_at_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a save of one template nothing else is looked at again, and its findings are the same as of a first look."""
    settings, memory = load(project, {}), Memory()
    looked: list[str] = []
    look_at = lint._look_at

    def noted(library: Any, own: Any, copy: Any) -> Any:
        looked.append(copy.name)
        return look_at(library, own, copy)

    monkeypatch.setattr(lint, "_look_at", noted)
    assert lint_project(project, settings, memory=memory) == []
    whole = len(looked)
    change(project / "templates/cart-offer.mjml", "{% block body %}", "{% block body %}{{ custmer }}")
    looked.clear()
    found = lint_project(project, settings, memory=memory)
    assert set(looked) == {"cart-offer"}  # in every language
    assert len(looked) < whole / 4
    assert [(finding.code, finding.span.file) for finding in found] == [("T202", "templates/cart-offer.mjml")]
    assert found == lint_project(project, settings)


def test_a_block_concerns_all_that_draw_on_it(project: Path) -> None:
    """What a template draws on is part of it: a mistake in a block comes and goes with the block."""
    settings, memory = load(project, {}), Memory()
    lint_project(project, settings, memory=memory)
    block = project / "templates/blocks/button.mjml"
    before = block.read_text(encoding="utf-8")
    block.write_text(before.replace("{% if url %}", "{% if urll %}"), encoding="utf-8")
    assert {finding.span.file for finding in lint_project(project, settings, memory=memory)} == {
        "templates/blocks/button.mjml"
    }
    block.write_text(before, encoding="utf-8")
    assert lint_project(project, settings, memory=memory) == []


def test_the_file_that_was_saved_is_looked_at_first(project: Path) -> None:
    """A layout that every mail draws on: the first answer comes after a moment, the saved file's first, the rest follows."""
    settings, memory = load(project, {}), Memory()
    lint_project(project, settings, memory=memory)
    change(project / "templates/layouts/store.mjml", "{% block body %}", "<mj-raw></mj-raw>{% block body %}")
    os.utime(project / "templates/layouts/store.mjml", (1, 1))
    change(project / "templates/win-back-offer.mjml", "{% block body %}", "{% block body %}{{ custmer }}")
    found = lint_project(project, settings, memory=memory, within=0)
    assert [(each.code, each.span.file) for each in found] == [("T202", "templates/win-back-offer.mjml")]
    left = memory.waiting
    assert left > 20
    looks = 1
    while memory.waiting:
        found = lint_project(
            project, settings, memory=memory, within=0
        )  # one at a time, however quick the machine
        assert memory.waiting < left
        left, looks = memory.waiting, looks + 1
    assert looks > 2
    assert found == lint_project(project, settings)


def test_a_look_that_is_not_through_goes_on_unless_something_is_saved(tmp_path: Path) -> None:
    """What is left is looked at without another save; a save in between is seen first."""
    (tmp_path / "flows").mkdir()
    seen: list[int] = []

    def look() -> bool:
        seen.append(len(stamps(tmp_path)))
        if len(seen) == 2:
            (tmp_path / "flows/a.yaml").write_text("a")
        return len(seen) < 4

    on_each_save(tmp_path, look, stop=lambda: len(seen) == 4)
    assert seen == [0, 0, 1, 1]


def test_each_save_is_seen(tmp_path: Path) -> None:
    """A file written, made or removed is a save; nothing else is."""
    (tmp_path / "flows").mkdir()
    looks: list[int] = []

    def look() -> None:
        looks.append(len(stamps(tmp_path)))
        if len(looks) == 1:
            (tmp_path / "flows/a.yaml").write_text("a")
        elif len(looks) == 2:
            (tmp_path / "flows/a.yaml").write_text("ab")
        elif len(looks) == 3:
            (tmp_path / "flows/a.yaml").unlink()

    on_each_save(tmp_path, look, stop=lambda: len(looks) == 4)
    assert looks == [0, 1, 1, 0]


def _copy(out: IO[str], lines: queue.Queue[str]) -> None:
    for line in out:
        lines.put(line)


@pytest.fixture
def watching(project: Path) -> Iterator[tuple[Path, queue.Queue[str]]]:
    """Give a project that `homing validate --watch` looks at, and the lines that it prints."""
    command = [
        sys.executable,
        "-m",
        "cli",
        "validate",
        "--watch",
        "--format",
        "github",
        "--project",
        str(project),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        reader = threading.Thread(target=_copy, args=(process.stdout, lines))
        reader.start()
        yield project, lines
        process.terminate()
        reader.join()


def test_watching_tells_after_a_save(watching: tuple[Path, queue.Queue[str]]) -> None:
    """A mistake that is saved is told while the program runs, and the next one too."""
    project, lines = watching
    change(project / "flows/birthday.yaml", "priority: 65", "priorty: 65")
    assert "priorty" in lines.get(timeout=60)
    change(project / "flows/win-back.yaml", "priority: 30", "prority: 30")
    while "prority" not in (line := lines.get(timeout=60)):
        assert "priorty" in line


def test_watching_goes_on_while_the_settings_are_away(watching: tuple[Path, queue.Queue[str]]) -> None:
    """Editors save by renaming: homing.toml that is away for a moment is a finding, and its return is seen."""
    project, lines = watching
    change(project / "flows/birthday.yaml", "priority: 65", "priorty: 65")
    assert "priorty" in lines.get(timeout=60)
    (project / "homing.toml").rename(project / "homing.toml~")
    away = lines.get(timeout=60)
    assert "file=homing.toml" in away
    assert "F004" in away
    (project / "homing.toml~").rename(project / "homing.toml")
    assert "priorty" in lines.get(timeout=60)


# ── many files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_processes_find_the_same(project: Path) -> None:
    """Shared by several processes, templates have the same findings in the same order."""
    for path in (project / "templates").glob("*.mjml"):
        for number in range(2):
            shutil.copy(path, path.with_stem(f"{path.stem}-{number}"))
    change(project / "templates/birthday-1.mjml", "{% block body %}", "{% block body %}{{ custmer }}")
    program = (
        "import sys; from pathlib import Path; from engine.settings import load; from engine.render.lint import lint_project;"
        "root = Path(sys.argv[1]); [print(f.code, f.span, f.message) for f in lint_project(root, load(root, {}), int(sys.argv[2]))]"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program, str(project), workers],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        ).stdout
        for workers in ("1", "3")
    ]
    assert told[0] == told[1]
    assert "T202 templates/birthday-1.mjml" in told[0]


def test_few_things_are_done_here() -> None:
    """Without need, or beside other threads, no process is started."""
    assert list(mapped(lambda number: number * 2, [1, 2, 3], 4)) == [2, 4, 6]
    waiting = threading.Event()
    other = threading.Thread(target=waiting.wait)
    other.start()
    try:
        assert list(mapped(lambda number: number * 2, range(50), 4)) == list(range(0, 100, 2))
    finally:
        waiting.set()
        other.join()
