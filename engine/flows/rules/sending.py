"""Rules about the policy: what falls into quiet hours, what the caps would keep back, what the morning is too late for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

from engine.calendar import QuietHours
from engine.diagnostics import Finding, Span
from engine.flows.cron import Cron
from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    ScheduleTrigger,
    Send,
    Step,
    WaitClock,
    WaitFor,
)  # fmt: skip
from engine.flows.rules.registry import Look, flow_rule, place_of, told
from engine.flows.rules.shape import lists_of
from engine.settings import Cap


def quiet_hours(look: Look) -> QuietHours | None:
    """Return the quiet hours that a flow's mails keep, or None."""
    if not look.is_marketing:
        return None
    own = look.flow.policy.quiet_hours
    return look.settings.policy.quiet_hours if own is None else QuietHours.parse(own)


def _is_quiet(hours: QuietHours | None, clock: time) -> bool:
    return (
        hours is not None
        and hours.ends(datetime(2026, 1, 15, clock.hour, clock.minute, tzinfo=UTC), "UTC") is not None
    )


@flow_rule("P201", "due-in-quiet-hours")
def due_in_quiet_hours(look: Look) -> Iterator[Finding]:
    """A mail is due at a time of day that lies in the quiet hours.

    It is put off until they end, each time, for everybody: the time that is written never comes true. A `schedule` is on the
    customer's own clock, too, unless it says `clock: shop`.

    Before (with quiet hours from 21:00 to 08:00):

        - wait: {until: "07:00"}

    After:

        - wait: {until: "08:00"}
    """
    hours = quiet_hours(look)
    for step in look.flow.all_steps():
        if isinstance(step, WaitClock) and _is_quiet(hours, step.clock):
            yield _quiet(step.span, step.clock, hours)
    for trigger in look.flow.triggers:
        span = look.trigger_place(trigger).span
        if isinstance(trigger, AnniversaryTrigger | DateTrigger):
            at = trigger.at or time(0, 0)
            if "at" in look.trigger_place(trigger) and _is_quiet(hours, at) and _starts_with_send(look):
                yield _quiet(place_of(look.trigger_place(trigger), "at"), at, hours)
        elif isinstance(trigger, ScheduleTrigger) and trigger.clock == "customer" and _starts_with_send(look):
            clocks = _clocks(trigger)
            if clocks and all(_is_quiet(hours, clock) for clock in clocks):
                yield _quiet(span, clocks[0], hours)


def _starts_with_send(look: Look) -> bool:
    return bool(look.flow.steps) and isinstance(look.flow.steps[0], Send)


def _clocks(trigger: ScheduleTrigger) -> list[time]:
    if trigger.once is not None:
        return [trigger.once.time()]
    cron = Cron.parse(trigger.cron or "")
    return [time(hour, minute) for hour in cron.hours for minute in cron.minutes]


def _quiet(span: Span, clock: time, hours: QuietHours | None) -> Finding:
    end = hours.end if hours is not None else clock
    return told(span, f"{clock:%H:%M} lies in the quiet hours", effect=f"every mail due then is put off until {end:%H:%M}",
                help=f'write "{end:%H:%M}" or later, or change the quiet hours')  # fmt: skip


@flow_rule("P202", "capped-by-itself")
def capped_by_itself(look: Look) -> Iterator[Finding]:
    """Two mails of one flow follow each other faster than the frequency cap allows.

    The second one is dropped as `capped`, for everybody.

    Before (with a cap of 1 per 16h):

        - send: first
        - wait: 4h
        - send: second

    After:

        - send: first
        - wait: 20h
        - send: second
    """
    caps = (
        look.settings.policy.caps
        if look.flow.policy.caps is None
        else tuple(map(Cap.parse, look.flow.policy.caps))
    )
    if not look.is_marketing or look.flow.policy.when_capped == "wait":
        return
    for steps in lists_of(look.flow.steps):
        for cap in caps:
            late = _too_soon(steps, cap)
            if late is not None:
                yield told(late[1].span, f"this mail comes sooner than the cap of {cap.count} per {cap.per} allows", second=late[0].span,
                           second_label="counted from here", effect="it is dropped for everybody",
                           help="wait longer before it, or say `policy: {when_capped: wait}`")  # fmt: skip
                return


def _too_soon(steps: tuple[Step, ...], cap: Cap) -> tuple[Step, Step] | None:
    """Return the mail that a run of mails is counted from, and the one too many, where only fixed waits lie between."""
    run: list[tuple[timedelta, Step]] = []
    clock = timedelta()
    for step in steps:
        if isinstance(step, WaitFor):
            clock += step.duration.approximate
        elif isinstance(step, Send):
            if step.only_if or len(step.templates) > 1:
                run, clock = [], timedelta()
                continue
            run.append((clock, step))
            if len(run) > cap.count and clock - run[-cap.count - 1][0] < cap.per.approximate:
                return run[-cap.count - 1][1], step
        else:
            run, clock = [], timedelta()
    return None


@flow_rule("P203", "too-late-by-morning")
def too_late_by_morning(look: Look) -> Iterator[Finding]:
    """A mail may be late by less time than the quiet hours last.

    What falls due in the evening waits until the morning, and is then too late.

    Before (with quiet hours from 21:00 to 08:00):

        max_lateness: 6h

    After:

        max_lateness: 12h
    """
    hours = quiet_hours(look)
    limit = look.flow.max_lateness or look.settings.policy.max_lateness
    if hours is None:
        return
    minutes = (hours.end.hour - hours.start.hour) * 60 + hours.end.minute - hours.start.minute
    night = timedelta(minutes=minutes % (24 * 60))
    if limit.approximate < night:
        place = look.value("max_lateness") if "max_lateness" in look.table else look.flow.span
        yield told(place, f"a mail may be {limit} late, and the quiet hours last longer",
                   effect="what falls due at night is never sent (`too_late`)", help="allow more, such as 12h")  # fmt: skip
