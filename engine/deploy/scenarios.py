"""`homing test`: scenarios played in virtual time by the real engine, and what came of them held against what was expected.

Comes in: a project, scenarios. Goes out: a `Verdict` for each, with the actual timeline and what is missing in it or
should not be there. Promises: nothing sleeps, nothing leaves the house, and a scenario leaves no trace for the next.

A timeline is played line by line: the clock goes to the line's moment, the fact arrives, and the engine goes on. After
the last line it goes on until nothing can happen any more, or for calendars that never end, well past the last moment
that the scenario names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from engine.calendar import add
from engine.deploy.happened import Story, clauses_found, read_story
from engine.deploy.matching import Line, hold_against
from engine.deploy.stage import Stage, Theatre, plain_numbers
from engine.diagnostics import Finding, has_errors
from engine.errors import FindingsError, UsageError
from engine.facts.fact import Kind
from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.facts.rights import erase, suppress
from engine.flows.model import AnniversaryTrigger, Flow, ScheduleTrigger, SegmentTrigger
from engine.flows.scenario import (
    Exits,
    Happening,
    Scenario,
    Sends,
    WaitsUntil,
    When,
    load_scenarios,
    scenario_files,
)
from engine.flows.scenario_check import of_no_flow
from engine.flows.scenario_clock import aware, moments_of, zone_of
from engine.journeys.round import Round
from engine.journeys.versions import live_flows
from engine.processes import mapped
from engine.recommend.rebuild import rebuild
from engine.runtime import nightly
from engine.runtime.passes import Engine, run_pass
from engine.runtime.ticking import drive, next_moment
from engine.settings import Settings
from engine.store import meta

CUSTOMER = "customer"
ADDRESS = "customer@example.test"
MOMENT = timedelta(microseconds=1)
LONGEST = timedelta(days=800)
AFTERWARDS = timedelta(days=31)
YEARLY = timedelta(days=330)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one scenario: `lines` hold what was expected against what happened; `problems` kept it from playing."""

    scenario: Scenario
    story: Story
    lines: tuple[Line, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything happened as expected."""
        return not self.problems and all(line.holds for line in self.lines)


@dataclass(frozen=True, slots=True)
class Performance:
    """What came of a run: the verdicts in order, and the flows as far as they were looked at."""

    verdicts: tuple[Verdict, ...]
    flows: Mapping[str, Flow] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        """How many scenarios passed."""
        return sum(verdict.passed for verdict in self.verdicts)

    @property
    def failed(self) -> int:
        """How many did not."""
        return len(self.verdicts) - self.passed


def run_project(
    root: Path,
    settings: Settings,
    paths: Sequence[Path] = (),
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    workers: int = 1,
) -> Performance:
    """Play the project's scenarios (or those of some files and folders) and return what came of them.

    `workers` processes share them; `progress` is told how many are done of how many.
    Raise FindingsError where a flow or a scenario has errors, UsageError where there is none to play.
    """
    findings: list[Finding] = []
    scenarios = load_scenarios(root, findings, _files(root, paths))
    if paths and not scenarios and not findings:
        raise UsageError(f"there is no scenario in {', '.join(map(str, paths))}")
    theatre = Theatre.of(root, settings)
    known = theatre.project.definitions.flows
    findings += theatre.project.findings
    findings += of_no_flow(root, scenarios, known)
    if has_errors(findings):
        raise FindingsError([finding for finding in findings if finding.is_error])
    verdicts = []
    theatre.prepare()
    for verdict in mapped(partial(play, theatre), scenarios, workers):
        verdicts.append(verdict)
        progress(len(verdicts), len(scenarios))
    theatre.close()
    looked_at = {each.flow for each in scenarios}
    return Performance(tuple(verdicts), {n: f for n, f in known.items() if not paths or n in looked_at})


def _files(root: Path, paths: Sequence[Path]) -> list[Path] | None:
    if not paths:
        return None
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.rglob("*.yaml"))
        elif path.is_file():
            found.append(path)
        else:
            near = [each for each in scenario_files(root) if path.name in (each.name, each.stem)]
            if not near:
                raise UsageError(f"there is no file or folder {path}")
            found += near
    return found


# ── playing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def play(theatre: Theatre, scenario: Scenario) -> Verdict:
    """Play one scenario and return what came of it."""
    zone = zone_of(scenario, theatre.project.settings.shop.timezone)
    moments = moments_of(scenario.timeline, zone)
    start = moments[0] - timedelta(seconds=1)
    stage = theatre.stage(scenario, start)
    problems = _play(stage, scenario, moments, start, zone)
    told = tuple(zip(moments, scenario.timeline, strict=True))
    with stage.database.read() as connection:
        story = read_story(connection, stage.flow, told)
        lines = tuple(hold_against(scenario.expect, story, zone))
        if not all(line.holds for line in lines):
            live = live_flows(connection)[scenario.flow]
            story = clauses_found(connection, story, live, Round(_long_after(story, start), stage.settings))
            lines = tuple(hold_against(scenario.expect, story, zone))
    return Verdict(scenario, story, lines, (*problems, *story.errors))


def _long_after(story: Story, start: datetime) -> datetime:
    return max((deed.at for deed in story.deeds), default=start) + timedelta(days=1)


def _play(
    stage: Stage, scenario: Scenario, moments: Sequence[datetime], start: datetime, zone: str
) -> list[str]:
    engine = stage.engine()
    problems = _tell(stage, "products", [plain_numbers(product) for product in scenario.products], start)
    order = sorted(range(len(moments)), key=lambda number: (moments[number], number))
    newly_created = scenario.timeline[order[0]].event == "customer_created"
    person = _times_of({"external_id": CUSTOMER, "email": ADDRESS, **plain_numbers(scenario.customer)}, zone)
    if scenario.products:
        rebuild(stage.database, start)  # what would be recommended is reckoned at night
    if not newly_created:
        problems += _tell(stage, "customers", [person], start)
    stage.apply(start)
    nights = _needs_nights(stage)
    clock = start
    for number in order:
        line, moment = scenario.timeline[number], moments[number]
        _go_on(engine, clock, moment, nights=nights)
        first = newly_created and number == order[0]
        problems += _happen(
            stage, line, moment, zone, person if first else {"external_id": person["external_id"]}
        )
        if nights:
            drive(engine, moment, moment)
        else:
            _stand(engine, moment)
        clock = moment
    _finish(engine, stage, clock, last_named(scenario, moments, zone), moments[0], nights=nights)
    return problems


def _go_on(engine: Engine, clock: datetime, before: datetime, *, nights: bool) -> None:
    """Let everything happen that is due before a moment, stopping at nothing else."""
    if nights:
        if before - MOMENT > clock:
            drive(engine, clock, before - MOMENT)
        return
    while (upcoming := next_moment(engine, clock)) is not None:
        clock = max(upcoming, clock + MOMENT)
        if clock >= before:
            return
        _stand(engine, clock)


def _stand(engine: Engine, moment: datetime) -> None:
    """Put the clock at a moment and do all that is due; nobody else works on a stage, so nothing is waited for."""
    with engine.database.write() as connection:
        meta.set_virtual_now(connection, moment)
    run_pass(engine, moment)


def _needs_nights(stage: Stage) -> bool:
    """Return whether the night's work can change anything: segments compared, scores reckoned anew."""
    with stage.database.read() as connection:
        live = live_flows(connection)
    has_segments = any(
        isinstance(trigger, SegmentTrigger) for each in live.values() for trigger in each.flow.triggers
    )
    return has_segments or nightly.asks_for_scores(live.values())


def _finish(
    engine: Engine, stage: Stage, clock: datetime, named: datetime, first: datetime, *, nights: bool
) -> None:
    """Go on until nothing can happen any more, or long enough where something always can."""
    endless = [
        trigger for trigger in stage.flow.triggers if isinstance(trigger, ScheduleTrigger) and trigger.cron
    ]
    yearly = any(isinstance(trigger, AnniversaryTrigger) for trigger in stage.flow.triggers)
    if endless:
        until = named if named > clock else clock + AFTERWARDS
    elif yearly:
        until = max(named + AFTERWARDS, first + YEARLY)
    elif nights:
        until = named + AFTERWARDS * 3
    else:
        until = named + LONGEST
    _go_on(engine, clock, until + MOMENT, nights=nights)


def last_named(scenario: Scenario, moments: Sequence[datetime], zone: str) -> datetime:
    """Return the latest moment that the scenario names."""
    named = list(moments)
    for expected in scenario.expect:
        when: When | None = None
        if isinstance(expected, Sends | Exits):
            when = expected.when
        elif isinstance(expected, WaitsUntil):
            when = When(expected.at)
        if when is not None and when.at is not None:
            named.append(aware(when.at, zone))
        elif when is not None and when.after is not None:
            named.append(add(max(moments), when.after, zone))
    return max(named)


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PRODUCT_EVENTS = ("product_updated", "product_back_in_stock", "product_price_drop", "product_low_stock")
OWN_TIMES = frozenset(
    {"at", "updated_at", "placed_at", "status_at", "created_at", "consent_at", "points_expire_at", "new_date"}
)


def _happen(
    stage: Stage, line: Happening, moment: datetime, zone: str, person: Mapping[str, Any]
) -> list[str]:
    """Let one line of the timeline arrive, as a fact of its kind."""
    fields = _times_of(plain_numbers(line.fields), zone)
    if line.event in PRODUCT_EVENTS:
        if line.event == "product_back_in_stock" and "stock" not in fields:
            fields |= {"stock": None, "available": fields.get("available", True)}  # how many came is not said
        row, kind = {"updated_at": moment.isoformat(), **fields}, "products"
    elif line.event in ("customer_created", "customer_updated"):
        row, kind = {"updated_at": moment.isoformat(), **person, **fields}, "customers"
    elif line.event in ("customer_suppressed", "customer_erased"):
        return _take_back(stage, line, moment, str(person["external_id"]))
    else:
        row, kind = _event_row(line.event, fields, moment, str(person["external_id"])), "events"
    return _tell(stage, kind, [row], moment, where=f"{line.span}: ")


def _event_row(event: str, fields: dict[str, Any], moment: datetime, customer: str) -> dict[str, Any]:
    own = fields.pop("occurred_at", None) or fields.pop("at", None)
    own = own or fields.get("placed_at" if event == "order_placed" else "updated_at")
    row: dict[str, Any] = {"customer": customer, **fields, "event": event, "at": own or moment.isoformat()}
    if event in ("cart_updated", "cart_emptied"):
        row.setdefault("cart_id", "cart")
    return row


def _take_back(stage: Stage, line: Happening, moment: datetime, customer: str) -> list[str]:
    with stage.database.write() as connection:
        found = find_customer(connection, customer)
        if found is None:
            return [f"{line.span}: the customer is not there any more"]
        if line.event == "customer_erased":
            erase(connection, found, now=moment)
        else:
            suppress(
                connection,
                found,
                now=moment,
                scope="marketing" if line.fields.get("scope") == "marketing" else "all",
            )
    return []


def _times_of(fields: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """Return the fields with times that have no offset put on the customer's clock."""
    return {name: _aware_text(value, zone) if name in OWN_TIMES else value for name, value in fields.items()}


def _aware_text(value: Any, zone: str) -> Any:
    if not isinstance(value, str) or len(value) <= len("2026-03-02"):
        return value
    try:
        return aware(datetime.fromisoformat(value.strip()), zone).isoformat()
    except ValueError:
        return value  # the ingest says what is wrong with it


def _tell(
    stage: Stage, kind: str, rows: Iterable[Mapping[str, Any]], now: datetime, where: str = ""
) -> list[str]:
    chosen: Kind = kind  # type: ignore[assignment]
    told = list(rows)
    if not told:
        return []
    report = ingest_rows(stage.database, chosen, told, settings=stage.settings, now=now)
    return [f"{where}{bad.column} {bad.reason}" for bad in report.bad_rows]
