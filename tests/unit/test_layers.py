"""The shape of the code: imports go down, one file reads the clock, chance is seeded, functions stay short.

These are the promises that make the engine readable; they are held here by looking at the source, not by trust.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# High to low; a package may use itself and what stands in a lower line.
LAYERS = (
    ("cli",),
    ("engine.commands",),
    ("engine.web",),
    ("engine.deploy",),
    ("engine.runtime",),
    ("engine.feedback",),
    ("engine.delivery",),
    ("engine.journeys",),
    ("engine.insights",),
    ("engine.outbox", "engine.offers"),
    ("engine.facts", "engine.audience", "engine.policy", "engine.render", "engine.recommend"),
    ("engine.flows",),
    ("engine.store",),
    ("engine.bundled", "engine.calendar", "engine.clock", "engine.diagnostics", "engine.errors", "engine.full_names", "engine.processes", "engine.project", "engine.settings", "engine.toml_places"),
)  # fmt: skip
GROUND = LAYERS[-1]
CLOCK_CALLS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns", "time.monotonic",
    "time.monotonic_ns", "time.perf_counter", "time.localtime", "time.gmtime",
}  # fmt: skip
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"}
LONGEST_USUAL_FUNCTION = 40


@lru_cache
def parsed() -> dict[str, tuple[Path, ast.Module]]:
    """Return every module of the program by its dotted name."""
    files = [*(ROOT / "engine").rglob("*.py"), *ROOT.glob("cli.py")]
    return {dotted(path): (path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(files)}


def dotted(path: Path) -> str:
    """Return `engine.store.tables` for engine/store/tables.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(module: str) -> int | None:
    """Return the line of LAYERS that a module stands in, or None for `engine` itself."""
    for number, packages in enumerate(LAYERS):
        if any(module == package or module.startswith(package + ".") for package in packages):
            return number
    return None


def imported(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each module of ours that is imported, with its line; those for type checkers only too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                (node.lineno, name.name)
                for name in node.names
                if name.name.split(".")[0] in ("engine", "cli")
            )
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in ("engine", "cli")
        ):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield node.lineno, inner if inner in parsed() else node.module
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, module


def package(module: str) -> str:
    """Return the name under which a module stands in LAYERS."""
    return ".".join(module.split(".")[:2])


def test_every_package_stands_in_a_layer() -> None:
    """A new package is given its place before it is used."""
    homeless = {package(module) for module in parsed() if module != "engine" and layer(module) is None}
    assert homeless == set()


def test_imports_go_down_only() -> None:
    """No module imports from a higher layer, nor from its neighbours in its own; the ground is shared."""
    upward = [
        f"{path.relative_to(ROOT)}:{line}: {package(module)} imports {target}"
        for module, (path, tree) in parsed().items()
        for line, target in imported(module, tree)
        if not allowed(module, target)
    ]
    assert upward == []


def allowed(module: str, target: str) -> bool:
    """Whether a module may import another."""
    here, there = layer(module), layer(target)
    if package(module) == package(target) or here is None or there is None:
        return True
    return there > here or (here == there and package(module) in GROUND)


def calls(tree: ast.Module) -> Iterator[tuple[int, str, ast.Call]]:
    """Yield each call with its line and the last two parts of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ".".join(ast.unparse(node.func).split(".")[-2:]), node


def test_one_file_reads_the_clock() -> None:
    """Time is an argument: only engine/clock.py asks the machine for it."""
    readers = [
        f"{path.relative_to(ROOT)}:{line}: {name}()"
        for module, (path, tree) in parsed().items()
        if module != "engine.clock"
        for line, name, _ in calls(tree)
        if name in CLOCK_CALLS
    ]
    assert readers == []


def test_chance_is_seeded() -> None:
    """Chance is an argument too: a seeded random.Random, never the module's own or one without a seed."""
    unseeded = [
        f"{path.relative_to(ROOT)}:{line}: {name}()"
        for path, tree in parsed().values()
        for line, name, call in calls(tree)
        if (name.startswith("random.") and name != "random.Random")
        or (name == "random.Random" and not call.args)
    ]
    assert unseeded == []


def test_no_module_is_a_drawer() -> None:
    """A module's name says what is in it."""
    assert [str(path) for path, _ in parsed().values() if VAGUE_NAMES & set(path.with_suffix("").parts)] == []


def test_every_module_says_what_it_is_for() -> None:
    """Whatever holds code begins with a docstring."""
    silent = [
        str(path.relative_to(ROOT))
        for path, tree in parsed().values()
        if tree.body and not ast.get_docstring(tree)
    ]
    assert silent == []


def test_functions_are_short() -> None:
    """Of a hundred functions at most five have more than forty lines."""
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for _, tree in parsed().values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    assert lengths[int(0.95 * len(lengths))] <= LONGEST_USUAL_FUNCTION


def test_migrations_never_shadow_their_library() -> None:
    """`alembic/` is no package: with an __init__.py it would hide the library of that name."""
    assert (ROOT / "alembic" / "env.py").exists()
    assert not (ROOT / "alembic" / "__init__.py").exists()
