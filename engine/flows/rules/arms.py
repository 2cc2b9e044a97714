"""Rules about branches, experiments and holdouts: arms that nobody or everybody takes, and what is compared."""

from __future__ import annotations

from collections.abc import Iterator

from engine.diagnostics import Finding
from engine.flows.model import (
    Branch,
    Experiment,
)  # fmt: skip
from engine.flows.rules.registry import Look, flow_rule, told


@flow_rule("F210", "nobody-in-this-arm")
def empty_arm(look: Look) -> Iterator[Finding]:
    """An arm of an experiment has the weight 0, so nobody enters it.

    Remove the arm, or give it a weight. Weights are shares of their sum.

    Before:

        arms:
          nothing: {weight: 0, steps: []}
          mail: {weight: 50, steps: [{send: a}]}

    After:

        arms:
          nothing: {weight: 50, steps: []}
          mail: {weight: 50, steps: [{send: a}]}
    """
    for step in look.flow.all_steps():
        if isinstance(step, Experiment):
            for arm in step.arms:
                if not arm.weight:
                    yield told(
                        step.span,
                        f'nobody enters the arm "{arm.name}" (weight 0)',
                        help="give it a weight, or remove it",
                    )


@flow_rule("F211", "arm-for-everybody")
def arm_for_everybody(look: Look) -> Iterator[Finding]:
    """An arm of a branch with an empty `when` takes everybody, and the arms after it nobody.

    Before:

        - branch:
            - when: []
              steps: [{send: a}]
            - otherwise: [{send: b}]

    After:

        - branch:
            - when: [{customer: {country: JP}}]
              steps: [{send: a}]
            - otherwise: [{send: b}]
    """
    for step in look.flow.all_steps():
        if isinstance(step, Branch):
            for arm in step.arms[:-1]:
                if arm.when == ():
                    yield told(step.span, "an arm of this branch asks nothing, so it takes everybody",
                               effect="nobody comes to the arms after it", help="say in its `when` who it is for")  # fmt: skip


@flow_rule("F212", "nothing-to-compare")
def nothing_to_compare(look: Look) -> Iterator[Finding]:
    """A flow has a holdout or an experiment, but no `goal`.

    Arms and the holdout are compared by how many reach the goal. Without one there is nothing to compare, and customers
    are left out for nothing.

    Before:

        holdout: 10%

    After:

        holdout: 10%
        goal: {did: order_placed, within: 7d}
    """
    if look.flow.goal is not None:
        return
    experiment = next((step for step in look.flow.all_steps() if isinstance(step, Experiment)), None)
    span = look.key("holdout") if look.flow.holdout else experiment.span if experiment is not None else None
    if span is not None:
        yield told(span, "without a goal the groups cannot be compared", help="add `goal: {did: order_placed, within: 7d}`",
                   effect="some customers are treated differently and nothing is learned from it")  # fmt: skip


@flow_rule("F213", "most-are-held-out")
def most_are_held_out(look: Look) -> Iterator[Finding]:
    """More than half of those who enter are held out and get nothing.

    A holdout is the share that gets *nothing*, to compare with. 5 to 20 % is usual; 90% was probably meant as 10%.

    Before:

        holdout: 90%

    After:

        holdout: 10%
    """
    if look.flow.holdout * 2 > 1:
        yield told(look.value("holdout"), f"{look.flow.holdout * 100:.4g} % of the customers in this flow get nothing",
                   label="the share that is left out", help="10% is a usual share")  # fmt: skip


@flow_rule("F217", "arm-asked-before")
def arm_asked_before(look: Look) -> Iterator[Finding]:
    """An arm of a branch asks what an arm above it asks already, so nobody comes to it.

    Before:

        - branch:
            - when: [{customer: {tier: gold}}]
              steps: [{send: a}]
            - when: [{customer: {tier: gold}}]
              steps: [{send: b}]

    After:

        - branch:
            - when: [{customer: {tier: gold}}]
              steps: [{send: a}]
            - when: [{customer: {tier: silver}}]
              steps: [{send: b}]
    """
    for step in look.flow.all_steps():
        asked: list[frozenset[str]] = []
        for number, arm in enumerate(step.arms if isinstance(step, Branch) else (), 1):
            wanted = frozenset(repr(clause.condition) for clause in arm.when or ())
            if arm.when and any(earlier <= wanted for earlier in asked if earlier):
                yield told(arm.when[0].span, f"an arm above takes everybody for whom this holds, so nobody comes to arm {number}",
                           effect="what stands in this arm never happens", help="say what is different, or put this arm first")  # fmt: skip
            if arm.when:
                asked.append(wanted)
