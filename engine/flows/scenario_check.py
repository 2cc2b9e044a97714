"""What is wrong with scenarios when they are held against the flows that they test, before any of them is played.

Comes in: the files under `tests/` and the project's definitions and settings. Goes out: findings, all of them at once, each
at the very words. Promises: what is told here could not be played as it is meant; nothing is played to find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.diagnostics import Finding, Span, did_you_mean, has_errors
from engine.flows import problems
from engine.flows.conditions import Clause
from engine.flows.manual import page
from engine.flows.model import (
    Branch,
    Definitions,
    Exit,
    Experiment,
    Flow,
    SegmentTrigger,
    Send,
    WaitField,
    Webhook,
)
from engine.flows.nodes import Scalar, Table
from engine.flows.scenario import (
    FOLDER,
    KEYS,
    Exits,
    Scenario,
    Sends,
    SendsNot,
    Takes,
    as_written,
    scenario_files,
    scenario_nodes,
)
from engine.flows.scenario_clock import moments_of, zone_of
from engine.flows.scenario_words import odd_words
from engine.settings import Settings

_BY_LAW = ("no_consent", "suppressed")
_PLAIN = (
    *_BY_LAW, "capped", "quiet_hours", "holdout", "too_late", "superseded", "template_error", "nothing_to_recommend",
    "no_offer", "outranked", "paused", "frozen", "quarantined", "sandboxed", "paused_by_customer", "snoozed_by_customer",
)  # fmt: skip
_OTHER_FALSE = ("where", "every template of this step was sent already")
_OPEN = (
    "re_entry",
    "condition_false: not_segment: ",
)  # what follows is a rule's own words, or a segment of [policy] exclude


# ── problems ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@page("F501", "scenario-of-no-flow")
def no_such_flow(span: Span, name: str, known: Mapping[str, Any]) -> Finding:
    """A scenario tests a flow that the project does not have, or has no more.

    It is told once for a file, and does not keep `homing apply` from making the flows live.

    Before:

        flow: cart-recvery        # in tests/

    After:

        flow: cart-recovery
    """
    hint = did_you_mean(name, known)
    return Finding(
        "F501", "error", f'there is no flow "{name}" to test', span, help=hint or "name a flow of flows/"
    )


@page("F502", "scenario-of-no-step")
def no_such_step(span: Span, name: str, known: list[str]) -> Finding:
    """A scenario expects a template or step that its flow does not send, so it could never pass (or never fail).

    Before:

        expect: [{after: 4h, sends: cart-remindr}]

    After:

        expect: [{after: 4h, sends: cart-reminder}]
    """
    hint = did_you_mean(name, known)
    return Finding(
        "F502",
        "error",
        f'this flow sends no "{name}"',
        span,
        help=hint or f"it sends: {', '.join(known) or 'nothing'}",
    )


@page("F503", "scenario-of-no-arm")
def no_such_arm(span: Span, name: str, known: list[str]) -> Finding:
    """A scenario names an experiment, branch or arm that its flow does not have.

    `takes` knows the arms of experiments by their names, and those of branches as a timeline and `--coverage` tell them:
    by their clauses, as `otherwise`, or as `none` where no arm holds. `arms` forces those of experiments only.

    Before:

        arms: {last-nudge: nothin}

    After:

        arms: {last-nudge: nothing}
    """
    hint, written = did_you_mean(name, known), [f'"{each}"' for each in known]  # whole, to be written so
    return Finding(
        "F503",
        "error",
        f'there is no "{name}" to go through',
        span,
        help=hint or f"known: {problems.listed(written)}" if known else "this flow has none",
    )


@page("F505", "scenarios-of-one-name", "warning")
def same_name(span: Span, name: str, first: Span) -> Finding:
    """Two scenarios of a flow have the same name.

    Both are played. But a build server counts them as one, and who reads that it failed looks at the wrong one.

    Before:

        - scenario: someone who buys hears no more
          timeline: [{at: 2026-03-02 10:00, event: cart_updated}, {after: 1h, event: order_placed}]
        - scenario: someone who buys hears no more
          timeline: [{at: 2026-03-02 10:00, event: cart_updated}, {after: 3d, event: order_placed}]

    After:

        - scenario: someone who buys within the hour hears nothing
          timeline: [{at: 2026-03-02 10:00, event: cart_updated}, {after: 1h, event: order_placed}]
        - scenario: someone who buys after three days hears no more
          timeline: [{at: 2026-03-02 10:00, event: cart_updated}, {after: 3d, event: order_placed}]
    """
    return Finding(
        "F505", "warning", f"another scenario of this flow is called {problems.quoted(name)}", span,
        effect="when one of them fails, its name does not say which", second=first, second_label="the first one",
        help="say in the name what is different here",
    )  # fmt: skip


@page("F506", "scenario-back-in-time", "warning")
def back_in_time(span: Span, before: Span) -> Finding:
    """A line of a timeline happens before the line above it.

    A timeline is played in the order of its moments, whatever the order of its lines. A line that looks like the end of
    a story then comes first, and an `after` below it counts from that earlier moment. What happened earlier and is told
    late has its own time beside the moment at which it comes: `{after: 2d, event: order_placed, placed_at: …}`.

    Before:

        timeline:
          - {at: 2026-03-12 10:00, event: cart_updated, cart_id: c1}
          - {at: 2026-03-02 15:00, event: order_placed}

    After:

        timeline:
          - {at: 2026-03-02 10:00, event: cart_updated, cart_id: c1}
          - {at: 2026-03-02 15:00, event: order_placed}
    """
    return Finding(
        "F506", "warning", "this line happens before the line above it", span,
        effect="it is played first, and an `after` that follows counts from here", second=before,
        second_label="this happens later", help="put the lines in the order of time, or mend the moment",
    )  # fmt: skip


@page("F507", "scenario-of-no-reason", "warning")
def no_such_reason(span: Span, reason: str, known: Sequence[str]) -> Finding:
    """A scenario expects a reason that its flow never gives, so it could never pass.

    `because` begins a reason for not sending: a word such as `capped` or `no_consent`, or `condition_false: CLAUSE` and
    `exited: CLAUSE` with a clause as the flow has it. `exits` is a clause of `exit_when`, the word of an `exit` step,
    `no_consent` or `suppressed`.

    Before:

        expect: [{does_not_send: cart-reminder, because: caps}, {exits: "did: order_paid"}]
                                                # the flow says exit_when: [did: order_placed]

    After:

        expect: [{does_not_send: cart-reminder, because: capped}, {exits: "did: order_placed"}]
    """
    hint = did_you_mean(reason, known)
    return Finding(
        "F507",
        "warning",
        f"this flow never gives the reason {problems.quoted(reason)}",
        span,
        effect="the scenario cannot pass",
        help=hint
        or f"it gives, for example, {problems.listed(problems.quoted(each) for each in _likely(reason, known))}",
    )


@page("F508", "no-scenario", "warning")
def no_scenario(span: Span) -> Finding:
    """A file under `tests/` speaks of a flow as scenarios do, but nothing in it is one, so that nothing is played.

    A scenario is a table with `scenario`, `flow`, `timeline` and `expect`; a file holds one of them, or a list. What has
    none of `scenario`, `timeline` and `expect` at its top is taken for something else.

    Before:

        flow: cart-recovery
        scenarios:
          - {name: she buys, timeline: […], expect: […]}

    After:

        - {scenario: she buys, flow: cart-recovery, timeline: […], expect: […]}
    """
    return Finding(
        "F508", "warning", "this looks like a scenario, and is none", span,
        effect="nothing in here is played, so that `homing test` passes without it",
        help="write a list, each item with `scenario:`, `flow:`, `timeline:` and `expect:`",
    )  # fmt: skip


@page("F509", "scenario-that-expects-nothing", "warning")
def expects_nothing(span: Span) -> Finding:
    """A scenario expects nothing, so that it passes whatever the flow does.

    That nothing is sent is an expectation, too: `nothing_more`.

    Before:

        expect: []

    After:

        expect: [nothing_more]
    """
    return Finding(
        "F509", "warning", "this scenario expects nothing", span, effect="it passes whatever the flow does",
        help="say what should come of it; where no mail should, `expect: [nothing_more]`",
    )  # fmt: skip


def _likely(reason: str, known: Sequence[str]) -> Sequence[str]:
    """Return some of the reasons, those of the same kind first."""
    kind = reason.partition(":")[0]
    return sorted(dict.fromkeys(known), key=lambda each: each.partition(":")[0] != kind)[:4]


# ── checking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _unread(root: Path) -> Iterator[Finding]:
    """Yield a finding for each file of scenarios whose name ends in .yml."""
    for path in sorted((root / FOLDER).rglob("*.yml")):
        name = path.relative_to(root).as_posix()
        if not any(True for _ in scenario_nodes(root, path, [])):
            continue
        way_out = f"rename it to {name.removesuffix('.yml')}.yaml"
        message = "Homing does not read this file: the name of a scenario's file ends in .yaml"
        yield problems.not_read(Span(name), message, way_out, "its scenarios are never played")


def check_folder(root: Path, definitions: Definitions, settings: Settings) -> list[Finding]:
    """Return what is wrong with the scenarios of a project, held against its flows, topics and the shop's clock."""
    findings: list[Finding] = list(_unread(root))
    read: list[Scenario] = []
    for path in scenario_files(root):
        others: list[Table | Scalar] = []
        for node in scenario_nodes(root, path, findings, others):
            own: list[Finding] = []
            scenario = as_written(node, own)
            if scenario is not None and has_errors(own):
                findings += _beside(own, scenario, definitions.flows)
            elif scenario is not None:
                read.append(scenario)
            findings += (*own, *odd_words(node, settings.topics))
        findings += [no_scenario(each.span) for each in others if _is_meant_as_one(each)]
    findings += _same_names(read)
    for scenario in read:
        findings += _order(scenario, settings.shop.timezone)
        findings += [] if scenario.expect else [expects_nothing(scenario.places.get("expect", scenario.span))]
        flow = definitions.flows.get(scenario.flow)
        if flow is not None:
            findings += (*_against(scenario, flow), *_reasons(scenario, flow))
    findings += of_no_flow(root, read, definitions.flows)
    return findings


def _beside(told: Sequence[Finding], scenario: Scenario, flows: Mapping[str, Flow]) -> Iterator[Finding]:
    """Yield what else is wrong with the names of a scenario that cannot be read whole, for one mistake hides no other."""
    flow = flows.get(scenario.flow)
    places = {each.span for each in told}
    if flow is not None:
        found = (*_against(scenario, flow), *_reasons(scenario, flow))
        yield from (finding for finding in found if finding.span not in places)


def of_no_flow(root: Path, scenarios: Iterable[Scenario], known: Mapping[str, Flow]) -> Iterator[Finding]:
    """Yield a finding for each flow of a file that there is not; where it has a file, that one's own errors come first."""
    told: set[tuple[str, str]] = set()
    for scenario in scenarios:
        place = (scenario.span.file, scenario.flow)
        if scenario.flow in known or place in told or (root / "flows" / f"{scenario.flow}.yaml").exists():
            continue
        told.add(place)
        yield no_such_flow(scenario.flow_span, scenario.flow, known)


def _is_meant_as_one(node: Table | Scalar) -> bool:
    """Whether a key of it is one of a scenario's, or nearly, or it is bare words; other YAML may lie beside the tests."""
    return isinstance(node, Scalar) or any(did_you_mean(key, KEYS) for key in node.keys)


def _against(scenario: Scenario, flow: Flow) -> Iterator[Finding]:
    sends = [step for step in flow.all_steps() if isinstance(step, Send | Webhook)]
    names = [(*step.templates, step.id) if isinstance(step, Send) else (step.id,) for step in sends]
    known = list(dict.fromkeys(name for several in names for name in several))
    arms = {
        step.id: [arm.name for arm in step.arms] for step in flow.all_steps() if isinstance(step, Experiment)
    }
    ways = arms | {step.id: list(step.ways) for step in flow.all_steps() if isinstance(step, Branch)}
    for expected in scenario.expect:
        if isinstance(expected, Sends | SendsNot) and expected.template not in known:
            yield no_such_step(expected.span, expected.template, known)
        if isinstance(expected, Takes):
            yield from _arm_findings(expected.span, expected.step, expected.arm, ways)
    for experiment, arm in scenario.arms.items():
        place = f"arms.{experiment}" + (".arm" if experiment in arms else "")
        yield from _arm_findings(scenario.places.get(place, scenario.span), experiment, arm, arms)


def _arm_findings(span: Span, step: str, arm: str, known: Mapping[str, list[str]]) -> Iterator[Finding]:
    if step not in known:
        yield no_such_arm(span, step, list(known))
    elif arm not in known[step]:
        yield no_such_arm(span, arm, known[step])


# ── names, moments and reasons ───────────────────────────────────────────────────────────────────────────────────────


def _same_names(scenarios: Sequence[Scenario]) -> Iterator[Finding]:
    """Yield a finding for each scenario whose name another one of the same flow had before."""
    first: dict[tuple[str, str], Span] = {}
    for scenario in scenarios:
        called = (scenario.flow, " ".join(scenario.name.split()))
        if called in first:
            yield same_name(scenario.span, scenario.name, first[called])
        first.setdefault(called, scenario.span)


def _order(scenario: Scenario, shop_zone: str) -> Iterator[Finding]:
    """Yield a finding for each line of the timeline that happens before the line above it."""
    moments = moments_of(scenario.timeline, zone_of(scenario, shop_zone))
    told = zip(moments, scenario.timeline, strict=True)
    for (earlier, above), (later, line) in pairwise(told):
        if later < earlier:
            yield back_in_time(line.when.span, above.when.span)


def _reasons(scenario: Scenario, flow: Flow) -> Iterator[Finding]:
    """Yield a finding for each reason that is expected and that this flow cannot give."""
    words = [*_BY_LAW, *(step.reason for step in flow.all_steps() if isinstance(step, Exit))]
    clauses = list(_exit_clauses(flow))
    refusals = [*(f"condition_false: {text}" for text in _false_words(flow)), "re_entry: still inside"]
    for expected in scenario.expect:
        if isinstance(expected, SendsNot) and expected.because:
            known = [*_PLAIN, *words, *(f"exited: {clause}" for clause in clauses), *refusals]
            begins = any(reason.startswith(expected.because) for reason in known)
            if not begins and not expected.because.startswith(_OPEN):
                yield no_such_reason(expected.because_span, expected.because, known)
        elif isinstance(expected, Exits) and expected.reason:
            reason = expected.reason.removeprefix("exited: ")
            whole = any(f"{each}, ".startswith(f"{reason}, ") for each in (*words, *clauses, *refusals))
            if not whole and not reason.startswith(_OPEN):
                yield no_such_reason(expected.span, reason, [*clauses, *words])


def _exit_clauses(flow: Flow) -> Iterator[str]:
    """Yield what stands behind `exited:` where somebody leaves by `exit_when` or for want of a date."""
    yield from (clause.text for clause in flow.exit_when)
    for step in flow.all_steps():
        if isinstance(step, WaitField):
            yield f"{step.field_path} is missing"


def _false_words(flow: Flow) -> Iterator[str]:
    """Yield the words of everything that may keep somebody, or one mail, out."""
    clauses: list[Clause] = [*flow.only_if, *flow.enter_if]
    for step in flow.all_steps():
        clauses += step.only_if if isinstance(step, Send | Webhook) else ()
    yield from (clause.text for clause in clauses)
    yield from (
        f"segment: {trigger.segment}" for trigger in flow.triggers if isinstance(trigger, SegmentTrigger)
    )
    yield from _OTHER_FALSE
