"""The moment at which a sample customer gets a mail: how long ago the order or the cart is that let the customer in.

A sample context, a flow and one of its sends come in; the context with dates that fit together goes out. A thank-you then
shows an order of the same day, a check-in one of a month ago, a late reminder something that ran out days before.
Everything else of the sample stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from engine.calendar import add, subtract
from engine.flows.model import (
    Branch,
    EventTrigger,
    Experiment,
    Flow,
    ReplenishTrigger,
    Send,
    Step,
    WaitClock,
    WaitFor,
    WaitUntil,
)
from engine.render.context import RenderContext

_PREPARED = timedelta(hours=5)  # from what happened to the tick that takes it up
_LASTS = timedelta(days=33)  # how long what a sample customer bought lasts


def at_moment(context: RenderContext, flow: Flow | None, send: Send | None) -> RenderContext:
    """Return the context as it would be when this step of the flow is due."""
    if flow is None or send is None:
        return context
    trigger, now = flow.triggers[0], context.now
    entered = _before(flow.steps, send, now) or now
    if isinstance(trigger, ReplenishTrigger):
        empty = add(entered, trigger.lead, "UTC")
        return replace(
            context, trigger={**_known(context.trigger), "run_out_at": empty.isoformat()},
            order=_moved(context.order, "placed_at", empty - _LASTS),
        )  # fmt: skip
    if not isinstance(trigger, EventTrigger):
        return context
    happened = entered - _PREPARED
    if trigger.event == "order_placed":
        context = replace(context, order=_moved(context.order, "placed_at", happened))
    if trigger.event.startswith("cart_"):
        context = replace(context, cart=_moved(context.cart, "updated_at", happened))
    return replace(context, trigger={**_known(context.trigger), "at": happened})


def _known(fact: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return fact or {}


def _moved(thing: Mapping[str, Any] | None, field: str, moment: datetime) -> Mapping[str, Any] | None:
    """Return a thing that happened at another moment, with a status that is no older than it."""
    if thing is None:
        return None
    later = (
        {"status_at": moment} if thing.get("status_at") is not None and thing["status_at"] < moment else {}
    )
    return {**thing, **later, field: moment}


def _before(steps: Sequence[Step], send: Send, moment: datetime) -> datetime | None:
    """Return when a customer entered who reaches the send at `moment`; None where it is not among these steps."""
    for at, step in enumerate(steps):
        found = moment if step is send else _inside(step, send, moment)
        if found is not None:
            for waited in reversed(steps[:at]):
                found = _earlier(waited, found)
            return found
    return None


def _inside(step: Step, send: Send, moment: datetime) -> datetime | None:
    if not isinstance(step, Branch | Experiment):
        return None
    return next((found for arm in step.arms if (found := _before(arm.steps, send, moment)) is not None), None)


def _earlier(step: Step, moment: datetime) -> datetime:
    """Return when a wait began that ends at `moment`."""
    if isinstance(step, WaitFor):
        return subtract(moment, step.duration, "UTC")
    if isinstance(step, WaitClock):
        return subtract(moment, step.at_least, "UTC")
    if isinstance(step, WaitUntil):
        return subtract(moment, step.up_to, "UTC")
    return moment
