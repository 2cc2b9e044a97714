"""What the drawing of a flow and its list say of each step: words, counts, and why mails were not sent.

Comes in: a flow's steps and what is known of them. Goes out: plain text; whoever shows it escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.flows.model import (
    Arm,
    Branch,
    Exit,
    Experiment,
    ExperimentArm,
    Flow,
    Send,
    Set,
    Step,
    WaitClock,
    WaitField,
    WaitFor,
    WaitUntil,
    Webhook,
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What is known of one step: how many stand there, went through, were sent, and by reason were not."""

    here: int = 0
    came: int = 0
    sent: int = 0
    lost: int = 0
    why: tuple[str, ...] = ()  # why those were not sent, the most frequent first


def arms_of(step: Step) -> tuple[Arm | ExperimentArm, ...]:
    """Return the arms of a step, also the one of whom no arm takes."""
    if isinstance(step, Experiment):
        return step.arms
    if isinstance(step, Branch):
        otherwise = () if any(arm.when is None for arm in step.arms) else (Arm(None, ()),)
        return (*step.arms, *otherwise)
    return ()


def step_kind(step: Step) -> str:
    """Return how a step is drawn: `send`, `quiet` or `step`."""
    return (
        "send"
        if isinstance(step, Send | Webhook)
        else "quiet"
        if isinstance(step, WaitFor | WaitClock | WaitField)
        else "step"
    )


def step_words(step: Step) -> tuple[str, str]:
    """Return what stands in a step's box: its head and its foot."""
    made: dict[type, Any] = {
        Send: lambda s: (
            f"Mail: {s.id}",
            s.subject or ", ".join(name for name in s.templates if name != s.id),
        ),
        WaitFor: lambda s: (f"Wait {s.duration}", "counted from the step before"),
        WaitClock: lambda s: (f"Wait until {s.clock:%H:%M}", "on the customer's clock"),
        WaitField: lambda s: (f"Wait for {s.field_path}", "the moment it names"),
        WaitUntil: lambda s: (f"Wait, at most {s.up_to}", f"until {s.until.text}"),
        Branch: lambda _: ("Which way?", "the first that holds"),
        Experiment: lambda s: (f"Experiment {s.id}", "by a hash of the customer"),
        Set: lambda s: ("Change the customer", ", ".join(s.values)),
        Webhook: lambda s: (f"Hand over to {s.to}", s.id),
        Exit: lambda s: ("Leave", s.reason),
    }
    head, foot = made[type(step)](step)
    return str(head), str(foot)


def arm_words(arm: Arm | ExperimentArm) -> str:
    """Return who takes an arm."""
    if isinstance(arm, ExperimentArm):
        return f"{arm.name} (weight {arm.weight})"
    return arm.name


def step_note(step: Step, known: Counts) -> str:
    """Return how many went on from a step, and how many mails were not sent."""
    if isinstance(step, Send | Webhook):
        parts = [f"{known.sent:,} sent"] if known.sent or known.came else []
        parts += [f"{known.lost:,} not"] if known.lost else []
        return ", ".join(parts)
    return f"{known.came:,} came" if known.came and isinstance(step, WaitUntil) else ""


def trigger_words(flow: Flow) -> str:
    """Return what lets customers in."""
    names = {
        "EventTrigger": "event", "AnniversaryTrigger": "field", "DateTrigger": "field", "LapsedTrigger": "event",
        "SegmentTrigger": "segment", "ProductTrigger": "change",
    }  # fmt: skip
    told = []
    for trigger in flow.triggers:
        kind = type(trigger).__name__
        word = getattr(trigger, names[kind]) if kind in names else ""
        told.append({
            "AnniversaryTrigger": f"each year: {word}", "DateTrigger": f"on {word}", "LapsedTrigger": f"{word}, long ago",
            "ReplenishTrigger": "a product runs out", "ScheduleTrigger": "by the calendar", "SegmentTrigger": f"in segment {word}",
        }.get(kind, str(word)))  # fmt: skip
    return " or ".join(told)
