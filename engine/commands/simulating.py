"""`homing simulate`: what flows would have done, or would do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from engine import settings as settings_module
from engine.calendar import Duration
from engine.commands.progress import progress
from engine.commands.session import Session, command
from engine.deploy.plan_moving import earlier_version
from engine.deploy.simulate import BEHAVIOURS, Play, Simulation, Stretch, simulate, usual_beat
from engine.deploy.simulate_page import page
from engine.deploy.simulate_report import Document, document
from engine.diagnostics import did_you_mean, has_errors
from engine.errors import FindingsError, OutsideError, UsageError
from engine.flows.load import load_project
from engine.journeys.versions import live_flows
from engine.render.library import read_folder
from engine.settings import Settings

AHEAD = timedelta(days=30)
LIKELY_RUNS = 3


def register(group: click.Group) -> None:
    """Add this command to `homing`."""

    @command(group, "simulate")
    @click.option("--from", "from_text", help="Replay the recorded facts from this time on.")
    @click.option("--to", "to_text", help="Until then (default: now; of a forecast, 30 days from now).")
    @click.option("--flows", help="Only these flows, separated by commas.")
    @click.option("--behaviour", type=click.Choice(BEHAVIOURS), default="none", show_default=True,
                  help="A forecast: nothing new, or customers go on as similar ones did.")  # fmt: skip
    @click.option("--seed", type=int, default=1, show_default=True, help="Chance of a forecast.")
    @click.option("--runs", type=click.IntRange(1, 50), help="Courses of a likely future (default: 3).")
    @click.option(
        "--every",
        "every_text",
        help="How often the clock stops: `moment`, or 15min, 1h … (default: by size).",
    )
    @click.option("--against", help="Compare with another folder, a version's HASH, or `applied`.")
    @click.option("--workers", type=click.IntRange(1, 64), help="Processes (default: by size and machine).")
    @click.option(
        "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the report (.html or .json)."
    )
    def simulate_(session: Session, out: Path | None, **wishes: Any) -> None:
        """Play the flows on recorded facts, or ahead from now, through the real engine; nothing is sent."""
        if out is not None and out.suffix.lower() not in (".html", ".htm", ".json"):
            raise UsageError(f'--out writes .html or .json; "{out.name}" ends in neither')
        found = _simulated(session, wishes)
        if out is not None:
            text = page(found, session.settings.shop.name) if out.suffix.lower() != ".json" else _json(found)
            _write(out, text)
        if session.as_json:
            session.document(found)
        else:
            _tell(session, found, out)


def _simulated(session: Session, wishes: dict[str, Any]) -> Document:
    now = session.now(writing=False)
    stretch = _stretch(session, now, wishes)
    play = only(folder_play(session.settings), wishes["flows"])
    other = _against(session, wishes["against"], wishes["flows"])
    runs = (wishes["runs"] or LIKELY_RUNS) if stretch.behaviour == "history" and not stretch.replay else 1
    courses = [replace(stretch, seed=stretch.seed + number) for number in range(runs)]
    plays = [(play, course) for course in courses] + ([(other, stretch)] if other is not None else [])
    done: list[Simulation] = []
    with progress(session, "simulate") as tell:
        for number, (each, course) in enumerate(plays):

            def told(moment: datetime, mails: int, share: float, number: int = number) -> None:
                tell(f"{moment:%d %b %Y}: {mails:,} mails", (number + share) / len(plays))

            done.append(simulate(session.database, each, course, processes=wishes["workers"], progress=told))
    return document(done[0], done[1:runs], done[-1] if other is not None else None)


def _stretch(session: Session, now: datetime, wishes: dict[str, Any]) -> Stretch:
    start, until = session.moment(wishes["from_text"]), session.moment(wishes["to_text"])
    replay = start is not None
    start = start or now
    until = until or (now if replay else now + AHEAD)
    if until <= start:
        raise UsageError("--to must lie after --from (of a forecast: after now)")
    if replay and until > now:
        raise UsageError("a replay ends in the past; without --from, simulate looks ahead from now")
    if replay and wishes["behaviour"] != "none":
        raise UsageError("--behaviour is for a forecast; a replay has what was recorded")
    beat = _beat(wishes["every_text"]) if wishes["every_text"] else usual_beat(session.database, start, until)
    sandbox = session.held_settings.delivery.mode == "sandbox"
    return Stretch(start, until, replay, wishes["behaviour"], wishes["seed"], beat, sandbox=sandbox)


def _beat(text: str) -> timedelta | None:
    if text == "moment":
        return None
    try:
        beat = Duration.parse(f"{text}in" if text.endswith("m") else text).approximate
    except ValueError as error:
        raise UsageError(f"--every: {error}") from error
    if beat <= timedelta(0):
        raise UsageError("--every takes `moment` or a stretch of time such as 15min")
    return beat


# ── what is played ───────────────────────────────────────────────────────────────────────────────────────────────────


def folder_play(settings: Settings, name: str = "folder") -> Play:
    """Return the flows, mails and offers of a project's folder; raise FindingsError where it has errors."""
    project = load_project(settings.root, settings)
    if has_errors(project.findings):
        raise FindingsError([finding for finding in project.findings if finding.is_error])
    return Play(project, dict(read_folder(settings.root / "templates")), name)


def only(play: Play, names: str | None) -> Play:
    """Return the play with some of its flows only, as if there were no others; raise UsageError for a name that it does not have."""
    wanted = _listed(names)
    if not wanted:
        return play
    known = play.project.definitions
    for name in wanted:
        if name not in known.flows:
            raise UsageError(
                f'there is no flow "{name}"; {did_you_mean(name, sorted(known.flows))}'.rstrip("; ")
            )
    chosen = replace(
        known,
        flows={name: known.flows[name] for name in wanted},
        raw={name: known.raw[name] for name in wanted},
    )
    return replace(play, project=replace(play.project, definitions=chosen), alone=True)


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _against(session: Session, against: str | None, names: str | None) -> Play | None:
    """Return what to compare with: another folder, or the folder with one flow as it was."""
    if against is None:
        return None
    folder = Path(against)
    if folder.is_dir():
        if not (folder / settings_module.FILE).is_file():
            raise UsageError(f"{folder} is no project: it has no {settings_module.FILE}")
        return only(folder_play(settings_module.load(folder), str(folder)), names)
    play = only(folder_play(session.settings), names)
    with session.database.read() as connection:
        if against == "applied":
            return _as_applied(connection, play, _listed(names))
        earlier = earlier_version(connection, against)
    if names and earlier.flow not in _listed(names):
        raise UsageError(f'version {against} is one of "{earlier.flow}", which --flows leaves out')
    return replace(
        play, project=earlier.into(play.project, alone=False), name=f"{earlier.flow} {earlier.version}"
    )


def _as_applied(connection: Any, play: Play, wanted: Sequence[str]) -> Play:
    """Return the play with what is live: all of it, or only the flows of these names."""
    project = play.project
    applied = {name: each for name, each in live_flows(connection).items() if each.active}
    live = {name: each for name, each in applied.items() if name in wanted or not wanted}
    if not live:
        what = "none of these flows" if applied else "nothing"
        raise UsageError(f"{what} was applied yet; there is nothing to compare with")
    project = replace(project, definitions=replace(project.definitions, flows={}, raw={}))
    for each in live.values():
        project = earlier_version(connection, each.program.version).into(project, alone=False)
    return replace(play, project=project, name="applied")


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _json(found: Document) -> str:
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutsideError(f"{path} cannot be written: {error.strerror}") from error


def _tell(session: Session, found: Document, out: Path | None) -> None:
    how = "replay of" if found["mode"] == "replay" else "forecast for"
    session.say(
        f"{how} {found['from'][:16]} to {found['until'][:16]} UTC, {found['customers']:,} customers; nothing was sent"
    )
    for flow, steps in found["mails"].items():
        told = ", ".join(f"{step} {number:,}" for step, number in steps.items())
        likely = found.get("interval", {}).get(flow)
        between = f"  ({likely['low']:,} to {likely['high']:,})" if likely else ""
        session.say(f"  {flow:<28} {sum(steps.values()):>9,}{between}  {told}")
    session.say(
        f"  {'in all':<28} {found['total']:>9,}  {found['per_customer']['mean']:.2f} for each customer"
    )
    if found["not_sent"]:
        session.say("not sent:")
        for each in found["reasons"][:12]:
            who = ", ".join(one["customer"] for one in each["examples"])
            session.say(f"  {each['count']:>9,}  {each['reason']}  (such as {who})")
    if "comparison" in found:
        session.say(f"against {found['against']['played']}: {found['against']['total']:,} mails")
        for each in found["comparison"]:
            if each["this"] != each["against"]:
                session.say(
                    f"  {each['flow']} / {each['step']}: {each['this']:,} here, {each['against']:,} there"
                )
    session.say(f"report: {out}" if out else "a report with charts: --out report.html")
