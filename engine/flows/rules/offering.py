"""Rules about offers: how long a code holds, whether it can be guessed, what it is worth, who shares it."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from engine.diagnostics import Finding, has_errors
from engine.flows.conditions import All, Any_, Clause, Condition, InSegment, Not, OfferIs, walk
from engine.flows.load import Project, flow_clauses
from engine.flows.model import (
    Branch,
    Experiment,
    Flow,
    Offer,
    ScheduleTrigger,
    SegmentTrigger,
    Send,
    Step,
)  # fmt: skip
from engine.flows.nodes import Table
from engine.flows.rules.registry import Look, flow_rule, place_of, project_rule, told


def _offers(project: Project) -> Iterator[tuple[Offer, Table]]:
    node = project.offers_node
    for entry in node or ():
        offer = project.definitions.offers.get(entry.key)
        if offer is not None and isinstance(entry.value, Table):
            yield offer, Table((entry,), entry.key_span)


@project_rule("F401", "offer-without-end")
def offer_without_end(project: Project) -> Iterator[Finding]:
    """An offer never ends.

    Its codes stay good for ever: they are collected on coupon sites, and `wait: {until: offer.NAME.expires_at}` exits,
    since there is no such moment.

    Before:

        ten-percent: {percent: 10, pattern: "TEA-########"}

    After:

        ten-percent: {percent: 10, pattern: "TEA-########", valid_for: 14d}
    """
    for offer, place in _offers(project):
        if offer.valid_for is None and offer.gives != "early_access":
            yield told(
                place.span,
                f'the offer "{offer.name}" has no end',
                effect="its codes are good for ever",
                help="add `valid_for: 14d`",
            )


@project_rule("F402", "code-can-be-guessed")
def code_can_be_guessed(project: Project) -> Iterator[Finding]:
    """The codes of an offer can be guessed.

    Each # is one of about 30 letters and digits. With fewer than six of them, trying codes at the till pays.

    Before:

        gift: {percent: 20, pattern: "A-####", valid_for: 7d}

    After:

        gift: {percent: 20, pattern: "A-########", valid_for: 7d}
    """
    for offer, place in _offers(project):
        if offer.pattern is not None and offer.pattern.count("#") < 6:
            yield told(place_of(place, "pattern"), "codes of this pattern can be guessed", effect="strangers find codes by trying",
                       help="use at least eight #")  # fmt: skip


@project_rule("F403", "unusual-discount")
def unusual_discount(project: Project) -> Iterator[Finding]:
    """An offer gives more than half of the price away.

    That may be meant. A slip here costs more than any other.

    Before:

        ten: {percent: 100, code: TEN, valid_for: 7d}

    After:

        ten: {percent: 10, code: TEN, valid_for: 7d}
    """
    for offer, place in _offers(project):
        if offer.gives == "percent" and Decimal(offer.value) > 50:
            yield told(
                place_of(place, "percent"),
                f"{offer.value} % is more than half of the price",
                help="check the number",
            )


@project_rule("F404", "offer-in-other-currency")
def offer_in_other_currency(project: Project) -> Iterator[Finding]:
    """An offer's amount is in another currency than the shop's.

    Before (in a shop with `currency = "EUR"`):

        five: {amount: 5 USD, code: FIVE}

    After:

        five: {amount: 5 EUR, code: FIVE}
    """
    for offer, place in _offers(project):
        currency = project.settings.shop.currency
        if offer.gives == "amount" and not offer.value.endswith(currency):
            yield told(
                place_of(place, "amount"),
                f"the shop sells in {currency}",
                help=f"write the amount in {currency}",
            )


@project_rule("F405", "unused-offer", "info")
def unused_offer(project: Project) -> Iterator[Finding]:
    """An offer that no flow gives.

    It may be kept for later. Remove it, or name it in a step: `offer: NAME`.

    Before:

        ten: {percent: 10, code: TEN, valid_for: 7d}        # and no step says `offer: ten`

    After:

        - {send: cart-offer, offer: ten}
    """
    used = {offer.when_empty for offer in project.definitions.offers.values()}
    for flow in project.definitions.flows.values():
        used |= {step.offer for step in flow.all_steps() if isinstance(step, Send) and step.offer}
        used |= {
            part.offer
            for clause in flow_clauses(flow)
            for part in walk(clause.condition)
            if isinstance(part, OfferIs)
        }
    for offer, place in _offers(project):
        if offer.name not in used and not has_errors(project.findings):
            yield told(
                place.span, f'no flow gives the offer "{offer.name}"', help="keep it for later, or remove it"
            )


@project_rule("F406", "shared-pool")
def shared_pool(project: Project) -> Iterator[Finding]:
    """Two offers take their codes from the same file.

    A code is given once, so it can belong to one of them only: the offer that comes first in the alphabet gets all of them,
    and the pool of the other stays empty.

    Before:

        autumn: {percent: 10, pool: codes.txt, valid_for: 7d}
        spring: {percent: 15, pool: codes.txt, valid_for: 7d}

    After:

        autumn: {percent: 10, pool: autumn.txt, valid_for: 7d}
        spring: {percent: 15, pool: spring.txt, valid_for: 7d}
    """
    owners: dict[str, str] = {}
    for offer, place in sorted(_offers(project), key=lambda pair: pair[0].name):
        if offer.pool is None:
            continue
        owner = owners.setdefault(os.path.normpath(offer.pool), offer.name)
        if owner != offer.name:
            yield told(place_of(place, "pool"), f'the codes of {offer.pool} belong to the offer "{owner}"',
                       effect=f'the pool of "{offer.name}" stays empty', help="give each offer a file of its own")  # fmt: skip


# ── early access ─────────────────────────────────────────────────────────────────────────────────────────────────────

_Segments = Mapping[str, tuple[Clause, ...]]


@flow_rule("F407", "early-access-for-everyone", "error")
def early_access_for_everyone(look: Look) -> Iterator[Finding]:
    """A mail gives early access to customers who may not be in its segment.

    `early_access: vip` is for the customers in the segment `vip`: the shop lets nobody else buy yet, so that a mail to others
    promises what does not hold. The flow has to ask for the segment: by its trigger, `enter_if`, `only_if` or `exit_when`, in
    the arm of a branch, or at the step itself, which is surest, as it is asked when the mail goes.

    Before (`early: {early_access: vip, code: EARLY}`):

        - {send: early-letter, offer: early}

    After:

        - {send: early-letter, offer: early, only_if: [{segment: vip}]}
    """
    segments, offers = look.project.definitions.segments, look.project.definitions.offers
    for step, asked in _sends(look.flow.steps, _asked_of_all(look.flow)):
        for name in _given(step.offer, offers):
            segment = offers[name].value
            if not _asks_for(segment, (*asked, *step.only_if), segments) and not _comes_by(
                segment, look.flow
            ):
                yield told(step.span, f'the offer "{name}" is for the segment {segment}, and this mail goes to others, too',
                           effect=f"customers outside {segment} are promised what the shop does not give them",
                           help=f"add `only_if: [{{segment: {segment}}}]` to the step")  # fmt: skip


def _given(offer: str | None, offers: Mapping[str, Offer]) -> Iterator[str]:
    """Yield the offers of early access that a step may give: its own, or one that follows an empty pool."""
    seen: set[str] = set()
    while offer is not None and offer in offers and offer not in seen:
        seen.add(offer)
        if offers[offer].gives == "early_access":
            yield offer
        offer = offers[offer].when_empty


def _sends(steps: Iterable[Step], asked: tuple[Clause, ...]) -> Iterator[tuple[Send, tuple[Clause, ...]]]:
    """Yield every mail with what is asked of whoever comes to it."""
    for step in steps:
        if isinstance(step, Send):
            yield step, asked
        elif isinstance(step, Branch):
            for arm in step.arms:
                yield from _sends(arm.steps, (*asked, *(arm.when or ())))
        elif isinstance(step, Experiment):
            for way in step.arms:
                yield from _sends(way.steps, asked)


def _asked_of_all(flow: Flow) -> tuple[Clause, ...]:
    left = (Clause(each.condition.item, "") for each in flow.exit_when if isinstance(each.condition, Not))
    return (*flow.enter_if, *flow.only_if, *left)


def _comes_by(segment: str, flow: Flow) -> bool:
    """Return whether every trigger brings customers of the segment alone."""
    by = (SegmentTrigger, ScheduleTrigger)
    return all(isinstance(trigger, by) and trigger.segment == segment for trigger in flow.triggers)


def _asks_for(segment: str, clauses: Iterable[Clause], segments: _Segments) -> bool:
    return any(_holds_in(segment, clause.condition, segments, ()) for clause in clauses)


def _holds_in(segment: str, condition: Condition, segments: _Segments, within: tuple[str, ...]) -> bool:
    """Return whether the condition holds for nobody outside the segment."""
    if isinstance(condition, InSegment):
        if condition.segment == segment:
            return True
        if condition.segment in within:  # a circle, which another finding tells
            return False
        inside = (*within, condition.segment)
        return any(
            _holds_in(segment, each.condition, segments, inside)
            for each in segments.get(condition.segment, ())
        )
    if isinstance(condition, All):
        return any(_holds_in(segment, item, segments, within) for item in condition.items)
    if isinstance(condition, Any_):
        return bool(condition.items) and all(
            _holds_in(segment, item, segments, within) for item in condition.items
        )
    return False
