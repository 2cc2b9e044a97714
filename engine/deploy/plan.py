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
from engine.deploy.apply import FlowChange, Planned, applied_content, checked, raw_segments, with_excluded
from engine.deploy.content import Content, differing
from engine.deploy.plan_audience import Audience, audience, everybody
from engine.deploy.plan_moving import can_move
from engine.deploy.simulate import Play, Stretch, simulate
from engine.deploy.simulate_tally import Tally
from engine.flows.conditions import clause_text
from engine.flows.fingerprint import Change, version_hash
from engine.flows.load import used_segments
from engine.flows.model import Branch, Experiment, Flow, ScheduleTrigger, Send, Step
from engine.flows.validate import Lint
from engine.journeys.program import Program, compile_program
from engine.journeys.round import Round
from engine.journeys.versions import live_flows, programs
from engine.outbox.ledger import OPEN
from engine.runtime.rails import brake_limit, most_in_a_day, usual_most
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import INSIDE, customers, enrollments, flow_versions, messages
from engine.store.types import from_micros

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

    def at_least(self, least: Range) -> Range:
        """Return the range of what holds another, such as a month its first day: no end lies below that one's.

        >>> Range(0, 4, 9).at_least(Range(5, 5, 5))
        Range(low=5, expected=5, high=9)
        """
        return Range(max(self.low, least.low), max(self.expected, least.expected), max(self.high, least.high))

    def at_most(self, limit: int | None) -> Range:
        """Return the range without what lies beyond a limit; None is no limit.

        >>> Range(189, 219, 251).at_most(230)
        Range(low=189, expected=219, high=230)
        """
        if limit is None:
            return self
        return Range(min(self.low, limit), min(self.expected, limit), min(self.high, limit))


@dataclass(frozen=True, slots=True)
class Inside:
    """Customers inside a flow at one step of one version; `moves`: whether `--migrate` can move them.

    `alike`: what becomes of them is no other than in the version that will be live, which says at most another summary.
    """

    version: str
    step: str | None
    customers: int
    moves: bool
    alike: bool = False


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """One flow in a plan; `over` is the last time on its calendar, on the shop's clock, where all of them have passed.

    `brake` says why the brake would stop it, and `needed` is the least allowance with which it would not.
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
    needed: int | None = None
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
        return self.needed is not None

    @property
    def needed(self) -> int | None:
        """The least `--allow-audience` with which the brake lets all of it through; None where it does so as it is."""
        return max((flow.needed for flow in self.flows if flow.needed is not None), default=None)

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
    lint: Lint | None = None,
    progress: Progress = lambda _what, _share: None,
) -> Plan:
    """Return what applying the folder at `now` would do; nothing is written. Raise FindingsError where `apply` would."""
    planned = checked(database, settings, lint)
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
    return _between(
        _number(forecast.quiet, flow, what), _number(forecast.likely, flow, what), forecast.sample
    )


def _month(first: _Forecast, whole: _Forecast, flow: str, what: str, on_day: str) -> Range:
    """Return the range of a month: that of its first day, of which more customers were driven, and of what follows it."""
    day = _range(first, flow, on_day)
    if first is whole:
        return _range(whole, flow, what).at_least(day)
    quiet, likely = (
        max(0, _number(tally, flow, what) - _number(tally, flow, on_day))
        for tally in (whole.quiet, whole.likely)
    )
    rest = _between(quiet, likely, whole.sample)
    return Range(day.low + rest.low, day.expected + rest.expected, day.high + rest.high)


def _between(low: int, high: int, sample: int) -> Range:
    """Return the range of a number of one in `sample` customers that is `low` with nothing new, `high` as it was before."""
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
    if what == "entered":
        return tally.entered[flow]
    return sum(_first_day(tally, flow, what).values())


def _first_day(tally: Tally, flow: str, what: str) -> dict[datetime, int]:
    """Return how many mails or entries of a flow its first 24 hours hold, by moment."""
    return {
        from_micros(at): number
        for (name, kind, at), number in tally.first_day.items()
        if (name, kind) == (flow, what)
    }


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
        staying = change.change != "removed"  # else nobody enters; those inside go on and are mailed
        able = audience(connection, flow, people, at) if staying else None
        entries = entered = Range()
        if able is not None:
            entries = _range(first, change.flow, "entries").at_most(most_entries(flow, able.customers, DAY))
            entered = _month(first, whole, change.flow, "entered", "entries")
            entered = entered.at_most(most_entries(flow, able.customers, MONTH))
        known, most = _known_mails(connection, change.flow), most_mails(flow.steps)
        month = _month(first, whole, change.flow, "month", "mails")
        one = FlowPlan(
            change, flow.kind, flow.summary, _differences(connection, change, planned, flow), able,
            _range(first, change.flow, "mails").at_most(entries.high * most + known),
            month.at_most(entered.high * most + known), entries, _inside(connection, change, flow), over=_over(flow, at) if staying else None,
            kept_back=_kept_back(whole, change.flow),
        )  # fmt: skip
        brake, needed = _brake(connection, one, first, now, allowance)
        found.append(replace(one, brake=brake, needed=needed))
    return tuple(found)


def most_entries(flow: Flow, people: int, length: timedelta) -> int | None:
    """Return how many entries so many customers can make in a stretch of time; None where nothing bounds it."""
    again = flow.re_entry
    if again.never or (again.after is not None and again.after.approximate > length):
        return people
    times = [trigger for trigger in flow.triggers if isinstance(trigger, ScheduleTrigger) and trigger.once]
    return people * len(times) if len(times) == len(flow.triggers) else None


def most_mails(steps: Sequence[Step]) -> int:
    """Return how many mails one who enters can get at most: those of the longest way through the steps."""
    ways = (max((most_mails(arm.steps) for arm in step.arms), default=0)
            for step in steps if isinstance(step, Branch | Experiment))  # fmt: skip
    return sum(isinstance(step, Send) for step in steps) + sum(ways)


def _known_mails(connection: Connection, flow: str) -> int:
    """Return how many mails can come of those inside a flow, on whatever version, and of what waits to go."""
    table = enrollments.c
    by_version = select(table.version, func.count()).where(table.flow == flow, INSIDE).group_by(table.version)
    inside: dict[str, int] = {version: number for version, number in connection.execute(by_version)}
    known = _programs(connection, set(inside))
    waiting = select(func.count()).select_from(messages)
    open_ = connection.scalar(waiting.where(messages.c.flow == flow, messages.c.state.in_(OPEN))) or 0
    ahead = (number * most_mails(known[version].flow.steps) for version, number in inside.items())
    return int(open_ + sum(ahead))


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


def _brake(
    connection: Connection, flow: FlowPlan, forecast: _Forecast, now: datetime, allowance: int | None
) -> tuple[str | None, int | None]:
    """Return why the brake would stop this change, and the least allowance with which it would not, or None and None.

    It stops far more in any 24 hours than is usual or allowed, those before this plan among them, and is asked about the
    number that is most likely.
    """
    if flow.change.change not in ("new", "behaviour"):
        return None, None
    name, beyond = flow.change.flow, []
    for table, number, what, verb in (
        (enrollments, flow.entries, "entries", "enter"), (messages, flow.day, "mails", "mail"),
    ):  # fmt: skip
        usual = usual_most(connection, name, now, table)
        ahead = _bounded(_first_day(forecast.likely, name, what), forecast.sample, number.expected)
        most, before = most_in_a_day(connection, name, now, table, ahead)
        if most > max(usual, allowance or 0):
            about = "" if number.exact else "about "
            others = f", {before:,} of them before this plan" if before else ""
            limit = brake_limit(usual, allowance)
            told = f"would {verb} {about}{most:,} customers within 24 hours{others}; {limit}"
            beyond.append((most, told))
    return (beyond[0][1], max(beyond)[0]) if beyond else (None, None)


def _bounded(found: Mapping[datetime, int], sample: int, most: int) -> dict[datetime, int]:
    """Return what one in `sample` customers came to as that of all, and no more of it than there can be."""
    bounded, left = {}, most
    for moment in sorted(found):
        bounded[moment] = min(found[moment] * sample, left)
        left -= bounded[moment]
    return bounded


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
    if new is None:
        return tuple(Inside(version, position, number, moves=False) for version, position, number in rows)
    ours = _but_for_summary(flow)
    alike = {version for version, program in old.items() if _but_for_summary(program.flow) == ours}
    return tuple(
        Inside(version, position, number, can_move(old[version], new, position), version in alike)
        for version, position, number in rows
    )


def _but_for_summary(flow: Flow) -> str:
    """Return the hash of what a flow does; segments of other flows, which are lent to versions that run, do not count."""
    return version_hash(replace(flow, summary="", segments=used_segments(flow, flow.segments)))


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
