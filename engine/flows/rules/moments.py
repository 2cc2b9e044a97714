"""Rules about the moments of a flow: waits that take no time, dates that most years do not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time

from engine.calendar import Duration
from engine.diagnostics import Finding
from engine.flows.cron import Cron
from engine.flows.model import (
    AnniversaryTrigger,
    Branch,
    DateTrigger,
    Experiment,
    LapsedTrigger,
    ScheduleTrigger,
    Step,
    Trigger,
    WaitClock,
    WaitField,
    WaitFor,
    WaitUntil,
)  # fmt: skip
from engine.flows.rules.registry import Look, flow_rule, place_of, told
from engine.flows.rules.shape import arms_of, speaks

_WAITS = (WaitFor, WaitClock, WaitField, WaitUntil)
_LEAP_DAY = re.compile(r"29(th|\.)?( of)? Feb|Feb(ruary)? 29|leap (day|year)", re.IGNORECASE)


@flow_rule("F209", "leap-day-not-mentioned")
def leap_day(look: Look) -> Iterator[Finding]:
    """A yearly flow does not say what happens to those born on 29 February.

    They are kept on 28 February in years without a 29th. Colleagues will ask: say so in the summary or a comment (any
    mention of 29 February settles this).

    Before:

        trigger: {anniversary: birthday, at: "09:00"}

    After:

        # who was born on 29 February gets it on the 28th
        trigger: {anniversary: birthday, at: "09:00"}
    """
    for trigger in look.flow.triggers:
        if isinstance(trigger, AnniversaryTrigger) and not _LEAP_DAY.search(_text_of(look)):
            yield told(look.trigger_place(trigger).span, "nothing here says what becomes of 29 February",
                       effect="who was born on it gets this mail on 28 February in most years",
                       help="mention 29 February in a comment, so that nobody has to ask")  # fmt: skip
            return


def _text_of(look: Look) -> str:
    try:
        return (look.project.root / look.source.file).read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


@flow_rule("F215", "waits-no-time")
def waits_no_time(look: Look) -> Iterator[Finding]:
    """A wait of length zero does nothing.

    The mails around it go out together, and the frequency cap drops the second one.

    Before:

        - send: a
        - wait: 0h
        - send: b

    After:

        - send: a
        - wait: 2d
        - send: b
    """
    for step in look.flow.all_steps():
        if isinstance(step, WaitFor) and step.duration == Duration():
            yield told(step.span, "this wait takes no time", effect="what stands before and after it is due together",
                       help="say how long, as in `wait: 2d`")  # fmt: skip


@flow_rule("F216", "passes-at-once")
def passes_at_once(look: Look) -> Iterator[Finding]:
    """A wait until a time of day begins at that very time, so it takes no time.

    `until: "09:00"` is over at 09:00. Where the step before is due at 09:00 too, both mails go out together, and the
    frequency cap drops the second one. `at_least` says how long to wait before that time of day counts.

    Before:

        - wait: {until: "09:00"}
        - send: first
        - wait: {until: "09:00"}
        - send: second

    After:

        - wait: {until: "09:00"}
        - send: first
        - wait: {until: "09:00", at_least: 12h}
        - send: second
    """
    starts = {_starting_clock(trigger) for trigger in look.flow.triggers}
    start = starts.pop() if len(starts) == 1 else None
    yield from _standing_still(look.flow.steps, start)


def _standing_still(
    steps: tuple[Step, ...], clock: time | None, mailed: Step | None = None
) -> Iterator[Finding]:
    """Yield waits until the time of day that it is already, where a mail went out at it; steps in between take no time."""
    for step in steps:
        if isinstance(step, WaitClock):
            at_once = clock == step.clock and step.at_least == Duration() and len(step.days) == 7
            if at_once and mailed is not None:
                yield told(step.span, f"it is {step.clock:%H:%M} already, so this wait passes at once", second=mailed.span,
                           second_label=f"due at {step.clock:%H:%M} too", effect="two mails go out together, or the cap drops the second",
                           help="add `at_least: 12h`")  # fmt: skip
            clock, mailed = step.clock, mailed if at_once else None
        elif isinstance(step, _WAITS):
            clock, mailed = None, None
        elif isinstance(step, Branch | Experiment):
            for arm in arms_of(step):
                yield from _standing_still(arm, clock, mailed)
            if any(isinstance(inner, _WAITS) for arm in arms_of(step) for inner in arm):
                clock, mailed = None, None
        elif speaks(step):
            mailed = step


@flow_rule("F218", "limits-exclude-each-other")
def limits_exclude_each_other(look: Look) -> Iterator[Finding]:
    """The limits of a lapsed trigger leave nothing between them: `at_least` is longer than `at_most`.

    A customer's own gap counts between the two. Here it counts for nobody: whoever buys often comes after `at_least`, and
    everybody else after `at_most`, which is sooner.

    Before:

        trigger: {lapsed: {event: order_placed, after: 1.5x, at_least: 45d, at_most: 30d}}

    After:

        trigger: {lapsed: {event: order_placed, after: 1.5x, at_least: 45d, at_most: 270d}}
    """
    for trigger in look.flow.triggers:
        if not isinstance(trigger, LapsedTrigger) or trigger.at_least is None or trigger.at_most is None:
            continue
        if trigger.at_least.approximate > trigger.at_most.approximate:
            place = place_of(look.trigger_place(trigger), "at_most")
            yield told(place, f"at_most ({trigger.at_most}) is shorter than at_least ({trigger.at_least})",
                       effect="nobody's own gap between orders counts", help="make at_most the longer one")  # fmt: skip


@flow_rule("F230", "never-comes")
def never_comes(look: Look) -> Iterator[Finding]:
    """A schedule names a day that no calendar has, such as 30 February.

    A pattern is minute, hour, day of the month, month, day of the week. On the last day of each month nothing can be said
    in one pattern; the first day of the next month can.

    Before:

        trigger: {schedule: "0 9 30 2 *", segment: vip}

    After:

        trigger: {schedule: "0 9 28 2 *", segment: vip}
    """
    for trigger in look.flow.triggers:
        if isinstance(trigger, ScheduleTrigger) and trigger.cron and _never_fires(trigger.cron):
            place = place_of(look.trigger_place(trigger), "schedule")
            yield told(place, f'no day of any year is one of "{trigger.cron}"', effect="nobody ever enters by this schedule",
                       help="name a day that its month has (fields: minute hour day month weekday)")  # fmt: skip


def _never_fires(pattern: str) -> bool:
    return Cron.parse(pattern).next_after(datetime.combine(date(2000, 1, 1), time())) is None


def _starting_clock(trigger: Trigger) -> time | None:
    """Return the time of day at which a trigger lets customers in, where it is always the same."""
    return trigger.at if isinstance(trigger, AnniversaryTrigger | DateTrigger) else None
