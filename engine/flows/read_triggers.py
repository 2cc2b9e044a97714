"""Reading triggers: what lets a customer into a flow.

Comes in: the node of `trigger`, one or a list. Goes out: trigger values of `engine.flows.model`. Promises: each kind
takes only the keys that mean something for it, and every mistake is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from engine.calendar import Duration
from engine.flows import fields, problems
from engine.flows.cron import Cron
from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    EventTrigger,
    LapsedTrigger,
    ProductTrigger,
    ReplenishTrigger,
    ScheduleTrigger,
    SegmentTrigger,
    Trigger,
)  # fmt: skip
from engine.flows.nodes import Items, Node, Scalar, Table, is_nothing
from engine.flows.read_conditions import event_name, field_tests
from engine.flows.reading import Reader, describe
from engine.settings import percent

KINDS = ("event", "anniversary", "date", "lapsed", "replenish", "segment", "product", "schedule")
KEYS: dict[str, tuple[str, ...]] = {
    "event": ("event", "where", "quiet_for", "gather"),
    "anniversary": ("anniversary", "offset", "at", "gather"),
    "date": ("date", "offset", "at", "gather"),
    "lapsed": ("lapsed", "where", "gather"),
    "replenish": ("replenish", "where", "gather"),
    "segment": ("segment", "gather"),
    "product": ("product", "interest", "within", "by", "below", "where", "gather"),
    "schedule": ("schedule", "segment", "clock", "gather"),
}
ALL_KEYS = tuple(dict.fromkeys(key for keys in KEYS.values() for key in keys))
LAPSED_KEYS = ("event", "after", "at_least", "at_most", "otherwise", "where")
CHANGES = ("back_in_stock", "price_drop", "low_stock")
INTERESTS = ("wishlist", "viewed", "cart")
_ONCE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2})?)?")


def triggers(reader: Reader, node: Node) -> tuple[Trigger, ...]:
    """Read one trigger or a list of them (any of which lets the customer in)."""
    if isinstance(node, Items) and not len(node):
        reader.add(
            problems.wrong_shape(node.span, "trigger", "a trigger or a list of triggers", "an empty list")
        )
    found = [_trigger(reader, item) for item in (node if isinstance(node, Items) else (node,))]
    return tuple(trigger for trigger in found if trigger is not None)


def trigger_kind(table: Table) -> str | None:
    """Return which kind of trigger a table is, or None."""
    if "schedule" in table:
        return "schedule"
    return next((kind for kind in KINDS if kind in table), None)


def _trigger(reader: Reader, node: Node) -> Trigger | None:
    table = reader.table(node, "trigger", way_out="write `trigger: {event: order_placed}`")
    if table is None:
        return None
    kinds = [kind for kind in KINDS if kind in table and not (kind == "segment" and "schedule" in table)]
    if len(kinds) != 1:
        for entry in table:
            if entry.key not in ALL_KEYS:
                reader.add(problems.unknown_key(entry.key_span, entry.key, "a trigger", ALL_KEYS))
        if kinds or all(key in ALL_KEYS for key in table.keys):
            reader.add(problems.which_one(table.span, "this trigger", kinds, KINDS))
        return None
    kind, before = kinds[0], len(reader.findings)
    for entry in table:
        if entry.key in KEYS[kind]:
            continue
        if entry.key in ALL_KEYS:
            reader.add(
                problems.does_not_go_with(
                    entry.key_span, entry.key, f"it does not belong to a trigger by `{kind}`"
                )
            )
        else:
            reader.add(
                problems.unknown_key(
                    entry.key_span, entry.key, f"a trigger by `{kind}`", KEYS[kind], taken=table.keys
                )
            )
    trigger = _READ[kind](reader, table)
    return trigger if reader.is_clean(before) else None


def _gather(reader: Reader, table: Table) -> Duration | None:
    gather: Duration | None = optional(table, "gather", reader.duration)
    return gather


def optional(table: Table, key: str, read: Callable[[Node, str], Any], default: Any = None) -> Any:
    """Read the value under a key where there is one, else return the default."""
    node = table.get(key)
    if node is None:
        return default
    value = read(node, key)
    return default if value is None else value


def default_of(kind: type[Any], name: str) -> Any:
    """Return a field's default as the model states it."""
    for item in dataclass_fields(kind):
        if item.name == name:
            return item.default if item.default is not MISSING else cast(Any, item.default_factory)()
    raise KeyError(name)


def _where(reader: Reader, table: Table, scope: str = "where") -> Any:
    node = table.get("where")
    return () if node is None else field_tests(reader, node, scope)


def _event(reader: Reader, table: Table) -> Trigger:
    return EventTrigger(
        event_name(reader, cast(Node, table.get("event")), "event") or "",
        _where(reader, table),
        optional(table, "quiet_for", reader.duration),
        _gather(reader, table),
    )


def customer_date(reader: Reader, node: Node, key: str) -> str | None:
    """Read the name of a customer's date field, or a property."""
    text = reader.text(node, key)
    if text is None:
        return None
    if not fields.is_path(text):
        reader.add(problems.bad_path(node.span, text))
        return None
    if text.startswith("properties.") or fields.CUSTOMER.get(text) in ("date", "moment"):
        return text
    known = [name for name, kind in fields.CUSTOMER.items() if kind in ("date", "moment")]
    if text in fields.CUSTOMER:
        way_out = "it must hold a date"
        reader.add(problems.not_one_of(node.span, key, text, [*known, "properties.NAME"], way_out=way_out))
        return None
    finding = problems.unknown_field(node.span, "customer", text, known)
    reader.add(finding)
    return None if finding.is_error else f"properties.{text}"


def _offset(reader: Reader, node: Node, key: str) -> Duration | None:
    return reader.duration(node, key, negative=True)


def _anniversary(reader: Reader, table: Table) -> Trigger:
    return AnniversaryTrigger(
        customer_date(reader, cast(Node, table.get("anniversary")), "anniversary") or "",
        optional(
            table,
            "offset",
            lambda n, k: _offset(reader, n, k),
            default_of(AnniversaryTrigger, "offset"),
        ),
        optional(table, "at", reader.clock, default_of(AnniversaryTrigger, "at")),
        _gather(reader, table),
    )


def _date(reader: Reader, table: Table) -> Trigger:
    return DateTrigger(
        customer_date(reader, cast(Node, table.get("date")), "date") or "",
        optional(table, "offset", lambda n, k: _offset(reader, n, k), default_of(DateTrigger, "offset")),
        optional(table, "at", reader.clock, default_of(DateTrigger, "at")),
        _gather(reader, table),
    )


def _lapsed(reader: Reader, table: Table) -> Trigger | None:
    inner = reader.table(
        cast(Node, table.get("lapsed")),
        "lapsed",
        LAPSED_KEYS,
        way_out="write `lapsed: {event: order_placed, after: 90d}`",
    )
    if inner is None:
        return None
    for key in ("event", "after"):
        if key not in inner:
            reader.add(problems.missing_key(inner.span, key, "lapsed"))
    after, factor = _after(reader, inner)
    event = inner.get("event")
    return LapsedTrigger(
        "" if event is None else event_name(reader, event, "event") or "",
        after,
        factor,
        at_least=optional(inner, "at_least", reader.duration),
        at_most=optional(inner, "at_most", reader.duration),
        otherwise=optional(inner, "otherwise", reader.duration),
        where=(*_where(reader, table), *_where(reader, inner)),
        gather=_gather(reader, table),
    )


def _after(reader: Reader, table: Table) -> tuple[Duration | None, Decimal | None]:
    node = table.get("after")
    if node is None:
        return None, None
    if isinstance(node, Scalar) and isinstance(node.value, str):
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*x", node.value.strip())
        if match:
            factor = Decimal(match[1]).normalize()
            if factor <= 0:
                reader.add(
                    problems.unreadable(
                        node.span,
                        "after",
                        "a multiple of the usual gap is more than 0",
                        way_out="write a multiple such as 1.5x",
                    )
                )
            return None, Decimal(format(factor, "f"))
    return reader.duration(node, "after (a duration, or a multiple such as 1.5x)"), None


def _replenish(reader: Reader, table: Table) -> Trigger | None:
    node = cast(Node, table.get("replenish"))
    inner = reader.table(node, "replenish", ("lead", "where"), way_out="write `replenish: {lead: 3d}`")
    if inner is None:
        return None
    return ReplenishTrigger(
        optional(inner, "lead", reader.duration, default_of(ReplenishTrigger, "lead")),
        (*_where(reader, table, "lines"), *_where(reader, inner, "lines")),
        _gather(reader, table),
    )


def _segment(reader: Reader, table: Table) -> Trigger:
    return SegmentTrigger(
        reader.name(cast(Node, table.get("segment")), "segment") or "", _gather(reader, table)
    )


def _product(reader: Reader, table: Table) -> Trigger:
    change = reader.one_of(cast(Node, table.get("product")), "product", CHANGES)
    for key, owner in (("by", "price_drop"), ("below", "low_stock")):
        if change is not None and change != owner and key in table:
            why = f"it belongs to `product: {owner}`"
            reader.add(problems.does_not_go_with(table.key_span(key), key, why))
    return ProductTrigger(
        cast(Any, change or CHANGES[0]),
        optional(
            table,
            "interest",
            lambda n, _: _interests(reader, n),
            default_of(ProductTrigger, "interest"),
        ),
        optional(table, "within", reader.duration, default_of(ProductTrigger, "within")),
        optional(table, "by", lambda n, _: _drop(reader, n), default_of(ProductTrigger, "by")),
        optional(table, "below", lambda n, k: reader.whole(n, k, 1, 1_000_000)),
        _where(reader, table),
        _gather(reader, table),
    )


def _interests(reader: Reader, node: Node) -> Any:
    found = [
        reader.one_of(item, "interest", INTERESTS) for item in (node if isinstance(node, Items) else (node,))
    ]
    if not found:
        reader.add(problems.wrong_shape(node.span, "interest", problems.listed(INTERESTS), "an empty list"))
    return tuple(word for word in INTERESTS if word in found)


def _drop(reader: Reader, node: Node) -> Decimal | None:
    return reader.read(node, "by", percent, wanted="a share such as 5%")


def _schedule(reader: Reader, table: Table) -> Trigger:
    node = cast(Node, table.get("schedule"))
    cron, once = _calendar(reader, node)
    return ScheduleTrigger(
        cron,
        once,
        optional(table, "segment", reader.name),
        optional(
            table,
            "clock",
            lambda n, k: reader.one_of(n, k, ("customer", "shop")),
            default_of(ScheduleTrigger, "clock"),
        ),
        _gather(reader, table),
    )


def _calendar(reader: Reader, node: Node) -> tuple[str | None, datetime | None]:
    if is_nothing(node) or not isinstance(node, Scalar):
        reader.add(
            problems.wrong_shape(
                node.span, "schedule", 'a pattern such as "0 9 1 * *" or a moment', describe(node)
            )
        )
        return None, None
    text = str(node.value).strip()
    if _ONCE.fullmatch(text):
        return None, reader.read(node, "schedule", datetime.fromisoformat, wanted="a moment")
    if re.match(r"\d{4}-\d{2}-\d{2}", text):
        sentence = f"{describe(node)} is not a local moment such as 2026-11-26 10:00 (`clock` says whose)"
        reader.add(problems.unreadable(node.span, "schedule", sentence))
        return None, None
    cron = reader.read(node, "schedule", Cron.parse, wanted='a pattern such as "0 9 1 * *"')
    return (" ".join(text.lower().split()) if cron else None), None


_READ: dict[str, Callable[[Reader, Table], Trigger | None]] = {
    "event": _event,
    "anniversary": _anniversary,
    "date": _date,
    "lapsed": _lapsed,
    "replenish": _replenish,
    "segment": _segment,
    "product": _product,
    "schedule": _schedule,
}
