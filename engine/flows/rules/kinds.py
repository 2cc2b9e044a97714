"""Rules about what a flow is: what a transactional one may not hold, and that it says what it is for."""

from __future__ import annotations

from collections.abc import Iterator

from engine.diagnostics import Finding
from engine.flows.model import (
    Send,
)  # fmt: skip
from engine.flows.nodes import Scalar
from engine.flows.rules.registry import Look, flow_rule, told


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
