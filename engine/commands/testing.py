"""`homing test`: scenarios in virtual time, as a person or a build server reads what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.clock import machine_seconds
from engine.commands.progress import progress
from engine.commands.session import Session, command
from engine.deploy.happened import percent_of
from engine.deploy.playbill import coverage_of, coverage_text, failure_text, junit, junit_of, verdict_text
from engine.deploy.scenarios import Performance, run_project
from engine.errors import FindingsError, OutsideError
from engine.flows.scenario import FOLDER
from engine.flows.scenario_clock import zone_of
from engine.processes import processors


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

    @command(group, "test")
    @click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
    @click.option(
        "--coverage", "with_coverage", is_flag=True, help="List steps and arms that no scenario reaches."
    )
    @click.option(
        "--junit", "junit_file", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML."
    )
    @click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 64),
        help="Play on so many processes (default: one for each processor).",
    )
    def test(
        session: Session, paths: tuple[Path, ...], with_coverage: bool, junit_file: Path | None, jobs: int | None
    ) -> int:  # fmt: skip
        """Play the scenarios under tests/ in virtual time."""
        settings = session.settings
        began = machine_seconds()
        with progress(session, "scenarios", steadily=False) as tell:

            def told(done: int, of: int) -> None:
                tell(f"{done} of {of}", done / of)

            try:
                done = run_project(settings.root, settings, paths, told, workers=jobs or processors())
            except FindingsError as refused:
                if junit_file is not None:
                    _write(junit_file, junit_of(refused.findings))
                raise
        seconds = machine_seconds() - began
        if junit_file is not None:
            _write(junit_file, junit(done))
        if session.as_json:
            session.document(_document(done, with_coverage=with_coverage))
        else:
            _tell(session, done, seconds, with_coverage=with_coverage)
        return 1 if done.failed else 0


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutsideError(f"{path} cannot be written: {error.strerror}") from error


def _tell(session: Session, done: Performance, seconds: float, *, with_coverage: bool) -> None:
    shop_zone = session.settings.shop.timezone
    for verdict in done.verdicts:
        if not verdict.passed or session.verbosity > 0:
            click.echo(verdict_text(verdict, zone_of(verdict.scenario, shop_zone), shop_zone))
    if with_coverage:
        found = coverage_of(done)
        click.echo(coverage_text(found))
        click.echo(f"coverage: {percent_of(list(found.values())):g} %")
    pace = f", {len(done.verdicts) / seconds:.0f} a second" if seconds and len(done.verdicts) > 1 else ""
    if not done.verdicts:
        session.say(f"no scenario under {FOLDER}/: nothing was played, so nothing could fail")
    session.say(f"{done.passed} passed, {done.failed} failed in {seconds:.1f} s{pace}")


def _document(done: Performance, *, with_coverage: bool) -> dict[str, Any]:
    scenarios = [
        {
            "scenario": verdict.scenario.name, "flow": verdict.scenario.flow, "file": verdict.scenario.span.file,
            "line": verdict.scenario.span.line, "passed": verdict.passed,
            "failures": failure_text(verdict).splitlines(),
        }
        for verdict in done.verdicts
    ]  # fmt: skip
    document: dict[str, Any] = {"passed": done.passed, "failed": done.failed}
    if with_coverage:
        found = coverage_of(done)
        flows = {
            name: {"reached": each.reached, "total": each.total, "missing": list(each.missing)}
            for name, each in found.items()
        }
        document["coverage"] = {"percent": percent_of(list(found.values())), "flows": flows}
    return document | {"scenarios": scenarios}
