"""A plan for people: coloured on a terminal, Markdown for a pull request, plain data for programs.

Comes in: a `Plan`. Goes out: text or a document. Promises the same numbers in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.calendar import local
from engine.deploy.plan import MOST_DIFFERENCES, FlowPlan, Inside, Plan, Range, kinds
from engine.diagnostics import Finding
from engine.flows.report import render_text

SIGNS = {"new": "+", "behaviour": "~", "content": "~", "text": "~", "removed": "-", "unchanged": "="}
COLOURS = {"+": "32", "~": "33", "-": "31", "=": "2", "!": "1;31"}
WORDS = {
    "new": "new",
    "behaviour": "behaviour",
    "content": "content only",
    "text": "text only",
    "removed": "removed",
}
_REASONS = {
    "no_consent": "no consent for the topic", "suppressed": "suppressed",
    "nothing_to_recommend": "there is nothing to recommend", "capped": "a frequency cap has no room",
    "outranked": "another mail goes first", "no_offer": "no code of the offer is left", "too_late": "later than max_lateness",
    "superseded": "a newer mail of the flow is due", "template_error": "the template fails",
}  # fmt: skip
SHOWN = 4
Paint = Callable[[str, str], str]


def reason_in_words(reason: str) -> str:
    """Return why customers are left out, in few words.

    >>> reason_in_words("condition_false: customer: {country: JP}")
    'not customer: {country: JP}'
    >>> reason_in_words("condition_false: not_segment: staff")
    'in the segment staff'
    """
    head, _, rest = reason.partition(": ")
    if head == "condition_false" and rest.startswith("not_segment: "):
        return f"in the segment {rest.removeprefix('not_segment: ')}"
    return _REASONS.get(reason, f"not {rest}" if head == "condition_false" else reason)


def number(found: Range) -> str:
    """Return a range in figures.

    >>> number(Range(5, 5, 5)), number(Range(1, 1200, 2000))
    ('5', 'about 1,200 (1 to 2,000)')
    """
    return (
        f"{found.expected:,}"
        if found.exact
        else f"about {found.expected:,} ({found.low:,} to {found.high:,})"
    )


# ── a terminal ───────────────────────────────────────────────────────────────────────────────────────────────────────


def as_text(plan: Plan, zone: str, *, colour: bool) -> str:
    """Return a plan as lines for a terminal."""

    def paint(text: str, sign: str) -> str:
        return f"\x1b[{COLOURS[sign]}m{text}\x1b[0m" if colour else text

    lines = [f"Plan at {local(plan.at, zone):%a %d %b %Y %H:%M} for {plan.customers:,} customers", ""]
    for flow in plan.changed():
        lines += [*_flow(flow, paint), ""]
    unchanged = [flow for flow in plan.flows if flow.change.change == "unchanged"]
    if unchanged:
        lines += [paint("  = unchanged", "=")]
        for flow in unchanged:
            lines.append(paint(f"      {flow.change.flow:<26} {_mails(flow)}", "="))
            lines += inside_lines(flow, "        ") if older(flow) else ()
        lines.append("")
    lines.append(f"{summary(plan)}{_sampled(plan)}")
    lines += [paint(line, "!") for line in brake_lines(plan)]
    return "\n".join(lines)


def _flow(flow: FlowPlan, paint: Paint) -> Iterator[str]:
    change = flow.change
    sign = SIGNS[change.change]
    versions = f"  {change.before} → {change.after}" if change.change == "behaviour" else ""
    yield paint(f"  {sign} {change.flow}", sign) + f"  {WORDS[change.change]}{versions}"
    for line in flow.differences[:MOST_DIFFERENCES]:
        yield "      " + paint(line, line[0] if line[0] in COLOURS else "~")
    if len(flow.differences) > MOST_DIFFERENCES:
        yield f"      … and {len(flow.differences) - MOST_DIFFERENCES} more"
    if flow.audience is not None:
        yield f"      could enter now    {flow.audience.size:,} of {flow.audience.customers:,} customers"
        for reason, count in list(flow.audience.excluded.items())[:SHOWN]:
            yield f"        left out         {count:,}: {reason_in_words(reason)}"
        for clause in flow.audience.open[:SHOWN]:
            yield f"        open until then  {clause}"
        if flow.over is not None:
            yield "      " + paint(f"too late           {too_late(flow.over)}", "!")
        yield f"      enter in 24 hours  {number(flow.entries)}"
    if flow.audience is not None or flow.inside:
        yield f"      mails in 24 hours  {number(flow.day)}"
        yield f"      mails in 30 days   {number(flow.month)}"
        for words in kept_back(flow):
            yield f"        kept back        {words}"
    yield from inside_lines(flow)


def kept_back(flow: FlowPlan) -> Iterator[str]:
    """Yield how many mails would fall due and not go, by reason, where those are more than go."""
    if sum(flow.kept_back.values()) > flow.month.expected:
        for reason, count in list(flow.kept_back.items())[:SHOWN]:
            yield f"about {count:,}: {reason_in_words(reason)}"


def too_late(over: datetime) -> str:
    """Return what a schedule comes to whose last time has passed."""
    return f"its schedule was for {over:%Y-%m-%d %H:%M}, which has passed: nobody will enter"


def _mails(flow: FlowPlan) -> str:
    return f"mails in 24 hours {number(flow.day)}, in 30 days {number(flow.month)}"


def inside_lines(flow: FlowPlan, indent: str = "      ") -> Iterator[str]:
    """Yield what becomes of those inside."""
    if not flow.inside:
        return
    total = sum(each.customers for each in flow.inside)
    if flow.change.change == "removed":
        yield f"{indent}inside now         {total:,} finish it; nobody enters any more"
        return
    others = older(flow)
    if not others:
        same = "; nothing changes for them" if flow.change.change == "text" else ""
        yield f"{indent}inside now         {total:,}{same}"
        return
    staying = sum(each.customers for each in others)
    stay = (
        "stays on the version that was entered" if staying == 1 else "stay on the version that they entered"
    )
    yield f"{indent}inside now         {total:,}; {staying:,} {stay}"
    for each in others:
        fate = "--migrate moves them" if each.moves else "cannot be moved: no such step"
        fate = fate.replace("them", "it") if each.customers == 1 else fate
        yield f"{indent}  {each.version:<16} {each.customers:,} before {each.step or 'the end'} ({fate})"


def older(flow: FlowPlan) -> list[Inside]:
    """Return those inside who go on in another way than whoever enters."""
    return [each for each in flow.inside if each.version != flow.change.after and not each.alike]


def summary(plan: Plan) -> str:
    """Return the plan in one sentence."""
    counted = kinds(plan)
    changed = sum(counted.get(kind, 0) for kind in ("behaviour", "content", "text"))
    return (
        f"Plan: {counted.get('new', 0)} new, {changed} changed, {counted.get('removed', 0)} removed, "
        f"{counted.get('unchanged', 0)} unchanged."
    )


def _sampled(plan: Plan) -> str:
    if plan.sample == 1:
        return " Forecasts know today's customers; nobody new appears in them."
    day = "everybody" if plan.day_sample == 1 else f"one customer in {plan.day_sample}"
    return f" The first 24 hours are forecast from {day}, the 30 days from one in {plan.sample}; nobody new appears in them."


def brake_lines(plan: Plan) -> list[str]:
    """Return what the brake says; empty where it lets everything through."""
    braked = [flow for flow in plan.flows if flow.brake]
    if not braked:
        return []
    lines = [f"The brake stops {flow.change.flow}: it {flow.brake}." for flow in braked]
    lines.append(f"If that is meant: homing apply --allow-audience {plan.needed}")
    if not plan.live:
        lines.append("(While in sandbox nobody is mailed, and the brake lets everything pass.)")
    return lines


# ── a pull request ───────────────────────────────────────────────────────────────────────────────────────────────────


def as_markdown(plan: Plan, zone: str) -> str:
    """Return a plan as a comment for a pull request."""
    lines = [f"### Homing plan: {summary(plan).removeprefix('Plan: ')}", ""]
    lines += [
        f"> [!WARNING]\n> {line}" if not number_ else f"> {line}"
        for number_, line in enumerate(brake_lines(plan))
    ]
    lines += [
        "", "| | flow | change | could enter now | mails in 24 hours | mails in 30 days |", "|---|---|---|---:|---:|---:|",
    ]  # fmt: skip
    for flow in plan.flows:
        size = f"{flow.audience.size:,}" if flow.audience is not None else ""
        lines.append(
            f"| `{SIGNS[flow.change.change]}` | {flow.change.flow} | {flow.change.change} | {size} | {number(flow.day)} | {number(flow.month)} |"
        )
    lines.append("")
    for flow in plan.flows:
        if flow.change.change != "unchanged" or older(flow):
            lines += _details(flow)
    lines.append(
        f"<sub>{plan.customers:,} customers at {local(plan.at, zone):%Y-%m-%d %H:%M} {zone}.{_sampled(plan)}</sub>"
    )
    return "\n".join(lines)


def refused_as_markdown(findings: Sequence[Finding], root: Path | None) -> str:
    """Return, as a comment for a pull request, why `apply` would refuse what lies in the folder."""
    told = render_text(findings, root=root).rstrip("\n")
    title = "### Homing plan: `apply` would refuse this"
    return "\n".join(
        [title, "", "> [!CAUTION]\n> Nothing of it would be live.", "", "~~~~text", told, "~~~~"]
    )


def _details(flow: FlowPlan) -> list[str]:
    told = [f"    {line}" for line in flow.differences[:MOST_DIFFERENCES]]
    if flow.audience is not None:
        told += [
            f"    left out: {count:,} {reason_in_words(reason)}"
            for reason, count in flow.audience.excluded.items()
        ]
        told += [f"    open until then: {clause}" for clause in flow.audience.open]
        told.append(f"    enter in 24 hours: {number(flow.entries)}")
    told += [f"    kept back: {words}" for words in kept_back(flow)]
    if flow.over is not None:
        told.append(f"    too late: {too_late(flow.over)}")
    told += list(inside_lines(flow, "    "))
    if not told:
        return []
    return [f"<details><summary>{flow.change.flow}</summary>", "", *told, "", "</details>", ""]


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def as_data(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data."""
    return {
        "at": plan.at, "customers": plan.customers, "live": plan.live, "sample": plan.sample,
        "day_sample": plan.day_sample, "braked": plan.braked, "needed": plan.needed,
        "changes": kinds(plan), "flows": [_flow_data(flow) for flow in plan.flows],
    }  # fmt: skip


def _flow_data(flow: FlowPlan) -> dict[str, Any]:
    change, found = flow.change, flow.audience
    return {
        "flow": change.flow, "change": change.change, "kind": flow.kind, "summary": flow.summary, "from": change.before,
        "to": change.after, "differences": list(flow.differences), "audience": found.size if found else 0,
        "excluded": dict(found.excluded) if found else {}, "open": list(found.open) if found else [],
        "mails": {"24h": _range(flow.day), "30d": _range(flow.month)}, "entries": {"24h": _range(flow.entries)},
        "inside": [
            {"version": e.version, "step": e.step, "customers": e.customers, "moves": e.moves, "alike": e.alike}
            for e in flow.inside
        ],
        "brake": flow.brake, "needed": flow.needed, "over": flow.over, "kept_back": dict(flow.kept_back),
    }  # fmt: skip


def _range(found: Range) -> dict[str, int]:
    return {"low": found.low, "expected": found.expected, "high": found.high}
