"""How fast a project is checked: scenarios a second, 200 flows and 200 templates validated, the answer to a save.

Run by itself: `python -m benchmarks.checking`. The starter flows are what is measured; the large project holds copies of
them, each template with a sentence of its own so that nothing is looked at only once for two.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.deploy.scenarios import run_project
from engine.flows.validate import validate
from engine.processes import processors
from engine.project import init_project
from engine.render.lint import Memory, lint_project
from engine.settings import Settings, load

MANY = 200
MOMENT = 0.1  # seconds that `validate --watch` looks at templates before its first answer


def measure() -> None:
    """Print one line for each figure: wall time, and the CPU time of this process where it works alone."""
    with tempfile.TemporaryDirectory(prefix="homing-bench-") as folder:
        starter, large = Path(folder) / "starter", Path(folder) / "large"
        init_project(starter)
        _scenarios(starter)
        enlarge(starter, large)
        _validated(large)
        _saved(starter)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _scenarios(root: Path) -> None:
    settings = load(root, {})
    for workers in dict.fromkeys((1, processors())):
        told: list[int] = []

        def play(workers: int = workers, told: list[int] = told) -> None:
            told.append(len(run_project(root, settings, workers=workers).verdicts))

        wall, cpu = _timed(play)
        alone = f" ({told[0] / cpu:.0f}/s of CPU)" if workers == 1 else ""
        print(f"scenarios, {workers} process(es): {told[0]} in {wall:.1f} s, {told[0] / wall:.0f}/s{alone}")


def enlarge(source: Path, target: Path) -> None:
    """Make a project of `MANY` flows and as many templates from the starter project."""
    shutil.copytree(source, target)
    flows = [
        path for path in sorted((source / "flows").glob("*.yaml")) if path.stem not in ("segments", "offers")
    ]
    templates = sorted((source / "templates").glob("*.mjml"))
    rounds = range(-(-MANY // len(templates)))
    for number in rounds:
        for path in templates:
            text = path.read_text(encoding="utf-8")
            own = text.replace("{% block body %}", f"{{% block body %}}{{# copy {number} #}}", 1)
            (target / f"templates/{path.stem}-{number}.mjml").write_text(own, encoding="utf-8")
    for number in range(MANY - len(flows)):
        path = flows[number % len(flows)]
        text = re.sub(r"(?m)^flow: .*", f"flow: {path.stem}-{number}", path.read_text(encoding="utf-8"))
        text = re.sub(r"(?m)send: ([\w-]+)", rf"send: \g<1>-{number % len(rounds)}", text)
        (target / f"flows/{path.stem}-{number}.yaml").write_text(text, encoding="utf-8")


def _validated(root: Path) -> None:
    settings = load(root, {})
    count = len(list((root / "templates").glob("*.mjml")))

    def look(workers: int) -> Callable[[Path, Settings], object]:
        return lambda folder, own: lint_project(folder, own, workers)

    for workers in dict.fromkeys((1, processors())):
        wall, cpu = _timed(lambda workers=workers: validate(root, settings, lint=look(workers)))  # type: ignore[misc,arg-type]
        alone = f", {cpu:.1f} s of CPU" if workers == 1 else ""
        print(f"validate, {workers} process(es): {MANY} flows and {count} templates in {wall:.1f} s{alone}")


def _saved(root: Path) -> None:
    settings, memory = load(root, {}), Memory()

    def look(folder: Path, own: Settings) -> object:
        return lint_project(folder, own, processors(), memory, MOMENT if memory.known else None)

    validate(root, settings, lint=look)  # type: ignore[arg-type]
    for name in ("flows/cart-recovery.yaml", "templates/cart-reminder.mjml", "templates/layouts/store.mjml"):
        path = root / name
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        wall, cpu = _timed(lambda: validate(root, settings, lint=look))  # type: ignore[arg-type]
        left = f", {memory.waiting} templates left for the next answers" if memory.waiting else ""
        print(
            f"validate --watch after a save of {name}: {wall * 1000:.0f} ms, {cpu * 1000:.0f} ms of CPU{left}"
        )


if __name__ == "__main__":
    measure()
