"""Words of a scenario that mean nothing, and resemble one that does.

Comes in: a scenario as it is written, and the project's topics. Goes out: findings at the very words. Names of events and
fields are free, so a misspelt one is no error; but a scenario in which the event never comes passes for a wrong reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from engine.diagnostics import Finding, Span, did_you_mean, slip_of
from engine.flows import fields
from engine.flows.manual import page
from engine.flows.nodes import Items, Node, Scalar, Table

_CATALOGUE = ("product_back_in_stock", "product_price_drop", "product_low_stock")
_EVENTS = (*fields.EVENTS, *_CATALOGUE, "customer_suppressed", "customer_erased")
_CUSTOMER = (
    *fields.CUSTOMER, "consent", "consent_at", "consent_source", "consent_basis", "consent_wording", "properties"
)  # fmt: skip
_ALWAYS = ("after", "backfill")
_LINE = (*fields.LINE, "properties", "customer")


@page("F504", "scenario-of-odd-words", "warning")
def odd_word(span: Span, message: str, way_out: str, effect: str) -> Finding:
    """A scenario tells of an event, field or topic that is a slip of the pen away from a known one.

    Names of one's own are free, so it may be meant. More often nothing comes of the line, and a scenario that expects
    nothing then passes for a wrong reason.

    Before:

        timeline: [{at: 2026-03-02 10:00, event: cart_updatd, cart_id: c1, valu: 60}]

    After:

        timeline: [{at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, value: 60}]
    """
    return Finding("F504", "warning", message, span, effect=effect, help=way_out)


def odd_words(scenario: Table, topics: Collection[str]) -> Iterator[Finding]:
    """Yield a finding for each word of a scenario that was probably meant otherwise."""
    customer = scenario.get("customer")
    yield from _keys(customer, _CUSTOMER, "a customer")
    if isinstance(customer, Table):
        yield from _topics(customer.get("consent"), topics)
    for product in _tables(scenario.get("products")):
        yield from _keys(product, (*fields.PRODUCT, "properties"), "a product")
    for line in _tables(scenario.get("timeline")):
        yield from _line(line, topics)


def _line(line: Table, topics: Collection[str]) -> Iterator[Finding]:
    event = line.get("event")
    name = event.value if isinstance(event, Scalar) else None
    if not isinstance(name, str) or event is None:
        return
    if name not in _EVENTS:
        near = get_close_matches(name, _EVENTS, n=1, cutoff=0.84)
        if near:
            effect = "nothing comes of this line, unless a flow asks for just this name"
            message = f'"{name}" is no event that Homing knows'
            yield odd_word(event.span, message, did_you_mean(name, near), effect)
        return
    known = fields.of_event(name)
    if known is not None:
        yield from _keys(line, (*known, *_ALWAYS), f"`{name}`")
    for inner in _tables(line.get("lines")):
        yield from _keys(inner, _LINE, "a line of it")
    if name.startswith("consent_"):
        yield from _topics(line.get("topic"), topics)


def _keys(node: Node | None, known: Collection[str], what: str) -> Iterator[Finding]:
    """Yield a finding for each key that resembles a known one which is not there."""
    for entry in node if isinstance(node, Table) else ():
        near = "" if entry.key in known else slip_of(entry.key, known)
        if near and isinstance(node, Table) and near not in node:
            effect = "it is taken as a property of that name"
            message = f'{what} has no field "{entry.key}" of its own'
            yield odd_word(entry.key_span, message, f'did you mean "{near}"?', effect)


def _topics(node: Node | None, topics: Collection[str]) -> Iterator[Finding]:
    for item in node if isinstance(node, Items) else (node,):
        name = item.value if isinstance(item, Scalar) else None
        if isinstance(item, Scalar) and isinstance(name, str) and name != "all" and name not in topics:
            way_out = did_you_mean(name, topics) or f"known: {', '.join(sorted(topics)) or 'none'}"
            effect = "this consent is for no flow"
            yield odd_word(item.span, f'there is no topic "{name}" in homing.toml', way_out, effect)


def _tables(node: Node | None) -> Iterator[Table]:
    for item in node if isinstance(node, Items) else ():
        if isinstance(item, Table):
            yield item
