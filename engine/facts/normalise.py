"""Rows in canonical names become frozen facts, or a `BadRow` that says which column and why.

Comes in: a kind and a mapping of cells (text) or JSON values. Goes out: the row's facts (a customer's `consent` makes
consent facts beside the customer), or one BadRow. Unknown columns become properties. Promises: never raises for bad
input, whatever it is; the document of a fact is JSON without NaN, lone surrogates or NUL, and the same row always
gives the same document.

An empty cell says nothing, except a product's `stock`, where it means "not tracked"; JSON's null says "nothing".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from engine.facts.fact import KINDS, BadRow, Fact, Kind, Line, iso, plain_number
from engine.facts.fields import (
    FALSE,
    FIELDS,
    MOST_MONEY,
    TRUE,
    BadField,
    Reading,
    any_amount,
    free,
    from_cell,
    from_text,
    normal_email,
)
from engine.flows.fields import ENGINE_EVENTS

LARGEST_DOCUMENT = 256 * 1024
STATUSES = ("placed", "paid", "cancelled", "refunded", "shipped", "delivered", "returned")
CONSENT_STATES = ("granted", "withdrawn", "pending")
BASES = ("opt_in", "soft_opt_in")
OWN_TIME: Mapping[str, tuple[str, ...]] = {
    "customers": ("updated_at",),
    "products": ("updated_at",),
    "orders": ("status_at", "placed_at"),
    "carts": ("updated_at",),
    "events": ("at",),
    "consents": ("at",),
}
KEY: Mapping[str, str] = {"products": "sku", "orders": "order_id", "carts": "cart_id"}

# What Segment's e-commerce events are called here; everything else becomes snake_case.
EVENT_NAMES: Mapping[str, str] = {
    "order_completed": "order_placed",
    "order_canceled": "order_cancelled",
    "product_added_to_wishlist": "wishlist_added",
    "product_removed_from_wishlist": "wishlist_removed",
    "product_reviewed": "review_given",
}
_ORDER_EVENTS = {f"order_{status}": status for status in STATUSES}
_KNOWN_NUMBERS = ("value", "rating", "score", "points", "balance", "days", "discount", "total")
_UNCLEAN = re.compile("[\x00\ud800-\udfff]")
_CONTROL = frozenset({"backfill", "kind"})
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def normalise(
    kind: Kind, row: Mapping[str, Any], reading: Reading, *, number: int = 0, cells: bool = False
) -> list[Fact] | BadRow:
    """Return the facts of one row, or why it cannot be used; `cells` says that all values are text of a table."""
    try:
        return _FACTS[kind](_read(kind, row, reading, cells=cells), number)
    except _Refused as refusal:
        return BadRow(number, refusal.column, refusal.reason, (row,), refusal.line)
    except RecursionError:
        return BadRow(number, "", "is nested too deeply", (row,))


def event_name(name: str) -> str:
    """Return how an event is called here: Segment's names by their meaning, others in snake_case.

    >>> event_name("Order Completed"), event_name("Some Event"), event_name("product_viewed")
    ('order_placed', 'some_event', 'product_viewed')
    """
    return _known_name(name) if len(name) <= 100 else _our_name(name)  # few names, told again and again


def _our_name(name: str) -> str:
    if re.fullmatch(r"[a-z0-9_.:]+", name):
        return name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    snake = re.sub(r"[^\w.:]+", "_", words).strip("_").lower()
    return EVENT_NAMES.get(snake, snake)


_known_name = lru_cache(maxsize=1_000)(_our_name)


class _Refused(Exception):
    def __init__(self, column: str, reason: str, line: int = 0) -> None:
        super().__init__(column, reason)
        self.column, self.reason, self.line = column, reason, line


class _Read:
    """A row whose fields were read: canonical values, their document, properties, and what is only said about it."""

    __slots__ = ("backfill", "content", "document", "fields", "properties", "reading")

    def __init__(self, reading: Reading) -> None:
        self.fields: dict[str, Any] = {}
        self.document: dict[str, Any] = {}
        self.properties: dict[str, Any] = {}
        self.content = ""
        self.backfill = False
        self.reading = reading

    def need(self, name: str) -> Any:
        value = self.fields.get(name)
        if value is None:
            raise _Refused(name, "is missing")
        return value

    def put(self, name: str, value: Any, plain: Any) -> None:
        self.fields[name] = value
        self.document[name] = plain


def _read(kind: Kind, row: Mapping[str, Any], reading: Reading, *, cells: bool) -> _Read:
    read = _Read(reading)
    specs = FIELDS[kind]
    fields, document = read.fields, read.document
    for name, raw in row.items():
        spec = specs.get(name)
        if raw == "" and (name != "stock" or spec is None):
            continue
        try:
            if spec is None:
                _other(kind, read, name, raw, cells=cells)
            elif raw is None or raw == "" or (spec.is_nothing is not None and spec.is_nothing(raw)):
                fields[name] = document[name] = None
            else:
                value = spec.read(raw, reading)
                if value is not None:
                    fields[name] = value
                    document[name] = value if spec.plain is None else spec.plain(value)
        except BadField as error:
            column = f"{name}.{error.column}" if error.column else str(name)
            raise _Refused(column, str(error), error.line) from None
    _check_text(read, row)
    return read


def _other(kind: Kind, read: _Read, name: Any, raw: Any, *, cells: bool) -> None:
    if name == "backfill":
        word = str(raw).strip().lower()
        if word not in TRUE and word not in FALSE:
            raise BadField("is neither true nor false")
        read.backfill = word in TRUE
        return
    if name == "kind" and str(raw) in KINDS:
        return
    if name == "properties":
        inner = from_cell(raw)
        if inner is None:
            return
        if not isinstance(inner, Mapping):
            raise BadField("is no mapping")
        read.properties.update({str(key): free(value) for key, value in inner.items()})
        return
    key = str(name).removeprefix("properties.")
    if key == name and (meant := _meant(kind, key)) is not None:
        read.reading.warnings[f"`{key}` looks like `{meant}`: kept as a property"] += 1
    read.properties[key] = from_text(raw.strip()) if cells and isinstance(raw, str) else free(raw)


@lru_cache(maxsize=4096)
def _meant(kind: Kind, key: str) -> str | None:
    """Return the field that a name nearly is, as after a slip of the hand; None where it is a name of its own.

    >>> _meant("customers", "emial"), _meant("customers", "favourite_tea")
    ('email', None)
    """
    matches = get_close_matches(key.strip().lower(), FIELDS[kind], n=1, cutoff=0.8)
    return matches[0] if matches else None


def _check_text(read: _Read, row: Mapping[str, Any]) -> None:
    """Refuse what no database keeps (NUL, lone surrogates), and rows that are far too large."""
    words = read.content = _encode({**read.document, "properties": read.properties})
    if len(words) > LARGEST_DOCUMENT:
        raise _Refused("", f"the row is larger than {LARGEST_DOCUMENT // 1024} KB")
    if "\\u0000" in words or _UNCLEAN.search(words):
        for name, value in row.items():
            if _UNCLEAN.search(f"{name}{value}") or "\\x00" in repr(value) or "\\ud" in repr(value):
                raise _Refused(_UNCLEAN.sub("?", str(name)), _no_text(f"{name}{value}"))


def _no_text(words: str) -> str:
    """Say what is wrong with a cell; bytes that were no UTF-8 were kept as U+DC80 to U+DCFF when the file was read."""
    if re.search("[\udc80-\udcff]", words):
        return "holds characters that are no text: the file is not UTF-8; save the file as UTF-8"
    return "holds characters that are no text"


def _fact(
    kind: Kind, read: _Read, key: str, number: int, *, customer: str = "", at: datetime | None = None
) -> Fact:
    lines = read.fields.pop("lines", None)
    if read.properties and kind != "events":
        read.document["properties"] = read.properties
    return Fact(
        kind,
        key,
        customer,
        at,
        read.fields,
        read.properties,
        lines,
        read.document,
        read.content,
        read.backfill,
        number,
    )


def _own_time(kind: Kind, read: _Read) -> datetime | None:
    for name in OWN_TIME[kind]:
        at: datetime | None = read.fields.get(name)
        if at is not None:
            return at
    return None


def _customer_facts(read: _Read, number: int) -> list[Fact]:
    fields = read.fields
    external, address = fields.get("external_id"), fields.get("email")
    if external is None and address is None:
        raise _Refused(
            "external_id",
            "is missing, and so is email: a customer needs one of them (--map theirs=external_id)",
        )
    at = _own_time("customers", read)
    key = str(external or address)
    consents = _told_consents(read, key, at, number)
    return [_fact("customers", read, key, number, at=at), *consents]


def _told_consents(read: _Read, customer: str, arrives: datetime | None, number: int) -> list[Fact]:
    """Take the consents out of a customer's row: each topic is a fact of its own."""
    topics = read.fields.pop("consent", None) or []
    source, at = read.fields.pop("consent_source", None), read.fields.pop("consent_at", None)
    facts = []
    for topic in topics:
        inner = _Read(read.reading)
        inner.backfill = read.backfill
        for name, value in (
            ("customer", customer),
            ("topic", topic),
            ("state", "granted"),
            ("source", source),
        ):
            if value is not None:
                inner.put(name, value, value)
        if at is not None:
            inner.put("at", at, iso(at))
        inner.content = _encode(inner.document)
        facts += [fact._replace(arrives=arrives) for fact in _consent_facts(inner, number)]
    return facts


def _consent_facts(read: _Read, number: int) -> list[Fact]:
    customer, topic, state = read.need("customer"), read.need("topic"), str(read.need("state")).lower()
    basis = str(read.fields.get("basis") or "opt_in").lower()
    if state not in CONSENT_STATES:
        raise _Refused("state", f"is none of {', '.join(CONSENT_STATES)}")
    if basis not in BASES:
        raise _Refused("basis", f"is none of {', '.join(BASES)}")
    if topic != "all" and read.reading.topics and topic not in read.reading.topics:
        read.reading.warnings[
            "names a topic that homing.toml does not have; it is kept, and no flow asks for it"
        ] += 1
    read.put("state", state, state)
    read.put("basis", basis, basis)
    key = f"{customer}\x1f{topic}\x1f{read.document.get('at', '')}"
    return [_fact("consents", read, key, number, customer=customer, at=_own_time("consents", read))]


def _product_facts(read: _Read, number: int) -> list[Fact]:
    return [_fact("products", read, read.need("sku"), number, at=_own_time("products", read))]


def _order_facts(read: _Read, number: int) -> list[Fact]:
    order_id, status = read.need("order_id"), read.fields.get("status")
    if status is not None:
        status = str(status).lower()
        if status not in STATUSES:
            raise _Refused("status", f"is none of {', '.join(STATUSES)}")
        read.put("status", status, status)
    _check_refunds(read)
    _worth_of(read)
    _customer_of(read)
    customer = read.fields.pop("customer", None) or ""
    return [_fact("orders", read, order_id, number, customer=customer, at=_own_time("orders", read))]


def _check_refunds(read: _Read) -> None:
    for refund in read.fields.get("refunds") or ():
        try:
            if refund.get("amount") is not None and any_amount(refund["amount"], read.reading) < 0:
                raise BadField("has an amount below zero")
        except BadField as error:
            raise _Refused("refunds", str(error)) from None


def _customer_of(read: _Read) -> None:
    """Let a row that names no customer but an address be that address's."""
    told = read.properties.get("email")
    if not read.fields.get("customer") and isinstance(told, str) and told.strip():
        address = normal_email(told)
        if address is None:
            raise _Refused("email", "is no email address")
        del read.properties["email"]
        read.put("customer", address, address)


def _cart_facts(read: _Read, number: int) -> list[Fact]:
    cart_id = read.need("cart_id")
    _customer_of(read)
    value = _worth_of(read)
    if value is not None and read.fields.get("value") is None:
        read.put("value", value, plain_number(value))
    customer = read.fields.pop("customer", None) or ""
    return [_fact("carts", read, cart_id, number, customer=customer, at=_own_time("carts", read))]


def _worth_of(read: _Read) -> Decimal | None:
    """Return what the lines are worth; refuse more than an amount of money can be."""
    lines: tuple[Line, ...] | None = read.fields.get("lines")
    value = lines_value(lines) if lines is not None else None
    if value is not None and abs(value) >= MOST_MONEY:
        raise _Refused("lines", "are worth more than any amount here should be")
    return value


def lines_value(lines: tuple[Line, ...]) -> Decimal | None:
    """Return what lines are worth together; None where no price is known."""
    priced = [line.quantity * line.price for line in lines if line.price is not None]
    return sum(priced, Decimal(0)) if priced or not lines else None


def _event_facts(read: _Read, number: int) -> list[Fact]:
    name = event_name(str(read.need("event")))
    if not name:
        raise _Refused("event", "is missing")
    read.put("event", name, name)
    if name in ENGINE_EVENTS:
        read.reading.warnings[
            f"`{name}` is a fact that Homing tells itself: told from outside it counts the same"
        ] += 1
    _customer_of(read)
    projected = _as_other_kind(name, read, number)
    if projected is not None:
        return projected
    customer = read.need("customer")
    at = _own_time("events", read)
    for known in _KNOWN_NUMBERS:
        told = read.properties.get(known)
        if isinstance(told, str) and re.fullmatch(r"-?\d{1,12}(\.\d{1,6})?", told):
            read.properties[known] = plain_number(Decimal(told))
    read.document = {**read.properties, **read.document}
    key = read.fields.get("id")
    return [
        _fact("events", read, f"event:{key or '#' + _hash(read.document)}", number, customer=customer, at=at)
    ]


def _as_other_kind(name: str, read: _Read, number: int) -> list[Fact] | None:
    """Read an event that another kind raises as a fact of that kind: an `order_placed` makes an order."""
    properties = read.properties
    if name in _ORDER_EVENTS and (properties.get("order_id") or name == "order_placed"):
        status = _ORDER_EVENTS[name]
        row = _row_of(
            read,
            order_id=properties.get("order_id")
            or f"event:{read.fields.get('id') or '#' + _hash({**properties, **read.document})}",
        )
        row["status"] = status
        row.setdefault("placed_at" if status == "placed" else "status_at", read.document.get("at"))
        if "value" in row:
            row.setdefault("total", row.pop("value"))
        return _again("orders", row, read, number)
    if name in ("cart_updated", "cart_emptied") and properties.get("cart_id"):
        row = _row_of(read)
        row.setdefault("updated_at", read.document.get("at"))
        return _again("carts", row if name == "cart_updated" else {**row, "lines": []}, read, number)
    if name in ("consent_granted", "consent_withdrawn") and properties.get("topic"):
        row = {**_row_of(read), "state": name.removeprefix("consent_"), "at": read.document.get("at")}
        return _again("consents", row, read, number)
    return None


def _row_of(read: _Read, **more: Any) -> dict[str, Any]:
    row = {**read.properties, **more}
    if "customer" in read.document:
        row["customer"] = read.document["customer"]
    return row


def _again(kind: Kind, row: Mapping[str, Any], read: _Read, number: int) -> list[Fact]:
    told = {name: value for name, value in row.items() if value is not None}
    return _FACTS[kind](_read(kind, {**told, "backfill": read.backfill}, read.reading, cells=False), number)


def _hash(document: Mapping[str, Any]) -> str:
    ordered = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(ordered.encode(), digest_size=12).hexdigest()


_FACTS = {
    "customers": _customer_facts,
    "products": _product_facts,
    "orders": _order_facts,
    "carts": _cart_facts,
    "events": _event_facts,
    "consents": _consent_facts,
}
