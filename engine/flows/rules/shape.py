"""Rules about how a flow is built: what is reached, when it ends, who it mails together with others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time, timedelta
from itertools import pairwise

from engine.calendar import Duration
from engine.diagnostics import Finding, Span
from engine.flows.conditions import All, Any_, Condition, Did, Not
from engine.flows.load import Project
from engine.flows.model import (
    AnniversaryTrigger,
    Branch,
    DateTrigger,
    EventTrigger,
    Exit,
    Experiment,
    Flow,
    LapsedTrigger,
    ProductTrigger,
    ReplenishTrigger,
    Send,
    Step,
    Trigger,
    WaitClock,
    WaitField,
    WaitFor,
    WaitUntil,
    Webhook,
)  # fmt: skip
from engine.flows.nodes import Scalar
from engine.flows.rules.registry import Look, flow_rule, project_rule, told

_WAITS = (WaitFor, WaitClock, WaitField, WaitUntil)
_SHOPPING = frozenset(
    ("cart_updated", "cart_emptied", "checkout_started", "product_viewed", "wishlist_added")
)
_FREQUENT = _SHOPPING | {"customer_updated", "mail_opened", "mail_clicked", "points_earned"}
_OWN = frozenset(("mail_sent", "mail_opened", "mail_clicked", "flow_entered", "flow_left"))
_LONG = timedelta(days=14)


def speaks(step: Step) -> bool:
    """Return whether a step hands something over to the customer."""
    return isinstance(step, Send | Webhook)


def arms_of(step: Step) -> tuple[tuple[Step, ...], ...]:
    """Return the lists of steps inside a step."""
    return tuple(arm.steps for arm in step.arms) if isinstance(step, Branch | Experiment) else ()


def lists_of(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Yield a list of steps and every list inside it."""
    yield steps
    for step in steps:
        for arm in arms_of(step):
            yield from lists_of(arm)


def never_passes(step: Step) -> bool:
    """Return whether nobody goes on after a step."""
    if isinstance(step, Exit):
        return True
    if isinstance(step, Branch) and all(arm.when is not None for arm in step.arms):
        return False
    arms = arms_of(step)
    return bool(arms) and all(any(never_passes(inner) for inner in arm) for arm in arms)


def usual_length(flow: Flow) -> timedelta:
    """Return how long somebody who never leaves stays in a flow at most, as far as its waits say it."""

    def of(steps: tuple[Step, ...]) -> timedelta:
        total = timedelta()
        for step in steps:
            if isinstance(step, WaitFor):
                total += step.duration.approximate
            elif isinstance(step, WaitUntil):
                total += step.up_to.approximate
            elif isinstance(step, WaitClock):
                total += step.at_least.approximate + timedelta(hours=12)
            else:
                total += max((of(arm) for arm in arms_of(step)), default=timedelta())
        return total

    return of(flow.steps)


def asks_for(condition: Condition, event: str) -> bool:
    """Return whether a condition can come to hold by an event."""
    if isinstance(condition, Did):
        return condition.event == event
    if isinstance(condition, All | Any_):
        return any(asks_for(item, event) for item in condition.items)
    return isinstance(condition, Not) and asks_for(condition.item, event)


@flow_rule("F201", "says-nothing")
def says_nothing(look: Look) -> Iterator[Finding]:
    """A flow has no step that sends anything.

    Customers enter it, pass its steps and never hear from it. That is right for a flow that only sets properties;
    otherwise a `send` is missing.

    Before:

        steps:
          - wait: 2d

    After:

        steps:
          - wait: 2d
          - send: reminder
    """
    steps = list(look.flow.all_steps())
    if not any(speaks(step) or step.__class__.__name__ == "Set" for step in steps):
        yield told(look.key("steps"), "this flow sends nothing", effect="customers enter it and hear nothing",
                   help="add `- send: TEMPLATE`")  # fmt: skip


@flow_rule("F202", "unreachable-step")
def unreachable_step(look: Look) -> Iterator[Finding]:
    """A step stands after a place where everybody has left.

    After `exit`, or after a branch or experiment each arm of which exits, nothing is reached.

    Before:

        - exit: done
        - send: goodbye

    After:

        - send: goodbye
        - exit: done
    """
    for steps in lists_of(look.flow.steps):
        for step, later in pairwise(steps):
            if never_passes(step):
                yield told(later.span, "nobody reaches this step", label="never taken", second=step.span,
                           second_label="everybody leaves here", effect="what it sends never goes out",
                           help="move it before that step, or remove it")  # fmt: skip
                break


@flow_rule("F203", "wait-after-last-send")
def wait_after_last_send(look: Look) -> Iterator[Finding]:
    """The last step of a flow is a wait.

    Nothing comes after it. It only keeps customers inside, where without `re_entry: {per: …}` they cannot enter again.

    Before:

        - send: thank-you
        - wait: 7d

    After:

        - send: thank-you
    """
    last = look.flow.steps[-1] if look.flow.steps else None
    if isinstance(last, _WAITS):
        yield told(last.span, "nothing comes after this wait", effect="customers stay inside longer, and get nothing for it",
                   help="remove it, or say what comes next")  # fmt: skip


@flow_rule("F204", "purchase-does-not-stop")
def purchase_does_not_stop(look: Look) -> Iterator[Finding]:
    """A marketing flow goes on after the customer has bought.

    Whoever buys and then reads "you forgot something" feels watched by a machine that does not look. A flow that
    begins with a cart, a visit, a long absence or a product should end with the purchase; any other marketing flow
    should at least say what ends it.

    Before:

        trigger: {event: cart_updated, quiet_for: 4h}

    After:

        trigger: {event: cart_updated, quiet_for: 4h}
        exit_when: [{did: order_placed}]
    """
    flow = look.flow
    if not look.is_marketing or any(asks_for(clause.condition, "order_placed") for clause in flow.exit_when):
        return
    sends = [step for step in flow.all_steps() if speaks(step)]
    aims_at_purchase = any(_aims_at_purchase(trigger) for trigger in flow.triggers)
    if not sends or (flow.exit_when and not aims_at_purchase):
        return
    yield told(
        sends[-1].span, "a purchase does not stop this flow", label="this goes out all the same",
        second=look.value("trigger"), second_label="customers enter here", fixable=True,
        effect="someone who has just bought still gets this mail", help="add `exit_when: [{did: order_placed}]`",
    )  # fmt: skip


def _aims_at_purchase(trigger: Trigger) -> bool:
    if isinstance(trigger, EventTrigger):
        return trigger.event in _SHOPPING
    if isinstance(trigger, LapsedTrigger):
        return trigger.event == "order_placed"
    return isinstance(trigger, ReplenishTrigger | ProductTrigger)


@flow_rule("F205", "no-way-to-leave")
def no_way_to_leave(look: Look) -> Iterator[Finding]:
    """A long transactional flow has no `exit_when`.

    Opting out does not end transactional mail. Over two weeks things change: an order is cancelled, a parcel comes back.

    Before:

        kind: transactional
        trigger: {event: order_placed}

    After:

        kind: transactional
        trigger: {event: order_placed}
        exit_when: [{did: order_cancelled, same: order_id}]
    """
    if not look.is_marketing and not look.flow.exit_when and usual_length(look.flow) > _LONG:
        yield told(look.key("steps"), "nothing ends this flow before its last step", help="say in `exit_when` what ends it",
                   effect="customers get every mail of it, whatever happens")  # fmt: skip


@flow_rule("F206", "enters-again-and-again")
def enters_again(look: Look) -> Iterator[Finding]:
    """A flow that begins with something frequent lets customers in each time.

    A visitor looks at ten products in an hour. Without `re_entry` or `quiet_for` each of them is an entry as soon as the
    last one has ended.

    Before:

        trigger: {event: product_viewed}

    After:

        trigger: {event: product_viewed, quiet_for: 2h}
        re_entry: {after: 14d}
    """
    entry = look.flow.re_entry
    if not look.is_marketing or entry.never or entry.per or entry.after:
        return
    for trigger in look.flow.triggers:
        if isinstance(trigger, EventTrigger) and trigger.event in _FREQUENT and trigger.gather is None:
            yield told(look.trigger_place(trigger).span, f"{trigger.event} happens often, and each time is an entry",
                       effect="one customer may get the same mails again and again",
                       help="add `re_entry: {after: 14d}`")  # fmt: skip


@flow_rule("F207", "feeds-itself")
def feeds_itself(look: Look) -> Iterator[Finding]:
    """A flow is entered by what it does itself.

    `mail_sent`, `mail_opened`, `mail_clicked`, `flow_entered` and `flow_left` are raised for every flow, this one
    included. Name the flow that is meant.

    Before:

        trigger: {event: mail_clicked}

    After:

        trigger: {event: mail_clicked, where: {flow: welcome}}
    """
    for trigger in look.flow.triggers:
        if (
            isinstance(trigger, EventTrigger)
            and trigger.event in _OWN
            and not any(test.path == "flow" for test in trigger.where)
        ):
            yield told(look.trigger_place(trigger).span, f"this flow's own mails raise {trigger.event} too",
                       effect="its mails let the customer in again", help="name the flow: `where: {flow: NAME}`")  # fmt: skip


@project_rule("F208", "same-moment")
def same_moment(project: Project) -> Iterator[Finding]:
    """Two marketing flows mail the same people at the same moment.

    Both are entered by the same thing, and their first mails go out together. The frequency cap lets one of them through,
    by `priority`; the other is lost. Let one wait, or make one flow of them.

    Before:

        # two flows
        trigger: {event: order_placed}
        steps: [send: thank-you]

        trigger: {event: order_placed}
        steps: [send: care-tips]

    After:

        trigger: {event: order_placed}
        steps: [send: thank-you, wait: 3d, send: care-tips]
    """
    by_start: dict[tuple[str, tuple[str, ...]], tuple[Flow, Span]] = {}
    for flow in project.definitions.flows.values():
        first = _first_send(flow)
        if first is None or flow.kind != "marketing" or flow.enter_if:
            continue
        starts = [(repr(trigger), first[1]) for trigger in flow.triggers]
        known = next((by_start[start] for start in starts if start in by_start), None)
        if known is not None:
            yield told(first[0], f'this mail is due at the same moment as the first one of "{known[0].name}"', second=known[1],
                       second_label="that one", effect="customers get two mails at once, or one of them is lost to the cap",
                       help="let one of them wait, or say in `enter_if` who gets which")  # fmt: skip
        for start in starts:
            by_start.setdefault(start, (flow, first[0]))


def _first_send(flow: Flow) -> tuple[Span, tuple[str, ...]] | None:
    """Return where a flow's first mail stands, and the waits before it in words."""
    waits: list[str] = []
    for step in flow.steps:
        if isinstance(step, _WAITS):
            waits.append(repr(step).replace(step.id, ""))
        elif speaks(step):
            return step.span, tuple(waits)
        elif not isinstance(step, Branch | Experiment):
            continue
        else:
            inner = next((item.span for arm in arms_of(step) for item in arm[:1] if speaks(item)), None)
            return None if inner is None else (inner, tuple(waits))
    return None


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


_LEAP_DAY = re.compile(r"29(th|\.)?( of)? Feb|Feb(ruary)? 29|leap (day|year)", re.IGNORECASE)


def _text_of(look: Look) -> str:
    try:
        return (look.project.root / look.source.file).read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


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


@flow_rule("F214", "per-what")
def per_what(look: Look) -> Iterator[Finding]:
    """`re_entry: {per: …}` counts by something that the trigger does not tell.

    `per: cart` needs a fact with a cart, `per: order` one with an order. Where it is missing, every entry counts as the
    same one, or as another one each time.

    Before:

        trigger: {event: order_placed}
        re_entry: {per: cart}

    After:

        trigger: {event: order_placed}
        re_entry: {per: order}
    """
    per = look.flow.re_entry.per
    if per in (None, "year", "occurrence"):
        return
    for trigger in look.flow.triggers:
        told_things = _things_of(trigger)
        if told_things is not None and per not in told_things:
            yield told(look.value("re_entry"), f"this flow's trigger tells no {per} to count by", second=look.trigger_place(trigger).span,
                       second_label="customers enter here", effect="the limit does not do what it says",
                       help=f"count per {' or '.join(sorted(told_things))}" if told_things else "use `after` instead")  # fmt: skip


def _things_of(trigger: Trigger) -> set[str] | None:
    """Return what a trigger tells that entries can be counted by, or None where it may be anything."""
    if isinstance(trigger, ReplenishTrigger):
        return {"product", "order"}
    if isinstance(trigger, ProductTrigger):
        return {"product"}
    if isinstance(trigger, LapsedTrigger):
        return None
    if not isinstance(trigger, EventTrigger):
        return set()
    if trigger.event.startswith("order_"):
        return {"order"}
    if trigger.event.startswith("cart_"):
        return {"cart"}
    if trigger.event in ("product_viewed", "wishlist_added", "wishlist_removed", "stock_alert_requested"):
        return {"product"}
    return None


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


def _starting_clock(trigger: Trigger) -> time | None:
    """Return the time of day at which a trigger lets customers in, where it is always the same."""
    return trigger.at if isinstance(trigger, AnniversaryTrigger | DateTrigger) else None


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


@flow_rule("F301", "transactional-with-offer", "error")
def transactional_with_offer(look: Look) -> Iterator[Finding]:
    """A transactional flow holds an offer.

    Transactional mail goes out without consent because it is part of a contract. An offer makes it advertising, which
    the law forbids without consent (GDPR, UWG § 7, CAN-SPAM "primary purpose").

    Before:

        kind: transactional
        steps:
          - {send: order-confirmation, offer: ten-percent}

    After:

        kind: transactional
        steps:
          - send: order-confirmation
    """
    if look.is_marketing:
        return
    for step in look.flow.all_steps():
        if isinstance(step, Send) and step.offer is not None:
            yield told(step.span, "a transactional mail may hold no offer", second=look.value("kind"),
                       second_label="sent whether or not there is consent", help="leave `offer` out, or make the flow marketing",
                       effect="customers who never agreed to advertising would get some")  # fmt: skip


@flow_rule("F302", "transactional-with-holdout")
def transactional_with_holdout(look: Look) -> Iterator[Finding]:
    """A transactional flow holds some customers out.

    They would not get mail that belongs to their order. Holdouts are for marketing.

    Before:

        kind: transactional
        holdout: 10%

    After:

        kind: transactional
    """
    if not look.is_marketing and look.flow.holdout:
        yield told(look.key("holdout"), "a transactional flow leaves some customers out", help="leave `holdout` out",
                   effect="they do not get what their order promises them")  # fmt: skip


@flow_rule("F303", "summary-missing", "info")
def summary_missing(look: Look) -> Iterator[Finding]:
    """A flow has no summary.

    One sentence says what the flow is for: colleagues read it in `status`, in reports and on the dashboard.

    Before:

        flow: welcome
        topic: offers

    After:

        flow: welcome
        summary: Greet who has just signed up.
        topic: offers
    """
    summary = look.table.get("summary")
    if not isinstance(summary, Scalar):
        yield told(look.flow.span, "this flow has no summary", help="add `summary:` with one sentence")
