"""Everything that can be known about a project without customers.

Comes in: the project's folder, its settings, and the check of templates (which stands in a higher layer). Goes out:
findings, each once, by place. Promises: nothing raises for what stands in a file; what is said to be fixable was tried;
`fixes` gives whole new texts that keep comments and layout, and mending what is mended changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from engine.diagnostics import Finding
from engine.errors import FindingsError, UsageError
from engine.flows import fixing, rules, scenario, scenario_check
from engine.flows.load import Project, load_project, reread
from engine.flows.report import in_order
from engine.settings import FILE, Settings, findings_in, load

_OF_TESTS_ALONE = ("F501",)
Lint = Callable[[Path, Settings], Iterable[Finding]]


def validate(
    root: Path, settings: Settings, paths: Sequence[Path] | None = None, *, lint: Lint | None = None
) -> list[Finding]:
    """Return all findings of a project, or of some of its files and folders.

    `lint` adds what is found in templates; what shows in the mail of a wanted file is told, also where it stands in a block or
    layout. Raise UsageError for a path that does not exist.
    """
    wanted = None if paths is None else [_within(root, path) for path in paths]
    project = load_project(root, settings)
    findings = [
        *settings.findings,
        *project.findings,
        *rules.run(project),
        *scenario_check.check_folder(root, project.definitions, settings),
    ]
    if lint is not None:
        findings += lint(root, settings)
    shown = [
        finding
        for finding in in_order(findings)
        if wanted is None or any(_is_in(file, wanted) for file in (finding.span.file, *finding.through))
    ]
    return fixing.mendable(root, shown, partial(_found_in, project))


def tried(root: Path, findings: Sequence[Finding]) -> list[Finding]:
    """Return findings that another command ends with, `fixable` only where mending was tried, as those of `validate` are."""
    try:
        project = load_project(root, load(root, strict=False))
    except FindingsError:  # settings that cannot be read: there nothing can be mended
        return [replace(finding, fixable=False) for finding in findings]
    return fixing.mendable(root, findings, partial(_found_in, project))


def _found_in(project: Project, file: str, text: str) -> list[Finding]:
    """Return what would be found in a file if it held this text: what can be mended there, and what mending could break."""
    if file == FILE:
        return in_order(findings_in(text, project.root))
    if file.startswith(f"{scenario.FOLDER}/"):
        return in_order(scenario.findings_in(text, file))
    retold = reread(project, file, text)
    found = [*retold.findings, *rules.run(retold)]
    return in_order(finding for finding in found if finding.span.file == file)


def refusals(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings for which `apply` refuses a folder: all errors, but for tests of a flow that is not there.

    These say nothing of what would be live: a flow may go before its scenarios do.
    """
    return [finding for finding in findings if finding.is_error and finding.code not in _OF_TESTS_ALONE]


def fixes(root: Path, findings: Sequence[Finding]) -> Mapping[Path, str]:
    """Return the new text of every file in which something can be mended safely."""
    return fixing.fixes(root, findings)


def _within(root: Path, path: Path) -> str:
    """Return a path relative to the project, with forward slashes; given from the present folder or from the project."""
    for candidate in (path, root / path):
        if candidate.exists() and candidate.resolve().is_relative_to(root.resolve()):
            return candidate.resolve().relative_to(root.resolve()).as_posix()
    raise UsageError(f"{path} is no file or folder of this project")


def _is_in(file: str, wanted: Sequence[str]) -> bool:
    return any(place in (".", file) or file.startswith(place + "/") for place in wanted)
