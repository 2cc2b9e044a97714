"""Rules about how a flow is built: what is reached, when it ends, who it mails together with others, how often."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from engine.diagnostics import Finding, Span
from engine.flows.conditions import All, Any_, Condition, Did, Not
from engine.flows.load import Project
from engine.flows.model import (
    Branch,
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
