"""`homing plan`: what `apply` would change, and what that would do to customers, before it does.

Comes in: the folder, the real database (only read), a moment. Goes out: a `Plan`. For each flow: the kind of change and
where it lies, who could enter now and what keeps the others out, the mails of the next 24 hours and 30 days, what becomes
of those inside. The mails come from the simulation: from how everybody stands, once with nothing new and once with
customers who go on as similar ones did; both make the range. Of many customers a sample is driven, a larger one through the
first day than through the month, and the range grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil, floor, sqrt
from typing import Any

from sqlalchemy import Connection, func, select

from engine.calendar import at_wall
from engine.deploy.apply import FlowChange, Planned, applied_content, compare, raw_segments, with_excluded
from engine.deploy.content import Content, differing
from engine.deploy.plan_audience import Audience, audience, everybody
from engine.deploy.plan_moving import can_move
from engine.deploy.simulate import Play, Stretch, simulate
from engine.deploy.simulate_tally import Tally
from engine.diagnostics import has_errors
from engine.errors import FindingsError
from engine.flows.conditions import clause_text
from engine.flows.fingerprint import Change
from engine.flows.load import used_segments
from engine.flows.model import Flow, ScheduleTrigger
from engine.journeys.program import Program, compile_program
from engine.journeys.round import Round
from engine.journeys.versions import live_flows, programs
from engine.runtime.rails import usual_most
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import INSIDE, customers, enrollments, flow_versions, messages

SAMPLE = 1_500  # customers who are driven through the month; of more, one in so many
DAY_SAMPLE = 20_000  # … through the first day, on which the brake judges
DAY, MONTH = timedelta(days=1), timedelta(days=30)
FINE, COARSE = timedelta(hours=1), timedelta(hours=3)
MOST_DIFFERENCES = 12
KEPT_BACK = (
    "nothing_to_recommend", "capped", "outranked", "no_offer", "too_late", "superseded", "template_error", "sandboxed",
)  # fmt: skip
_ZONES_APART = timedelta(hours=26)  # between the first and the last customer whose clock shows a time
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Range:
    """A number that depends on what customers do: at least, most likely, at most."""

    low: int = 0
    expected: int = 0
    high: int = 0

    @property
    def exact(self) -> bool:
        """Whether nothing can change it."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class Inside:
    """Customers inside a flow at one step of one version; `moves`: whether `--migrate` can move them."""

    version: str
    step: str | None
    customers: int
    moves: bool


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """One flow in a plan; `over` is the last time on its calendar, on the shop's clock, where all of them have passed.

    `kept_back` counts by reason the mails of the month that would fall due and not go, most first.
    """

    change: FlowChange
    kind: str
    summary: str
    differences: tuple[str, ...]
    audience: Audience | None
    day: Range
    month: Range
    entries: Range
    inside: tuple[Inside, ...]
    brake: str | None = None
    over: datetime | None = None
    kept_back: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of it; one in `sample` customers was driven through the month, one in `day_sample` through the first day."""

    at: datetime
    customers: int
    flows: tuple[FlowPlan, ...]
    sample: int
    day_sample: int
    live: bool
    planned: Planned = field(repr=False)

    @property
    def braked(self) -> bool:
        """Whether the brake would stop what this plan does."""
        return any(flow.brake for flow in self.flows)

    def changed(self) -> Iterator[FlowPlan]:
        """Yield the flows that `apply` would change."""
        return (flow for flow in self.flows if flow.change.change != "unchanged")


def plan(
    database: Database,
    settings: Settings,
    *,
    now: datetime,
    sandbox: bool,
    allow_audience: int | None = None,
    progress: Progress = lambda _what, _share: None,
) -> Plan:
    """Return what applying the folder at `now` would do; nothing is written. Raise FindingsError where it has errors."""
    planned = compare(database, settings)
    if has_errors(planned.findings):
        raise FindingsError([finding for finding in planned.findings if finding.is_error])
    with database.read() as connection:
        people = (
            connection.scalar(
                select(func.count()).select_from(customers).where(customers.c.erased_at.is_(None))
            )
            or 0
        )
    month = _Forecast(max(1, ceil(people / SAMPLE)), MONTH)
    day = _Forecast(max(1, ceil(people / DAY_SAMPLE)), DAY)
    asked = [month] if month.sample == 1 else [day, month]  # a month of everybody holds their day
    for number, forecast in enumerate(asked):
        share = number / len(asked), 1 / len(asked)
        _drive(forecast, database, planned, now, share, sandbox=sandbox, progress=progress)
    with database.read() as connection:
        flows = _flows(connection, planned, settings, now, (asked[0], month), allow_audience)
    return Plan(now, people, flows, month.sample, day.sample, not sandbox, planned)


# ── forecasts ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Forecast:
    """One in `sample` customers, for so long: once with nothing new, once as customers did before."""

    sample: int
    length: timedelta
    quiet: Tally = field(default_factory=Tally)
    likely: Tally = field(default_factory=Tally)


def _drive(
    forecast: _Forecast,
    database: Database,
    planned: Planned,
    now: datetime,
    share: tuple[float, float],
    *,
    sandbox: bool,
    progress: Progress,
) -> None:
    """Drive a forecast's customers; `share` is where on the bar it begins, and how much of it it is."""
    play = Play(planned.project, dict(planned.templates))
    beat = FINE if forecast.sample == 1 or forecast.length == DAY else COARSE
    stretch = Stretch(
        now, now + forecast.length, replay=False, beat=beat, sample=forecast.sample, sandbox=sandbox
    )
    begun, size = share

    def tell(what: str, half: int) -> Callable[[datetime, int, float], None]:
        return lambda moment, mails, done: progress(
            f"{what}: {moment:%d %b}, {mails:,} mails", begun + size * (half + done) / 2
        )

    forecast.quiet = simulate(database, play, stretch, processes=1, progress=tell("nothing new", 0)).tally
    stretch = replace(stretch, behaviour="history")
    forecast.likely = simulate(database, play, stretch, processes=1, progress=tell("as before", 1)).tally


def _range(forecast: _Forecast, flow: str, what: str) -> Range:
    """Return a forecast's range: without anything new, and as customers did before, each as sure as its number is."""
    low, high = _number(forecast.quiet, flow, what), _number(forecast.likely, flow, what)
    sample = forecast.sample
    if low == high and sample == 1:
        return Range(low, low, low)
    spread = 2 * sqrt(max(low, high, 1))
    # Of everybody, what comes with nothing new is certain; of a sample it varies like any count.
    certain = sample == 1 and low <= high
    least = min(low, high - spread) if certain else min(low, high) - spread
    most = max(low, high) + spread
    return Range(max(0, floor(least)) * sample, high * sample, ceil(most) * sample)


def _number(tally: Tally, flow: str, what: str) -> int:
    if what == "month":
        return sum(number for (name, _), number in tally.mails.items() if name == flow)
    return tally.first_day[flow, what]


def _flows(
    connection: Connection,
    planned: Planned,
    settings: Settings,
    now: datetime,
    forecasts: tuple[_Forecast, _Forecast],
    allowance: int | None,
) -> tuple[FlowPlan, ...]:
    flows = {
        name: with_excluded(flow, planned.project) for name, flow in planned.project.definitions.flows.items()
    }
    at = Round(now, settings)
    first, whole = forecasts
    people = everybody(connection, list(flows.values()), at)
    live = live_flows(connection)
    found = []
    for change in planned.changes:
        flow = flows.get(change.flow) or live[change.flow].flow
        staying = change.change != "removed"
        day, month, entries = (
            _range(forecast, change.flow, what) if staying else Range()
            for forecast, what in ((first, "mails"), (whole, "month"), (first, "entries"))
        )
        one = FlowPlan(
            change, flow.kind, flow.summary, _differences(connection, change, planned, flow),
            audience(connection, flow, people, at) if staying else None,
            day, month, entries, _inside(connection, change, flow), over=_over(flow, at) if staying else None,
            kept_back=_kept_back(whole, change.flow) if staying else {},
        )  # fmt: skip
        found.append(replace(one, brake=_brake(connection, one, now, allowance)))
    return tuple(found)


def _kept_back(forecast: _Forecast, flow: str) -> dict[str, int]:
    """Return by reason how many of the flow's mails would fall due in the month and not go, most first."""
    told = forecast.likely.not_sent
    found = {reason: told[flow, reason] * forecast.sample for reason in KEPT_BACK if told[flow, reason]}
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _over(flow: Flow, at: Round) -> datetime | None:
    """Return the last of the times at which a flow lets customers in, where there are no others and all have passed."""
    times = [
        trigger.once for trigger in flow.triggers if isinstance(trigger, ScheduleTrigger) and trigger.once
    ]
    if not times or len(times) < len(flow.triggers):
        return None
    last = max(times)
    begun = at_wall(last.date(), last.time(), at.shop_zone)
    return last if begun + _ZONES_APART < at.now else None


# ── the brake ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _brake(connection: Connection, flow: FlowPlan, now: datetime, allowance: int | None) -> str | None:
    """Return why the brake would stop this change, or None: far more in 24 hours than is usual or allowed."""
    if flow.change.change not in ("new", "behaviour"):
        return None
    for table, number, verb in ((enrollments, flow.entries, "enter"), (messages, flow.day, "mail")):
        most = max(usual_most(connection, flow.change.flow, now, table), allowance or 0)
        if number.expected > most:
            return (
                f"would {verb} about {number.expected:,} customers within 24 hours; usual is at most {most:,}"
            )
    return None


# ── those inside ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _inside(connection: Connection, change: FlowChange, flow: Flow) -> tuple[Inside, ...]:
    """Return how many are at which step of which version, the present one first."""
    table = enrollments.c
    query = (
        select(table.version, table.position, func.count())
        .where(table.flow == change.flow, INSIDE)
        .group_by(table.version, table.position)
    )
    rows = sorted(
        connection.execute(query).all(), key=lambda row: (row[0] != change.before, row[0], row[1] or "")
    )
    if not rows:
        return ()
    new = compile_program(flow, change.after) if change.after is not None else None
    old = _programs(connection, {row[0] for row in rows})
    return tuple(
        Inside(version, position, number, new is not None and can_move(old[version], new, position))
        for version, position, number in rows
    )


def _programs(connection: Connection, hashes: set[str]) -> Mapping[str, Program]:
    return programs(connection, sorted(hashes))


# ── differences ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _differences(connection: Connection, change: FlowChange, planned: Planned, flow: Flow) -> tuple[str, ...]:
    """Return where a changed flow differs from the applied one, as `where: before → after`."""
    if change.change not in ("behaviour", "content", "text") or change.before is None:
        return ()
    stored = select(flow_versions.c.definition).where(flow_versions.c.hash == change.before)
    before = dict(connection.scalar(stored) or {})
    project = planned.project
    after = dict(project.definitions.raw.get(change.flow, {}))
    known = before.pop("segments", {}), raw_segments(project, flow) | after.pop("segments", {})
    told = [*_compared("", before, after), *_segments(*known, change, connection, flow)]
    told += _contents(connection, change, planned, flow)
    return tuple(told)


def _contents(connection: Connection, change: FlowChange, planned: Planned, flow: Flow) -> Iterator[str]:
    """Yield the templates that differ, and where an offer of the flow gives something else."""
    assert change.before is not None
    old = programs(connection, [change.before])[change.before].flow
    before, after = applied_content(connection), Content.of_folder(planned.project, planned.templates)
    for line in differing(before, after, flow, old):
        name = line.removeprefix("~ offers.")
        if name == line:
            yield line
        else:
            yield from _compared(f"offers.{name}", before.offers[name], after.offers[name])


def _segments(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    change: FlowChange,
    connection: Connection,
    flow: Flow,
) -> Iterator[str]:
    """Yield segments that mean something else, and those that the policy excludes now or no more.

    One that the flow asks for anew, or no more, is told by the clause that asks.
    """
    assert change.before is not None
    old = programs(connection, [change.before])[change.before].flow
    for name in dict.fromkeys((*before, *after)):
        if name in before and name in after:
            yield from _compared(f"segments.{name}", before[name], after[name])
        elif name in after and name in _only_excluded(flow, after):
            yield f"+ [policy] exclude: {name}"
        elif name in before and name in _only_excluded(old, before):
            yield f"- [policy] exclude: {name}"


def _only_excluded(flow: Flow, known: Mapping[str, Any]) -> set[str]:
    """Return the segments that a flow brings because the policy excludes them, and not because it asks for them."""
    asked = set(used_segments(flow, flow.segments))
    others = {name for name in known if name not in asked}
    within = {
        inner
        for name in others
        for inner in used_segments(Flow("probe", (), (), enter_if=flow.segments[name]), flow.segments)
    }
    return others - within


def _compared(where: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            place = f"{where}.{key}" if where else str(key)
            if key not in after:
                yield f"- {place}: {_short(before[key])}"
            elif key not in before:
                yield f"+ {place}: {_short(after[key])}"
            else:
                yield from _compared(place, before[key], after[key])
    elif (
        isinstance(before, Sequence)
        and isinstance(after, Sequence)
        and not isinstance(before, str)
        and not isinstance(after, str)
    ):
        for number in range(max(len(before), len(after))):
            place = f"{where}.{number + 1}"
            if number >= len(after):
                yield f"- {place}: {_short(before[number])}"
            elif number >= len(before):
                yield f"+ {place}: {_short(after[number])}"
            else:
                yield from _compared(place, before[number], after[number])
    else:
        yield f"~ {where}: {_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    text = clause_text(value)
    return text if len(text) <= 60 else text[:59] + "…"


def kinds(found: Plan) -> dict[Change, int]:
    """Return how many flows change in which way."""
    counted: dict[Change, int] = {}
    for flow in found.flows:
        counted[flow.change.change] = counted.get(flow.change.change, 0) + 1
    return counted
