"""From a tree to a flow, segments and offers: the grammar of everything under `flows/`.

Comes in: nodes, read from YAML or from a stored definition. Goes out: frozen values of `engine.flows.model`, or None.
Promises: every mistake is told at once, each with its line and column; nothing raises for bad input; defaults come
from the model alone; what is stored and read again is equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from engine.calendar import QuietHours
from engine.diagnostics import Finding, has_errors
from engine.errors import HomingError
from engine.flows import problems
from engine.flows.conditions import Clause
from engine.flows.model import Flow, Goal, Offer, PolicyOverride, ReEntry
from engine.flows.nodes import Node, Scalar, Table, from_plain
from engine.flows.read_conditions import clause, clauses
from engine.flows.read_steps import steps
from engine.flows.read_triggers import default_of, optional, triggers
from engine.flows.reading import NAME, Reader, describe
from engine.settings import Cap

FLOW_KEYS = (
    "flow", "summary", "kind", "topic", "priority", "trigger", "re_entry", "enter_if", "only_if", "exit_when", "goal",
    "holdout", "steps", "sender", "policy", "max_lateness",
)  # fmt: skip
POLICY_KEYS = ("quiet_hours", "caps", "max_lateness", "when_capped")
PER = ("cart", "order", "product", "year", "occurrence")
GIVES = ("percent", "amount", "free_shipping", "buy_one_get_one", "gift", "early_access")
CODES = ("code", "pool", "pattern")
OFFER_KEYS = (*GIVES, *CODES, "valid_for", "once_per", "when_empty")
MAX_PRIORITY = 1_000_000


def parse_flow(node: Node, findings: list[Finding], *, stored: bool = False) -> Flow | None:
    """Read one flow; None where it has errors. A `stored` definition carries its `segments`."""
    reader = Reader(findings, stored=stored)
    before = len(findings)
    keys = (*FLOW_KEYS, "segments") if stored else FLOW_KEYS
    table = reader.table(
        node, "a flow", keys, way_out="write `flow: NAME`, and under it `trigger:` and `steps:`"
    )
    flow = None if table is None else _flow(reader, table)
    return None if has_errors(findings[before:]) else flow


def parse_segments(node: Node, findings: list[Finding]) -> dict[str, tuple[Clause, ...]]:
    """Read `flows/segments.yaml`: names with their conditions, all of which must hold."""
    reader = Reader(findings)
    table = reader.table(node, "the file of segments", way_out="write `NAME: [{customer: {…}}]`")
    found: dict[str, tuple[Clause, ...]] = {}
    for entry in table or ():
        if NAME.fullmatch(entry.key) is None:
            reader.add(problems.bad_name(entry.key_span, "the segment", entry.key))
        found[entry.key] = clauses(reader, entry.value, entry.key)
    return found


def parse_conditions(node: Node, findings: list[Finding], key: str = "conditions") -> tuple[Clause, ...]:
    """Read a list of conditions; `key` is what findings call it."""
    return clauses(Reader(findings), node, key)


def parse_offers(node: Node, findings: list[Finding]) -> dict[str, Offer]:
    """Read `flows/offers.yaml`: names with what they give."""
    reader = Reader(findings)
    table = reader.table(node, "the file of offers", way_out="write `NAME: {percent: 10, code: SPRING}`")
    found: dict[str, Offer] = {}
    for entry in table or ():
        if NAME.fullmatch(entry.key) is None:
            reader.add(problems.bad_name(entry.key_span, "the offer", entry.key))
        inner = reader.table(
            entry.value, f"offer {entry.key}", OFFER_KEYS, way_out="write `{percent: 10, code: SPRING}`"
        )
        offer = None if inner is None else _offer(reader, entry.key, inner)
        if offer is not None:
            found[entry.key] = offer
    return found


def flow_from_definition(data: Mapping[str, Any]) -> Flow:
    """Return the flow of a stored definition (made by `engine.flows.load.normalise`); raise HomingError for any other."""
    findings: list[Finding] = []
    flow = parse_flow(from_plain(data), findings, stored=True)
    if flow is None:
        why = findings[0].message if findings else "it is no flow"
        raise HomingError(f"a stored flow cannot be read any more: {why}")
    return flow


# ── flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _flow(reader: Reader, table: Table) -> Flow:
    reader.needs(table, "a flow", ("flow", "trigger", "steps"), FLOW_KEYS)

    def get(key: str, read: Any) -> Any:
        return optional(table, key, read, default_of(Flow, key))

    kind = get("kind", lambda n, k: reader.one_of(n, k, ("marketing", "transactional")))
    if kind == "marketing":
        way_out = "name one of [topics] in homing.toml, or say `kind: transactional`"
        reader.needs(
            table, "a marketing flow", ("topic",), FLOW_KEYS, table.key_span("flow"), way_out=way_out
        )
    trigger, listed = table.get("trigger"), table.get("steps")
    policy, lateness = _policy(reader, table)
    return Flow(
        name=optional(table, "flow", reader.name, ""),
        triggers=() if trigger is None else triggers(reader, trigger),
        steps=() if listed is None else steps(reader, listed),
        summary=get("summary", reader.text),
        kind=kind,
        topic=get("topic", reader.name),
        priority=get("priority", lambda n, k: reader.whole(n, k, -MAX_PRIORITY, MAX_PRIORITY)),
        re_entry=get("re_entry", lambda n, _: _re_entry(reader, n)),
        enter_if=get("enter_if", lambda n, k: clauses(reader, n, k)),
        only_if=get("only_if", lambda n, k: clauses(reader, n, k)),
        exit_when=get("exit_when", lambda n, k: clauses(reader, n, k)),
        goal=get("goal", lambda n, _: _goal(reader, n)),
        holdout=get("holdout", reader.share),
        max_lateness=get("max_lateness", reader.duration) if lateness is None else lateness,
        sender=get("sender", reader.name),
        policy=policy,
        segments=_stored_segments(reader, table),
        span=table.key_span("flow"),
    )


def _stored_segments(reader: Reader, table: Table) -> dict[str, tuple[Clause, ...]]:
    node = table.get("segments") if reader.stored else None
    return parse_segments(node, reader.findings) if node is not None else {}


def _re_entry(reader: Reader, node: Node) -> ReEntry | None:
    if isinstance(node, Scalar) and node.value == "never":
        return ReEntry(never=True)
    if isinstance(node, Scalar) and node.value == "always":
        return ReEntry()
    if isinstance(node, Scalar):
        shown = node.value if node.value is not None else "nothing"
        reader.add(
            problems.not_one_of(node.span, "re_entry", shown, ("never", "always", "{per: …, after: …}"))
        )
        return None
    table = reader.table(
        node, "re_entry", ("per", "after"), way_out="write never, always, or {per: cart, after: 7d}"
    )
    if table is None:
        return None
    if not len(table):
        reader.add(
            problems.missing_key(
                table.span, "per", "re_entry", way_out="write {per: cart}, {after: 7d} or both"
            )
        )
    per = optional(table, "per", lambda n, k: reader.one_of(n, k, PER))
    return ReEntry(per=per, after=optional(table, "after", reader.duration))


def _goal(reader: Reader, node: Node) -> Goal | None:
    table = reader.table(node, "goal", way_out="write `goal: {did: order_placed, within: 5d}`")
    if table is None:
        return None
    within = optional(table, "within", reader.duration)
    what = clause(reader, table.without("within"))
    return None if what is None else Goal(what, within)


def _policy(reader: Reader, table: Table) -> tuple[PolicyOverride, Any]:
    """Read `policy:`; its `max_lateness` means the flow's own."""
    node = table.get("policy")
    default = default_of(Flow, "policy")
    inner = None if node is None else reader.table(node, "policy")
    if inner is None:
        return default, None
    for entry in inner:
        if entry.key in ("global_holdout", "exclude"):
            why = "it is for the whole project, in homing.toml"
            way_out = (
                "use `holdout`" if entry.key == "global_holdout" else "use `only_if: [{not_segment: NAME}]`"
            )
            reader.add(problems.does_not_go_with(entry.key_span, entry.key, why, way_out=way_out))
        elif entry.key not in POLICY_KEYS:
            reader.add(problems.unknown_key(entry.key_span, entry.key, "policy", POLICY_KEYS))
    lateness = optional(inner, "max_lateness", reader.duration)
    if lateness is not None and "max_lateness" in table:
        reader.add(
            problems.does_not_go_with(
                inner.key_span("max_lateness"), "max_lateness", "the flow says it already"
            )
        )
    override = PolicyOverride(
        quiet_hours=optional(inner, "quiet_hours", lambda n, _: _quiet_hours(reader, n)),
        caps=optional(inner, "caps", lambda n, _: _caps(reader, n)),
        when_capped=optional(
            inner,
            "when_capped",
            lambda n, k: reader.one_of(n, k, ("skip", "wait")),
            default.when_capped,
        ),
    )
    return override, lateness


def _quiet_hours(reader: Reader, node: Node) -> str | None:
    if isinstance(node, Scalar) and node.value == "":
        return ""
    hours = reader.read(node, "quiet_hours", QuietHours.parse, wanted='hours such as "21:00-08:00", or ""')
    return str(cast(Scalar, node).value) if hours is not None else None


def _caps(reader: Reader, node: Node) -> tuple[str, ...] | None:
    items = reader.items(node, "caps", way_out='write ["1 per 16h"], or [] for none')
    if items is None:
        return None
    caps = [reader.read(item, "caps", Cap.parse, wanted="a cap such as 1 per 16h") for item in items]
    return tuple(f"{cap.count} per {cap.per}" for cap in caps if cap is not None)


# ── offers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _offer(reader: Reader, name: str, table: Table) -> Offer | None:
    before = len(reader.findings)
    gives = [key for key in GIVES if key in table]
    if len(gives) != 1:
        reader.add(problems.which_one(table.span, f'the offer "{name}"', gives, GIVES))
        return None
    codes = [key for key in CODES if key in table]
    for key in codes[1:]:
        reader.add(
            problems.does_not_go_with(
                table.key_span(key), key, f"the offer has its codes by `{codes[0]}` already"
            )
        )
    value = _offer_value(reader, gives[0], cast(Node, table.get(gives[0])))
    offer = Offer(
        name,
        cast(Any, gives[0]),
        value or "",
        code=optional(table, "code", reader.text),
        pool=optional(table, "pool", reader.text),
        pattern=optional(table, "pattern", lambda n, _: _pattern(reader, n)),
        valid_for=optional(table, "valid_for", reader.duration),
        once_per=optional(
            table,
            "once_per",
            lambda n, k: reader.one_of(n, k, ("customer", "message")),
            default_of(Offer, "once_per"),
        ),
        when_empty=optional(table, "when_empty", reader.name, default_of(Offer, "when_empty")),
        span=table.span,
    )
    return offer if reader.is_clean(before) else None


def _offer_value(reader: Reader, gives: str, node: Node) -> str | None:
    if gives == "percent":
        return reader.read(node, "percent", _percent_off, wanted="a number up to 100")
    if gives == "amount":
        return reader.read(node, "amount", _amount, wanted="an amount with its currency such as 5 EUR")
    if gives == "free_shipping":
        if isinstance(node, Scalar) and node.value is True:
            return "true"
        reader.add(problems.wrong_shape(node.span, "free_shipping", "true", describe(node)))
        return None
    if gives == "early_access":
        return reader.name(node, gives)
    return reader.text(node, gives)


def _percent_off(text: str) -> str:
    try:
        number = Decimal(text.strip().removesuffix("%").strip())
    except InvalidOperation:
        raise ValueError(f'"{text}" is not a number such as 10') from None
    if not 0 < number <= 100:
        raise ValueError(f'"{text}" is not more than 0 and at most 100')
    return format(number.normalize(), "f")


def _amount(text: str) -> str:
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,4})?)\s+([A-Z]{3})\s*", text)
    if match is None or not Decimal(match[1]):
        raise ValueError(f'"{text}" is not an amount with its currency such as 5 EUR')
    return f"{match[1]} {match[2]}"


def _pattern(reader: Reader, node: Node) -> str | None:
    text = reader.text(node, "pattern")
    if text is not None and (text.count("#") < 4 or re.fullmatch(r"[A-Za-z0-9#_-]{4,40}", text) is None):
        sentence = f"{problems.quoted(text)} is no pattern: letters, digits, - and _, and at least four #"
        reader.add(problems.unreadable(node.span, "pattern", sentence, way_out='for example "TEA-########"'))
        return None
    return text
